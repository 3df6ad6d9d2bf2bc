"""The tables. Every key begins with the tenant; times are UTC; names of people stand in `users` and nowhere else."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
)

from services.kit.idempotency_sql import claims_table
from services.kit.types import Digest, Id, UtcDateTime, new_metadata

metadata = new_metadata()

CLAIMS = claims_table(metadata)

USERS = Table(
    "users",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("id", Id, primary_key=True),
    # NULL, not empty, where there is none: unique indexes let NULLs be.
    Column("email", String(254), nullable=True),
    Column("phone", String(16), nullable=True),
    Column("username", String(32), nullable=True),
    Column("username_key", String(32), nullable=True),
    Column("display_name", String(100), nullable=False),
    Column("password_hash", LargeBinary(60), nullable=False),
    Column("role", String(16), nullable=False),
    Column("plan", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("email_verified", Boolean(create_constraint=False), nullable=False),
    Column("phone_verified", Boolean(create_constraint=False), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("revision", Integer, nullable=False),
    # Everything that admins search users by, case-folded: databases disagree about what lower case is.
    Column("search_text", String(640), nullable=False, server_default=""),
    Index("idx_users_email", "tenant", "email", unique=True),
    Index("idx_users_phone", "tenant", "phone", unique=True),
    Index("idx_users_username", "tenant", "username_key", unique=True),
    Index("idx_users_plan", "tenant", "plan"),
    Index("idx_users_role", "tenant", "role"),
    Index("idx_users_created_at", "tenant", "created_at"),
)

SUBJECTS = Table(
    "subjects",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("subject", Id, nullable=False),
    Index("uq_subjects_tenant_subject", "tenant", "subject", unique=True),
)

SESSIONS = Table(
    "sessions",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("device", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("refreshed_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("revoked_at", UtcDateTime, nullable=True),
    Column("revoke_reason", String(32), nullable=True),
    ForeignKeyConstraint(["tenant", "user_id"], ["users.tenant", "users.id"], ondelete="CASCADE"),
    Index("ix_sessions_user", "tenant", "user_id", "created_at", "id"),
    Index("ix_sessions_refreshed_at", "refreshed_at"),
    Index("ix_sessions_expires_at", "expires_at"),
)

REFRESH_TOKENS = Table(
    "refresh_tokens",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("digest", Digest, primary_key=True),
    Column("session_id", Id, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime, nullable=True),
    ForeignKeyConstraint(["tenant", "session_id"], ["sessions.tenant", "sessions.id"], ondelete="CASCADE"),
    # A token alone says neither tenant nor user; its digest is as unique as 256 random bits.
    Index("uq_refresh_tokens_digest", "digest", unique=True),
    Index("ix_refresh_tokens_session", "tenant", "session_id", "generation"),
    Index("ix_refresh_tokens_expires_at", "expires_at"),
)

API_KEYS = Table(
    "api_keys",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("digest", Digest, nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("display_name", String(100), nullable=False),
    Column("scopes", String(200), nullable=False),  # names, in alphabetical order, with commas between
    Column("budget_micro_credits", BigInteger, nullable=True),
    Column("requests_per_minute", Integer, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
    Column("last_used_at", UtcDateTime, nullable=True),
    Column("revoked_at", UtcDateTime, nullable=True),
    Column("revoke_reason", String(32), nullable=True),
    Column("revision", Integer, nullable=False),
    ForeignKeyConstraint(["tenant", "user_id"], ["users.tenant", "users.id"], ondelete="CASCADE"),
    # A key alone says neither tenant nor user; its digest is as unique as 256 random bits.
    Index("uq_api_keys_digest", "digest", unique=True),
    Index("ix_api_keys_user", "tenant", "user_id", "created_at", "id"),
    Index("ix_api_keys_revoked_at", "revoked_at"),
)

THROTTLES = Table(
    "throttles",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("key", Id, primary_key=True),
    Column("known", Boolean(create_constraint=False), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("closed_until", UtcDateTime, nullable=True),
    Column("noted", Boolean(create_constraint=False), nullable=False),
    Index("ix_throttles_last_at", "known", "last_at"),
)

REVOCATIONS = Table(
    "revocations",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("id", Id, primary_key=True),
    Column("revoked_at", UtcDateTime, nullable=False),
    Index("ix_revocations_revoked_at", "revoked_at"),
)

ERASURES = Table(
    "erasures",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("erased_at", UtcDateTime, nullable=False),
    Index("ix_erasures_newest", "erased_at", "user_id"),
)

AUDIT_ENTRIES = Table(
    "audit_entries",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("time", UtcDateTime, nullable=False),
    Column("action", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("actor", Id, nullable=False),
    Column("target", Id, nullable=False),
    Column("session", Id, nullable=False),
    Column("details", Text, nullable=False),  # text, not JSON: the seal is over these very characters
    Column("previous", Digest, nullable=False),
    Column("seal", Digest, nullable=False),
    Column("method", String(160), nullable=False, server_default=""),
    Column("resource", String(200), nullable=False, server_default=""),
    Column("peer", String(64), nullable=False, server_default=""),
    Column("trace_id", String(32), nullable=False, server_default=""),
    Column("format", SmallInteger, nullable=False, server_default="1"),
    Index("ix_audit_entries_actor", "tenant", "actor", "seq"),
    Index("ix_audit_entries_target", "tenant", "target", "seq"),
    Index("ix_audit_entries_resource", "tenant", "resource", "seq"),
    Index("ix_audit_entries_action", "tenant", "action", "seq"),
    Index("ix_audit_entries_time", "tenant", "time"),
)

AUDIT_HEADS = Table(
    "audit_heads",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("seal", Digest, nullable=False),
)

# No foreign keys to `users`: a cascade would remove pieces without a word about their objects.
FILES = Table(
    "files",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("filename", String(255), nullable=False),
    Column("content_type", String(100), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
    Column("origin", String(160), nullable=False),
    Index("ix_files_newest", "tenant", "user_id", "created_at", "id"),
    Index("ix_files_expires_at", "expires_at"),
)

UPLOADS = Table(
    "uploads",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("filename", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("received_bytes", BigInteger, nullable=False),
    Column("pieces", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_uploads_expires_at", "expires_at"),
)

# The pieces of a file or of the upload that becomes the file of the same id.
FILE_PIECES = Table(
    "file_pieces",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("file_id", Id, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("object", String(255), nullable=False),
    Column("skip_bytes", BigInteger, nullable=False),
)

FILE_SPACE = Table(
    "file_space",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("used_bytes", BigInteger, nullable=False),
    Column("files", Integer, nullable=False),
)

STRAY_OBJECTS = Table(
    "stray_objects",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("object", String(255), primary_key=True),
    Column("due_at", UtcDateTime, nullable=False),
    Column("given_up", Boolean(create_constraint=False), nullable=False),
    Index("ix_stray_objects_due_at", "given_up", "due_at"),
)

ANNOUNCEMENTS = Table(
    "announcements",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("title", String(200), nullable=False),
    Column("body", Text, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("start_at", UtcDateTime, nullable=True),
    Column("end_at", UtcDateTime, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("version", Integer, nullable=False),
    Index("ix_announcements_newest", "tenant", "created_at", "id"),
    Index("ix_announcements_shown", "tenant", "severity", "created_at", "id"),
)

# Which version of a setting counts; the row that a change locks. A setting that was never changed has none.
SYSTEM_CONFIGS = Table(
    "system_configs",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("config", Id, primary_key=True),
    Column("version", Integer, nullable=False),
)

SYSTEM_CONFIG_VERSIONS = Table(
    "system_config_versions",
    metadata,
    Column("tenant", Id, primary_key=True),
    Column("config", Id, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("value", Text, nullable=False),
    Column("subject", Id, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)
