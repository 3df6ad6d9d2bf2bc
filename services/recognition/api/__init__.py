"""The gRPC face of the recognition service: messages in, messages out, nothing else."""
