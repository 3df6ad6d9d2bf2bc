"""The scheduler on simulated time."""
