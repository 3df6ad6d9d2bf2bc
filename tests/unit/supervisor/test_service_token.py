"""`make token`: a token that the named server, and no other, takes for a service's."""

from pathlib import Path

import pytest

from services.kit.errors import Unauthenticated
from supervisor.__main__ import main
from tests.support.grpc_server import MeshKeys


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MeshKeys:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("CANDELA_DATA_DIR", str(tmp_path))
    return MeshKeys(folder)


def test_the_token_is_a_services_and_for_one_server(keys: MeshKeys, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--to", "inference", "--as", "ada"]) == 0
    token = capsys.readouterr().out.strip()
    verified = keys.verifier("inference").verify(token)
    assert (verified.principal.service, verified.principal.user) == ("ada", "")
    assert 0 < verified.expires_at - verified.issued_at <= 300
    with pytest.raises(Unauthenticated):
        keys.verifier("recognition").verify(token)


def test_without_a_key_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CANDELA_DATA_DIR", str(tmp_path))
    assert main(["token"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "make run" in shown.err


def test_only_servers_of_the_mesh_can_be_named(keys: MeshKeys, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["token", "--to", "moon"])
    assert "moon" in capsys.readouterr().err
