"""Tests of Candela: unit, contract, conformance, gateway, end-to-end, chaos and bench, and what they share."""
