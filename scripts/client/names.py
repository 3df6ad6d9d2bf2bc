"""What is called how. Everything follows from the contract's paths but for the exceptions named here.

`POST /v1/documents:recognize` is `client.documents.recognize`: the last collection of a path is the attribute of the
client, the verb behind the colon the method, and without one the first word of the RPC's name (`get`, `list`,
`register`). Methods without a path of their own under /v1 are found by the name of their service.
"""

import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scripts.client.contract import Rpc

# Methods whose name by rule would say too little or is wanted by something better.
RENAMED: Final = {
    "candela.recognition.v1.PlateService/RecognizePlateVideo": "recognize_video",
    "candela.user.v1.AnnouncementService/ListAllAnnouncements": "list_all",
    "candela.user.v1.FileService/DownloadFile": "read",
    "candela.user.v1.SessionService/DeleteSession": "revoke",
    "candela.user.v1.SystemConfigService/ListSystemConfigVersions": "list_versions",
}

# Services whose methods have no collection in their path, where the plural of the service's name would read badly.
COLLECTIONS: Final = {"OpenAiService": "openai"}

# Collections to which the client adds methods of its own, and the module with both classes.
EXTENDED: Final = {"files": "candela.files", "users": "candela.users"}

# Seconds that a call may take over all attempts where the usual 30 are too few.
TIMEOUTS: Final = {
    "candela.recognition.v1.RecognitionService/RecognizeDocument": 120.0,
    "candela.recognition.v1.FormService/ExtractForm": 120.0,
    "candela.recognition.v1.FormService/FillForm": 120.0,
    "candela.recognition.v1.PlateService/BatchRecognizePlates": 120.0,
    "candela.user.v1.AuditService/VerifyAuditLog": 300.0,
    "candela.payment.v1.LedgerAdminService/VerifyLedger": 300.0,
    "candela.user.v1.FileService/CreateFile": 120.0,
    "candela.user.v1.FileService/WriteUpload": 120.0,
    "candela.user.v1.FileService/CompleteUpload": 120.0,
}

_VARIABLE: Final = re.compile(r"\{[\w.]+(?:=([^}]*))?\}")


@dataclass(frozen=True, order=True)
class Name:
    """Where a method is on the client: `client.<collection>.<method>`."""

    collection: str
    method: str

    @property
    def class_name(self) -> str:
        """The name of the class behind `client.<collection>`."""
        return "".join(part.capitalize() for part in self.collection.split("_"))


def name_of(rpc: Rpc) -> Name:
    """Returns a method's place on the client."""
    collection, verb = _by_path(rpc.path)
    if not collection:
        collection = COLLECTIONS.get(rpc.service) or _plural(snake(rpc.service.removesuffix("Service")))
        verb = snake(rpc.name)
    method = RENAMED.get(rpc.full_name) or verb or snake(rpc.name).partition("_")[0]
    return Name(collection, f"{method}_" if keyword.iskeyword(method) else method)


def placed(rpcs: Iterable[Rpc]) -> dict[Name, Rpc]:
    """Returns every method by its place.

    Where two would be at one place, as in two versions of a package, the later one's collection begins with its package
    (`user_v2_sessions`). Raises ValueError when that is no help.
    """
    places: dict[Name, Rpc] = {}
    for rpc in rpcs:
        name = name_of(rpc)
        if name in places:
            package = rpc.file.package.removeprefix("candela.").replace(".", "_")
            name = Name(f"{package}_{name.collection}", name.method)
        if name in places:
            raise ValueError(f"client.{name.collection}.{name.method} is {places[name].full_name} and {rpc.full_name}")
        places[name] = rpc
    return places


def snake(name: str) -> str:
    """Returns `recognizePlates` or `RecognizePlates` as `recognize_plates`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _by_path(path: str) -> tuple[str, str]:
    if not path.startswith("/v1/"):
        return "", ""
    plain = _VARIABLE.sub(lambda match: match.group(1) or "*", path.removeprefix("/v1/"))
    segments, _, verb = plain.partition(":")
    collections = [segment for segment in segments.split("/") if segment not in ("*", "me")]
    return snake(collections[-1]), snake(verb)


def _plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
