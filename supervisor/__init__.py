"""The supervisor: starts the whole mesh on one machine, watches it, and stops it without leaving anything behind."""
