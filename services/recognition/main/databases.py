"""The recognition service's database, or its databases when its users are spread over several."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from observability import names
from observability.metrics import gauge
from services.kit.bootstrap import Mesh, StartError
from services.kit.database import Database
from services.kit.idempotency_sql import Claims
from services.kit.replica import replica_of
from services.kit.shard_homes import Homes
from services.kit.sharding import ShardedUnits
from services.kit.uow_sql import SqlUnits
from services.recognition.settings import RecognitionSettings
from services.recognition.storage import SqlRecognitionTx, request_claims, shard_homes

RecognitionUnits = SqlUnits[SqlRecognitionTx] | ShardedUnits[SqlRecognitionTx]


@asynccontextmanager
async def opened_units(mesh: Mesh[RecognitionSettings]) -> AsyncIterator[RecognitionUnits]:
    """Open every database and give the units of work over them; StartError for settings that do not fit together."""
    settings = mesh.settings
    claims = Claims(request_claims, mesh.clock)
    try:
        slots = settings.shards
    except ValueError as error:
        raise StartError(f"CANDELA_RECOGNITION_SHARDS: {error}") from error
    async with AsyncExitStack() as stack:
        databases: list[Database] = []
        gauge(names.DATABASE_CONNECTIONS).set_function(lambda: sum(one.connections_active for one in databases))

        def opened(url: str) -> Database:
            databases.append(Database(url))
            stack.push_async_callback(databases[-1].close)
            return databases[-1]

        if slots is None:
            copy = replica_of(settings.recognition_replica_url, "recognition", mesh.redis, mesh.clock)
            replica = await stack.enter_async_context(copy)
            yield SqlUnits(opened(settings.database_url), SqlRecognitionTx, claims, replica)
            return
        if settings.recognition_replica_url is not None or settings.recognition_database_url is not None:
            raise StartError("CANDELA_RECOGNITION_SHARDS goes with neither a database URL nor a replica URL beside it")
        shards = {name: SqlUnits(opened(url), SqlRecognitionTx, claims) for name, url in slots.urls.items()}
        yield ShardedUnits(shards, slots, Homes(shard_homes, mesh.clock), mesh.clock)
