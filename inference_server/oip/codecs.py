"""The codec of each engine: made at its first request, gone with it."""

from typing import TYPE_CHECKING, Any
from weakref import finalize

from inference_server.engine import Engine
from inference_server.models.model import ModelCard
from services.kit.errors import Unimplemented

if TYPE_CHECKING:
    from inference_server.oip.codec import Codec

# By the identity of the engine's card: a lookup takes 60 ns, the hash of a card ten times that. A codec holds its card,
# so no other object can come to have the same identity while it is here.
_codecs: "dict[int, Codec]" = {}


def codec_of(engine: Engine[Any, Any]) -> "Codec":
    """Return an engine's codec; Unimplemented when its model has no tensors to show."""
    return _codecs.get(id(engine.card)) or _made(engine)


def codec_for(card: ModelCard) -> "Codec":
    """Return the codec of the engine with this very card, which `codec_of` was asked for before; KeyError if not."""
    return _codecs[id(card)]


def _made(engine: Engine[Any, Any]) -> "Codec":
    from inference_server.oip.codec import Codec  # noqa: PLC0415 - numpy: a server without models stays small

    card = engine.card
    if engine.signature is None:
        raise Unimplemented(
            f"the model '{card.name}' has no tensors: call it through its own RPC", metadata={"model": card.identity}
        )
    codec = _codecs[id(card)] = Codec(card, engine.signature)
    finalize(engine, _codecs.pop, id(card), None)
    return codec
