#!/bin/sh
# Installs the Debian packages that building and testing (`build`), the larger comparisons
# (`bench`) or fuzzing (`fuzz`) need. Says nothing and changes nothing when all of them are there.
set -eu

cd "$(dirname "$0")/.."
stamp=build/.deps-${1:-}

case "${1:-}" in
build)
    packages="gcc make pkg-config libwebsockets-dev libwebsockets-evlib-ev libev-dev
        libcurl4-openssl-dev libssl-dev libcjson-dev libyaml-dev libcunit1-dev uthash-dev
        clang libclang-rt-14-dev clang-format clang-tidy cppcheck curl git
        python3 python3-websockets python3-aiohttp python3-cryptography node-ws
        tcpdump"
    command -v node >/dev/null || packages="$packages nodejs" # any node will do
    ;;
bench)
    packages="python3-aiohttp linux-perf wrk"
    ;;
fuzz)
    packages="gcc make clang libclang-rt-14-dev llvm-14 patch libwebsockets-dev libev-dev
        libcurl4-openssl-dev libssl-dev libcjson-dev libyaml-dev uthash-dev"
    ;;
*)
    echo "usage: $0 build|bench|fuzz" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    [ -e "$stamp" ] || echo "deps: not a Debian system; needed are:" $packages >&2
    mkdir -p build && : >"$stamp"
    exit 0
fi

installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null || true)
missing=
for package in $packages; do
    case "
$installed
" in
    *"
$package installed
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || [ ! -e "$stamp" ] || exit 0

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

mkdir -p build
if [ -n "$missing" ]; then
    echo "deps: installing$missing"
    rm -f "$stamp"
    # An update that fails (offline, one mirror down) may still leave usable lists.
    apt update >build/deps.log 2>&1 || true
    if ! apt install --no-install-recommends $missing >>build/deps.log 2>&1; then
        cat build/deps.log >&2
        echo "deps: could not install$missing" >&2
        exit 1
    fi
fi

# Installed is not yet usable: another python or node may stand first on the path.
prove() {
    "$@" >build/deps.log 2>&1 && return
    cat build/deps.log >&2
    echo "deps: this should work and does not: $*" >&2
    exit 1
}

if [ "$1" = fuzz ]; then
    prove llvm-profdata-14 merge --help
    prove llvm-cov-14 export --help
fi
if [ "$1" = build ]; then
    prove pkg-config --exists libwebsockets libcurl libcrypto libcjson yaml-0.1
    prove /usr/bin/python3 -c 'import websockets, aiohttp'
    prove env NODE_PATH=/usr/share/nodejs node -e 'require("ws")'
fi
: >"$stamp"
