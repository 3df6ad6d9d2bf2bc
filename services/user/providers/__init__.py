"""Adapters to the outside: bcrypt, keys, Redis, metrics."""
