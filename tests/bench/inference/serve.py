"""Our server with the models of workloads in place of its own: `python -m tests.bench.inference.serve WORKLOAD …`.

It is the whole process that `python -m inference_server.main` is, with its pipeline, metrics, access log and spans.
`--any-length` lets items have any number of bytes, a shape of its own each; `--max-batch=8` is another limit than the
workload's.
"""

import argparse
from dataclasses import replace
from functools import partial

from inference_server.main import compose_with
from inference_server.settings import InferenceSettings
from services.kit.bootstrap import run
from tests.bench.inference.models import source
from tests.bench.inference.works import WORKLOADS

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+", choices=WORKLOADS)
    parser.add_argument("--any-length", action="store_true")
    parser.add_argument("--max-batch", type=int, default=0)
    options = parser.parse_args()
    workloads = [WORKLOADS[name] for name in options.names]
    if options.max_batch:
        workloads = [replace(one, max_batch=options.max_batch) for one in workloads]
    run(InferenceSettings, partial(compose_with, [source(workloads, any_length=options.any_length)]))
