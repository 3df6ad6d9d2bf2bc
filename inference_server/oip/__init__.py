"""The Open Inference Protocol v2 (KServe's `inference.GRPCInferenceService`) with Triton's extensions."""
