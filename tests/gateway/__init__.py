"""The gateway against the real Envoy, with small real gRPC servers behind it."""
