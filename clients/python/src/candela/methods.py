"""The methods that Client and AsyncClient offer by name. Others are called through `Method.of` and `client.call`."""

from typing import Final

from google.protobuf import empty_pb2

from candela.method import Method
from candela.recognition.v1 import recognition_pb2, recognition_service_pb2
from candela.user.v1 import session_pb2, session_service_pb2, user_pb2, user_service_pb2

_USERS: Final = user_service_pb2.DESCRIPTOR
_SESSIONS: Final = session_service_pb2.DESCRIPTOR
_RECOGNITIONS: Final = recognition_service_pb2.DESCRIPTOR

# Reading a document of many pages takes longer than anything else here.
_RECOGNIZE_TIMEOUT: Final = 120.0

REGISTER_USER: Final = Method.of(
    _USERS, "UserService.RegisterUser", user_service_pb2.RegisterUserRequest, user_pb2.User
)
GET_USER: Final = Method.of(_USERS, "UserService.GetUser", user_service_pb2.GetUserRequest, user_pb2.User)
UPDATE_USER: Final = Method.of(_USERS, "UserService.UpdateUser", user_service_pb2.UpdateUserRequest, user_pb2.User)
CHANGE_PASSWORD: Final = Method.of(
    _USERS, "UserService.ChangePassword", user_service_pb2.ChangePasswordRequest, empty_pb2.Empty
)
DELETE_USER: Final = Method.of(_USERS, "UserService.DeleteUser", user_service_pb2.DeleteUserRequest, empty_pb2.Empty)

CREATE_SESSION: Final = Method.of(
    _SESSIONS, "SessionService.CreateSession", session_service_pb2.CreateSessionRequest, session_pb2.SessionGrant
)
LIST_SESSIONS: Final = Method.of(
    _SESSIONS,
    "SessionService.ListSessions",
    session_service_pb2.ListSessionsRequest,
    session_service_pb2.ListSessionsResponse,
)
DELETE_SESSION: Final = Method.of(
    _SESSIONS, "SessionService.DeleteSession", session_service_pb2.DeleteSessionRequest, empty_pb2.Empty
)

RECOGNIZE_DOCUMENT: Final = Method.of(
    _RECOGNITIONS,
    "RecognitionService.RecognizeDocument",
    recognition_service_pb2.RecognizeDocumentRequest,
    recognition_pb2.Recognition,
    timeout=_RECOGNIZE_TIMEOUT,
)
LIST_RECOGNITIONS: Final = Method.of(
    _RECOGNITIONS,
    "RecognitionService.ListRecognitions",
    recognition_service_pb2.ListRecognitionsRequest,
    recognition_service_pb2.ListRecognitionsResponse,
)
GET_RECOGNITION: Final = Method.of(
    _RECOGNITIONS,
    "RecognitionService.GetRecognition",
    recognition_service_pb2.GetRecognitionRequest,
    recognition_pb2.Recognition,
)
DELETE_RECOGNITION: Final = Method.of(
    _RECOGNITIONS,
    "RecognitionService.DeleteRecognition",
    recognition_service_pb2.DeleteRecognitionRequest,
    empty_pb2.Empty,
)
