"""A person at the edge: JSON over HTTP, the way a browser or a script speaks to the mesh."""

import base64
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.published_schema import checked

PASSWORD = "correct horse battery"


def new_email() -> str:
    """Return an address nobody has registered."""
    return f"{secrets.token_hex(8)}@example.com"


@dataclass
class Edge:
    """Calls to one mesh; after `sign_up` with a token. An answer that the OpenAPI document lacks fails the test."""

    base_url: str
    token: str = ""
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.base_url, timeout=60.0, event_hooks={"response": [checked]})

    def __enter__(self) -> "Edge":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def call(self, method: str, path: str, body: object = None, **kwargs: Any) -> httpx.Response:
        """Send a request with the token, if there is one."""
        headers = kwargs.pop("headers", {})
        if self.token:
            headers = {"authorization": f"Bearer {self.token}", **headers}
        if body is not None:
            kwargs["json"] = body
        return self.http.request(method, path, headers=headers, **kwargs)

    def register(self, email: str, request_id: str = "") -> httpx.Response:
        """Register with an e-mail address and the tests' password."""
        body = {"email": email, "password": PASSWORD, "requestId": request_id or str(uuid.uuid4())}
        return self.call("POST", "/v1/users", body)

    def log_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        """Log in; the token is not kept."""
        return self.call("POST", "/v1/sessions", {"identifier": email, "password": password})

    def sign_up(self) -> str:
        """Register and log in as somebody new, keep the token, return the e-mail address."""
        email = new_email()
        self.register(email).raise_for_status()
        self.token = self.log_in(email).raise_for_status().json()["accessToken"]
        return email

    def recognize(self, content: bytes, **options: object) -> httpx.Response:
        """Send a document to be read."""
        body = {"content": base64.b64encode(content).decode(), **options}
        return self.call("POST", "/v1/documents:recognize", body)


def reason_of(response: httpx.Response) -> str:
    """Return the reason in the ErrorInfo of an error; fails when the error has not the shape that was promised."""
    error = response.json()["error"]
    assert error["code"] == response.status_code
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["status"].isupper()
    infos = [d for d in error["details"] if d.get("@type") == "type.googleapis.com/google.rpc.ErrorInfo"]
    assert len(infos) == 1, error
    assert infos[0]["domain"] == "candela.dev"
    reason: str = infos[0]["reason"]
    return reason
