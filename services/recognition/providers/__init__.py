"""Adapters to the outside: readers of untrusted media and the models of the inference server."""
