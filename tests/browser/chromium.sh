#!/usr/bin/env bash
# Prints the path of a working Chromium for the tests of the page. Installs Debian's if the machine has none.
#
#   VOUCH_CHROMIUM    use this browser instead of searching for one
set -euo pipefail

cache=${VOUCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vouch}
log=$cache/chromium.log

say() { printf 'set-up: %s\n' "$*" >&2; }
die() { # what is wrong, the command that fixes it
    say "$1"
    [ $# -lt 2 ] || printf '\n    %s\n\n' "$2" >&2
    exit 1
}
has() { command -v "$1" >/dev/null; }

# A name on PATH is not enough: the command of Ubuntu's package only prints how to install another package.
runs() { "$1" --version </dev/null 2>/dev/null | grep -qE '^(Chromium|Google Chrome|Microsoft Edge) [0-9]'; }

find_chromium() {
    local name path
    for name in chromium chromium-browser google-chrome google-chrome-stable microsoft-edge \
        "/Applications/Chromium.app/Contents/MacOS/Chromium" "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        path=$(command -v "$name") && runs "$path" || continue
        echo "$path"
        return
    done
    return 1
}

# Without a font, a page has no text, and therefore no layout to test.
has_font() {
    local folder
    [ "$(uname)" = Linux ] || return 0
    for folder in /usr/share/fonts /usr/local/share/fonts "$HOME/.fonts" "${XDG_DATA_HOME:-$HOME/.local/share}/fonts"; do
        [ ! -d "$folder" ] || [ -z "$(find -L "$folder" \( -name '*.[ot]tf' -o -name '*.ttc' \) -print -quit 2>/dev/null)" ] || return 0
    done
    return 1
}

if [ -n "${VOUCH_CHROMIUM:-}" ]; then
    runs "$VOUCH_CHROMIUM" || die "VOUCH_CHROMIUM=$VOUCH_CHROMIUM is not a working Chromium"
    echo "$VOUCH_CHROMIUM"
    exit
fi

packages=
chromium=$(find_chromium) || packages=chromium
has_font || packages="$packages fonts-dejavu-core"

# The package lists may be missing, or so old that they name files that no longer exist.
install_packages() {
    local apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300"
    local install="$apt install -y --no-remove --no-install-recommends $packages"
    $install >>"$log" 2>&1 </dev/null || { $apt update && $install; } >>"$log" 2>&1 </dev/null
}

if [ -n "${packages# }" ]; then
    if ! has apt-get; then
        case $(uname) in
        Darwin) die "The tests of the page need Chromium or Chrome. Install one with:" "brew install --cask google-chrome" ;;
        *) die "The tests of the page need Chromium or Chrome and a font. Install them, or name a browser: VOUCH_CHROMIUM=PATH" ;;
        esac
    fi
    sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    $sudo true 2>/dev/null ||
        die "Packages of the system are missing. Run this, then repeat:" "sudo apt-get install -y --no-install-recommends ${packages# }"
    mkdir -p "$cache"
    : >"$log"
    start=$SECONDS
    say "installing ${packages# } (about a minute)"
    if ! install_packages; then
        tail -n 20 "$log" >&2
        die "failed; the whole log: $log"
    fi
    say "installing ${packages# }: done in $((SECONDS - start)) s"
    [ -n "$chromium" ] || chromium=$(find_chromium) ||
        die "the package chromium is installed, but its browser does not work here; name another: VOUCH_CHROMIUM=PATH"
fi
echo "$chromium"
