"""The page at /docs: complete without any network, and in a real browser one can sign in, call and see the reply."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from scripts import vendor_docs_page
from tests.support.browser import Browser, opened
from tests.support.edge import PASSWORD, Edge, new_email
from tests.support.mesh import Mesh

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "openapi" / "page"
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


class Loads(HTMLParser):
    """What an HTML page makes a browser load, and what it runs in place."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("script", "link", "img", "iframe"):
            self.addresses.append(given.get("src") or given.get("href") or "")
        if (tag == "script" and not given.get("src")) or tag == "style":
            self.inline.append(tag)
        self.inline += [name for name in given if name.startswith("on") or name == "style"]


@pytest.fixture(scope="module")
def html(mesh: Mesh) -> str:
    return httpx.get(f"{mesh.edge}/docs").raise_for_status().text


def test_the_root_leads_to_the_page(mesh: Mesh) -> None:
    with Edge(mesh.edge) as edge:
        answer = edge.call("GET", "/")
        assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
        refused = edge.call("POST", "/")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


def test_the_page_loads_only_what_the_mesh_serves(mesh: Mesh, html: str) -> None:
    loads = Loads(html)
    assert loads.inline == []
    assets = [address for address in loads.addresses if address != "data:,"]
    assert len(assets) == 4
    with Edge(mesh.edge) as edge:
        for address in assets:
            assert address.startswith("/docs/")
            answer = edge.call("GET", address)
            assert answer.status_code == 200, address
            assert answer.headers["content-type"].partition(";")[0] == TYPES[Path(address).suffix]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.content == (PAGE / Path(address).name).read_bytes()


def test_the_policy_of_the_page_allows_nothing_from_elsewhere(mesh: Mesh) -> None:
    policy = httpx.get(f"{mesh.edge}/docs").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("name", ["docs.html", "docs.js", "docs.css"])
def test_what_is_ours_names_no_other_host(name: str) -> None:
    assert re.findall(r"https?://|//[\w-]+\.\w", (PAGE / name).read_text()) == []


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_the_page_is_compressed(mesh: Mesh, encoding: str) -> None:
    address = f"{mesh.edge}/docs/swagger-ui-bundle.js"
    with httpx.stream("GET", address, headers={"accept-encoding": encoding}) as answer:
        assert answer.headers["content-encoding"] == encoding
        received = sum(len(piece) for piece in answer.iter_raw())
    assert received < (PAGE / "swagger-ui-bundle.js").stat().st_size / 3


def test_what_is_not_ours_is_what_was_locked() -> None:
    assert vendor_docs_page.differences(PAGE) == []


def test_the_served_document_is_the_one_that_answers_are_held_against(mesh: Mesh) -> None:
    served = httpx.get(f"{mesh.edge}/openapi.json").raise_for_status()
    assert served.content == (ROOT / "build" / "openapi.json").read_bytes()


