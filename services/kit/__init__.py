"""What every Candela server shares: bootstrap, interceptors, errors, settings, units of work, clock."""

import os

# Before anything imports grpc, which reads it then. Its fork handlers start threads in a child between fork and exec
# (uvloop forks, it does not vfork): every second child crashed before it became its program, and the parent could hang.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
