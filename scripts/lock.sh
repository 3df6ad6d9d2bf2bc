#!/usr/bin/env bash
# Resolves requirements/{run,dev}.in into lock files with hashes. Uses an environment of its own; see requirements/lock.in.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=build/lock-venv
if ! [ -x "$venv/bin/pip-compile" ] || ! "$venv/bin/pip-compile" --version >/dev/null 2>&1; then
    rm -rf "$venv"
    .venv/bin/python -m venv "$PWD/$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement requirements/lock.in
fi

# rapidocr asks for opencv-python, which needs a display; opencv-python-headless is the same module without one.
# Where packages come from is the machine's business, so no registry is written into the locks.
for purpose in run dev; do
    "$venv/bin/pip-compile" --quiet --generate-hashes --strip-extras --allow-unsafe --unsafe-package opencv-python \
        --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
        "$@" --output-file "requirements/$purpose.txt" "requirements/$purpose.in"
done
