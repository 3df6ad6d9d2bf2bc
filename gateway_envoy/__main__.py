"""`python -m gateway_envoy`: the same as the console script `envoy-config-tool`."""

import sys

from gateway_envoy.cli import run

if __name__ == "__main__":
    sys.exit(run())
