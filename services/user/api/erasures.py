"""candela.erasure.v1.ErasureService."""

from datetime import UTC
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from candela.erasure.v1 import erasure_pb2, erasure_service_pb2, erasure_service_pb2_grpc
from services.kit.paging import Listing, PageTokens
from services.user.domain.erasures import Erasure
from services.user.usecases.erasures import Erasures


class ErasureApi(erasure_service_pb2_grpc.ErasureServiceServicer):
    """For the other services of the mesh only."""

    def __init__(self, erasures: Erasures, page_tokens: PageTokens) -> None:
        self._erasures = erasures
        self._page_tokens = page_tokens

    async def ListErasures(
        self, request: erasure_service_pb2.ListErasuresRequest, context: Any
    ) -> erasure_service_pb2.ListErasuresResponse:
        after = request.after.ToDatetime(UTC) if request.HasField("after") else None
        listing = Listing("erasures", tenant="", user="", filter="" if after is None else after.isoformat())
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        page = await self._erasures.after(after, wanted)
        return erasure_service_pb2.ListErasuresResponse(
            erasures=[_message(erasure) for erasure in page.items],
            next_page_token=self._page_tokens.write(page.next, listing),
        )


def _message(erasure: Erasure) -> erasure_pb2.Erasure:
    time = Timestamp()
    time.FromDatetime(erasure.time)
    return erasure_pb2.Erasure(tenant=erasure.tenant, user=erasure.user, erase_time=time)
