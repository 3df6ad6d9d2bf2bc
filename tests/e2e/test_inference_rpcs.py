"""The typed RPCs of a real inference server: text, plates and meanings, from its own models in its own process."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt
import pytest

from candela.inference.v1 import (
    detection_service_pb2,
    detection_service_pb2_grpc,
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    ocr_pb2,
    ocr_service_pb2,
    ocr_service_pb2_grpc,
    plate_service_pb2,
    plate_service_pb2_grpc,
)
from inference_server.models.picture import Picture
from inference_server.models.sample_pictures import sample_plate, sample_scene
from kserve import grpc_service_pb2, grpc_service_pb2_grpc
from tests.support.grpc_server import MeshKeys, Metadata
from tests.support.mesh import Mesh
from tests.support.printed_pages import printed_page

SECONDS = 30.0
LIAR = ocr_pb2.PixelImage(width=9, height=9, format=ocr_pb2.PIXEL_FORMAT_RGB8, data=b"too few")


@dataclass
class Inference:
    """The inference server of the mesh, as the recognition service calls it."""

    channel: grpc.Channel
    metadata: Metadata


@pytest.fixture
def inference(mesh: Mesh) -> Iterator[Inference]:
    token = MeshKeys(mesh.data.keys).as_service("recognition", "inference")
    with grpc.insecure_channel(f"127.0.0.1:{mesh.ports.service('inference')}") as channel:
        yield Inference(channel, token)


def message(picture: Picture) -> ocr_pb2.PixelImage:
    return ocr_pb2.PixelImage(
        width=picture.width, height=picture.height, format=ocr_pb2.PIXEL_FORMAT_RGB8, data=picture.data
    )


def vector(result: embedding_service_pb2.EmbedTextsResult) -> npt.NDArray[np.float32]:
    assert result.embedding.dimensions == 512
    return np.frombuffer(result.embedding.values, dtype="<f4")


def test_a_page_is_found_and_its_lines_are_read(inference: Inference) -> None:
    page = printed_page("Vera", 12, size=(700, 420))
    stub = ocr_service_pb2_grpc.OcrServiceStub(inference.channel)
    whole = ocr_pb2.PixelImage(
        width=700, height=420, format=ocr_pb2.PIXEL_FORMAT_RGB8, data=page.image.convert("RGB").tobytes()
    )
    found = stub.DetectText(
        ocr_service_pb2.DetectTextRequest(images=[whole, LIAR]), metadata=inference.metadata, timeout=SECONDS
    )
    regions = sorted(found.results[0].regions.regions, key=lambda region: region.box.top_left.y)
    assert len(regions) == len(page.lines)
    assert found.results[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    boxes = [(region.box.top_left, region.box.bottom_right) for region in regions]
    cut = [page.image.convert("RGB").crop((int(a.x), int(a.y), int(b.x) + 1, int(b.y) + 1)) for a, b in boxes]
    crops = [
        ocr_pb2.PixelImage(width=one.width, height=one.height, format=ocr_pb2.PIXEL_FORMAT_RGB8, data=one.tobytes())
        for one in cut
    ]
    read = stub.RecognizeText(
        ocr_service_pb2.RecognizeTextRequest(crops=crops), metadata=inference.metadata, timeout=SECONDS
    )
    assert [word.text for result in read.results for word in result.line.words] == page.words


def test_plates_are_found_and_read(inference: Inference) -> None:
    stub = plate_service_pb2_grpc.PlateServiceStub(inference.channel)
    scenes = [message(sample_scene("A12345", 512, 384)), LIAR, message(sample_scene("B6C789", 640, 480))]
    found = stub.DetectPlates(
        plate_service_pb2.DetectPlatesRequest(images=scenes), metadata=inference.metadata, timeout=SECONDS
    )
    assert found.model.startswith("plate-det@")
    assert [len(result.regions.regions) for result in found.results] == [1, 0, 1]
    assert found.results[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    crops = [message(sample_plate(text, 94, 24)) for text in ("KD0321", "Z98F65")]
    read = stub.ReadPlates(
        plate_service_pb2.ReadPlatesRequest(crops=[*crops, LIAR]), metadata=inference.metadata, timeout=SECONDS
    )
    assert [result.plate.text for result in read.results] == ["KD0321", "Z98F65", ""]
    assert read.results[2].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_sentences_become_vectors_that_tell_what_they_mean(inference: Inference) -> None:
    texts = ["How do I reset my password?", "Wie setze ich mein Passwort zurück?", " ", "It rained all night."]
    answer = embedding_service_pb2_grpc.EmbeddingServiceStub(inference.channel).EmbedTexts(
        embedding_service_pb2.EmbedTextsRequest(texts=texts), metadata=inference.metadata, timeout=SECONDS
    )
    assert answer.model.startswith("sentence-embed@")
    assert answer.results[2].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    question, translation, rain = (vector(answer.results[place]) for place in (0, 1, 3))
    assert question @ translation > 0.4 + question @ rain
    assert np.linalg.norm(question) == pytest.approx(1.0, abs=1e-5)
    assert 0 < answer.results[0].embedding.tokens < 20


def test_what_has_no_model_yet_says_so(inference: Inference) -> None:
    stub = detection_service_pb2_grpc.DetectionServiceStub(inference.channel)
    scene = message(sample_scene("A12345", 512, 384))
    with pytest.raises(grpc.RpcError) as refused:
        stub.DetectObjects(
            detection_service_pb2.DetectObjectsRequest(images=[scene]), metadata=inference.metadata, timeout=SECONDS
        )
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def infer(
    inference: Inference, model: str, name: str, datatype: str, shape: list[int], raw: bytes
) -> dict[str, tuple[list[int], bytes]]:
    """Call a model as a generic client; return its output tensors' shapes and bytes."""
    tensor = grpc_service_pb2.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    answer = grpc_service_pb2_grpc.GRPCInferenceServiceStub(inference.channel).ModelInfer(
        grpc_service_pb2.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw]),
        metadata=inference.metadata,
        timeout=SECONDS,
    )
    return {
        output.name: (list(output.shape), data)
        for output, data in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def test_generic_clients_use_the_same_models(inference: Inference) -> None:
    scene = sample_scene("A12345", 512, 384)
    found = infer(inference, "plate-det", "image", "UINT8", [384, 512, 3], scene.data)
    assert found["boxes"][0] == [1, 4, 2]
    assert found["scores"][0] == [1]
    plate = sample_plate("KD0321", 94, 24)
    read = infer(inference, "plate-rec", "crop", "UINT8", [24, 94, 3], plate.data)
    assert read["text"] == ([1], struct.pack("<I", 6) + b"KD0321")
    assert read["character_extents"][0] == [6, 2]
    texts = b"".join(struct.pack("<I", len(text)) + text for text in (b"a lighthouse", b"ein Leuchtturm"))
    shape, values = infer(inference, "sentence-embed", "text", "BYTES", [2, 1], texts)["embedding"]
    assert shape == [2, 512]
    first, second = np.frombuffer(values, dtype="<f4").reshape(2, 512)
    assert first @ second > 0.6
