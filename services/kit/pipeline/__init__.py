"""The stages that every call passes, in order: telemetry, errors, authentication, access, validation, deadline.

Each stage is a file of plain functions over a method's facts, headers and messages, usable without gRPC; interceptor.py
composes them once per method for the four RPC shapes.
"""
