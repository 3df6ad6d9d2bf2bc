"""What the contract walk lets pass, each with the reason. An entry that is no longer needed fails the walk."""

from tests.support.contract_rules import Exceptions

_RAW = "raw bytes have no room for an event; the size of the resource says when all are there"
_OPENAI_KEY = "a raw body; the header `Idempotency-Key` carries the id"
_STATE = "says which state is wanted: a repeat changes nothing more"
_OPENAI_BODY = "OpenAI's own JSON, which ProtoJSON cannot write; candela.openai.v1 describes it"

EXCEPTIONS = Exceptions(
    without_request_id={
        "candela.inference.v1.ModelService.LoadModel": _STATE,
        "candela.inference.v1.ModelService.UnloadModel": _STATE,
        "candela.openai.v1.OpenAiService.CreateChatCompletion": _OPENAI_KEY,
        "candela.openai.v1.OpenAiService.CreateEmbeddings": _OPENAI_KEY,
        "candela.openai.v1.OpenAiService.GenerateImages": _OPENAI_KEY,
        "candela.payment.v1.CallbackService.ReceiveCallback": "the provider's own number is the key",
        "candela.user.v1.SessionService.CreateSession": "logging in twice is meant to give two sessions",
        "candela.user.v1.SessionService.RefreshSession": "the refresh token is the key: it rotates and works once",
    },
    without_terminal_event={
        "candela.generation.v1.GalleryService.DownloadImage": _RAW,
        "candela.openai.v1.OpenAiService.CreateChatCompletion": "OpenAI's streams end in `[DONE]`",
        "candela.inference.v1.ExchangeService.Exchange": "has no end, and every call on it has its own last reply",
        "candela.payment.v1.BalanceService.WatchBalance": "has no end: it lives until the caller goes away",
        "candela.user.v1.FileService.DownloadFile": _RAW,
        "candela.user.v1.NotificationService.WatchNotifications": "has no end: it lives until the caller goes away",
    },
    opaque={
        "candela.generation.v1.GalleryService.DownloadImage": "the picture itself, so that a browser can show it",
        "candela.generation.v1.ImageProgress.preview": "a JPEG",
        "candela.openai.v1.OpenAiService.CreateChatCompletion": _OPENAI_BODY,
        "candela.openai.v1.OpenAiService.CreateEmbeddings": _OPENAI_BODY,
        "candela.openai.v1.OpenAiService.GenerateImages": _OPENAI_BODY,
        "candela.openai.v1.OpenAiService.GetModel": _OPENAI_BODY,
        "candela.openai.v1.OpenAiService.GetModels": _OPENAI_BODY,
        "candela.identity.v1.LookUpKeyRequest.digest": "a SHA-256",
        "candela.inference.v1.Embedding.values": "32-bit floats; how many stands beside them",
        "candela.inference.v1.PixelImage.data": "raw pixels; size and layout stand beside them",
        "candela.payment.v1.CallbackService.ReceiveCallback": "the answer that each provider wants in its own form",
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
