"""Networks in PyTorch: the code is ours, the weights are safetensors or GGUF. Imports torch, so it is imported late."""
