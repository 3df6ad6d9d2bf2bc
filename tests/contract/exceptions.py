"""What the contract walk lets pass, each with the reason. An entry that is no longer needed fails the walk."""

from tests.support.contract_rules import Exceptions

EXCEPTIONS = Exceptions(
    without_request_id={
        "candela.user.v1.SessionService.CreateSession": "logging in twice is meant to give two sessions",
        "candela.user.v1.SessionService.RefreshSession": "the refresh token is the key: it rotates and works once",
    },
    without_terminal_event={
        "candela.user.v1.FileService.DownloadFile": "raw bytes have no room for an event; the size of the File says when all are there",
        "candela.user.v1.NotificationService.WatchNotifications": "has no end: it lives until the caller goes away",
    },
    opaque={
        "candela.inference.v1.PixelImage.data": "raw pixels; size and layout stand beside them",
        "candela.recognition.v1.ExtractFormRequest.content": "an image or PDF, told by its first bytes",
        "candela.recognition.v1.FillFormRequest.content": "an image or PDF, told by its first bytes",
        "candela.recognition.v1.RecognizeDocumentRequest.content": "an image or PDF, told by its first bytes",
        "candela.recognition.v1.RecognizePlatesRequest.content": "an image, told by its first bytes",
        "candela.recognition.v1.VideoFrame.content": "an image, told by its first bytes",
        "candela.type.v1.ImageSource.content": "an image, told by its first bytes",
        "candela.user.v1.CreateFileRequest.content": "a file of the user's; its type stands beside it",
        "candela.user.v1.FileService.DownloadFile": "the file as it was uploaded, so that a browser can show it",
        "candela.user.v1.WriteUploadRequest.content": "a piece of a file of the user's",
    },
)
