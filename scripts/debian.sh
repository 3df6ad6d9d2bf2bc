#!/usr/bin/env bash
# Gets the programs of requirements/debian.txt that tests use: `scripts/debian.sh test|long|bench`. Does nothing for those that
# are there. What cannot be had is named in one line, and its tests are then reported as not run.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:?usage: scripts/debian.sh test|long|bench}
home=build/debian
log=build/debian.log
missing=()

has() { [ -x "$home/usr/bin/$1" ] || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

# Package lists are asked for once, and only when something is missing.
refreshed=
refresh() {
    [ -z "$refreshed" ] || return 0
    refreshed=yes
    if [ "$(id -u)" = 0 ]; then apt-get update -qq >>"$log" 2>&1 </dev/null || true; fi
}

install() {
    [ "$(id -u)" = 0 ] || return 1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 </dev/null
}

extract() {
    local package=$1 scratch
    scratch=$(mktemp -d)
    # apt drops root's rights for a download and needs a folder that it may write to.
    chmod 777 "$scratch"
    (cd "$scratch" && apt-get download -qq "$package" >/dev/null 2>&1) || { rm -rf "$scratch"; return 1; }
    mkdir -p "$home"
    dpkg-deb --extract "$scratch"/*.deb "$home"
    rm -rf "$scratch"
}

mkdir -p build
while read -r for_purpose program how packages; do
    if [[ $for_purpose != "$purpose" ]] || has "$program"; then continue; fi
    read -ra wanted <<<"$packages"
    if command -v apt-get >/dev/null; then
        refresh
        printf '==> %sing %s for the tests\n' "$how" "$packages"
        if "$how" "${wanted[@]}" && has "$program"; then continue; fi
    fi
    missing+=("$packages")
done < <(grep -v '^#' requirements/debian.txt)

if [ ${#missing[@]} -gt 0 ]; then
    printf 'Some tests will be reported as not run. For all of them: apt-get install %s\n' "${missing[*]}" >&2
fi
