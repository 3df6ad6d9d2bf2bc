"""candela.user.v1.AnnouncementService."""

from datetime import UTC
from typing import Any

from google.protobuf.empty_pb2 import Empty

from candela.user.v1 import announcement_pb2, announcement_service_pb2, announcement_service_pb2_grpc
from services.kit.call import current_call
from services.kit.idempotency import Replies
from services.kit.paging import Listing, PageTokens
from services.user.api.mapping import id_of, nothing, timestamp
from services.user.domain.announcements import Announcement, AnnouncementChange, AnnouncementDraft, Severity
from services.user.usecases.announcements import Announcing, tenant_of

_Message = announcement_pb2.Announcement
_SEVERITIES = {
    Severity.INFO: _Message.SEVERITY_INFO,
    Severity.WARNING: _Message.SEVERITY_WARNING,
    Severity.CRITICAL: _Message.SEVERITY_CRITICAL,
}
_SEVERITY_OF = {number: severity for severity, number in _SEVERITIES.items()}


class AnnouncementApi(announcement_service_pb2_grpc.AnnouncementServiceServicer):
    """What admins tell everybody."""

    def __init__(self, announcing: Announcing, page_tokens: PageTokens) -> None:
        self._announcing = announcing
        self._page_tokens = page_tokens
        self._replies = Replies()

    async def ListAnnouncements(
        self, request: announcement_service_pb2.ListAnnouncementsRequest, context: Any
    ) -> announcement_service_pb2.ListAnnouncementsResponse:
        call = current_call()
        listing = Listing("announcements", tenant_of(call), user="", order="severity")
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        page = await self._announcing.shown(call, wanted)
        return announcement_service_pb2.ListAnnouncementsResponse(
            announcements=[announcement_message(one) for one in page.items],
            next_page_token=self._page_tokens.write(page.next, listing),
        )

    async def ListAllAnnouncements(
        self, request: announcement_service_pb2.ListAllAnnouncementsRequest, context: Any
    ) -> announcement_service_pb2.ListAllAnnouncementsResponse:
        call = current_call()
        listing = Listing("all announcements", call.caller.tenant, call.caller.user)
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        page = await self._announcing.all(call, wanted)
        return announcement_service_pb2.ListAllAnnouncementsResponse(
            announcements=[announcement_message(one) for one in page.items],
            next_page_token=self._page_tokens.write(page.next, listing),
        )

    async def CreateAnnouncement(
        self, request: announcement_service_pb2.CreateAnnouncementRequest, context: Any
    ) -> announcement_pb2.Announcement:
        return await self._replies.run(
            current_call(),
            _Message,
            lambda call: self._announcing.create(call, _draft(request)),
            announcement_message,
        )

    async def UpdateAnnouncement(
        self, request: announcement_service_pb2.UpdateAnnouncementRequest, context: Any
    ) -> announcement_pb2.Announcement:
        given = request.announcement
        change = AnnouncementChange(_draft(given), tuple(request.update_mask.paths), given.etag)
        return await self._replies.run(
            current_call(),
            _Message,
            lambda call: self._announcing.update(call, id_of(given.name), change),
            announcement_message,
        )

    async def DeleteAnnouncement(
        self, request: announcement_service_pb2.DeleteAnnouncementRequest, context: Any
    ) -> Empty:
        return await self._replies.run(
            current_call(), Empty, lambda call: self._announcing.delete(call, id_of(request.name)), nothing
        )


def announcement_message(one: Announcement) -> announcement_pb2.Announcement:
    """Return an announcement as everybody sees it."""
    message = _Message(
        name=f"announcements/{one.id}",
        title=one.title,
        body=one.body,
        severity=_SEVERITIES[one.severity],
        version=one.version,
        create_time=timestamp(one.create_time),
        update_time=timestamp(one.update_time),
        etag=one.etag,
    )
    if one.start_time is not None:
        message.start_time.CopyFrom(timestamp(one.start_time))
    if one.end_time is not None:
        message.end_time.CopyFrom(timestamp(one.end_time))
    return message


def _draft(
    given: announcement_pb2.Announcement | announcement_service_pb2.CreateAnnouncementRequest,
) -> AnnouncementDraft:
    return AnnouncementDraft(
        title=given.title,
        body=given.body,
        severity=_SEVERITY_OF.get(given.severity, Severity.INFO),
        start_time=given.start_time.ToDatetime(UTC) if given.HasField("start_time") else None,
        end_time=given.end_time.ToDatetime(UTC) if given.HasField("end_time") else None,
    )
