"""Tests of what this repository promises about its own shape: contracts, imports, generated files and commands."""
