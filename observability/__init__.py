"""Traces, metrics and logs of every process: how they are set up, and what they are called."""
