"""Which path templates can match one path."""

import pytest
from google.api.http_pb2 import HttpRule

from tests.support.http_paths import Template, bindings, parse


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v1/users", Template(("v1", "users"), "")),
        ("/v1/users/{user}", Template(("v1", "users", "*"), "")),
        ("/v1/{name=users/*}", Template(("v1", "users", "*"), "")),
        ("/v1/{user.name=users/*}", Template(("v1", "users", "*"), "")),
        (
            "/v1/{name=conversations/*/messages/*}:resume",
            Template(("v1", "conversations", "*", "messages", "*"), "resume"),
        ),
        ("/v1/{file=objects/**}", Template(("v1", "objects", "**"), "")),
    ],
)
def test_variables_become_the_segments_they_match(path: str, template: Template) -> None:
    assert parse(path) == template


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/v1/users/me", "/v1/{name=users/*}"),
        ("/v1/users/{user}", "/v1/{name=users/*}"),
        ("/v1/{name=*/*}", "/v1/lamps/{lamp}"),
        ("/v1/{rest=**}", "/v1/users/me"),
        ("/v1/objects/{rest=**}", "/v1/objects"),
        ("/v1/{name=lamps/*}:light", "/v1/lamps/{lamp}:light"),
    ],
)
def test_overlap(one: str, other: str) -> None:
    assert parse(one).overlaps(parse(other))
    assert parse(other).overlaps(parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/v1/users", "/v1/users/{user}"),
        ("/v1/users/{user}", "/v1/lamps/{lamp}"),
        ("/v1/images:generate", "/v1/images"),
        ("/v1/{name=lamps/*}:light", "/v1/{name=lamps/*}"),
        ("/v1/{name=lamps/*}:light", "/v1/{name=lamps/*}:flicker"),
        ("/v1/{name=conversations/*}/messages", "/v1/{name=conversations/*}/messages/*"),
    ],
)
def test_no_overlap(one: str, other: str) -> None:
    assert not parse(one).overlaps(parse(other))
    assert not parse(other).overlaps(parse(one))


def test_all_bindings_of_a_rule_count() -> None:
    rule = HttpRule(post="/v1/a", additional_bindings=[{"get": "/v1/b"}, {"custom": {"kind": "HEAD", "path": "/v1/c"}}])
    assert bindings(rule) == [("POST", "/v1/a"), ("GET", "/v1/b"), ("HEAD", "/v1/c")]
