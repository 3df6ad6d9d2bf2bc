"""candela.user.v1.AuditService."""

import json
from collections.abc import Mapping
from typing import Any

from candela.user.v1 import audit_event_pb2, audit_service_pb2, audit_service_pb2_grpc
from services.kit.call import current_call
from services.kit.paging import Listing, PageTokens
from services.user.api.mapping import id_of, moment, timestamp
from services.user.domain.audit import Action, Entry, Outcome, Search
from services.user.usecases.audit_log import AuditLog

_OUTCOMES = {
    Outcome.ALLOWED.value: audit_event_pb2.AuditEvent.OUTCOME_ALLOWED,
    Outcome.DENIED.value: audit_event_pb2.AuditEvent.OUTCOME_DENIED,
    Outcome.FAILED.value: audit_event_pb2.AuditEvent.OUTCOME_FAILED,
}
_OUTCOME_OF = {number: Outcome(value) for value, number in _OUTCOMES.items()}
# What callers were told for these, where the entry itself does not say.
_REASONS = {
    Action.PASSWORD_WRONG.value: "CREDENTIALS_INVALID",
    Action.LOGIN_FAILED.value: "CREDENTIALS_INVALID",
    Action.LOGIN_THROTTLED.value: "LOGIN_THROTTLED",
    Action.REFRESH_REUSED.value: "REFRESH_TOKEN_REUSED",
    Action.ACCESS_DENIED.value: "NOT_FOUND",
}


class AuditApi(audit_service_pb2_grpc.AuditServiceServicer):
    """Reading and checking the audit log."""

    def __init__(self, log: AuditLog, page_tokens: PageTokens) -> None:
        self._log = log
        self._page_tokens = page_tokens

    async def ListAuditEvents(
        self, request: audit_service_pb2.ListAuditEventsRequest, context: Any
    ) -> audit_service_pb2.ListAuditEventsResponse:
        call = current_call()
        search, user = _search(request), id_of(request.user)
        filters = repr((search, user, request.resource, request.outcome))
        listing = Listing("audit events", call.caller.tenant, call.caller.user, filter=filters)
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        found = await self._log.search(call, user, request.resource, search, wanted)
        return audit_service_pb2.ListAuditEventsResponse(
            audit_events=[event_message(entry, found.users) for entry in found.page.items],
            next_page_token=self._page_tokens.write(found.page.next, listing),
        )

    async def VerifyAuditLog(
        self, request: audit_service_pb2.VerifyAuditLogRequest, context: Any
    ) -> audit_service_pb2.VerifyAuditLogResponse:
        verification = await self._log.verify(current_call(), moment(request, "start_time"))
        broken = f"auditEvents/{verification.broken.seq}" if verification.broken else ""
        return audit_service_pb2.VerifyAuditLogResponse(checked_count=verification.checked, first_broken=broken)


def event_message(entry: Entry, users: Mapping[str, str]) -> audit_event_pb2.AuditEvent:
    """Return an entry as admins see it; `users` are those behind subjects that are still known."""
    details: dict[str, str] = json.loads(entry.details)
    changes = details.pop("changes", "")
    if entry.session:
        details["session"] = f"sessions/{entry.session}"
    resource = entry.resource
    if not resource and entry.target in users:
        resource = f"users/{users[entry.target]}"
    reason = "" if entry.outcome == Outcome.ALLOWED.value else _reason(entry, details)
    return audit_event_pb2.AuditEvent(
        name=f"auditEvents/{entry.seq}",
        create_time=timestamp(entry.time),
        subject=entry.actor,
        user=f"users/{users[entry.actor]}" if entry.actor in users else "",
        method=details.pop("method", "").lstrip("/") or entry.method,
        resource=resource,
        outcome=_OUTCOMES.get(entry.outcome, audit_event_pb2.AuditEvent.OUTCOME_UNSPECIFIED),
        reason=reason,
        changes=changes.split("\n") if changes else [],
        peer=entry.peer,
        trace_id=entry.trace_id,
        hash=entry.seal.hex(),
        action=entry.action,
        details=details,
    )


def _reason(entry: Entry, details: dict[str, str]) -> str:
    """Return the ErrorReason of a refusal or failure; a word of our own, such as `unknown`, stays in the details."""
    if entry.action == Action.LOGIN_FAILED.value and details.get("reason") == "suspended":
        return "USER_SUSPENDED"
    return _REASONS.get(entry.action) or details.pop("reason", "PERMISSION_DENIED")


def _search(request: audit_service_pb2.ListAuditEventsRequest) -> Search:
    return Search(
        action=request.action,
        method=request.method,
        outcome=_OUTCOME_OF.get(request.outcome),
        start=moment(request, "start_time"),
        end=moment(request, "end_time"),
    )
