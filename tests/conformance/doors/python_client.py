"""The Python client, synchronous and asynchronous, through the method that it has for each RPC.

A request that the client refuses to make, such as one without what is required, goes through `client.call` instead:
what Candela says to it is to be seen all the same.
"""

import asyncio
import inspect
from collections.abc import Callable
from functools import reduce
from typing import Any, Final

from google.protobuf import empty_pb2, json_format
from google.protobuf.message import Message

from candela import AsyncClient, AsyncPager, CandelaError, Client, Method, Pager, RetryPolicy
from candela.api.index import METHODS
from tests.conformance.doors.door import Question
from tests.conformance.outcome import DOMAIN, Failure, Outcome, received

_NO_RETRIES: Final = RetryPolicy(attempts=1)
_LEFT: Final = Outcome(failure=Failure("CANCELLED"))


class InexpressibleError(Exception):
    """The client's method has no argument for something in the request."""


_REFUSALS: Final = (InexpressibleError, TypeError, ValueError)


class PythonClient:
    """`candela.Client`. It has no way to go away from a call that does not stream.

    Neither client makes a call that needs a token when it has none.
    """

    name = "python"

    def __init__(self, target: str) -> None:
        self._target = target

    def can(self, question: Question) -> bool:
        return _can_be_made(question) and (question.cancel_after is None or question.method.streams)

    def ask(self, question: Question) -> Outcome:
        messages: list[Message] = []
        with Client(self._target, api_key=question.token, retry=_NO_RETRIES) as client:
            try:
                found = _begun(client, question)
                if isinstance(found, Pager):
                    found = next(found.pages())
                if not question.method.streams:
                    return received([empty_pb2.Empty() if found is None else found])
                with found as stream:
                    if question.cancel_after == 0:
                        return _LEFT
                    for one in stream:
                        messages.append(one)
                        if len(messages) == question.cancel_after:
                            return _LEFT
            except CandelaError as error:
                return failed(question, messages, error)
        return received(messages)


class AsyncPythonClient:
    """`candela.AsyncClient`."""

    name = "python-async"

    def __init__(self, target: str) -> None:
        self._target = target

    def can(self, question: Question) -> bool:
        return _can_be_made(question)

    def ask(self, question: Question) -> Outcome:
        return asyncio.run(self._ask(question))

    async def _ask(self, question: Question) -> Outcome:
        messages: list[Message] = []
        async with AsyncClient(self._target, api_key=question.token, retry=_NO_RETRIES) as client:
            call = asyncio.ensure_future(self._read(client, question, messages))
            if question.cancel_after is not None and not question.method.streams:
                await _turns_of_the_loop()
                call.cancel()
            try:
                return await call
            except CandelaError as error:
                return failed(question, messages, error)
            except asyncio.CancelledError:
                return _LEFT

    async def _read(self, client: AsyncClient, question: Question, messages: list[Message]) -> Outcome:
        try:
            found = own_call(client, question)
            if inspect.isawaitable(found):
                found = await found
        except _REFUSALS as refused:
            found = await plain_call(client, question, refused)
        if isinstance(found, AsyncPager):
            return received([await anext(found.pages())])
        if not question.method.streams:
            return received([empty_pb2.Empty() if found is None else found])
        async with found as stream:
            if question.cancel_after == 0:
                return _LEFT
            async for one in stream:
                messages.append(one)
                if len(messages) == question.cancel_after:
                    return _LEFT
        return received(messages)


def _can_be_made(question: Question) -> bool:
    return not question.query and (question.method.is_public or bool(question.token))


async def _turns_of_the_loop() -> None:
    """Let a task write its request."""
    for _ in range(3):
        await asyncio.sleep(0)


def _begun(client: Client, question: Question) -> Any:
    try:
        return own_call(client, question)
    except _REFUSALS as refused:
        return plain_call(client, question, refused)


def own_call(client: Client | AsyncClient, question: Question) -> Any:
    """Call the client's own method for an RPC and return what it returns; raises one of _REFUSALS."""
    method = method_of(client, question.method.name)
    return method(**arguments(method, json_format.ParseDict(question.request, question.method.request())))


def plain_call(client: Client | AsyncClient, question: Question, refused: Exception) -> Any:
    """Call an RPC without the client's own method, for a request that it refused; AssertionError for a good one."""
    if question.succeeds:
        raise AssertionError(f"the client's method cannot make this call: {refused}") from refused
    one = question.method
    service = one.descriptor.containing_service.name
    known = Method.of(one.file, f"{service}.{one.descriptor.name}", one.request, one.response)
    message = json_format.ParseDict(question.request, one.request())
    return client.stream(known, message) if one.streams else client.call(known, message)


def method_of(client: Any, rpc: str) -> Callable[..., Any]:
    """Return the method of a client (or of its class) for an RPC; KeyError or AttributeError when there is none."""
    found: Callable[..., Any] = reduce(getattr, METHODS[rpc].split("."), client)
    return found


def arguments(method: Callable[..., Any], request: Message) -> dict[str, Any]:
    """Return a request as the arguments of the client's method."""
    names = set(inspect.signature(method).parameters)
    found: dict[str, Any] = {}
    for field in request.DESCRIPTOR.fields:
        value = getattr(request, field.name)
        if field.name in names:
            if field.is_repeated or not field.has_presence or request.HasField(field.name):
                found[field.name] = _plain(value)
        elif request.HasField(field.name):  # the resource that an update changes
            found |= {inner.name: _plain(part) for inner, part in value.ListFields()}
    if not found.keys() <= names:
        raise InexpressibleError(f"no argument for {', '.join(sorted(found.keys() - names))}")
    return found


def _plain(value: Any) -> Any:
    """Return a mask as its paths; anything else as it is."""
    is_mask = isinstance(value, Message) and value.DESCRIPTOR.full_name == "google.protobuf.FieldMask"
    return list(getattr(value, "paths")) if is_mask else value  # noqa: B009 -- Message in general has no such attribute


def failed(question: Question, messages: list[Message], error: CandelaError) -> Outcome:
    """Return the outcome of a call that raised; the client raises the last event of a stream as the error it is."""
    if messages and question.method.terminal_events:
        outcome = received(messages)
        return Outcome([*outcome.messages, {"error": failure(error)}], strange=outcome.strange)
    return received(messages, failure(error))


def failure(error: CandelaError) -> Failure:
    """Return what the client's error tells. Its reason is only set when it came with our domain."""
    return Failure(
        code=error.code.name,
        message=error.message,
        reason=error.reason,
        domain=DOMAIN if error.reason else "",
        metadata=error.metadata,
        violations=[{"field": v.field, "rule": v.rule, "description": v.description} for v in error.violations],
        retry=error.retry_after is not None,
        trace=error.trace_id,
    )
