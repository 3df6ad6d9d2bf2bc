"""`python -m supervisor token`: a service token for people who call a server of the mesh with a client of their own.

Whoever may read the mesh key may do what a service may; this signs for them, for five minutes, in a name that the logs
and the statistics show.
"""

import sys

from services.kit.ports_plan import SERVICE_OFFSETS
from supervisor.datadir import DataDir

CALLEES = tuple(SERVICE_OFFSETS)


def print_token(data: DataDir, callee: str, caller: str) -> int:
    """Print a token that lets `caller` call `callee` and return the exit status, 1 without a readable mesh key."""
    # 0.1 s of imports that no other command needs.
    from services.kit.clock import SystemClock  # noqa: PLC0415 - see above
    from services.kit.keys import MESH_KEY, SigningKey  # noqa: PLC0415 - see above
    from services.kit.tokens import sign_service_token  # noqa: PLC0415 - see above

    try:
        key = SigningKey.load(data.keys / MESH_KEY)
    except (OSError, ValueError) as error:
        print(f"there is no mesh key to sign with: {error}; `make run` makes one", file=sys.stderr)
        return 1
    print(sign_service_token(key, caller, callee, None, SystemClock()))
    return 0
