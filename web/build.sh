#!/usr/bin/env bash
# Assembles the page: web/dist/, which the server embeds and which any static host can serve. Does nothing when that is up to
# date. Needs the package's wasm modules (verifier-wasm/build.sh) and esbuild, whose path is in VOUCH_ESBUILD.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${VOUCH_ROOT:-$(dirname "$here")} # VOUCH_ROOT: another workspace of the same shape
web=$root/web
package=$root/verifier-wasm/npm
out=$web/dist
stamp=$root/target/web/built
die() {
    echo "build.sh: $1" >&2
    exit 1
}

page=(index.html icon.svg page.js sw.js player engine logic style view)
verifier=(api.js browser.js bytes.js client.js link.js log.js once.js sink.js source.js wait.js)
modules=(vouch_verifier vouch_client vouch_slices)

# The stamp bears the time at which the build began, so an edit during the build counts as newer. Folders are compared, too:
# their times tell of deleted files. web itself is left out: a build changes its time.
is_current() {
    [ -f "$stamp" ] && [ -f "$out/verify.html" ] && [ -z "$(
        find "$web" "$package" \( -path "$out*" -o -path "$package/bin" -o -name node_modules \) -prune \
            -o ! -path "$web" ! -path "$package" -newer "$stamp" -print -quit
    )" ]
}
! is_current || exit 0

for module in "${modules[@]}"; do
    [ -f "$package/wasm/${module}_bg.wasm" ] || die "$package/wasm/${module}_bg.wasm is missing; run verifier-wasm/build.sh first"
done
[ -x "${VOUCH_ESBUILD:-}" ] || die "esbuild is needed: set VOUCH_ESBUILD to its path, or build with make"

mkdir -p "$(dirname "$stamp")"
if command -v flock >/dev/null; then # macOS has none
    exec 9>"$stamp.lock"
    flock 9
    ! is_current || exit 0
fi
touch "$stamp.part"
part=$out.part
rm -rf "$part"
mkdir -p "$part/vouch-verifier/wasm"
for name in "${page[@]}"; do
    cp -R "$web/$name" "$part/$name"
done
for name in "${verifier[@]}"; do
    cp "$package/$name" "$part/vouch-verifier/$name"
done
for module in "${modules[@]}"; do
    cp "$package/wasm/$module.js" "$package/wasm/${module}_bg.wasm" "$part/vouch-verifier/wasm/"
done
node "$web/build.mjs" "$part" "$VOUCH_ESBUILD"

# Only a complete build takes the old one's place.
rm -rf "$out"
mv "$part" "$out"
mv "$stamp.part" "$stamp"
