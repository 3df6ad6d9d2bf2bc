"""Schemas against what ProtoJSON and protovalidate really do."""

from typing import Any

import protovalidate
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message
from openapi_schema_validator import OAS31Validator

from candela.payment.v1 import balance_pb2, order_service_pb2
from candela.recognition.v1 import document_pb2, form_pb2, plate_service_pb2, recognition_pb2, recognition_service_pb2
from candela.type.v1 import usage_pb2
from candela.user.v1 import api_key_service_pb2, file_service_pb2, session_pb2, user_pb2, user_service_pb2
from openapi.contract import Contract
from tests.unit.openapi.conftest import ROOT

UUID = "8c5b8b9e-8f0c-4d2a-9d7e-2f6b6f0b8a11"


def validator(document: dict[str, Any], name: str) -> OAS31Validator:
    """Checks values against one component, formats included."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return OAS31Validator(schema, format_checker=OAS31Validator.FORMAT_CHECKER)


def problems(document: dict[str, Any], message: Message, *, all_fields: bool) -> list[str]:
    """Returns how the JSON of a message breaks its schema; `all_fields` prints it as the gateway does."""
    printed = json_format.MessageToDict(message, always_print_fields_with_no_presence=all_fields)
    return [error.message for error in validator(document, message.DESCRIPTOR.full_name).iter_errors(printed)]


def recognition() -> recognition_pb2.Recognition:
    made = recognition_pb2.Recognition(name="recognitions/1", kind=recognition_pb2.Recognition.KIND_DOCUMENT)
    made.create_time.FromJsonString("2026-03-14T12:00:00.123Z")
    made.processing_time.FromMilliseconds(1500)
    made.source.size_bytes = 2**40
    made.source.sha256 = "0" * 64
    page = made.document.pages.add(number=1, width=100, height=50, confidence=0.75)
    word = page.blocks.add().lines.add(text="hello").words.add(text="hello", confidence=0.5)
    word.box.top_left.x = 1.5
    return made


ANSWERS: list[Message] = [
    recognition(),
    user_pb2.User(name="users/1", email="a@example.org", role=user_pb2.ROLE_PRO, credits=-5),
    session_pb2.SessionGrant(access_token="x", token_type="Bearer"),
    usage_pb2.Usage(items=[usage_pb2.UsageItem(sku="x", quantity=2**60)], micro_credits=1),
    balance_pb2.Transaction(kind=balance_pb2.Transaction.KIND_CHARGE, micro_credits=-(2**62)),
    form_pb2.ValueSource(profile_field="email", method=form_pb2.VALUE_METHOD_RULE),
]


@pytest.mark.parametrize("message", ANSWERS, ids=lambda message: message.DESCRIPTOR.name)
def test_answers_fit_their_schemas(whole: dict[str, Any], message: Message) -> None:
    assert problems(whole, message, all_fields=True) == []
    assert problems(whole, message, all_fields=False), "the gateway writes fields that are zero, too"


def test_an_empty_answer_of_every_method_fits_its_schema(contract: Contract, whole: dict[str, Any]) -> None:
    """The gateway prints every plain field, so the schemas of answers must take zeros, empty texts included."""
    pool = descriptor_pool.DescriptorPool()
    for file in FileDescriptorSet.FromString((ROOT / "build" / "candela-public.binpb").read_bytes()).file:
        pool.Add(file)
    outputs = {
        method.proto.output_type.removeprefix(".")
        for service in contract.services.values()
        for method in service.methods
    }
    for name in sorted(outputs & set(whole["components"]["schemas"])):
        message = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()
        assert problems(whole, message, all_fields=True) == [], name


WRONG_ANSWERS = [
    (user_pb2.User(), {"credits": 5}),
    (user_pb2.User(), {"role": "PRO"}),
    (user_pb2.User(), {"createTime": "yesterday"}),
    (user_pb2.User(), {"emailVerified": "yes"}),
    (recognition(), {"plates": {"plates": []}}),
    (recognition(), {"processingTime": "1500ms"}),
    (document_pb2.Page(), {"number": "1"}),
    (document_pb2.Page(), {"blocks": {}}),
]


@pytest.mark.parametrize(("message", "wrong"), WRONG_ANSWERS)
def test_what_is_wrong_does_not_fit(whole: dict[str, Any], message: Message, wrong: dict[str, Any]) -> None:
    right = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    schema = validator(whole, message.DESCRIPTOR.full_name)
    assert schema.is_valid(right)
    assert not schema.is_valid(right | wrong)


def test_an_answer_without_a_field_that_is_always_written_does_not_fit(whole: dict[str, Any]) -> None:
    right = json_format.MessageToDict(user_pb2.User(), always_print_fields_with_no_presence=True)
    schema = validator(whole, "candela.user.v1.User")
    for gone in right:
        assert not schema.is_valid({name: value for name, value in right.items() if name != gone}), gone


INFO = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "NOT_FOUND",
    "domain": "candela.dev",
    "metadata": {},
}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}
REQUEST_INFO = {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "0" * 32, "servingData": ""}


def error(details: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {"error": {"code": 404, "status": "NOT_FOUND", "message": "no such thing", "details": details} | changes}


@pytest.mark.parametrize("details", [[INFO], [INFO, RETRY], [INFO, RETRY, REQUEST_INFO]])
def test_an_error_fits_its_schema(document: dict[str, Any], details: list[dict[str, Any]]) -> None:
    assert validator(document, "Error").is_valid(error(details))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"error": {}},
        error([]),
        error([RETRY]),
        error([INFO, INFO]),
        error([INFO | {"reason": "NOBODY_KNOWS"}]),
        error([INFO | {"domain": "example.com"}]),
        error([INFO, {"@type": "type.googleapis.com/google.rpc.DebugInfo", "detail": "a stack"}]),
        error([INFO], code="404"),
        error([INFO], status="LOST"),
        error([INFO], message=""),
    ],
)
def test_an_error_of_another_shape_does_not_fit(document: dict[str, Any], value: dict[str, Any]) -> None:
    assert not validator(document, "Error").is_valid(value)


def register(**changes: Any) -> user_service_pb2.RegisterUserRequest:
    return user_service_pb2.RegisterUserRequest(**{"email": "a@example.org", "password": "long enough"} | changes)


def api_key(**changes: Any) -> api_key_service_pb2.CreateApiKeyRequest:
    return api_key_service_pb2.CreateApiKeyRequest(**{"display_name": "key", "scopes": [1]} | changes)


def document_request(**changes: Any) -> recognition_service_pb2.RecognizeDocumentRequest:
    return recognition_service_pb2.RecognizeDocumentRequest(**changes)


REQUESTS: list[Message] = [
    register(),
    register(email="no address"),
    register(phone="+4915112345678"),
    register(phone="0151"),
    register(username="ada.l"),
    register(username="1a"),
    register(username="ad"),
    register(password="short"),
    register(password=""),
    register(display_name="x" * 100),
    register(display_name="x" * 101),
    register(request_id=UUID),
    register(request_id="1"),
    api_key(),
    api_key(scopes=[]),
    api_key(scopes=[0]),
    api_key(display_name=""),
    api_key(requests_per_minute=0),
    api_key(requests_per_minute=60),
    api_key(budget_micro_credits=-1),
    document_request(content=b"x"),
    document_request(file="files/1"),
    document_request(file="files/../1"),
    document_request(),
    document_request(content=b"x", pages=[1, 2]),
    document_request(content=b"x", pages=[0]),
    document_request(content=b"x", pages=[2, 2]),
    document_request(content=b"x", pages=range(1, 52)),
    file_service_pb2.CreateFileRequest(filename="a.pdf", content=b"x"),
    file_service_pb2.CreateFileRequest(filename="a/b.pdf", content=b"x"),
    file_service_pb2.CreateFileRequest(filename="a.pdf"),
    plate_service_pb2.RecognizePlatesRequest(file="files/1", min_confidence=0.5),
    plate_service_pb2.RecognizePlatesRequest(file="files/1", min_confidence=1.5),
    order_service_pb2.CreateOrderRequest(plan="plans/pro", currency_code="CNY"),
    order_service_pb2.CreateOrderRequest(plan="plans/pro", currency_code="yuan"),
]


@pytest.mark.parametrize("message", REQUESTS, ids=lambda message: f"{message}"[:60].replace("\n", " "))
@pytest.mark.parametrize("all_fields", [True, False])
def test_schemas_and_the_contract_agree_on_requests(whole: dict[str, Any], message: Message, all_fields: bool) -> None:
    assert bool(problems(whole, message, all_fields=all_fields)) == bool(violations(message))


def violations(message: Message) -> list[Any]:
    try:
        protovalidate.validate(message)
    except protovalidate.ValidationError as error:
        return list(error.violations)
    return []


def test_conditions_without_a_keyword_are_told(whole: dict[str, Any]) -> None:
    schema = whole["components"]["schemas"]["candela.user.v1.RegisterUserRequest"]
    assert "an email or a phone number is needed" in schema["description"]


def test_every_value_of_an_enum_is_explained(whole: dict[str, Any]) -> None:
    schema = whole["components"]["schemas"]["candela.user.v1.Role"]
    assert schema["enum"] == list(user_pb2.Role.keys())
    assert "* `ROLE_ADMIN`: All permissions." in schema["description"]


def test_maps_lists_and_raw_numbers(whole: dict[str, Any]) -> None:
    slots = whole["components"]["schemas"]["candela.chat.v1.ClassifyIntentResponse"]["properties"]["slots"]
    assert slots["additionalProperties"] == {"type": "string"}
    usage = whole["components"]["schemas"]["candela.type.v1.Usage"]["properties"]
    assert usage["microCredits"]["type"] == "string"
    assert usage["items"]["items"] == {"$ref": "#/components/schemas/candela.type.v1.UsageItem"}


def test_every_component_is_a_valid_schema(whole: dict[str, Any]) -> None:
    for schema in whole["components"]["schemas"].values():
        OAS31Validator.check_schema(schema)
