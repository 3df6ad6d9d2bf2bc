"""An erased account takes everything with it that this service keeps of the user, whoever was down meanwhile."""

import uuid
from datetime import timedelta

import pytest

from candela.erasure.v1 import erasure_service_pb2
from services.kit.clock import ManualClock
from services.kit.erasures import ErasureFollower
from services.kit.errors import Unavailable
from services.recognition.usecases.erasures import UserErasures
from tests.unit.recognition.test_usecases import Service, call, service

__all__ = ["service"]


class ErasedUsers:
    """The user service's list, two to a page, newest first like the real one."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.erased: list[tuple[str, object]] = []
        self.down = False
        self.asked_for = 0

    def erase(self, user: str) -> None:
        self.erased.append((user, self.clock.now()))

    async def ListErasures(
        self, request: erasure_service_pb2.ListErasuresRequest
    ) -> erasure_service_pb2.ListErasuresResponse:
        if self.down:
            raise Unavailable("the user service is down")
        after = request.after.ToDatetime(self.clock.now().tzinfo) if request.HasField("after") else None
        newest = [(u, t) for u, t in reversed(self.erased) if after is None or t > after]  # type: ignore[operator]
        start = int(request.page_token or 0)
        answer = erasure_service_pb2.ListErasuresResponse()
        for user, time in newest[start : start + 2]:
            answer.erasures.add(tenant="default", user=user).erase_time.FromDatetime(time)  # type: ignore[arg-type]
        self.asked_for += len(answer.erasures)
        if start + 2 < len(newest):
            answer.next_page_token = str(start + 2)
        return answer


@pytest.fixture
def users() -> ErasedUsers:
    return ErasedUsers()


@pytest.fixture
def follower(service: Service, users: ErasedUsers) -> ErasureFollower:
    return ErasureFollower(users, UserErasures(service.units), users.clock)


async def test_history_and_kept_answers_of_the_erased_go_and_nobody_elses(
    service: Service, users: ErasedUsers, follower: ErasureFollower
) -> None:
    request_id = str(uuid.uuid4())
    await service.recognize(call(request_id))
    kept = await service.recognize(call(request_id, user="eve"))
    users.erase("ada")
    assert await follower.follow() == 2
    assert await service.history(call()) == []
    assert len(await service.history(call(user="eve"))) == 1
    assert await service.recognize(call(request_id, user="eve")) == kept
    read_before = service.reader.pages_read
    await service.recognize(call(request_id))
    assert service.reader.pages_read == read_before + 1


async def test_every_page_of_the_list_is_followed_once(users: ErasedUsers, follower: ErasureFollower) -> None:
    for number in range(5):
        users.erase(f"user{number}")
    users.clock.advance(timedelta(hours=1))
    await follower.follow()
    assert users.asked_for == 5
    users.clock.advance(timedelta(hours=1))
    await follower.follow()
    assert users.asked_for == 5


async def test_what_was_stored_just_after_the_erasure_goes_too(
    service: Service, users: ErasedUsers, follower: ErasureFollower
) -> None:
    users.erase("ada")
    await follower.follow()
    await service.recognize(call())
    users.clock.advance(timedelta(minutes=5))
    await follower.follow()
    assert await service.history(call()) == []


async def test_an_erasure_while_the_list_could_not_be_asked_is_caught_up(
    service: Service, users: ErasedUsers, follower: ErasureFollower
) -> None:
    await follower.follow()
    await service.recognize(call())
    users.down = True
    users.clock.advance(timedelta(days=2))
    users.erase("ada")
    with pytest.raises(Unavailable):
        await follower.follow()
    users.down = False
    users.clock.advance(timedelta(days=2))
    await follower.follow()
    assert await service.history(call()) == []
