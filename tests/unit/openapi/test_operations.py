"""What an operation says of its answers: statuses, headers, examples; and what the gateway answers by itself."""

from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator

from gateway_envoy.documents import DOCUMENTS
from gateway_envoy.routes import HEALTH_PATHS
from openapi import errors
from openapi.contract import Contract
from openapi.document import build
from services.kit.grpc_status import CODES

ALWAYS = {"400", "408", "413", "426", "429", "431", "500", "503", "504"}


def responses(document: dict[str, Any], path: str, verb: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path][verb]["responses"]
    return found


@pytest.mark.parametrize(
    ("path", "verb", "statuses"),
    [
        ("/.well-known/jwks.json", "get", set()),
        ("/v1/sessions", "post", {"401", "403"}),
        ("/v1/sessions", "get", {"401", "403"}),
        ("/v1/sessions/{session}", "delete", {"401", "403", "404", "409"}),
        ("/v1/users", "post", {"409"}),
        ("/v1/users/{user}", "get", {"401", "403", "404"}),
        ("/healthz", "get", set()),
    ],
)
def test_an_operation_lists_what_it_may_answer(whole: dict[str, Any], path: str, verb: str, statuses: set[str]) -> None:
    assert set(responses(whole, path, verb)) == {"200"} | ALWAYS | statuses


def test_openai_paths_have_openais_errors(whole: dict[str, Any]) -> None:
    found = responses(whole, "/openai/v1/chat/completions", "post")
    assert {"402", "429"} < set(found)
    references = [one["$ref"] for status, one in found.items() if status != "200"]
    assert all(reference.startswith("#/components/responses/OpenAi") for reference in references)


def test_every_code_of_the_error_tree_has_a_status() -> None:
    told = {code for failure in errors.FAILURES for code in failure.codes}
    assert {code.name for code in CODES.values()} <= told


def test_headers_are_said_where_they_are_sent(document: dict[str, Any]) -> None:
    components = document["components"]["responses"]
    assert all("candela-trace-id" in one["headers"] for one in components.values())
    later = {name.removeprefix("OpenAi") for name, one in components.items() if "retry-after" in one["headers"]}
    assert later == {"ResourceExhausted", "Unavailable"}
    assert "allow" in components["MethodNotAllowed"]["headers"]
    assert "www-authenticate" in components["Unauthenticated"]["headers"]
    for item in document["paths"].values():
        for operation in item.values():
            done = operation["responses"].get("200")
            assert done is None or done["headers"]["candela-trace-id"]["required"]


def test_an_event_stream_tells_how_it_ends(whole: dict[str, Any]) -> None:
    [content] = responses(whole, "/v1/images:generate", "post")["200"]["content"].items()
    assert content[0] == "text/event-stream"
    assert content[1]["x-events"]["last"] == ["completed", "error"]
    [endless] = responses(whole, "/v1/notifications:watch", "get")["200"]["content"].values()
    assert endless["x-events"]["last"] == []


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    root = schema | {"components": document["components"]}
    return [
        one.message for one in OAS31Validator(root, format_checker=OAS31Validator.FORMAT_CHECKER).iter_errors(value)
    ]


def test_every_example_of_a_request_fits(whole: dict[str, Any]) -> None:
    found = 0
    for path, item in whole["paths"].items():
        for operation in item.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in content:
                found += 1
                assert fits(whole, content["schema"], content["example"]) == [], path
    assert found > 40


def test_the_examples_of_what_is_deployed_are_all_there(document: dict[str, Any]) -> None:
    bodies = {
        operation["operationId"]: "example" in operation["requestBody"]["content"]["application/json"]
        for item in document["paths"].values()
        for operation in item.values()
        if "requestBody" in operation
    }
    assert [name for name, there in bodies.items() if not there] == []
    registration = document["paths"]["/v1/users"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert registration["email"] == "ada@example.com"
    assert "requestId" not in registration, "a second try would get the first answer"


def test_every_example_of_an_error_fits(whole: dict[str, Any]) -> None:
    for name, response in whole["components"]["responses"].items():
        content = response["content"]["application/json"]
        assert fits(whole, content["schema"], content["example"]) == [], name


def test_what_only_the_server_says_is_marked(whole: dict[str, Any]) -> None:
    config = whole["components"]["schemas"]["candela.user.v1.SystemConfigInput"]["properties"]
    assert config["version"]["readOnly"]
    assert "readOnly" not in config["text"]


def test_what_the_gateway_answers_itself_is_there(document: dict[str, Any]) -> None:
    own = {path for path, item in document["paths"].items() for one in item.values() if one["tags"] == ["Gateway"]}
    served = {path for path in (*HEALTH_PATHS, *(one.path for one in DOCUMENTS)) if not path.startswith("/docs/")}
    assert own == served | {"/docs/{asset}", "/"}
    [asset] = document["paths"]["/docs/{asset}"]["get"]["parameters"]
    assert {f"/docs/{name}" for name in asset["schema"]["enum"]} == {
        one.path for one in DOCUMENTS if one.path.startswith("/docs/")
    }


def test_a_service_that_is_not_deployed_has_no_paths(contract: Contract) -> None:
    document = build(contract, ["candela.payment.v1.BalanceService"])
    assert "/v1/users" not in document["paths"]
    assert "/healthz" in document["paths"]
