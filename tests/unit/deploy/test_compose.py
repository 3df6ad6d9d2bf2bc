"""compose.yaml: legal, as large as requirements.md says, and without a secret in it."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.secrets import ensure_secrets

_ROOT = Path(__file__).parents[3]
_FILE = _ROOT / "deploy/compose/compose.yaml"
_SCHEMA = Path(__file__).with_name("compose_spec.json")
_TEXT = _FILE.read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(_TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
_SERVERS = ("user", "recognition", "inference")
# Read by programs of others: asyncpg and the image of PostgreSQL.
_FOREIGN = {"PGSSLMODE", "PGSSLROOTCERT", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"}


def documented() -> set[str]:
    return set(re.findall(r"`(CANDELA_\w+)`", (_ROOT / "docs/configuration.md").read_text()))


def test_it_is_legal() -> None:
    schema = json.loads(_SCHEMA.read_text())
    errors = list(jsonschema.Draft201909Validator(schema).iter_errors(COMPOSE))
    assert not errors, errors[0].message


def test_the_schema_refuses_what_is_wrong() -> None:
    schema = json.loads(_SCHEMA.read_text())
    wrong = {"services": {"user": {"image": "a", "comand": ["b"]}}}
    assert list(jsonschema.Draft201909Validator(schema).iter_errors(wrong))


def test_it_is_as_large_as_required() -> None:
    replicas = {name: service["deploy"]["replicas"] for name, service in SERVICES.items() if "deploy" in service}
    assert replicas == {"gateway": 2, "user": 3, "recognition": 3, "inference": 2}
    for name in replicas:
        assert SERVICES[name]["deploy"]["resources"]["limits"] == {"cpus": "0.5", "memory": "1G"}, name


def test_databases_are_recent_and_keep_what_they_know() -> None:
    versions = {name: SERVICES[name]["image"] for name in ("postgres", "redis")}
    assert int(re.sub(r"postgres:(\d+).*", r"\1", versions["postgres"])) >= 15
    assert int(re.sub(r"redis:(\d+).*", r"\1", versions["redis"])) >= 7
    assert set(COMPOSE["volumes"]) == {"postgres", "redis", "objects"}
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= used


def test_every_secret_is_a_file_that_deploy_secrets_makes(tmp_path: Path) -> None:
    made = set(ensure_secrets(tmp_path))
    files = {secret["file"].removeprefix("secrets/") for secret in COMPOSE["secrets"].values()}
    assert files <= made
    assert SERVICES["user"]["env_file"] == ["secrets/services.env"]
    assert "services.env" in made
    used = {
        secret if isinstance(secret, str) else secret["source"]
        for service in SERVICES.values()
        for secret in service.get("secrets", [])
    }
    assert used == set(COMPOSE["secrets"])


def test_no_secret_is_in_the_file() -> None:
    assert not re.search(r"(password|secret|token)[\w-]*:\s*[\"']?\w{8,}", _TEXT, re.IGNORECASE)
    assert "://:" not in _TEXT
    assert "/secrets/" in (_FILE.parent / ".gitignore").read_text()


def test_nobody_gets_a_key_that_is_not_theirs() -> None:
    holders: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for secret in service.get("secrets", []):
            holders.setdefault(secret if isinstance(secret, str) else secret["source"], set()).add(name)
    assert holders["user-token-key"] == {"user"}
    assert holders["mesh-key"] == set(_SERVERS)
    for group in (*_SERVERS, "gateway", "redis", "postgres"):
        assert holders[f"{group}-key"] == {group}


def test_every_variable_is_a_setting() -> None:
    names = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert names - _FOREIGN <= documented()


def test_servers_listen_beyond_loopback_only_with_tls() -> None:
    for name in _SERVERS:
        environment = SERVICES[name]["environment"]
        assert environment["CANDELA_LISTEN"] == "0.0.0.0:50051"
        assert {environment[f"CANDELA_TLS_{part}"] for part in ("CA", "CERT", "KEY")} == {
            "/tls/ca.crt", "/tls/own.crt", "/tls/own.key",
        }  # fmt: skip
        targets = {secret["target"] for secret in SERVICES[name]["secrets"]}
        assert {"/tls/ca.crt", "/tls/own.crt", "/tls/own.key", "/keys/mesh.pem"} <= targets


def test_only_gateways_are_published_one_port_each() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway": ["8443-8444:8000"]}


@pytest.mark.parametrize("name", ["gateway", *_SERVERS, "migrate-user", "migrate-recognition"])
def test_containers_may_do_nothing_that_they_need_not(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_databases_are_migrated_before_servers_start() -> None:
    for name in ("user", "recognition"):
        assert SERVICES[name]["depends_on"][f"migrate-{name}"] == {"condition": "service_completed_successfully"}
        assert SERVICES[f"migrate-{name}"]["command"] == [f"services.{name}.main", "migrate"]
