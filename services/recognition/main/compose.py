"""How the recognition service is put together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from candela.erasure.v1.erasure_service_pb2_grpc import ErasureServiceStub
from candela.recognition.v1 import recognition_service_pb2_grpc
from services.kit.admission import Admission
from services.kit.background import repeating, taking_turns
from services.kit.bootstrap import Binding, Mesh
from services.kit.erasures import ErasureFollower
from services.kit.exchange.stubs import ExchangeChannel
from services.kit.idempotency import Replies
from services.kit.ids import RandomIds
from services.kit.live import LiveFollower
from services.kit.live_service import LiveServiceSource
from services.kit.live_settings import LiveValues
from services.kit.locks import Locks
from services.kit.paging import PageTokens
from services.kit.secrets import derived_key
from services.recognition.api.servicer import RecognitionServicer
from services.recognition.main.databases import opened_units
from services.recognition.providers.files import UserServiceFiles
from services.recognition.providers.inference import CONTRACT, InferenceOcr
from services.recognition.providers.media import FencedMediaReader
from services.recognition.providers.ocr import OcrPageReader
from services.recognition.providers.pdf import PdfProcesses
from services.recognition.settings import RecognitionSettings
from services.recognition.usecases.erasures import UserErasures
from services.recognition.usecases.recognitions import Recognitions

_SWEEP_SECONDS = 60.0
_ERASURE_SECONDS = 5.0


@asynccontextmanager
async def compose(mesh: Mesh[RecognitionSettings]) -> AsyncIterator[Sequence[Binding]]:
    """Open what the service needs, give its bindings, close it again."""
    settings = mesh.settings
    async with AsyncExitStack() as stack:
        units = await stack.enter_async_context(opened_units(mesh))
        sweep = taking_turns(Locks(mesh.redis), "recognition sweep", 0.9 * _SWEEP_SECONDS, units.sweep)
        await stack.enter_async_context(repeating("sweeping kept replies", _SWEEP_SECONDS, sweep))
        users = await stack.enter_async_context(mesh.channel("user"))
        follower = ErasureFollower(ErasureServiceStub(users), UserErasures(units), mesh.clock)
        await stack.enter_async_context(repeating("following erasures", _ERASURE_SECONDS, follower.follow))
        live = LiveValues()
        settings_follower = LiveFollower(live, LiveServiceSource(users), mesh.redis, mesh.clock)
        await stack.enter_async_context(settings_follower.following())
        inference = await stack.enter_async_context(mesh.exchange("inference", CONTRACT))
        recognitions = Recognitions(
            units=units,
            media=FencedMediaReader(PdfProcesses()),
            reader=OcrPageReader(InferenceOcr(ExchangeChannel(inference), mesh.clock)),
            files=UserServiceFiles(users),
            admission=Admission(
                running=settings.recognition_concurrency,
                waiting_bytes=settings.recognition_waiting_bytes,
                refusal="too many documents are waiting to be read",
            ),
            clock=mesh.clock,
            ids=RandomIds(mesh.clock),
            live=live,
        )
        key = derived_key((settings.keys / "envelope.key").read_bytes(), "recognition page tokens")
        servicer = RecognitionServicer(recognitions, Replies(), PageTokens(key))
        yield [Binding(recognition_service_pb2_grpc.add_RecognitionServiceServicer_to_server, servicer)]
