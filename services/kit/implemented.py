"""Which services of the public contract this repository implements, in the order of the documentation.

The one list behind the OpenAPI document, the client's methods and the conformance suite: a service that is not named
here is contract only. tests/conformance compares it with what the running servers say of themselves.
"""

from typing import Final

PUBLIC_SERVICES: Final = (
    "candela.user.v1.UserService",
    "candela.user.v1.SessionService",
    "candela.user.v1.ApiKeyService",
    "candela.user.v1.FileService",
    "candela.user.v1.AnnouncementService",
    "candela.user.v1.UserAdminService",
    "candela.user.v1.AuditService",
    "candela.user.v1.SystemConfigService",
    "candela.recognition.v1.RecognitionService",
)
