"""`python -m gateway_envoy`: the same as the console script `envoy-config-tool`."""

import sys

from gateway_envoy.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
