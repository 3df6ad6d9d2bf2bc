#!/bin/sh
# Builds Envoy's configuration from the settings of this container and becomes Envoy.
set -eu

config=$CANDELA_DATA_DIR/run/envoy.yaml
python -m gateway_envoy build --out "$config"
envoy=$(python -c 'from importlib.util import find_spec; print(find_spec("envoy").submodule_search_locations[0])')/_bin/envoy

# Envoy ends at once on SIGTERM and cuts what it is answering: deploy/drain.py runs before (preStop).
exec "$envoy" -c "$config" --disable-hot-restart --concurrency 2 --drain-time-s 5 --drain-strategy immediate \
    --log-level warning
