"""Triton's settings of traces and logs, which are start-up settings here, and shared memory, which is not mapped."""

import logging
import math
from typing import Any, Final

from inference_server.settings import InferenceSettings
from kserve import grpc_service_pb2
from services.kit.errors import CandelaError, Unimplemented

_TraceValue = grpc_service_pb2.TraceSettingResponse.SettingValue
_LogValue = grpc_service_pb2.LogSettingsResponse.SettingValue
_UNLIMITED: Final = "-1"


def trace_settings(settings: InferenceSettings) -> grpc_service_pb2.TraceSettingResponse:
    """Return how calls are traced. `trace_rate` is one in how many, 0 for none; what callers decided goes first."""
    ratio = settings.trace_sampling_ratio
    values = {
        "trace_mode": "opentelemetry",
        "trace_level": "TIMESTAMPS" if ratio else "OFF",
        "trace_rate": str(math.ceil(1 / ratio)) if ratio else "0",
        "trace_count": _UNLIMITED,
        "trace_file": "",
        "log_frequency": "0",
    }
    return grpc_service_pb2.TraceSettingResponse(
        settings={name: _TraceValue(value=[value]) for name, value in values.items()}
    )


def log_settings(settings: InferenceSettings) -> grpc_service_pb2.LogSettingsResponse:
    """Return what is logged, in Triton's words."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    values = {
        "log_file": _LogValue(string_param=""),
        "log_info": _LogValue(bool_param=level <= logging.INFO),
        "log_warning": _LogValue(bool_param=level <= logging.WARNING),
        "log_error": _LogValue(bool_param=True),
        "log_verbose_level": _LogValue(uint32_param=1 if level <= logging.DEBUG else 0),
        "log_format": _LogValue(string_param="ISO8601"),
    }
    return grpc_service_pb2.LogSettingsResponse(settings=values)


def refuse_changes(request: Any, variable: str) -> None:
    """Refuse to change what is settled when the process starts: one caller would change it for all."""
    if request.settings:
        raise Unimplemented(
            f"these settings can be read and not changed here: {variable} says them when the server starts",
            metadata={"setting": variable},
        )


def no_shared_memory(kind: str) -> CandelaError:
    """Return why a region cannot be registered."""
    return Unimplemented(
        f"{kind} shared memory is not supported: this server maps no memory that callers name; send the bytes in the "
        "message"
    )
