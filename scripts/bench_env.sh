#!/usr/bin/env bash
# Makes the virtual environments of the servers that `make bench` compares with: `scripts/bench_env.sh [PEER …]`, each in
# build/bench/<peer> from requirements/bench-<peer>.txt. Does nothing for those that fit.
#
# torch, which all of them need for one workload, is installed once (build/bench/torch, requirements/torch.txt) and seen
# by the others through a path file, after their own packages. A peer that cannot be installed is named with the reason,
# which is kept in build/bench/<peer>.unavailable for the bench to show; that is no failure.
set -euo pipefail
cd "$(dirname "$0")/.."

home=$(pwd -P)/build/bench
python=.venv/bin/python

lock_of() { if [ "$1" = torch ]; then echo requirements/torch.txt; else echo "requirements/bench-$1.txt"; fi; }
fingerprint() { { cat "$(lock_of "$1")"; printf '%s\n' "$home/$1"; "$python" -V; } | sha256sum | cut -d' ' -f1; }
fits() { [ -f "$home/$1/.fits" ] && [ "$(cat "$home/$1/.fits")" = "$(fingerprint "$1")" ]; }
site() { "$home/$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

install() {
    local peer=$1 log=$home/$1.log began=$SECONDS
    printf '==> installing %s for the benches\n' "$peer"
    rm -rf "${home:?}/$peer"
    "$python" -m venv "$home/$peer" >"$log" 2>&1 || return 1
    # The lock is complete, so nothing is resolved; every file must have the recorded hash.
    "$home/$peer/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
        --requirement "$(lock_of "$peer")" >>"$log" 2>&1 </dev/null || return 1
    if [ "$peer" != torch ] && [ -x "$home/torch/bin/python" ]; then site torch >"$(site "$peer")/shared-torch.pth"; fi
    fingerprint "$peer" >"$home/$peer/.fits"
    printf '    %s: %s MB, %s s\n' "$peer" "$(du -sm "$home/$peer" | cut -f1)" "$((SECONDS - began))"
}

mkdir -p "$home"
exec 9>"$home/.env.lock"
if command -v flock >/dev/null; then flock 9; fi
[ $# -gt 0 ] || set -- torch litserve mosec bentoml triton
for peer in "$@"; do
    if fits "$peer"; then continue; fi
    if install "$peer"; then
        rm -f "$home/$peer.unavailable"
    else
        rm -rf "${home:?}/$peer"
        { grep -m1 -i '^error' "$home/$peer.log" || tail -n 1 "$home/$peer.log"; } >"$home/$peer.unavailable"
        printf '%s is not available here: %s\n' "$peer" "$(cat "$home/$peer.unavailable")" >&2
    fi
done
