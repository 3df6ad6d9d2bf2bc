"""What an API key may call: the scope that each method of the public contract needs.

A key is long-lived and lies in configuration files, so it reaches what a program needs and nothing else: a method that
no line here names is closed to keys, also one that a later issue adds.
"""

from typing import Final

RECOGNITION: Final = "RECOGNITION"
GENERATION: Final = "GENERATION"
CHAT: Final = "CHAT"
PAYMENT_READ: Final = "PAYMENT_READ"
FILES: Final = "FILES"
SCOPES: Final = frozenset({RECOGNITION, GENERATION, CHAT, PAYMENT_READ, FILES})

# Keys never administrate, whoever made them.
NEVER_BY_KEY: Final = frozenset({"read:admin", "write:admin"})

_OF_PACKAGE = {
    "candela.recognition.v1": RECOGNITION,
    "candela.generation.v1": GENERATION,
    "candela.chat.v1": CHAT,
    "candela.openai.v1": CHAT,
}
_OF_SERVICE = {"candela.user.v1.FileService": FILES}
_OF_METHOD = {"candela.openai.v1.OpenAiService/GenerateImages": GENERATION}
_READ_OF_SERVICE = {
    "candela.payment.v1.BalanceService": PAYMENT_READ,
    "candela.payment.v1.CatalogueService": PAYMENT_READ,
}


def scope_of(service: str, method: str, *, read_only: bool) -> str:
    """Return the scope that a key needs to call a method, empty for a method that no key may call."""
    scope = _OF_METHOD.get(f"{service}/{method}") or _OF_SERVICE.get(service)
    if scope is None and read_only:
        scope = _READ_OF_SERVICE.get(service)
    return scope or _OF_PACKAGE.get(service.rpartition(".")[0], "")
