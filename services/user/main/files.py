"""How the part of the user service that keeps files is put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from candela.user.v1.file_service_pb2_grpc import add_FileServiceServicer_to_server
from services.kit.admission import Admission
from services.kit.background import repeating
from services.kit.bootstrap import Binding, Mesh, StartError
from services.kit.ids import RandomIds
from services.kit.live_settings import Live
from services.kit.objects_store import StoredObjects, open_objects
from services.kit.paging import PageTokens
from services.kit.uow_sql import SqlUnits
from services.user.api.files import FileApi
from services.user.domain.files import FILE_BYTES
from services.user.settings import UserSettings
from services.user.storage.transaction import SqlUserTx
from services.user.usecases.file_upkeep import FileUpkeep
from services.user.usecases.files import Files
from services.user.usecases.shelf import FileOutside, Shelf
from services.user.usecases.uploads import Uploads

_COLLECT_SECONDS = 5.0
_EXPIRE_SECONDS = 60.0
_STORED_AT_ONCE = 8


@asynccontextmanager
async def keeping_files(
    mesh: Mesh[UserSettings], units: SqlUnits[SqlUserTx], live: Live, page_tokens: PageTokens
) -> AsyncIterator[Binding]:
    """Open the storage, start the background work, and yield the servicer."""
    settings = mesh.settings
    outside = FileOutside(
        units=units,
        clock=mesh.clock,
        ids=RandomIds(mesh.clock),
        objects=_storage(settings),
        rules=settings.file_rules,
        admission=Admission(
            running=_STORED_AT_ONCE,
            waiting_bytes=settings.user_file_waiting_bytes,
            refusal="too many files are arriving",
        ),
        live=live,
    )
    shelf, upkeep = Shelf(outside), FileUpkeep(outside)
    async with (
        repeating("delete stored objects", _COLLECT_SECONDS, upkeep.collect),
        repeating("end files", _EXPIRE_SECONDS, upkeep.expire),
    ):
        api = FileApi(Files(outside, shelf), Uploads(outside, shelf), page_tokens)
        yield Binding(add_FileServiceServicer_to_server, api)


def _storage(settings: UserSettings) -> StoredObjects:
    try:
        return open_objects(settings.objects, FILE_BYTES)
    except (OSError, ValueError) as error:
        raise StartError(f"user cannot open its object storage: {error}") from error
