"""The codec of each engine: made at its first request, gone with it."""

from typing import TYPE_CHECKING, Any
from weakref import finalize

from inference_server.engine import Engine
from inference_server.models.model import ModelCard
from services.kit.errors import Unimplemented

if TYPE_CHECKING:
    from inference_server.oip.codec import Codec

# By the identities of engines and of their cards: a lookup takes 60 ns, the hash of a card ten times that. No other
# object can come to have such an identity while it stands here: an entry goes with its engine, and a codec holds its
# card.
_by_engine: "dict[int, Codec]" = {}
_by_card: "dict[int, Codec]" = {}


def codec_of(engine: Engine[Any, Any]) -> "Codec":
    """Return an engine's codec; Unimplemented when its model has no tensors to show."""
    return _by_engine.get(id(engine)) or _made(engine)


def codec_for(card: ModelCard) -> "Codec":
    """Return the codec of the engine with this very card, which `codec_of` was asked for before; KeyError if not."""
    return _by_card[id(card)]


def _made(engine: Engine[Any, Any]) -> "Codec":
    from inference_server.oip.codec import Codec  # noqa: PLC0415 - numpy: a server without models stays small

    card = engine.card
    if engine.signature is None:
        raise Unimplemented(
            f"the model '{card.name}' has no tensors: call it through its own RPC", metadata={"model": card.identity}
        )
    codec = _by_engine[id(engine)] = _by_card[id(card)] = Codec(card, engine.signature)
    finalize(engine, _forget, id(engine), id(card)).atexit = False
    return codec


def _forget(engine: int, card: int) -> None:
    """Drop what belonged to an engine that is gone; a card may be another engine's, too, and stays until the last."""
    _by_engine.pop(engine, None)
    if not any(id(codec.card) == card for codec in list(_by_engine.values())):
        _by_card.pop(card, None)