@pytest.fixture(scope="module")
def browser(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that shows the page."""
    with opened(tmp_path_factory.mktemp("browser")) as browser:
        read(browser, mesh)
        yield browser


def read(browser: Browser, mesh: Mesh) -> None:
    """Opens the page."""
    browser.open(f"{mesh.edge}/docs")
    browser.wait(
        "document.readyState === 'complete' && document.querySelectorAll('.opblock').length > 0", "the operations"
    )


def unfold(browser: Browser, operation: str) -> str:
    """Opens an operation of the page and returns the selector of what is inside."""
    block = f"[id$='-{operation}']"
    browser.wait(f'document.querySelector("{block}") !== null', operation)
    if not browser.run(f"document.querySelector(\"{block}\").classList.contains('is-open')"):
        browser.click(f"{block} .opblock-summary-control")
    return block


def reply(browser: Browser, block: str) -> str:
    """Sends what an opened operation shows and returns the text of the live answer."""
    if browser.run(f'document.querySelector("{block} .btn-clear") !== null'):
        browser.click(f"{block} .btn-clear")
        browser.wait(f'document.querySelector("{block} .live-responses-table") === null', "a clean slate")
    browser.click(f"{block} .execute")
    live = f'document.querySelector("{block} .live-responses-table")'
    return str(browser.wait(f"{live} && {live}.innerText", "the answer"))


def test_every_operation_is_listed(mesh: Mesh, browser: Browser) -> None:
    paths = httpx.get(f"{mesh.edge}/openapi.json").json()["paths"]
    listed = browser.run(
        "[...document.querySelectorAll('.opblock')].map(block => `${block.querySelector('.opblock-summary-method')"
        ".innerText} ${block.querySelector('.opblock-summary-path').dataset.path}`)"
    )
    assert sorted(listed) == sorted(f"{verb.upper()} {path}" for path, item in paths.items() for verb in item)


def test_a_person_signs_in_calls_and_sees_the_reply(mesh: Mesh, browser: Browser) -> None:
    with Edge(mesh.edge) as edge:
        edge.register(email := new_email()).raise_for_status()
    login = unfold(browser, "SessionService_CreateSession")
    browser.type(f"{login} textarea", json.dumps({"identifier": email, "password": PASSWORD}))
    assert "accessToken" in reply(browser, login)
    browser.wait("document.getElementById('who').innerText.startsWith('Signed in')", "the log-in")
    me = unfold(browser, "UserService_GetUser")
    browser.type(f"{me} .parameters input[type=text]", "me")
    answer = reply(browser, me)
    assert email in answer
    assert "candela-trace-id" in answer


def test_a_pasted_token_counts(mesh: Mesh, browser: Browser) -> None:
    with Edge(mesh.edge) as edge:
        email = edge.sign_up()
        read(browser, mesh)  # anew: nobody is signed in
        browser.click(".auth-wrapper .authorize")
        browser.type(".modal-ux input", edge.token)
        browser.click(".modal-ux .authorize")
        browser.click(".modal-ux .btn-done")
    me = unfold(browser, "UserService_GetUser")
    browser.type(f"{me} .parameters input[type=text]", "me")
    assert email in reply(browser, me)


def test_a_refusal_is_shown_as_it_is(browser: Browser) -> None:
    login = unfold(browser, "SessionService_CreateSession")
    browser.type(f"{login} textarea", json.dumps({"identifier": new_email(), "password": "wrong"}))
    answer = reply(browser, login)
    assert "401" in answer
    assert "CREDENTIALS_INVALID" in answer


def test_a_stream_is_shown_while_it_runs_and_can_be_stopped(browser: Browser) -> None:
    """The page's own part: an answer whose events come one by one, from inside the page."""
    browser.run(
        "globalThis.source = new ReadableStream({start(to) { globalThis.feed = to; }}),"
        "globalThis.stopper = new AbortController(),"
        "globalThis.shown = show('GET /v1/lamps:watch', source, stopper), undefined"
    )
    browser.run("feed.enqueue(new TextEncoder().encode('data: {\"lit\":true}\\n\\n'))")
    browser.wait("document.getElementById('stream-events').innerText.includes('lit')", "the first event")
    assert browser.run("document.getElementById('stream-state').innerText") == "is running"
    browser.click("#stream-stop")
    assert browser.run("stopper.signal.aborted")
    browser.run("feed.close()")
    assert "lit" in browser.run("shown")
    assert browser.run("document.getElementById('stream-state').innerText") == "has ended"


def test_nothing_was_asked_of_another_host_and_nothing_was_complained_of(mesh: Mesh, browser: Browser) -> None:
    browser.run("undefined")
    assert browser.requests
    assert [url for url in browser.requests if not url.startswith((f"{mesh.edge}/", "data:"))] == []
    # A refused log-in is in the console, too: that is the browser's own line.
    assert [line for line in browser.complaints if "status of 401" not in line] == []
