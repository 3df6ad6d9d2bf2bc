"""Settings and their versions in SQL."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Select, and_, func, insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.database import for_update
from services.kit.live_settings import CATALOGUE
from services.kit.paging import Cursor, Page, PageRequest
from services.kit.statements import insert_if_absent
from services.user.domain.system_configs import ConfigVersion
from services.user.storage.tables import SYSTEM_CONFIG_VERSIONS, SYSTEM_CONFIGS

_NOW, _ALL = SYSTEM_CONFIGS.c, SYSTEM_CONFIG_VERSIONS.c
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SqlSystemConfigs:
    """The settings that were changed; rows of a setting that the catalogue has no longer are passed over."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def current(self, tenant: str) -> Sequence[ConfigVersion]:
        return await self._found(_newest().where(_NOW.tenant == tenant))

    async def everything(self) -> Sequence[ConfigVersion]:
        return await self._found(_newest())

    async def get(self, tenant: str, config: str) -> ConfigVersion | None:
        found = await self._found(_newest().where(_NOW.tenant == tenant, _NOW.config == config))
        return found[0] if found else None

    async def lock(self, default: ConfigVersion) -> ConfigVersion:
        place = {"tenant": default.tenant, "config": default.config}
        await insert_if_absent(self._session, SYSTEM_CONFIGS, {**place, "version": default.version})
        mine = and_(_NOW.tenant == default.tenant, _NOW.config == default.config)
        await self._session.execute(for_update(select(_NOW.version).where(mine)))
        return await self.get(default.tenant, default.config) or default

    async def add(self, version: ConfigVersion) -> None:
        kind = CATALOGUE[version.config].kind
        await self._session.execute(
            insert(SYSTEM_CONFIG_VERSIONS).values(
                tenant=version.tenant,
                config=version.config,
                version=version.version,
                value=kind.encode(version.value),
                subject=version.subject,
                changed_at=version.time,
            )
        )
        mine = and_(_NOW.tenant == version.tenant, _NOW.config == version.config)
        await self._session.execute(update(SYSTEM_CONFIGS).where(mine).values(version=version.version))

    async def versions(self, tenant: str, config: str, page: PageRequest) -> Page[ConfigVersion]:
        wanted = select(SYSTEM_CONFIG_VERSIONS).where(_ALL.tenant == tenant, _ALL.config == config)
        if page.after is not None:
            wanted = wanted.where(_ALL.version < int(page.after.id))
        found = await self._found(wanted.order_by(_ALL.version.desc()).limit(page.size + 1))
        return page.cut(found, lambda one: Cursor(one.time or _EPOCH, str(one.version)))

    async def changes(self) -> int:
        statement = select(func.coalesce(func.sum(_NOW.version - 1), 0))
        return int((await self._session.execute(statement)).scalar_one())

    async def _found(self, statement: Select[*tuple[object, ...]]) -> list[ConfigVersion]:
        rows = (await self._session.execute(statement)).mappings()
        return [_version(row) for row in rows if row["config"] in CATALOGUE]


def _newest() -> Select[*tuple[object, ...]]:
    same = and_(_ALL.tenant == _NOW.tenant, _ALL.config == _NOW.config, _ALL.version == _NOW.version)
    return select(SYSTEM_CONFIG_VERSIONS).join(SYSTEM_CONFIGS, same).order_by(_ALL.tenant, _ALL.config)


def _version(row: RowMapping) -> ConfigVersion:
    value = CATALOGUE[row["config"]].kind.decode(row["value"])
    return ConfigVersion(row["tenant"], row["config"], value, row["version"], row["subject"], row["changed_at"])
