"""What the engine is told of a call: whose it is, how urgent, until when; and that all doors share one list."""

import pytest
from google.protobuf import descriptor_pool

from candela.inference.v1 import exchange_service_pb2
from inference_server.api.calls import flow_of, work_of
from inference_server.api.operations import OPERATIONS
from inference_server.batching import Priority
from services.kit.call import Call, Principal
from services.kit.errors import InvalidArgument


@pytest.mark.parametrize(
    ("principal", "flow"),
    [
        (Principal(tenant="default", user="users/1", service="recognition"), "default/users/1"),
        (Principal(tenant="default", user="users/2"), "default/users/2"),
        (Principal(tenant="acme", user="users/3", service="recognition"), "acme"),
        (Principal(tenant="default", service="recognition"), "service:recognition"),
        (Principal(tenant="acme", service="generation"), "service:generation"),
    ],
)
def test_users_without_tenants_share_by_user_and_tenants_by_tenant(principal: Principal, flow: str) -> None:
    assert flow_of(principal) == flow


@pytest.mark.parametrize(
    ("text", "priority"),
    [(None, Priority.NORMAL), ("low", Priority.LOW), ("normal", Priority.NORMAL), ("high", Priority.HIGH)],
)
def test_a_call_says_how_urgent_it_is(text: str | None, priority: Priority) -> None:
    metadata = {} if text is None else {"candela-priority": text}
    work = work_of(Call("/x/Y", Principal("default", service="recognition"), deadline=12.5, metadata=metadata))
    assert (work.priority, work.deadline, work.tenant) == (priority, 12.5, "service:recognition")


def test_an_unknown_priority_is_refused() -> None:
    with pytest.raises(InvalidArgument) as error:
        work_of(Call("/x/Y", Principal("default", service="x"), metadata={"candela-priority": "urgent"}))
    assert error.value.violations[0].field == "candela-priority"


def test_every_operation_is_a_unary_method_and_a_member_of_exchange() -> None:
    pool = descriptor_pool.Default()
    call, reply = (exchange_service_pb2.DESCRIPTOR.message_types_by_name[name] for name in ("Call", "Reply"))
    for operation in OPERATIONS:
        service, method = operation.path.removeprefix("/").split("/")
        unary = pool.FindServiceByName(service).methods_by_name[method]
        assert call.fields_by_name[operation.field].message_type is unary.input_type
        assert reply.fields_by_name[operation.field].message_type is unary.output_type
    fields = {one.name for one in call.oneofs_by_name["request"].fields if one.number >= 10}
    assert fields == {operation.field for operation in OPERATIONS} | {"infer"}
