#!/usr/bin/env bash
# Puts PyTorch's CPU build into the virtual environment: `scripts/torch.sh` fails where that build cannot be had,
# `scripts/torch.sh --if-possible` says so in one line. Does nothing when a PyTorch is there, whichever build it is:
# who has a GPU installs their own (docs/development.md).
#
# pip takes the build from wherever it looks (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL) if it has the recorded hash; a build of
# another name, such as the one of several gigabytes on PyPI, is never considered.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
lock=requirements/torch.txt
log=build/install-torch.log
pin=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$lock")

trap 'exit 130' INT
mkdir -p build
exec 9>build/.bootstrap.lock
if command -v flock >/dev/null; then flock 9; fi # nobody else changes the environment meanwhile

"$python" -c 'from importlib.metadata import version; version("torch")' 2>/dev/null && exit 0

# Looked for on its own first, so that nothing is fetched in vain. What pip finds is not unpacked yet.
if ! "$python" -m pip install --dry-run --quiet --disable-pip-version-check --no-input --no-deps "$pin" \
    >"$log" 2>&1 </dev/null; then
    grep -q 'No matching distribution' "$log" || tail -n 5 "$log" >&2
    printf '%s cannot be had on this machine: what needs PyTorch will be reported as not run.\n' "$pin" >&2
    [ "${1:-}" = --if-possible ] && exit 0
    exit 1
fi
printf '==> installing PyTorch (%s and what it needs) from %s\n' "$pin" "$lock"
if ! "$python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
    --requirement "$lock" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    printf 'The packages of %s could not be installed; the whole output is in %s.\n' "$lock" "$log" >&2
    exit 1
fi
