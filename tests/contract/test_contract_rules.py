"""Each rule about contracts can fail: one violation planted in a contract that keeps them all is found, and alone."""

from collections.abc import Callable

import pytest
from google.protobuf import descriptor_pb2

from candela.auth.v1 import access_pb2
from tests.support.contract_model import Contract
from tests.support.contract_rules import Exceptions, Finding, findings
from tests.support.http_paths import HTTP

FIELD = descriptor_pb2.FieldDescriptorProto
OPTIONS = descriptor_pb2.MethodOptions
File = descriptor_pb2.FileDescriptorProto
Message = descriptor_pb2.DescriptorProto
Method = descriptor_pb2.MethodDescriptorProto

NAME = "candela/lamp/v1/lamp.proto"
SERVICE = "candela.lamp.v1.LampService"
STATUS = File(name="google/rpc/status.proto", package="google.rpc", message_type=[Message(name="Status")])
BODY = File(name="google/api/httpbody.proto", package="google.api", message_type=[Message(name="HttpBody")])


def field(name: str, kind: "FIELD.Type.ValueType" = FIELD.TYPE_STRING, type_name: str = "") -> FIELD:
    return FIELD(name=name, number=1, type=kind, type_name=type_name, label=FIELD.LABEL_OPTIONAL)


def method(name: str, path: str, level: "OPTIONS.IdempotencyLevel.ValueType" = OPTIONS.NO_SIDE_EFFECTS) -> Method:
    options = OPTIONS(idempotency_level=level)
    options.Extensions[access_pb2.access].level = access_pb2.Access.LEVEL_AUTHENTICATED
    options.Extensions[HTTP].get = path
    scope = ".candela.lamp.v1"
    return Method(
        name=name, input_type=f"{scope}.{name}Request", output_type=f"{scope}.{name}Response", options=options
    )


def good_file() -> File:
    """A list, a mutation and a finite stream that keep every rule."""
    file = File(name=NAME, package="candela.lamp.v1")
    page = [field("page_size", FIELD.TYPE_INT32), field("page_token")]
    events = [field("completed", FIELD.TYPE_MESSAGE, ".candela.lamp.v1.ListLampsResponse")]
    events += [field("error", FIELD.TYPE_MESSAGE, ".google.rpc.Status")]
    for event in events:
        event.oneof_index = 0
    shapes = {
        "ListLampsRequest": page,
        "ListLampsResponse": [field("next_page_token")],
        "LightLampRequest": [field("request_id")],
        "LightLampResponse": [field("name")],
        "FlickerRequest": [field("name")],
        "FlickerResponse": events,
    }
    for name, members in shapes.items():
        file.message_type.add(name=name, field=members)
    file.message_type[-1].oneof_decl.add(name="event")
    service = file.service.add(name="LampService")
    service.method.append(method("ListLamps", "/v1/lamps"))
    service.method.append(method("LightLamp", "/v1/{name=lamps/*}:light", OPTIONS.IDEMPOTENT))
    service.method.append(method("Flicker", "/v1/{name=lamps/*}:flicker"))
    service.method[-1].server_streaming = True
    file.enum_type.add(name="Colour").value.add(name="COLOUR_UNSPECIFIED", number=0)
    return explained(file)


def explained(file: File) -> File:
    """Gives everything in the file a comment."""
    info = file.source_code_info
    for index, message in enumerate(file.message_type):
        info.location.add(path=[4, index], leading_comments=" A message.")
        for number, _ in enumerate(message.field):
            info.location.add(path=[4, index, 2, number], leading_comments=" A field.")
    info.location.add(path=[6, 0], leading_comments=" A service.")
    for number, _ in enumerate(file.service[0].method):
        info.location.add(path=[6, 0, 2, number], leading_comments=" A method.")
    info.location.add(path=[5, 0], leading_comments=" An enum.")
    info.location.add(path=[5, 0, 2, 0], leading_comments=" A value.")
    return file


def check(file: File, exceptions: Exceptions | None = None, *, internal: bool = False) -> list[Finding]:
    files = descriptor_pb2.FileDescriptorSet(file=[STATUS, BODY, file])
    return findings(Contract(files, {NAME} if internal else ()), exceptions or Exceptions())


def named(file: File, name: str) -> Method:
    return next(one for one in file.service[0].method if one.name == name)


def message(file: File, name: str) -> Message:
    return next(one for one in file.message_type if one.name == name)


def without_field(name: str, gone: str) -> Callable[[File], None]:
    def plant(file: File) -> None:
        target = message(file, name)
        kept = [one for one in target.field if one.name != gone]
        target.ClearField("field")
        target.field.extend(kept)

    return plant


def without_comment(*path: int) -> Callable[[File], None]:
    def plant(file: File) -> None:
        location = next(one for one in file.source_code_info.location if list(one.path) == list(path))
        location.leading_comments = " \n"

    return plant


def with_field(name: str, kind: "FIELD.Type.ValueType", type_name: str = "") -> Callable[[File], None]:
    def plant(file: File) -> None:
        message(file, "LightLampResponse").field[0].CopyFrom(field(name, kind, type_name))

    return plant


def with_path(name: str, path: str) -> Callable[[File], None]:
    return lambda file: setattr(named(file, name).options.Extensions[HTTP], "get", path)


def without_access(file: File) -> None:
    named(file, "Flicker").options.ClearExtension(access_pb2.access)


