# Shared by the set-up scripts: messages, retries, and where our own tools lie.
# Sourced, never run. Everything we build ourselves lies under $QUOLL_TOOLCHAINS
# (default: target/toolchains in this checkout); nothing else of the system is touched.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
QUOLL_TOOLCHAINS=${QUOLL_TOOLCHAINS:-$REPO/target/toolchains}
# Other users run what is built here: a test without privileges, PostgreSQL.
umask 022
# Absent under some schedulers; npm, pip and Chromium ask for it.
export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
# A registry that fails once is asked again; cargo waits between the tries.
export CARGO_NET_RETRY=${CARGO_NET_RETRY:-10}

# Who speaks: the script that was called; what prepares the machine says so, whoever called it.
PROGRAM=$(basename "$0")
[ "$(basename "$(dirname "$0")")" != toolchains ] || PROGRAM=setup
say() { printf '%s: %s\n' "$PROGRAM" "$*"; }
die() { printf '%s: %s\n' "$PROGRAM" "$*" >&2; exit 1; }

# retry N COMMAND...: runs COMMAND up to N times, waiting 5 s, then 10, 20 and so on.
retry() {
  local tries=$1 attempt=1 pause=5
  shift
  until "$@"; do
    [ "$attempt" -lt "$tries" ] || return 1
    say "attempt $attempt of $tries failed: $* - retrying in $pause s"
    sleep "$pause"
    attempt=$((attempt + 1)) pause=$((pause * 2))
  done
}

have() { command -v "$1" >/dev/null 2>&1; }

# debian_rustc_with TARGET: true where Debian's web toolchain carries that target's core library.
debian_rustc_with() { [ -x /usr/bin/rustc ] && [ -d "/usr/lib/rustlib/$1/lib" ]; }

# rustup_nightly_with_src: true where rustup's nightly and its rust-src are installed.
rustup_nightly_with_src() {
  have rustup || return 1
  local root
  root=$(rustup run nightly rustc --print sysroot 2>/dev/null) || return 1
  [ -f "$root/lib/rustlib/src/rust/library/core/Cargo.toml" ]
}
