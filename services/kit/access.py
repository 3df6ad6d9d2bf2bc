"""Who may do what: the roles of requirements.md and the decision whether a principal may call a method."""

from dataclasses import dataclass
from enum import Enum

from services.kit.call import Principal
from services.kit.errors import Internal, PermissionDenied, Unauthenticated

PERMISSIONS = frozenset({"read:user", "write:user", "read:admin", "write:admin", "generate:image", "manage:api_config"})

_FREE = frozenset({"read:user", "generate:image"})
_PAID = _FREE | {"write:user", "manage:api_config"}

ROLES: dict[str, frozenset[str]] = {"FREE": _FREE, "PRO": _PAID, "ENTERPRISE": _PAID, "ADMIN": PERMISSIONS}


class Level(Enum):
    """Who a method is open to; the values are those of `candela.auth.v1.Access.Level`."""

    PUBLIC = 1
    AUTHENTICATED = 2
    PERMISSION = 3
    SERVICE = 4


@dataclass(frozen=True, slots=True)
class Access:
    """A method's access rule. `permission` is one of the six names at level PERMISSION and empty otherwise."""

    level: Level
    permission: str = ""

    def __post_init__(self) -> None:
        if (self.level is Level.PERMISSION) != bool(self.permission):
            raise ValueError(f"level {self.level.name} with permission {self.permission!r}")
        if self.permission and self.permission not in PERMISSIONS:
            raise ValueError(f"no such permission: {self.permission!r}")


def permissions_of(role: str) -> frozenset[str]:
    """Return what a role may do; an unknown role may do nothing."""
    return ROLES.get(role, frozenset())


def check(access: Access | None, principal: Principal | None, scope: str = "") -> None:
    """Refuse a caller that the rule does not admit; `scope` is what an API key needs here, empty where none may call.

    Raises Unauthenticated without a principal and PermissionDenied with the wrong one. A method without a rule is
    refused for everyone. A service that acts for a user is admitted where the user would be by being signed in, and
    never by a permission: a service token carries no role. It is not bound by the scopes of the key that the user
    called it with: what it asks others for is its own work.
    """
    if access is None:
        raise PermissionDenied("this method is open to nobody")
    if access.level is Level.PUBLIC:
        return
    if principal is None:
        raise Unauthenticated("this method needs a signed-in caller", reason="TOKEN_MISSING")
    if principal.api_key and not principal.service:
        _check_scope(scope, principal)
    if access.level is Level.SERVICE:
        admitted = bool(principal.service)
    elif access.level is Level.AUTHENTICATED:
        admitted = bool(principal.user)
    elif access.level is Level.PERMISSION:
        admitted = access.permission in principal.permissions
    else:
        raise Internal(f"level {access.level} has no rule")
    if not admitted:
        _refuse(access)


def _check_scope(scope: str, principal: Principal) -> None:
    if not scope:
        raise PermissionDenied("API keys cannot call this method; log in", metadata={"credential": "api_key"})
    if scope not in principal.scopes:
        raise PermissionDenied(f"this API key lacks the scope {scope}", metadata={"scope": scope})


def _refuse(access: Access) -> None:
    if access.level is Level.PERMISSION:
        metadata = {"permission": access.permission}
        raise PermissionDenied(f"this needs the permission {access.permission}", metadata=metadata)
    who = "another service of the mesh" if access.level is Level.SERVICE else "a user"
    raise PermissionDenied(f"this method is only for {who}")
