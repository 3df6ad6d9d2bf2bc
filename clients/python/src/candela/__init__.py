"""Candela's Python client and the code generated from its contracts."""
