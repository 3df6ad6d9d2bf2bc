"""What holds for the document as a whole."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from candela.auth.v1 import access_pb2
from openapi.__main__ import main
from openapi.contract import Contract, ContractError
from openapi.document import build
from openapi.rules import unmapped
from services.kit.implemented import PUBLIC_SERVICES
from tests.support.http_paths import HTTP
from tests.unit.openapi.conftest import ROOT

VERBS = {"get", "put", "post", "delete", "patch"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields what services answer; what the gateway answers itself is in `gateway_paths`."""
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            if operation["tags"] != ["Gateway"]:
                yield path, verb, operation


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every object in a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


@pytest.mark.parametrize("which", ["document", "whole"])
def test_the_document_is_openapi_3_1(which: str, request: pytest.FixtureRequest) -> None:
    errors = list(OpenAPIV31SpecValidator(request.getfixturevalue(which)).iter_errors())
    assert errors == []


def test_the_validator_would_say_so(document: dict[str, Any]) -> None:
    broken = json.loads(json.dumps(document))
    del broken["info"]["title"]
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


def test_what_is_deployed_is_there(document: dict[str, Any]) -> None:
    assert {
        ("/v1/users", "post"),
        ("/v1/users/{user}", "get"),
        ("/v1/users/{user}", "patch"),
        ("/v1/users/{user}", "delete"),
        ("/v1/users/{user}:changePassword", "post"),
        ("/v1/sessions", "post"),
        ("/v1/sessions", "get"),
        ("/v1/sessions:refresh", "post"),
        ("/v1/sessions/{session}", "delete"),
        ("/.well-known/jwks.json", "get"),
        ("/v1/documents:recognize", "post"),
        ("/v1/recognitions", "get"),
        ("/v1/recognitions/{recognition}", "get"),
        ("/v1/recognitions/{recognition}", "delete"),
    } <= {(path, verb) for path, verb, _ in operations(document)}
    services = {name.rpartition(".")[2] for name in PUBLIC_SERVICES}
    assert {tag["name"] for tag in document["tags"]} == services | {"Gateway"}


def test_every_http_rule_of_the_contract_is_there(contract: Contract, whole: dict[str, Any]) -> None:
    wanted = Counter(
        rule.WhichOneof("pattern")
        for service in contract.services.values()
        for method in service.methods
        if method.proto.options.HasExtension(HTTP)
        for rule in (method.proto.options.Extensions[HTTP],)
    )
    assert Counter(verb for _, verb, _ in operations(whole)) == wanted
    assert sum(wanted.values()) > 100


def test_every_field_of_a_request_has_exactly_one_place(contract: Contract, whole: dict[str, Any]) -> None:
    for service in contract.services.values():
        for method in service.methods:
            names = {f"{service.name.rpartition('.')[2]}_{method.proto.name}"}
            for path, _, operation in operations(whole):
                if operation["operationId"] in names:
                    assert places(contract, whole, path, operation) >= {
                        field.json_name for field, _ in contract.fields(method.proto.input_type.removeprefix("."))
                    }, operation["operationId"]


def places(contract: Contract, whole: dict[str, Any], path: str, operation: dict[str, Any]) -> set[str]:
    """Returns the fields of the request that path, query and body take, by their JSON names."""
    query = {one["name"].partition(".")[0] for one in operation["parameters"] if one["in"] == "query"}
    service, _, method = operation["operationId"].partition("_")
    proto = next(
        one.proto
        for name, found in contract.services.items()
        if name.endswith(f".{service}")
        for one in found.methods
        if one.proto.name == method
    )
    rule = proto.options.Extensions[HTTP]
    template = getattr(rule, rule.WhichOneof("pattern") or "")
    bound = {match.partition(".")[0] for match in re.findall(r"\{([^{}=]+)", template)}
    taken = {field.json_name for field, _ in contract.fields(proto.input_type.removeprefix(".")) if field.name in bound}
    if rule.body == "*":
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        schema = whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        body = set(schema["properties"])
    else:
        body = {field.json_name for field, _ in contract.fields(proto.input_type[1:]) if field.name == rule.body}
    assert not query & body
    assert not taken & query
    return query | taken | body


def test_path_parameters_are_those_of_the_path(whole: dict[str, Any]) -> None:
    for path, _, operation in operations(whole):
        named = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        assert named == re.findall(r"\{([^{}]+)\}", path)


def test_one_path_has_one_spelling(whole: dict[str, Any]) -> None:
    shapes = Counter(re.sub(r"\{[^{}]+\}", "{}", path) for path in whole["paths"])
    assert [shape for shape, times in shapes.items() if times > 1] == []


