"""The page that machines watch a process by: plain on loopback, and beyond it only for whom it is meant."""

import contextlib
import http.client
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.secrets import Authority
from observability.status_page import PageTls, StatusPage

_HOST = "localhost"


def get(page: StatusPage, path: str, context: ssl.SSLContext | None = None, accept: str = "") -> tuple[int, str, str]:
    connection = (
        http.client.HTTPSConnection(_HOST, page.port, timeout=5, context=context)
        if context
        else http.client.HTTPConnection(_HOST, page.port, timeout=5)
    )
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"accept": accept} if accept else {})
        response = connection.getresponse()
        return response.status, response.headers["content-type"], response.read().decode()


@pytest.fixture
def serves() -> threading.Event:
    return threading.Event()


@pytest.fixture
def page(serves: threading.Event) -> Iterator[StatusPage]:
    with StatusPage(0, serves.is_set) as page:
        yield page


def test_health_follows_the_service(page: StatusPage, serves: threading.Event) -> None:
    assert get(page, "/health")[::2] == (503, '{"status":"NOT_SERVING"}')
    serves.set()
    assert get(page, "/health?why")[::2] == (200, '{"status":"SERVING"}')
    serves.clear()
    assert get(page, "/health")[0] == 503


def test_metrics_come_in_the_format_that_is_asked_for(page: StatusPage) -> None:
    status, kind, text = get(page, "/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert "python_info" in text
    assert get(page, "/metrics", accept="application/openmetrics-text; version=1.0.0")[2].endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz", "/../health"])
def test_there_is_nothing_else(page: StatusPage, path: str) -> None:
    assert get(page, path)[0] == 404


class Certificates:
    """A mesh's authority, the page's certificate, and a stranger's."""

    def __init__(self, folder: Path) -> None:
        self.mesh, self.strangers = Authority.new("mesh"), Authority.new("strangers")
        self.tls = PageTls(folder / "page.crt", folder / "page.key", folder / "ca.crt")
        (folder / "ca.crt").write_bytes(self.mesh.certificate_pem)
        for name, authority in (("page", self.mesh), ("reader", self.mesh), ("stranger", self.strangers)):
            pair = authority.issue(name, (_HOST,))
            (folder / f"{name}.crt").write_bytes(pair.certificate)
            (folder / f"{name}.key").write_bytes(pair.key)
        self._folder = folder

    def context(self, name: str = "") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
        if name:
            context.load_cert_chain(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        return context


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def secured(certificates: Certificates, serves: threading.Event) -> Iterator[StatusPage]:
    with StatusPage(0, serves.is_set, tls=certificates.tls) as page:
        yield page


def test_probes_need_no_certificate_and_metrics_do(
    secured: StatusPage, certificates: Certificates, serves: threading.Event
) -> None:
    serves.set()
    assert get(secured, "/health", certificates.context())[0] == 200
    assert get(secured, "/metrics", certificates.context())[0] == 403
    assert get(secured, "/metrics", certificates.context("reader"))[0] == 200


def test_a_strangers_certificate_opens_nothing(secured: StatusPage, certificates: Certificates) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.BadStatusLine)):
        get(secured, "/metrics", certificates.context("stranger"))


def test_plain_http_is_not_answered(secured: StatusPage) -> None:
    with pytest.raises((ConnectionError, http.client.BadStatusLine)):
        get(secured, "/health")


def test_a_caller_who_says_nothing_holds_nobody_up(secured: StatusPage, certificates: Certificates) -> None:
    import socket  # noqa: PLC0415 - the one test that opens a bare one

    with socket.create_connection((_HOST, secured.port)):
        assert get(secured, "/health", certificates.context())[0] == 503


def test_a_port_that_is_taken_is_said(page: StatusPage) -> None:
    with pytest.raises(OSError, match="in use"):
        StatusPage(page.port, lambda: True)


def test_a_restarted_process_gets_its_port_back_at_once(serves: threading.Event) -> None:
    """Answered connections linger for a minute on the side that closed them: ours."""
    with StatusPage(0, serves.is_set) as first:
        port = first.port
        assert get(first, "/health")[0] == 503
    with StatusPage(port, serves.is_set) as second:
        assert get(second, "/health")[0] == 503
