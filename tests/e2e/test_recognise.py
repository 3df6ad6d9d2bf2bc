"""The whole way of one document: from bytes at the edge to words with places, in the history of one user only."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.edge import Edge, reason_of
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.printed_page import png, print_page, share_right, words_of_page


def placed_words(answer: dict[str, object]) -> list[dict[str, object]]:
    pages = answer["document"]["pages"]  # type: ignore[index]  # JSON
    return [w for p in pages for b in p["blocks"] for ln in b["lines"] for w in ln["words"]]


@pytest.fixture
def ada(mesh: Mesh) -> Iterator[Edge]:
    """Somebody new, signed in."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        yield edge


def test_a_printed_page_comes_back_as_its_words_in_order_with_boxes_and_confidence(ada: Edge) -> None:
    printed = words_of_page(250)
    response = ada.recognize(png(print_page(printed)))
    assert response.status_code == 200, response.text
    answer = response.json()
    read = placed_words(answer)
    assert share_right(printed, [str(w["text"]) for w in read]) >= 0.98
    assert answer["kind"] == "KIND_DOCUMENT"
    assert answer["source"]["contentType"] == "image/png"
    for word in read:
        box = word["box"]
        assert isinstance(box, dict)
        assert 0 <= box["topLeft"]["x"] < box["topRight"]["x"] <= 1240
        assert 0 <= box["topLeft"]["y"] < box["bottomLeft"]["y"] <= 1754
        assert 0 < float(str(word["confidence"])) <= 1
    assert sum(float(str(w["confidence"])) for w in read) / len(read) > 0.8


def test_boxes_lie_on_the_words_they_name(ada: Edge) -> None:
    page = print_page(["North"])
    page.paste(print_page(["South"]).crop((100, 100, 400, 160)), (700, 1500))
    answer = ada.recognize(png(page)).json()
    tops = {str(w["text"]): w["box"]["topLeft"] for w in placed_words(answer)}  # type: ignore[index]  # JSON
    assert set(tops) == {"North", "South"}
    assert abs(tops["North"]["x"] - 110) < 12
    assert abs(tops["South"]["x"] - 710) < 12
    assert tops["South"]["y"] > 1480


def test_the_history_is_the_users_own(mesh: Mesh, ada: Edge) -> None:
    content = png(print_page(["Private", "letter"]))
    made = ada.recognize(content, requestId=str(uuid.uuid4())).json()
    with Edge(mesh.edge) as eve:
        eve.sign_up()
        stolen = eve.call("GET", f"/v1/{made['name']}")
        missing = eve.call("GET", "/v1/recognitions/01234567890123456789012345")
        assert stolen.status_code == missing.status_code == 404
        assert reason_of(stolen) == reason_of(missing) == "NOT_FOUND"
        assert eve.call("DELETE", f"/v1/{made['name']}").status_code == 404
        assert eve.call("GET", "/v1/recognitions").json()["recognitions"] == []
    listed = ada.call("GET", "/v1/recognitions").json()["recognitions"]
    assert [entry["name"] for entry in listed] == [made["name"]]
    assert "document" not in listed[0]
    assert ada.call("GET", f"/v1/{made['name']}").json() == made
    assert ada.call("DELETE", f"/v1/{made['name']}").status_code == 200
    assert ada.call("GET", f"/v1/{made['name']}").status_code == 404


def test_a_repeat_is_the_same_answer_and_another_body_is_refused(ada: Edge) -> None:
    request_id = str(uuid.uuid4())
    content = png(print_page(["Once"]))
    first = ada.recognize(content, requestId=request_id)
    again = ada.recognize(content, requestId=request_id)
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    other = ada.recognize(png(print_page(["Twice"])), requestId=request_id)
    assert other.status_code == 409
    assert reason_of(other) == "REQUEST_ID_REUSED"
    assert len(ada.call("GET", "/v1/recognitions").json()["recognitions"]) == 1


def test_the_history_is_paged(ada: Edge) -> None:
    names = [ada.recognize(png(print_page([word]))).json()["name"] for word in ("one", "two", "three")]
    seen: list[str] = []
    token = ""
    while True:
        page = ada.call("GET", "/v1/recognitions", params={"pageSize": 2, "pageToken": token}).json()
        seen += [entry["name"] for entry in page["recognitions"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert seen == names[::-1]
    damaged = ada.call("GET", "/v1/recognitions", params={"pageToken": "AAAA"})
    assert damaged.status_code == 400
    assert reason_of(damaged) == "PAGE_TOKEN_INVALID"


def test_an_erased_account_takes_its_history_with_it(mesh: Mesh, ada: Edge) -> None:
    user = ada.call("GET", "/v1/users/me").json()["name"].removeprefix("users/")
    ada.recognize(png(print_page(["Forget", "me"])), requestId=str(uuid.uuid4())).raise_for_status()

    def kept() -> int:
        with closing(sqlite3.connect(mesh.data.root / "db" / "recognition.sqlite3")) as database:
            query = "SELECT (SELECT count(*) FROM recognitions WHERE user_id = ?1)"
            query += " + (SELECT count(*) FROM request_claims WHERE owner = ?1)"
            count: int = database.execute(query, (user,)).fetchone()[0]
        return count

    assert kept() == 2
    assert ada.call("DELETE", "/v1/users/me").status_code == 200
    eventually_sync(lambda: kept() == 0, timeout=30)
