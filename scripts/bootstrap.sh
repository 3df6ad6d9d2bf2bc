#!/usr/bin/env bash
# Makes the virtual environment fit one lock file: `scripts/bootstrap.sh run|dev`. Does nothing when it already fits.
#
# The environment is made anew when an installation was interrupted, when the checkout was moved or copied (the
# programs in a virtual environment name absolute paths), or when the Python it was made with is gone.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:?usage: scripts/bootstrap.sh run|dev}
venv=.venv
lock=requirements/$purpose.txt
home=$(pwd -P)/$venv
installing=$venv/.installing
log=build/install-$purpose.log

say() { if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[36m==>\033[0m %s\n' "$1"; else printf '==> %s\n' "$1"; fi; }
fail() { if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[31m%s\033[0m\n' "$1" >&2; else printf '%s\n' "$1" >&2; fi; exit 1; }

# Ctrl-C is no failure to explain; the next run sees what was left unfinished.
trap 'exit 130' INT

# What the environment must match: the lock, where it lies and which Python made it.
fingerprint() { { cat "$1"; printf '%s\n' "$home"; "$venv/bin/python" -V; } 2>/dev/null | sha256sum | cut -d' ' -f1; }
fits() { [ -f "$venv/.fits-$1" ] && [ "$(cat "$venv/.fits-$1")" = "$(fingerprint "requirements/$1.txt")" ]; }
usable() { [ ! -e "$installing" ] && grep -qsxF "command = $(made_with) -m venv $home" "$venv/pyvenv.cfg" && "$venv/bin/python" -c 'import pip' 2>/dev/null; }
made_with() { sed -n 's/^command = \(.*\) -m venv .*$/\1/p' "$venv/pyvenv.cfg" 2>/dev/null; }

recent_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}
complete() { [ -n "$1" ] && "$1" -c 'import venv, ensurepip' 2>/dev/null; }

# Sets `python` to one that can make virtual environments. As root on Debian and Ubuntu what lacks is installed.
find_python() {
    python=$(recent_python)
    complete "$python" && return
    local packages="python3.11 python3.11-venv"
    if [ -n "$python" ]; then
        packages=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $packages"
        # shellcheck disable=SC2086 # a list of package names
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } \
            >"$log" 2>&1 </dev/null || { tail -n 5 "$log" >&2; }
        hash -r
        python=$(recent_python)
        complete "$python" && return
    fi
    fail "Candela needs Python 3.11 or newer with venv and pip: apt-get install $packages"
}

# The program that [project.scripts] names, for a checkout that is not installed as a package.
envoy_config_tool() {
    local root=${home%/*} tool=$venv/bin/envoy-config-tool
    printf '#!/bin/sh\nPYTHONPATH="%s:%s/clients/python/src" exec "%s/bin/python" -m gateway_envoy "$@"\n' \
        "$root" "$root" "$home" >"$tool"
    chmod +x "$tool"
}

install() {
    if ! usable; then
        find_python
        say "making the virtual environment with $("$python" -V)"
        rm -rf "$venv"
        "$python" -m venv "$home" || fail "The virtual environment could not be made; see the lines above."
    fi
    say "installing $(grep -c '==' "$lock") pinned packages from $lock"
    rm -f "$venv"/.fits-*
    touch "$installing"
    # The lock is complete, so nothing is resolved; every file must have the recorded hash.
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
        --requirement "$lock" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        fail "The packages of $lock could not be installed; the whole output is in $log."
    fi
    envoy_config_tool
    fingerprint "$lock" >"$venv/.fits-$purpose"
    # Whoever has what the tests need has what a run needs.
    [ "$purpose" = run ] || fingerprint requirements/run.txt >"$venv/.fits-run"
    rm -f "$installing"
}

mkdir -p build
exec 9>build/.bootstrap.lock
if command -v flock >/dev/null; then flock 9; fi # `make -j run test` asks for both at once
fits "$purpose" && [ ! -e "$installing" ] || install
