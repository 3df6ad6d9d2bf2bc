"""What the first start makes: directories, keys, the lock; ports, environment, settings."""

import os
import socket
import stat
from pathlib import Path

import pytest

from services.kit.ports_plan import PortPlan
from supervisor.datadir import DataDir, DataDirInUseError, DataDirLock, holder_of
from supervisor.keys import KEY_FILES, KEY_PAIRS, ensure_keys, key_set_matches
from supervisor.ports import busy_message, find_free_base, is_free
from supervisor.settings import SettingsError, SupervisorSettings, inherited_environment
from supervisor.specs import common_environment


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    assert set(ensure_keys(tmp_path)) == set(KEY_FILES)
    before = {name: (tmp_path / name).read_bytes() for name in KEY_FILES}
    assert ensure_keys(tmp_path) == []
    assert {name: (tmp_path / name).read_bytes() for name in KEY_FILES} == before
    assert {mode(tmp_path / name) for name in KEY_FILES} == {0o600}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(KEY_FILES)


def test_keys_are_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ensure_keys(tmp_path)
    finally:
        os.umask(before)
    assert {mode(tmp_path / name) for name in KEY_FILES} == {0o600}


def test_each_key_set_holds_the_public_half_of_its_key_only(tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    for private, public in KEY_PAIRS:
        assert key_set_matches(tmp_path / private, tmp_path / public)
        assert b'"d"' not in (tmp_path / public).read_bytes()
    (user, _), (_, mesh_set) = KEY_PAIRS
    assert not key_set_matches(tmp_path / user, tmp_path / mesh_set)


def test_a_lost_key_set_is_derived_again(tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    public = tmp_path / "user-jwks.json"
    before = public.read_bytes()
    public.unlink()
    assert ensure_keys(tmp_path) == ["user-jwks.json"]
    assert public.read_bytes() == before


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mesh.pem").write_text("oops")
    with pytest.raises(ValueError, match="PEM"):
        ensure_keys(tmp_path)
    assert (tmp_path / "mesh.pem").read_text() == "oops"


def test_the_data_directory_is_private(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "deep" / "data")
    data.prepare()
    data.prepare()
    assert {mode(path) for path in (data.root, data.keys, data.db, data.logs, data.run, data.traces)} == {0o700}


def test_keys_may_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "secrets"
    given = {"CANDELA_DATA_DIR": str(tmp_path / "data"), "CANDELA_KEYS_DIR": str(elsewhere)}
    settings = SupervisorSettings.read(given)
    settings.data.prepare()
    ensure_keys(settings.data.keys)
    assert {path.name for path in elsewhere.iterdir()} == set(KEY_FILES)
    assert mode(elsewhere) == 0o700
    assert not (tmp_path / "data" / "keys").exists()
    assert common_environment(settings)["CANDELA_KEYS_DIR"] == str(elsewhere)


def test_a_second_supervisor_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.prepare()
    with DataDirLock(data):
        assert holder_of(data) == os.getpid()
        with pytest.raises(DataDirInUseError, match=rf"pid {os.getpid()}.*CANDELA_DATA_DIR"), DataDirLock(data):
            pytest.fail("two hold it")
        assert holder_of(data) == os.getpid()
    assert holder_of(data) is None
    with DataDirLock(data):
        assert holder_of(data) == os.getpid()


def test_a_busy_port_is_named_with_the_way_out() -> None:
    plan = PortPlan(find_free_base(21080))
    with socket.create_server(("127.0.0.1", plan.redis)):
        assert not is_free(plan.redis)
        message = busy_message(plan, ("edge", "redis"))
    assert message is not None
    assert f"port {plan.redis} (redis) is taken" in message
    assert f"(pid {os.getpid()})" in message
    assert "CANDELA_PORT_BASE=" in message
    assert busy_message(plan, ("edge", "redis")) is None


def test_a_port_whose_last_connection_lingers_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # The side that closes first keeps the port in TIME_WAIT.
        client.close()
    assert is_free(port)


def test_a_free_base_skips_plans_with_a_busy_port() -> None:
    base = find_free_base(22080)
    with socket.create_server(("127.0.0.1", PortPlan(base).metrics("chat"))):
        assert find_free_base(base) > base
    assert find_free_base(base) == base


@pytest.mark.parametrize("text", ["eighty", "80", "70000", "8080.5"])
def test_an_unusable_base_port_is_an_error_with_its_name(text: str) -> None:
    with pytest.raises(SettingsError, match=f"CANDELA_PORT_BASE={text}"):
        SupervisorSettings.read({"CANDELA_PORT_BASE": text})


def test_defaults_need_no_environment() -> None:
    settings = SupervisorSettings.read({})
    assert settings.ports.edge == 8080
    assert settings.data.root.name == ".candela"
    assert settings.otlp_endpoint == "http://127.0.0.1:8101"


def test_processes_see_settings_and_no_credentials() -> None:
    given = {
        "PATH": "/bin", "LANG": "C.UTF-8", "CANDELA_LOG_LEVEL": "DEBUG", "OTEL_SDK_DISABLED": "true",
        "OMP_NUM_THREADS": "2", "AWS_SECRET_ACCESS_KEY": "s", "OPENAI_API_KEY": "k", "LD_PRELOAD": "x.so",
        "PYTHONPATH": "elsewhere",
    }  # fmt: skip
    seen = inherited_environment(given)
    assert {"PATH", "LANG", "CANDELA_LOG_LEVEL", "OTEL_SDK_DISABLED", "OMP_NUM_THREADS"} <= set(seen)
    assert not {"AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "LD_PRELOAD"} & set(seen)
    assert "elsewhere" not in seen["PYTHONPATH"]
