#!/usr/bin/env bash
# Builds the program of an older revision of this repository, and prints its path. `make upgrade-test` runs it beside the present one.
#
#   old_program.sh [REVISION]
set -euo pipefail

# The last revision before versions were tested against each other. What this program wrote and what it sends must be understood.
# Advance this to each release, once there is one: what is guaranteed is one version back (docs/BACKUP.md).
DEFAULT=2899a27

say() { printf 'set-up: %s\n' "$*" >&2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
revision=${1:-$DEFAULT}
if ! commit=$(git -C "$root" rev-parse --quiet --verify "$revision^{commit}"); then
    say "this repository has no revision $revision"
    [ "$(git -C "$root" rev-parse --is-shallow-repository 2>/dev/null)" != true ] || say "the clone is shallow: git fetch --unshallow"
    exit 1
fi
folder=$root/target/old
sources=$folder/$commit
program=$folder/vouch-$commit
if [ ! -x "$program" ]; then
    say "building $revision (minutes, the first time)"
    mkdir -p "$folder"
    git -C "$root" worktree prune
    [ -d "$sources" ] || git -C "$root" worktree add --quiet --detach "$sources" "$commit" >&2
    # Without the page, which needs more tools. The next revision reuses what is built of other crates.
    (cd "$sources" && env -u RUSTFLAGS CARGO_TARGET_DIR="$folder/build" cargo build --quiet --locked --package vouch) >&2
    cp "$folder/build/debug/vouch" "$program.new"
    mv "$program.new" "$program"
    git -C "$root" worktree remove --force "$sources"
fi
echo "$program"
