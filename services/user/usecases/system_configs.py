"""The settings that admins change while the system runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.kit.call import Call
from services.kit.errors import FieldViolation, InvalidArgument
from services.kit.live_settings import CATALOGUE, Kind, LiveValues, Value, wrong_value
from services.kit.paging import Cursor, Page, PageRequest
from services.user.domain.audit import Action, Event, Outcome
from services.user.domain.system_configs import ConfigVersion, no_such_config
from services.user.ports import UserTx
from services.user.ports.notices import LiveChanges
from services.user.usecases.common import Outside, signed_in

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = frozenset(kind.value for kind in Kind)


@dataclass(frozen=True, slots=True)
class ConfigView:
    """A setting as admins see it. `user` made this version: empty for the default and for somebody who was erased."""

    version: ConfigVersion
    user: str = ""


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A new value (None: none was given), the names of fields that shall count, and the etag it was made from."""

    value: Value | None
    paths: tuple[str, ...]
    etag: str = ""


class SystemConfigs:
    """Reading and changing settings."""

    def __init__(self, outside: Outside, live: LiveValues, changes: LiveChanges) -> None:
        self._outside = outside
        self._live = live
        self._changes = changes

    async def list(self, call: Call, page: PageRequest) -> Page[ConfigView]:
        """Return a page of all settings by name, as they are now."""
        tenant = call.caller.tenant
        after = page.after.id if page.after else ""
        wanted = sorted(name for name in CATALOGUE if name > after)[: page.size + 1]
        async with self._outside.units.read() as tx:
            stored = {one.config: one for one in await tx.system_configs.current(tenant)}
            versions = [stored.get(name) or self._default(tenant, name) for name in wanted]
            views = await _views(tx, tenant, versions)
        return page.cut(views, lambda view: Cursor(_EPOCH, view.version.config))

    async def get(self, call: Call, name: str) -> ConfigView:
        """Return one setting as it is now; NotFound when there is none of that name."""
        tenant = call.caller.tenant
        default = self._default(tenant, name)
        async with self._outside.units.read() as tx:
            version = await tx.system_configs.get(tenant, name) or default
            return (await _views(tx, tenant, [version]))[0]

    async def versions(self, call: Call, name: str, page: PageRequest) -> Page[ConfigView]:
        """Return a page of a setting's versions, the newest first and the default last."""
        tenant = call.caller.tenant
        default = self._default(tenant, name)
        async with self._outside.units.read() as tx:
            found = await tx.system_configs.versions(tenant, name, page)
            views = await _views(tx, tenant, found.items)
        if found.next is not None or (page.after is not None and page.after.id == str(default.version)):
            return Page(views, found.next)
        return page.cut([*views, ConfigView(default)], lambda view: _place(view.version))

    async def update(self, call: Call, name: str, change: ConfigChange) -> ConfigView:
        """Change a setting; InvalidArgument for a value it cannot have, Aborted (ETAG_MISMATCH) for an old etag."""
        caller = signed_in(call)
        default = self._default(caller.tenant, name)
        value = _checked(name, change)
        changes = 0
        async with self._outside.units.write(call) as tx:
            before = await tx.system_configs.lock(default)
            before.guard(change.etag)
            subject = await tx.subjects.of(caller.tenant, caller.user)
            after = before
            if value != before.value:
                after = before.next(value, subject, self._outside.clock.now())
                await tx.system_configs.add(after)
                await self._note(tx, call, before, after)
            changes = await tx.system_configs.changes()
            view = (await _views(tx, caller.tenant, [after]))[0]
            tx.reply(view)
        await self._changes.publish(changes)
        return view

    async def republish(self) -> None:
        """Tell every process again how many changes there were: what Redis lost, or never got, is there again."""
        async with self._outside.units.read() as tx:
            changes = await tx.system_configs.changes()
        await self._changes.publish(changes)

    async def effective(self) -> Mapping[tuple[str, str], Value]:
        """Return what was set in all tenants, by tenant and name."""
        async with self._outside.units.read() as tx:
            return {(one.tenant, one.config): one.value for one in await tx.system_configs.everything()}

    def _default(self, tenant: str, name: str) -> ConfigVersion:
        setting = CATALOGUE.get(name)
        if setting is None:
            raise no_such_config()
        return ConfigVersion(tenant, name, self._live.default(setting))

    async def _note(self, tx: UserTx, call: Call, before: ConfigVersion, after: ConfigVersion) -> None:
        caller, kind = call.caller, CATALOGUE[after.config].kind
        # What somebody wrote does not belong into a log that is never erased; it stands in the setting's versions.
        words = "" if kind is Kind.TEXT else f"{before.value} → {after.value}"
        await tx.audit.append(
            Event(
                tenant=caller.tenant,
                time=self._outside.clock.now(),
                action=Action.SYSTEM_CONFIG_UPDATED,
                outcome=Outcome.ALLOWED,
                actor=after.subject,
                session=caller.session,
                details={"version": str(after.version)} | ({"change": words} if words else {}),
                resource=f"systemConfigs/{after.config}",
            )
        )


async def _views(tx: UserTx, tenant: str, versions: Sequence[ConfigVersion]) -> list[ConfigView]:
    users = await tx.subjects.users_of(tenant, {one.subject for one in versions} - {""})
    return [ConfigView(one, users.get(one.subject, "")) for one in versions]


def _place(version: ConfigVersion) -> Cursor:
    return Cursor(version.time or _EPOCH, str(version.version))


def _checked(name: str, change: ConfigChange) -> Value:
    """Return the new value; InvalidArgument for a mask, a kind or a value that cannot be."""
    setting = CATALOGUE[name]
    kind = setting.kind.value
    if not change.paths:
        violation = FieldViolation("update_mask", "must name at least one field", rule="required")
        raise InvalidArgument("update_mask must name at least one field", violations=[violation])
    unknown = [path for path in change.paths if path not in _KINDS]
    if unknown:
        text = f"{unknown[0]!r} cannot be changed; use {kind}"
        violation = FieldViolation("update_mask", text, rule="update_mask.path")
        raise InvalidArgument(f"update_mask: {text}", violations=[violation], metadata={"paths": ",".join(unknown)})
    if set(change.paths) != {kind} or change.value is None or not _is_a(change.value, setting.kind):
        raise wrong_value(f"{name} is set by `{kind}`", "kind")
    setting.check(change.value)
    return change.value


def _is_a(value: Value, kind: Kind) -> bool:
    types = {Kind.TEXT: str, Kind.INTEGER: int, Kind.NUMBER: float, Kind.TOGGLE: bool}
    return type(value) is types[kind] if kind in types else not isinstance(value, str | int | float)
