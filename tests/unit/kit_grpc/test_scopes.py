"""What API keys may call: stated for every public method, closed by default."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from services.kit.access import Access, Level, check, permissions_of
from services.kit.call import Principal
from services.kit.errors import PermissionDenied
from services.kit.key_service import key_principal
from services.kit.scopes import CHAT, FILES, GENERATION, PAYMENT_READ, RECOGNITION, SCOPES, scope_of

PUBLIC = Path(__file__).parents[3] / "build" / "candela-public.binpb"
READ_ONLY = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS

# Every public service, and the scope that its methods need; empty: none of them is open to keys.
STATED = {
    "candela.chat.v1.ConversationService": CHAT,
    "candela.chat.v1.KnowledgeService": CHAT,
    "candela.chat.v1.MessageService": CHAT,
    "candela.generation.v1.ApiConfigService": GENERATION,
    "candela.generation.v1.GalleryService": GENERATION,
    "candela.generation.v1.GenerationJobService": GENERATION,
    "candela.generation.v1.ImageGenerationService": GENERATION,
    "candela.generation.v1.StyleTagService": GENERATION,
    "candela.openai.v1.OpenAiService": CHAT,
    "candela.payment.v1.BalanceService": PAYMENT_READ,
    "candela.payment.v1.CallbackService": "",
    "candela.payment.v1.CatalogueService": PAYMENT_READ,
    "candela.payment.v1.LedgerAdminService": "",
    "candela.payment.v1.OrderService": "",
    "candela.recognition.v1.AnalysisService": RECOGNITION,
    "candela.recognition.v1.EncryptedRecognitionService": RECOGNITION,
    "candela.recognition.v1.FormService": RECOGNITION,
    "candela.recognition.v1.PlateService": RECOGNITION,
    "candela.recognition.v1.RecognitionJobService": RECOGNITION,
    "candela.recognition.v1.RecognitionService": RECOGNITION,
    "candela.user.v1.AnnouncementService": "",
    "candela.user.v1.ApiKeyService": "",
    "candela.user.v1.AuditService": "",
    "candela.user.v1.FileService": FILES,
    "candela.user.v1.NotificationService": "",
    "candela.user.v1.PersonalDataService": "",
    "candela.user.v1.SessionService": "",
    "candela.user.v1.SystemConfigService": "",
    "candela.user.v1.TenantService": "",
    "candela.user.v1.UserAdminService": "",
    "candela.user.v1.UserService": "",
    "candela.user.v1.VerificationService": "",
}
EXCEPTIONS = {
    "candela.openai.v1.OpenAiService/GenerateImages": GENERATION,
    "candela.payment.v1.CatalogueService/UpdatePlan": "",
    "candela.payment.v1.CatalogueService/UpdatePackage": "",
    "candela.payment.v1.CatalogueService/SetPrice": "",
}


def public_methods() -> list[tuple[str, str, bool]]:
    """Return service, method and whether it only reads, of the whole public contract."""
    files = descriptor_pb2.FileDescriptorSet.FromString(PUBLIC.read_bytes()).file
    return [
        (f"{file.package}.{service.name}", method.name, method.options.idempotency_level == READ_ONLY)
        for file in files
        if file.package.startswith("candela.")
        for service in file.service
        for method in service.method
    ]


METHODS = public_methods()


def stated(service: str, method: str) -> str:
    return EXCEPTIONS.get(f"{service}/{method}", STATED[service])


def test_every_public_service_is_stated_here() -> None:
    assert {service for service, _, _ in METHODS} == set(STATED)
    assert {name.partition("/")[0] for name in EXCEPTIONS} <= set(STATED)


@pytest.mark.parametrize(("service", "method", "read_only"), METHODS, ids=[f"{s}/{m}" for s, m, _ in METHODS])
def test_a_key_calls_what_its_scopes_name_and_nothing_else(service: str, method: str, read_only: bool) -> None:
    needed = scope_of(service, method, read_only=read_only)
    assert needed == stated(service, method)
    for scope in SCOPES:
        key = Principal("default", user="u1", api_key="k1", scopes=frozenset({scope}))
        if needed and scope == needed:
            check(Access(Level.AUTHENTICATED), key, needed)
            continue
        with pytest.raises(PermissionDenied) as refused:
            check(Access(Level.AUTHENTICATED), key, needed)
        assert refused.value.reason == "PERMISSION_DENIED"
        assert refused.value.metadata == ({"scope": needed} if needed else {"credential": "api_key"})


def test_a_method_of_a_service_that_is_yet_to_come_is_closed() -> None:
    assert scope_of("candela.user.v2.FileService", "GetFile", read_only=True) == ""
    assert scope_of("candela.identity.v1.KeyService", "LookUpKey", read_only=True) == ""
    assert scope_of("grpc.health.v1.Health", "Check", read_only=True) == ""


def test_an_admins_key_is_no_admin() -> None:
    key = key_principal(tenant="t", user="u", key="k", role="ADMIN", scopes=sorted(SCOPES), requests_per_minute=0)
    assert key.permissions == permissions_of("PRO")
    with pytest.raises(PermissionDenied):
        check(Access(Level.PERMISSION, "read:admin"), key, RECOGNITION)
    check(Access(Level.PERMISSION, "generate:image"), key, GENERATION)


def test_a_service_that_acts_for_a_key_is_not_bound_by_its_scopes() -> None:
    acting = Principal("default", user="u1", api_key="k1", service="recognition")
    check(Access(Level.AUTHENTICATED), acting, FILES)
    check(Access(Level.SERVICE), acting, "")


def test_a_key_does_not_enter_where_services_do() -> None:
    key = Principal("default", user="u1", api_key="k1", scopes=SCOPES)
    with pytest.raises(PermissionDenied):
        check(Access(Level.SERVICE), key, "")
