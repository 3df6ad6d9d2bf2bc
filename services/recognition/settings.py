"""The recognition service's own settings."""

from typing import ClassVar

from pydantic import Field, SecretStr

from services.kit.settings import MIB, ServerSettings
from services.kit.shard_map import ShardMap


class RecognitionSettings(ServerSettings):
    """Beside what every server reads: where the history is kept and how much is worked on at once."""

    service_name: ClassVar[str] = "recognition"

    recognition_database_url: SecretStr | None = Field(
        None, description="The history's database; `db/recognition.sqlite3` in the data folder if empty."
    )
    recognition_replica_url: SecretStr | None = Field(
        None, description="A read-only replica of that database; people's reads of their history go there."
    )
    recognition_shards: SecretStr | None = Field(
        None,
        description="Several databases instead of one, `name slots url; name slots url`: 4096 slots such as `0-2047`, "
        "`-` for none. The first also holds what belongs to nobody. See databases.md.",
    )
    recognition_concurrency: int = Field(
        4, ge=1, le=256, description="How many documents are worked on at once; others wait."
    )
    recognition_waiting_bytes: int = Field(
        256 * MIB, ge=MIB, description="How many bytes of documents may be held at once, in work and waiting."
    )
    # A document of 50 pages takes minutes on a small machine.
    unary_limit_seconds: float = Field(
        600.0, gt=0, description="Longest time a call with one reply may take, in seconds."
    )

    @property
    def database_url(self) -> str:
        """The history's database, resolved. It may hold a password: never log it."""
        if self.recognition_database_url is not None:
            return self.recognition_database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{(self.data_dir / 'db' / 'recognition.sqlite3').absolute()}"

    @property
    def shards(self) -> ShardMap | None:
        """Which users are in which database, None when there is one for all; ValueError for a wrong setting."""
        return ShardMap.parse(self.recognition_shards.get_secret_value()) if self.recognition_shards else None

    @property
    def database_urls(self) -> tuple[str, ...]:
        """Every database, resolved. They may hold passwords: never log them."""
        return tuple(self.shards.urls.values()) if self.shards else (self.database_url,)
