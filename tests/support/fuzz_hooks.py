"""What schemathesis checks on top of its own: nothing is answered that the document does not tell of."""

from typing import Any

import schemathesis

from tests.support.published_schema import published


@schemathesis.check
def nothing_unpublished(ctx: Any, response: Any, case: Any) -> None:
    """Fails for a status, header or field that the published document lacks; unlike a schema it is closed."""
    request = response.request
    path = request.path_url.partition("?")[0]
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    found = published().problems(request.method, path, response.status_code, headers, response.content)
    assert not found, "\n".join(found)
