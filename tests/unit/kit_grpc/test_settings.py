"""Settings: where they come from, what they refuse, and the page made from them."""

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr, ValidationError

from services.kit import settings_docs
from services.kit.settings import CandelaSettings, ServerSettings, is_loopback


class Example(ServerSettings):
    service_name: ClassVar[str] = "recognition"
    max_receive_bytes: int = Field(64, description="Changed default.")
    colour: str = Field("red|green", description="A bar | in it.")
    pin: SecretStr = Field(SecretStr("1234"), description="Not to be seen.")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT_BASE", "DATA_DIR", "LISTEN", "REDIS_URL", "OTLP_ENDPOINT", "INFERENCE_ENDPOINTS"):
        monkeypatch.delenv(f"CANDELA_{name}", raising=False)


def test_defaults_follow_the_port_plan() -> None:
    settings = Example()
    assert settings.address == "127.0.0.1:8091"
    assert settings.metrics == 9466
    assert settings.redis == "redis://127.0.0.1:8100/0"
    assert settings.otlp == "127.0.0.1:8101"
    assert settings.endpoints("inference") == ("127.0.0.1:8092",)
    assert settings.keys == Path(".candela/keys")


def test_all_ports_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_PORT_BASE", "9000")
    settings = Example()
    assert (settings.address, settings.metrics) == ("127.0.0.1:9011", 9466 + 920)
    assert settings.redis.endswith(":9020/0")


def test_the_environment_wins_and_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_INFERENCE_ENDPOINTS", " 10.0.0.1:1 , 10.0.0.2:2,")
    monkeypatch.setenv("CANDELA_LISTEN", "")
    monkeypatch.setenv("CANDELA_OTLP_ENDPOINT", "off")
    settings = Example()
    assert settings.endpoints("inference") == ("10.0.0.1:1", "10.0.0.2:2")
    assert settings.address == "127.0.0.1:8091"
    assert settings.otlp == ""


def test_an_unknown_service_has_no_endpoints() -> None:
    with pytest.raises(KeyError):
        Example().endpoints("nobody")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Example().port_base = 9000  # type: ignore[misc] # the mistake to find


@pytest.mark.parametrize("address", ["0.0.0.0:8091", "[::]:8091", "192.168.1.5:8091", "example.org:8091", ":8091"])
def test_an_address_beyond_loopback_needs_tls(address: str) -> None:
    with pytest.raises(ValidationError, match="needs TLS"):
        Example(listen=address)
    assert Example(listen=address, tls_cert=Path("c"), tls_key=Path("k")).address == address


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "localhost:1", "unix:/run/x"])
def test_loopback_needs_none(address: str) -> None:
    assert is_loopback(address)
    assert Example(listen=address).address == address


def test_half_a_key_pair_is_refused() -> None:
    with pytest.raises(ValidationError, match="go together"):
        Example(tls_cert=Path("c"))


def test_secrets_do_not_show() -> None:
    settings = Example(redis_url=SecretStr("redis://:hunter2@127.0.0.1/0"))
    assert "hunter2" not in f"{settings!r} {settings}"
    assert "hunter2" in settings.redis


def test_a_wrong_value_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_PORT_BASE", "hunter2")
    with pytest.raises(ValidationError) as refused:
        Example()
    assert "hunter2" not in str(refused.value)


def test_a_section_tells_what_a_service_adds_or_changes() -> None:
    section = settings_docs.section(Example)
    assert "## Recognition" in section
    assert "| `CANDELA_MAX_RECEIVE_BYTES` | `64` | whole number | Changed default. |" in section
    assert "A bar \\| in it." in section
    assert "CANDELA_PORT_BASE" not in section
    assert "1234" not in section


def test_every_setting_of_every_server_has_a_row() -> None:
    text = settings_docs.page([CandelaSettings, ServerSettings])
    for name in ServerSettings.model_fields:
        assert f"`CANDELA_{name.upper()}`" in text


def test_a_setting_without_a_description_is_a_mistake() -> None:
    class Silent(CandelaSettings):
        colour: str = "red"

    with pytest.raises(ValueError, match="colour has no description"):
        settings_docs.section(Silent)


def test_the_page_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "configuration.md"
    assert settings_docs.main(["services.kit.settings", "--check", str(page)]) == 1
    assert settings_docs.main(["services.kit.settings"]) == 0
    page.write_text(capsys.readouterr().out, encoding="utf-8")
    assert settings_docs.main(["services.kit.settings", "--check", str(page)]) == 0


def test_the_documentation_is_current() -> None:
    # In a process of its own: this one knows the settings types of tests, too.
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "services.kit.settings_docs", "--check", "docs/configuration.md"]
    checked = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