def test_parameters_are_called_as_in_the_contract(whole: dict[str, Any]) -> None:
    assert "/v1/conversations/{conversation}/messages/{message}:resume" in whole["paths"]
    assert "/v1/callbacks/{provider}" in whole["paths"]
    assert "/v1/orders/{order}:refund" in whole["paths"]


def test_a_part_of_a_path_has_its_part_of_the_pattern(whole: dict[str, Any]) -> None:
    operation = whole["paths"]["/v1/conversations/{conversation}/messages/{message}"]["get"]
    assert [one["schema"]["pattern"] for one in operation["parameters"]] == ["^[A-Za-z0-9_-]{1,64}$"] * 2


def test_every_reference_leads_somewhere(whole: dict[str, Any]) -> None:
    for value in walk(whole):
        if "$ref" in value:
            target: Any = whole
            for part in value["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            assert target


def test_every_component_is_used(whole: dict[str, Any]) -> None:
    used = {value["$ref"].rpartition("/")[2] for value in walk(whole) if "$ref" in value}
    assert set(whole["components"]["schemas"]) <= used


def test_every_operation_has_a_name_words_and_an_error(whole: dict[str, Any]) -> None:
    names = Counter(operation["operationId"] for _, _, operation in operations(whole))
    assert max(names.values()) == 1
    for path, _, operation in operations(whole):
        assert operation["description"]
        assert operation["summary"].endswith(".")
        kind = "OpenAiInternal" if path.startswith("/openai/") else "Internal"
        assert operation["responses"]["500"] == {"$ref": f"#/components/responses/{kind}"}


def test_a_token_is_asked_for_unless_the_method_is_public(contract: Contract, whole: dict[str, Any]) -> None:
    public = {
        f"{service.name.rpartition('.')[2]}_{method.proto.name}"
        for service in contract.services.values()
        for method in service.methods
        if method.proto.options.Extensions[access_pb2.access].level == access_pb2.Access.LEVEL_PUBLIC
    }
    for _, _, operation in operations(whole):
        assert operation["security"] == ([] if operation["operationId"] in public else [{"bearer": []}])
    assert whole["paths"]["/v1/images:generate"]["post"]["x-permission"] == "generate:image"


def test_streams_are_server_sent_events_and_raw_bodies_are_raw(whole: dict[str, Any]) -> None:
    def content(path: str, verb: str) -> dict[str, Any]:
        found: dict[str, Any] = whole["paths"][path][verb]["responses"]["200"]["content"]
        return found

    assert set(content("/v1/images:generate", "post")) == {"text/event-stream"}
    assert set(content("/v1/files/{file}:download", "get")) == {"*/*"}
    assert set(content("/v1/files", "get")) == {"application/json"}


def test_what_has_no_http_rule_is_not_there(whole: dict[str, Any]) -> None:
    assert not [name for _, _, one in operations(whole) if "RecognizePlateVideo" in (name := one["operationId"])]


def test_only_deployed_services_are_there(contract: Contract) -> None:
    document = build(contract, ["candela.payment.v1.BalanceService"])
    assert {operation["tags"][0] for _, _, operation in operations(document)} == {"BalanceService"}
    assert "candela.user.v1.User" not in document["components"]["schemas"]


def test_no_rule_of_the_contract_is_overlooked(contract: Contract) -> None:
    overlooked = [
        f"{name}.{field.name}: {rule}"
        for name, message in contract.messages.items()
        if name.startswith("candela.")
        for field in message.field
        for rule in unmapped(field)
    ]
    assert overlooked == []


def test_an_unknown_service_is_an_error(contract: Contract) -> None:
    with pytest.raises(ContractError, match=r"no service candela\.user\.v1\.Nothing"):
        build(contract, ["candela.user.v1.Nothing"])


def test_the_command_writes_the_document(tmp_path: Path, document: dict[str, Any]) -> None:
    out = tmp_path / "deep" / "openapi.json"
    descriptors = ROOT / "build" / "candela-public.binpb"
    assert main(["build", "--descriptors", str(descriptors), "--out", str(out)]) == 0
    assert json.loads(out.read_text(encoding="utf-8")) == document
    assert [path.name for path in out.parent.iterdir()] == ["openapi.json"]


@pytest.mark.parametrize("content", [None, b"\xff\xff\xff"])
def test_the_command_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    descriptors = tmp_path / "set.binpb"
    if content is not None:
        descriptors.write_bytes(content)
    assert main(["build", "--descriptors", str(descriptors), "--out", str(tmp_path / "x.json")]) == 1
    assert "make generate" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()
