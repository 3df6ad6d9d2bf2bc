"""The inference server: batched model RPCs over onnxruntime, called only by services of the mesh."""
