#!/usr/bin/env bash
# Builds the modules for browsers and Node.js, the verifier, the client and the reader of slices: verifier-wasm/npm/wasm/.
# Does nothing when they are up to date.
#
#   build.sh --bench    builds another verifier, with the exports that `make bench` needs: target/wasm/bench/
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${VOUCH_ROOT:-$(dirname "$here")} # VOUCH_ROOT: another workspace of the same shape
crate=$root/verifier-wasm
out=$crate/npm/wasm
# A target folder of its own: with other flags in the same one, each build would undo the other's.
export CARGO_TARGET_DIR=$root/target/wasm
stamp=$CARGO_TARGET_DIR/built
modules="verifier:verifier,tools client:client,log slices:slices" # name:features
if [ "${1:-}" = --bench ]; then
    out=$CARGO_TARGET_DIR/bench
    stamp=$CARGO_TARGET_DIR/built-bench
    modules=verifier:bench
fi

tools=$("$here/toolchain.sh" --env)
. "$tools"

# The stamp bears the time at which the build began, so an edit during the build counts as newer. Folders are compared
# too: their times tell of deleted files.
is_current() {
    [ -f "$stamp" ] && [ -f "$out/vouch_verifier_bg.wasm" ] && [ -z "$(
        find "$root/shared" "$crate" "$root/Cargo.toml" "$root/Cargo.lock" "$here/build.sh" "$tools" \
            -path "$crate/npm" -prune -o -newer "$stamp" -print -quit
    )" ]
}
! is_current || exit 0

mkdir -p "$CARGO_TARGET_DIR" "$crate/npm"
if command -v flock >/dev/null; then # macOS has none
    exec 9>"$CARGO_TARGET_DIR/build.lock"
    flock 9
    ! is_current || exit 0
fi
touch "$stamp.part"
cd "$root"
# wasm-pack asks cargo for the dependencies without --locked first, which would quietly change the lock file.
cargo metadata --locked --format-version 1 >/dev/null

# Panic messages name source files: no path of this machine may end up in the module. The last match counts.
sysroot=$(rustc --print sysroot)
flags=-Ctarget-feature=+simd128
crates=("${CARGO_HOME:-$HOME/.cargo}"/registry/src/*) # one folder per registry, named after it
for map in "$HOME=/home" "${crates[@]/%/=/crates}" "$sysroot/lib/rustlib/src/rust=/rustc" "$root=/vouch"; do
    flags+=$'\x1f'--remap-path-prefix=$map
done
export CARGO_ENCODED_RUSTFLAGS=$flags # unlike RUSTFLAGS, allows for blanks in paths
# With these, blst's C code needs a tenth more time than with -O2 alone, and the gzipped module a sixth less space.
export CFLAGS_wasm32_unknown_unknown="-O2 -fno-unroll-loops -mllvm -inline-threshold=60"

pkg=$CARGO_TARGET_DIR/pkg
rm -rf "$pkg"

build() { # name, features
    local wasm=$pkg/vouch_$1_bg.wasm
    "$VOUCH_WASM_PACK" --quiet build "$crate" --mode no-install --no-opt --no-pack --no-gitignore --target web \
        --profile wasm --out-dir "$pkg" --out-name "vouch_$1" -- --locked --no-default-features --features "$2"

    # The features that rustc enables by default, and SIMD. Not --all-features: Node.js 20 refuses what that produces.
    # Functions with one caller stay apart unless they are small: inlined, they compress worse, by a twentieth of the client's module, and
    # verifying gets no faster.
    "$VOUCH_WASM_OPT" -O3 --one-caller-inline-max-function-size 16 --strip-debug --strip-producers --mvp-features --enable-bulk-memory --enable-bulk-memory-opt \
        --enable-multivalue --enable-mutable-globals --enable-nontrapping-float-to-int --enable-reference-types \
        --enable-sign-ext --enable-simd "$wasm" -o "$wasm"

    if grep -qaF -e "$HOME/" -e "$root/" -e "$sysroot/" "$wasm"; then
        echo "build.sh: $(basename "$wasm") contains a path of this machine" >&2
        exit 1
    fi
}
for module in $modules; do build "${module%%:*}" "${module#*:}"; done

# Only a complete build takes the old one's place.
rm -rf "$out"
mv "$pkg" "$out"
mv "$stamp.part" "$stamp"
