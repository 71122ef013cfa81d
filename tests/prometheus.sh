#!/usr/bin/env bash
# Prints the folder of the programs prometheus and promtool for the test of the metrics. Unpacks Debian's package if the machine has none.
#
# The package is not installed: that would start a Prometheus of the system, on the port that `vouch server` uses by default.
#
#   VOUCH_PROMETHEUS    use the programs in this folder instead of searching for them
set -euo pipefail

cache=${VOUCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vouch}
folder=$cache/prometheus
log=$cache/prometheus.log

say() { printf 'set-up: %s\n' "$*" >&2; }
die() { # what is wrong, the command that fixes it
    say "$1"
    [ $# -lt 2 ] || printf '\n    %s\n\n' "$2" >&2
    exit 1
}
has() { command -v "$1" >/dev/null; }
runs() { "$1/prometheus" --version >/dev/null 2>&1 && "$1/promtool" --version >/dev/null 2>&1; }

if [ -n "${VOUCH_PROMETHEUS:-}" ]; then
    runs "$VOUCH_PROMETHEUS" || die "VOUCH_PROMETHEUS=$VOUCH_PROMETHEUS has no working prometheus and promtool"
    echo "$VOUCH_PROMETHEUS"
    exit
fi
if has prometheus && has promtool; then
    found=$(dirname "$(command -v prometheus)")
    if runs "$found"; then
        echo "$found"
        exit
    fi
fi
if runs "$folder/usr/bin"; then
    echo "$folder/usr/bin"
    exit
fi

has apt-get && has dpkg-deb ||
    die "The test of the metrics needs Prometheus. Install it, or name the folder of its programs: VOUCH_PROMETHEUS=FOLDER"
mkdir -p "$cache"
: >"$log"
work=$(mktemp -d "$cache/prometheus.XXXXXX")
trap 'rm -rf "$work"' EXIT
download() { (cd "$work" && apt-get -q download prometheus) >>"$log" 2>&1 </dev/null; }
# The package lists may be missing, or so old that they name files that no longer exist.
update() {
    local sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    $sudo true 2>/dev/null || die "The package lists are missing or old. Run this, then repeat:" "sudo apt-get update"
    $sudo apt-get -q -o DPkg::Lock::Timeout=300 update >>"$log" 2>&1 </dev/null
}
start=$SECONDS
say "fetching prometheus (about a minute)"
if ! { download || { update && download; }; } || ! dpkg-deb -x "$work"/prometheus_*.deb "$work/unpacked" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "failed; the whole log: $log"
fi
runs "$work/unpacked/usr/bin" || die "the package prometheus does not work here; name another: VOUCH_PROMETHEUS=FOLDER"
rm -rf "$folder"
mv "$work/unpacked" "$folder"
say "fetching prometheus: done in $((SECONDS - start)) s"
echo "$folder/usr/bin"
