"""The typed RPCs of the inference server: each is an Operation, served by a unary method and over Exchange alike."""
