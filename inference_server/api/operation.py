"""What one RPC does to a model: its request becomes items, their results become its response.

The unary method and the Exchange door are both made of these, so they cannot differ in meaning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from inference_server.engine import Engine, Item, Work
from inference_server.host import ModelHost
from inference_server.models.model import ModelCard
from services.kit.errors import CandelaError

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


@dataclass(frozen=True, slots=True)
class Operation(Generic[Q, R]):
    """One RPC over models.

    `path` is its unary method (`/candela.inference.v1.OcrService/DetectText`), `field` its member in the Call and Reply
    of Exchange (`detect_text`). `engine` finds the model that a request means and raises NotFound or Unavailable.
    `items` turns a request into items for that model, one error in the place of each that is bad; it raises what is
    wrong with the request as a whole. `response` makes the response of the results, as many and in the same order.
    `urgency` lets what a request itself says of its urgency count in its work; None where requests say nothing of it.
    """

    path: str
    field: str
    engine: Callable[[ModelHost, Q], Engine[Any, Any]]
    items: Callable[[Engine[Any, Any], Q], Sequence[Item[Any] | CandelaError]]
    response: Callable[[ModelCard, Q, Sequence[Any]], R]
    urgency: Callable[[Q, Work], Work] | None = None