def with_unspecified_access(file: File) -> None:
    named(file, "Flicker").options.Extensions[access_pb2.access].level = access_pb2.Access.LEVEL_UNSPECIFIED


def with_permission_at_the_wrong_level(file: File) -> None:
    named(file, "Flicker").options.Extensions[access_pb2.access].permission = "read:admin"


def without_permission(file: File) -> None:
    named(file, "Flicker").options.Extensions[access_pb2.access].level = access_pb2.Access.LEVEL_PERMISSION


def without_idempotency(file: File) -> None:
    named(file, "LightLamp").options.ClearField("idempotency_level")


def with_request_id_of_bytes(file: File) -> None:
    message(file, "LightLampRequest").field[0].type = FIELD.TYPE_INT64


def with_terminal_members_outside_the_oneof(file: File) -> None:
    message(file, "FlickerResponse").field[0].ClearField("oneof_index")


def with_another_error_type(file: File) -> None:
    message(file, "FlickerResponse").field[1].type_name = ".candela.lamp.v1.ListLampsResponse"


def with_colliding_additional_binding(file: File) -> None:
    rule = named(file, "Flicker").options.Extensions[HTTP]
    rule.additional_bindings.add(get="/v1/lamps")


def with_raw_body(file: File) -> None:
    named(file, "LightLamp").output_type = ".google.api.HttpBody"


VIOLATIONS: dict[str, tuple[str, Callable[[File], None]]] = {
    "no access option": ("access", without_access),
    "unspecified access": ("access", with_unspecified_access),
    "permission without its level": ("access", with_permission_at_the_wrong_level),
    "level without its permission": ("access", without_permission),
    "no idempotency level": ("idempotency", without_idempotency),
    "mutation without request id": ("request id", without_field("LightLampRequest", "request_id")),
    "request id that is no string": ("request id", with_request_id_of_bytes),
    "list without page size": ("paging", without_field("ListLampsRequest", "page_size")),
    "list without page token": ("paging", without_field("ListLampsRequest", "page_token")),
    "list without next page token": ("paging", without_field("ListLampsResponse", "next_page_token")),
    "stream without completed": ("terminal event", without_field("FlickerResponse", "completed")),
    "stream without error": ("terminal event", without_field("FlickerResponse", "error")),
    "stream whose end is no choice": ("terminal event", with_terminal_members_outside_the_oneof),
    "stream whose error is no status": ("terminal event", with_another_error_type),
    "message without comment": ("comment", without_comment(4, 0)),
    "field without comment": ("comment", without_comment(4, 0, 2, 0)),
    "enum without comment": ("comment", without_comment(5, 0)),
    "enum value without comment": ("comment", without_comment(5, 0, 2, 0)),
    "service without comment": ("comment", without_comment(6, 0)),
    "RPC without comment": ("comment", without_comment(6, 0, 2, 0)),
    "same path": ("http path", with_path("Flicker", "/v1/lamps")),
    "same path but for the variable": ("http path", with_path("Flicker", "/v1/lamps/{lamp}:light")),
    "path in an additional binding": ("http path", with_colliding_additional_binding),
    "Any": ("opaque", with_field("name", FIELD.TYPE_MESSAGE, ".google.protobuf.Any")),
    "Struct": ("opaque", with_field("name", FIELD.TYPE_MESSAGE, ".google.protobuf.Struct")),
    "Value": ("opaque", with_field("name", FIELD.TYPE_MESSAGE, ".google.protobuf.Value")),
    "bytes": ("opaque", with_field("name", FIELD.TYPE_BYTES)),
    "raw body": ("opaque", with_raw_body),
}


def test_a_contract_that_keeps_every_rule_has_no_findings() -> None:
    assert check(good_file()) == []


@pytest.mark.parametrize(("rule", "plant"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_planted_violation_is_found_alone(rule: str, plant: Callable[[File], None]) -> None:
    file = good_file()
    plant(file)
    assert {finding.rule for finding in check(file)} == {rule}


def test_an_internal_method_has_no_http_rule() -> None:
    assert {finding.rule for finding in check(good_file(), internal=True)} == {"internal"}


@pytest.mark.parametrize(
    ("plant", "exceptions"),
    [
        (
            VIOLATIONS["mutation without request id"][1],
            Exceptions(without_request_id={f"{SERVICE}.LightLamp": "a reason"}),
        ),
        (VIOLATIONS["stream without error"][1], Exceptions(without_terminal_event={f"{SERVICE}.Flicker": "a reason"})),
        (VIOLATIONS["bytes"][1], Exceptions(opaque={"candela.lamp.v1.LightLampResponse.name": "a reason"})),
        (VIOLATIONS["raw body"][1], Exceptions(opaque={f"{SERVICE}.LightLamp": "a reason"})),
    ],
)
def test_an_exception_silences_one_finding_and_is_stale_without_it(
    plant: Callable[[File], None], exceptions: Exceptions
) -> None:
    file = good_file()
    plant(file)
    assert check(file, exceptions) == []
    assert {finding.rule for finding in check(good_file(), exceptions)} == {"exception"}


def test_the_config_of_a_client_stream_may_carry_the_request_id() -> None:
    file = good_file()
    light = named(file, "LightLamp")
    light.client_streaming = True
    file.message_type.add(name="Config", field=[field("request_id")])
    message(file, "LightLampRequest").field[0].CopyFrom(field("config", FIELD.TYPE_MESSAGE, ".candela.lamp.v1.Config"))
    assert {finding.rule for finding in check(file)} == {"comment"}, "only the new message is not explained"
