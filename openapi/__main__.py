"""The command line: `python -m openapi build --out build/openapi.json`."""

import argparse
import json
import os
import sys
from pathlib import Path

from openapi.contract import Contract, ContractError
from openapi.document import build
from services.kit.implemented import PUBLIC_SERVICES


def main(arguments: list[str] | None = None) -> int:
    """Writes the document; returns 1 when the contract cannot be read or lacks a service that was asked for."""
    options = _parser().parse_args(arguments)
    services = tuple(name.strip() for name in options.services.split(",") if name.strip())
    try:
        document = build(Contract.read(options.descriptors), services)
    except ContractError as error:
        print(error, file=sys.stderr)
        return 1
    _write(options.out, json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m openapi", description="Makes the OpenAPI document of the mesh.")
    build_parser = parser.add_subparsers(required=True, metavar="command").add_parser(
        "build", help="write the document"
    )
    build_parser.add_argument("--descriptors", type=Path, default=Path("build/candela-public.binpb"))
    build_parser.add_argument("--out", type=Path, default=Path("build/openapi.json"))
    build_parser.add_argument(
        "--services", default=",".join(PUBLIC_SERVICES), help="full names of the services that are deployed"
    )
    return parser


def _write(path: Path, text: str) -> None:
    """Replaces the file in one step, so that a gateway that starts meanwhile reads a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


if __name__ == "__main__":
    sys.exit(main())
