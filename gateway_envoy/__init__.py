"""The gateway: builds the configuration that turns a stock Envoy into the mesh's edge and internal proxy."""
