"""Benches of the inference server: workloads, the servers that it is compared with, load, and what must hold."""
