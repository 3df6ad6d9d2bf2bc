"""onnxruntime sessions: the device, the threads, and nothing chosen silently. Imported when a model is loaded."""

from collections.abc import Mapping, Sequence

import onnxruntime

from inference_server.models import onnx_file
from inference_server.models.device import Runtime
from inference_server.models.formats import Format, require
from inference_server.models.weights import WeightsError

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"


def open_session(
    weights: bytes, runtime: Runtime, *, threads: int, beside: Mapping[str, bytes] | None = None
) -> onnxruntime.InferenceSession:
    """Open a session that splits one run over `threads` threads.

    `beside` has the files that the model keeps weights in, by the names it calls them; onnxruntime never opens one by
    itself. Raises WeightsError for bytes that are no model, for a file that is not among those, or when CUDA was asked
    for and is not there: a server that fell back to the CPU by itself would be up and far too slow.
    """
    if not runtime.on_cpu and _CUDA not in onnxruntime.get_available_providers():
        raise WeightsError("CANDELA_DEVICE is cuda, and this onnxruntime is built without CUDA")
    require(weights, Format.ONNX)
    options = _options(threads)
    _give(options, onnx_file.parse(weights).external, beside or {})
    try:
        session = onnxruntime.InferenceSession(weights, options, providers=_providers(runtime))
    except Exception as error:  # onnxruntime's pybind exceptions have no other common base
        raise WeightsError(f"onnxruntime refuses the model: {error}") from error
    if not runtime.on_cpu and session.get_providers()[0] != _CUDA:
        raise WeightsError("CANDELA_DEVICE is cuda, and no CUDA device works here")
    return session


def frugal(runtime: Runtime) -> onnxruntime.RunOptions:
    """Return the options of a run that gives its memory back to the system when it ends.

    Pages and lines come in hundreds of shapes, and the arena would keep the most that any of them needed: measured over
    40 pages, the server stays below 800 MB instead of 1.5 GB; a line then takes 9 % more CPU, a page's detection 25 %.
    """
    options = onnxruntime.RunOptions()
    if runtime.on_cpu:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _give(options: onnxruntime.SessionOptions, wanted: set[str], beside: Mapping[str, bytes]) -> None:
    """Hand over the files that the model asks for; without this onnxruntime would look in the working directory."""
    missing = wanted - beside.keys()
    if missing:
        raise WeightsError(f"the model keeps weights in files that did not come with it: {', '.join(sorted(missing))}")
    if wanted:
        names = sorted(wanted)
        buffers = [beside[name] for name in names]
        options.add_external_initializers_from_files_in_memory(names, buffers, [len(one) for one in buffers])


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The arena keeps freed tensors; without it every run pays page faults for tens of megabytes (measured: 25 to 40 %).
    options.enable_cpu_mem_arena = True
    # A plan is kept for each input shape, and there are hundreds of shapes: costs memory and gains nothing here.
    options.enable_mem_pattern = False
    # Threads that spin while they wait take the cores from the other processes of a small machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _providers(runtime: Runtime) -> Sequence[tuple[str, dict[str, str]]]:
    cpu = (_CPU, {"arena_extend_strategy": "kSameAsRequested"})
    # EXHAUSTIVE, CUDA's default, tries every convolution algorithm anew for each of hundreds of shapes.
    if runtime.on_cpu:
        return [cpu]
    return [(_CUDA, {"cudnn_conv_algo_search": "HEURISTIC", "device_id": str(runtime.index)}), cpu]
