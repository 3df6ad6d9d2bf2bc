"""What the clients offer by name, against a server."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import candela
from tests.unit.client.fake_candela import PASSWORD, World

Connect = Callable[..., Any]


def test_a_user_registers_logs_in_and_out(connect: Connect, world: World) -> None:
    client = connect()
    assert client.register(email="ada@example.org", password=PASSWORD, display_name="Ada").name == "users/1"
    assert client.login("ada@example.org", PASSWORD, device="laptop").name == "sessions/1"
    assert client.users.me().display_name == "Ada"
    client.logout()
    assert client.tokens is None
    assert world.calls("CreateSession")[0].request.device == "laptop"
    assert world.calls("DeleteSession")[0].request.name == "sessions/current"
    with pytest.raises(candela.Unauthenticated, match="log in first"):
        client.users.me()


def test_a_wrong_password_says_so(connect: Connect) -> None:
    with pytest.raises(candela.Unauthenticated) as caught:
        connect().login("ada@example.org", "wrong")
    assert caught.value.reason == "CREDENTIALS_INVALID"


def test_a_profile_changes_only_where_told(client: Any, world: World) -> None:
    world.user.display_name, world.user.username = "Ada", "ada"
    changed = client.users.update(display_name="Countess", username="")
    assert (changed.display_name, changed.username) == ("Countess", "")
    sent = world.calls("UpdateUser")[0].request
    assert sorted(sent.update_mask.paths) == ["display_name", "username"]
    assert sent.user.name == "users/me"


def test_an_etag_travels_with_an_update(client: Any, world: World) -> None:
    client.users.update(email="new@example.org", etag="7")
    assert world.calls("UpdateUser")[0].request.user.etag == "7"


def test_a_password_changes(client: Any, world: World) -> None:
    client.users.change_password(PASSWORD, "another long one")
    sent = world.calls("ChangePassword")[0].request
    assert (sent.name, sent.current_password, sent.new_password) == ("users/me", PASSWORD, "another long one")


def test_erasing_the_account_forgets_the_session(client: Any) -> None:
    client.users.delete()
    assert client.tokens is None


def test_a_list_is_iterated_over_all_pages(client: Any, world: World) -> None:
    assert [session.name for session in client.sessions.list()] == [f"sessions/{n}" for n in range(5)]
    assert [call.request.page_token for call in world.calls("ListSessions")] == ["", "2", "4"]


def test_a_list_goes_on_at_a_page(client: Any) -> None:
    pages = list(client.sessions.list(page_size=3).pages("3"))
    assert [[session.name for session in page.sessions] for page in pages] == [["sessions/3", "sessions/4"]]


def test_a_list_fetches_no_page_too_early(client: Any, world: World) -> None:
    assert next(iter(client.sessions.list())).name == "sessions/0"
    assert world.count("ListSessions") == 1


def test_a_session_is_revoked(client: Any, world: World) -> None:
    client.sessions.revoke("sessions/3")
    assert world.calls("DeleteSession")[0].request.name == "sessions/3"


def test_documents_come_as_bytes_paths_and_files(client: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.png"
    page.write_bytes(b"from a path")
    assert client.documents.recognize(b"bytes").document.text == "bytes"
    assert client.documents.recognize(page).document.text == "from a path"
    assert client.documents.recognize(str(page)).document.text == "from a path"
    assert client.documents.recognize(file="files/1").document.text == "files/1"
    with pytest.raises(TypeError):
        client.documents.recognize()
    with pytest.raises(TypeError):
        client.documents.recognize(b"bytes", file="files/1")
    with pytest.raises(FileNotFoundError):
        client.documents.recognize(tmp_path / "nothing.png")


def test_options_of_a_recognition_arrive(client: Any, world: World) -> None:
    key = str(uuid.uuid4())
    client.documents.recognize(b"x", include_characters=True, pages=[2, 1], request_id=key)
    sent = world.calls("RecognizeDocument")[0].request
    assert (sent.include_characters, list(sent.pages), sent.request_id) == (True, [2, 1], key)


def test_the_history_is_listed_read_and_deleted(client: Any) -> None:
    made = client.documents.recognize(b"one")
    client.documents.recognize(b"two")
    assert [one.document.text for one in client.recognitions.list()] == ["two", "one"]
    assert client.recognitions.get(made.name).document.text == "one"
    client.recognitions.delete(made.name)
    with pytest.raises(candela.NotFound):
        client.recognitions.get(made.name)


def test_every_change_carries_a_key_of_its_own(client: Any, world: World) -> None:
    client.register(email="a@example.org", password=PASSWORD)
    client.users.update(display_name="A")
    client.users.change_password(PASSWORD, PASSWORD)
    client.documents.recognize(b"x")
    client.documents.recognize(b"x")
    client.recognitions.delete("recognitions/0")
    client.sessions.revoke("sessions/3")
    client.users.delete()
    keys = [call.request.request_id for call in world.seen if call.method not in ("CreateSession",)]
    assert len(keys) == 8
    assert len({uuid.UUID(key) for key in keys}) == 8


def test_a_key_of_a_program_is_sent_as_it_is(connect: Connect, world: World) -> None:
    connect(api_key="ck_good").users.me()
    assert world.calls("GetUser")[0].token == "ck_good"


def test_public_methods_carry_no_token(client: Any, world: World) -> None:
    client.register(email="a@example.org", password=PASSWORD)
    assert world.calls("RegisterUser")[0].token == ""


def test_logging_out_of_an_ended_session_only_forgets_it(client: Any, world: World) -> None:
    world.access.clear()
    client.logout()
    assert client.tokens is None
    client.logout()
    assert world.count("DeleteSession") == 1


def test_a_closed_client_says_so(connect: Connect) -> None:
    client = connect()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.register(email="a@example.org", password=PASSWORD)


def test_a_client_is_closed_by_its_block(connect: Connect) -> None:
    with connect() as client:
        client.register(email="a@example.org", password=PASSWORD)
    with pytest.raises(RuntimeError, match="closed"):
        client.register(email="a@example.org", password=PASSWORD)
