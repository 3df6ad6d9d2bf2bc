"""The Python client, synchronous and asynchronous."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from google.protobuf import json_format

from candela import AsyncClient, CandelaError, Client, Method, RetryPolicy
from tests.conformance.doors.door import Question
from tests.conformance.outcome import DOMAIN, Failure, Outcome, received

_NO_RETRIES = RetryPolicy(attempts=1)


class PythonClient:
    """`candela.Client`. It has no way to go away from a call that does not stream."""

    name = "python"

    def __init__(self, target: str) -> None:
        self._target = target

    def can(self, question: Question) -> bool:
        return question.cancel_after is None or question.method.streams

    def ask(self, question: Question) -> Outcome:
        message = json_format.ParseDict(question.request, question.method.request())
        messages: list[Any] = []
        with Client(self._target, api_key=question.token, retry=_NO_RETRIES) as client:
            method = method_of(question)
            try:
                if not question.method.streams:
                    messages.append(client.call(method, message))
                else:
                    with client.stream(method, message) as stream:
                        for one in stream:
                            messages.append(one)
                            if len(messages) == question.cancel_after:
                                return Outcome(failure=Failure("CANCELLED"))
            except CandelaError as error:
                return received(messages, failure(error))
        return received(messages)


class AsyncPythonClient:
    """`candela.AsyncClient`."""

    name = "python-async"

    def __init__(self, target: str) -> None:
        self._target = target

    def can(self, question: Question) -> bool:
        return True

    def ask(self, question: Question) -> Outcome:
        return asyncio.run(self._ask(question))

    async def _ask(self, question: Question) -> Outcome:
        messages: list[Any] = []
        async with AsyncClient(self._target, api_key=question.token, retry=_NO_RETRIES) as client:
            try:
                if question.cancel_after is not None and not question.method.streams:
                    return await _gone(self._read(client, question, messages))
                await self._read(client, question, messages)
            except CandelaError as error:
                return received(messages, failure(error))
        if question.cancel_after is not None:
            return Outcome(failure=Failure("CANCELLED"))
        return received(messages)

    async def _read(self, client: AsyncClient, question: Question, messages: list[Any]) -> None:
        message = json_format.ParseDict(question.request, question.method.request())
        method = method_of(question)
        if not question.method.streams:
            messages.append(await client.call(method, message))
            return
        async with await client.stream(method, message) as stream:
            async for one in stream:
                messages.append(one)
                if len(messages) == question.cancel_after:
                    return


async def _gone(call: Coroutine[Any, Any, None]) -> Outcome:
    """Begin a call and cancel its task once the request is on its way."""
    task = asyncio.ensure_future(call)
    for _ in range(3):  # turns of the loop, in which the task writes its request
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return Outcome(failure=Failure("CANCELLED"))
    return Outcome()


def method_of(question: Question) -> Method[Any, Any]:
    """Return what the client knows a method by."""
    one = question.method
    service = one.descriptor.containing_service.name
    return Method.of(one.file, f"{service}.{one.descriptor.name}", one.request, one.response)


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
