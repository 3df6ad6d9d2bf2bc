"""What the contract walk lets pass, each with the reason. An entry that is no longer needed fails the walk."""

from tests.support.contract_rules import Exceptions

EXCEPTIONS = Exceptions(
    without_request_id={
        "candela.user.v1.SessionService.CreateSession": "logging in twice is meant to give two sessions",
        "candela.user.v1.SessionService.RefreshSession": "the refresh token is the key: it rotates and works once",
    },
    without_terminal_event={},
    opaque={
        "candela.inference.v1.PixelImage.data": "raw pixels; size and layout stand beside them",
        "candela.recognition.v1.RecognizeDocumentRequest.content": "an image or PDF told by its first bytes",
    },
)
