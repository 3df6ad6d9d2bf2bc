"""What the user service is told at its start."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field, SecretStr

from services.kit.settings import MIB, Seconds, ServerSettings
from services.user.domain.files import FileRules
from services.user.domain.sessions import SessionRules
from services.user.domain.throttling import ThrottleRules

_ACCESS_TOKEN_LIFE = timedelta(minutes=15)  # fixed: how long revocations are kept everywhere follows from it


class UserSettings(ServerSettings):
    """The settings of the user service."""

    service_name: ClassVar[str] = "user"

    user_database_url: SecretStr | None = Field(
        None,
        description="The user service's database: `postgresql+asyncpg://user:password@host/name`, "
        "`mysql+aiomysql://user:password@host/name` or `sqlite+aiosqlite:///path`; `db/user.sqlite3` in the data "
        "folder if empty. May hold a password.",
    )
    user_replica_url: SecretStr | None = Field(
        None, description="A read-only replica of that database; what may be some seconds old is read there."
    )
    user_bcrypt_cost: int = Field(
        12, ge=4, le=16, description="Cost of password hashes; each step doubles their time (12: about 0.25 s)."
    )
    user_hash_threads: int = Field(
        0, ge=0, le=64, description="How many passwords are hashed at the same time; one per core if 0."
    )
    user_hash_waiting: int = Field(
        100, ge=1, description="How many passwords may wait to be hashed; further log-ins are told to come back."
    )
    user_refresh_days: float = Field(
        30.0, gt=0, description="Life of a session since its last refresh, in days; also of a refresh token."
    )
    user_session_max_days: float = Field(
        365.0, gt=0, description="Life of a session since its log-in however often it is refreshed, in days."
    )
    user_refresh_grace_seconds: float = Field(
        10.0, ge=0, le=60, description="How long a used refresh token still gets new tokens, in seconds."
    )
    user_login_failures: int = Field(
        5, ge=1, description="Wrong passwords in a row after which log-ins of an account are closed for a time."
    )
    user_login_wait_seconds: Seconds = Field(
        30.0, description="How long log-ins are closed at first, in seconds; doubles with each further failure."
    )
    user_login_longest_wait_seconds: Seconds = Field(
        900.0, description="How long log-ins of an account are closed at most, in seconds."
    )
    user_republish_seconds: Seconds = Field(
        1.0, description="How often recent revocations are put into Redis again, in seconds."
    )
    user_api_keys: int = Field(100, ge=1, le=10_000, description="How many API keys one user may have at a time.")
    user_file_space_bytes: int = Field(
        10 * 1024 * MIB, ge=MIB, description="How many bytes the files and uploads of one user may take together."
    )
    user_file_count: int = Field(
        10_000, ge=1, le=1_000_000, description="How many files and uploads one user may have together."
    )
    user_file_retention_days: float = Field(
        0.0, ge=0, description="How long a new file stays until it is deleted by itself, in days; for ever if 0."
    )
    user_file_waiting_bytes: int = Field(
        128 * MIB,
        ge=32 * MIB,
        description="How many bytes of files may be arriving at once, in work and waiting; more are told to come back.",
    )

    @property
    def database_url(self) -> str:
        """The database, resolved. It may hold a password: never log it."""
        if self.user_database_url:
            return self.user_database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{(self.data_dir / 'db' / 'user.sqlite3').absolute()}"

    @property
    def session_rules(self) -> SessionRules:
        """How long sessions and tokens live."""
        return SessionRules(
            access_life=_ACCESS_TOKEN_LIFE,
            refresh_life=timedelta(days=self.user_refresh_days),
            longest_life=timedelta(days=self.user_session_max_days),
            grace=timedelta(seconds=self.user_refresh_grace_seconds),
        )

    @property
    def file_rules(self) -> FileRules:
        """What users may keep, and for how long."""
        return FileRules(
            space=self.user_file_space_bytes,
            count=self.user_file_count,
            retention=timedelta(days=self.user_file_retention_days) if self.user_file_retention_days else None,
        )

    @property
    def throttle_rules(self) -> ThrottleRules:
        """How wrong passwords are bounded."""
        return ThrottleRules(
            free=self.user_login_failures,
            first=timedelta(seconds=self.user_login_wait_seconds),
            longest=timedelta(seconds=self.user_login_longest_wait_seconds),
        )
