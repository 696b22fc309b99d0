#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Installs what is missing (lab/packages.sh) and builds the lab (build/lab/release/lab).
#
# KDIR=DIR: the module alone is wanted, for a kernel of the user's own; a machine with cargo and a C
# compiler may then be any.
set -eu
cd "$(dirname "$0")/.."

if [ -z "${KDIR:-}" ] || ! command -v cargo >/dev/null 2>&1 || ! command -v cc >/dev/null 2>&1; then
	lab/packages.sh
fi

mkdir -p build/logs
log=build/logs/lab.log
[ -x build/lab/release/lab ] || echo "lab: building the lab itself (log: $log)" >&2
unset MAKEFLAGS MFLAGS MAKELEVEL
if ! CARGO_TARGET_DIR=build/lab cargo build --quiet --release --locked --manifest-path lab/Cargo.toml >"$log" 2>&1; then
	why='the lab itself does not build' next='mend lab/, then run the same command again'
	if grep -q 'No space left on device' "$log"; then
		why='building the lab failed: the disk is full' next='free some space, then run the same command again'
	elif grep -qE 'Could not (resolve|connect)|failed to download|[Tt]imeout was reached|SSL|spurious network' "$log"; then
		why='building the lab failed: its crates could not be fetched'
		next='make https://crates.io reachable (proxy, certificates, DNS), then run the same command again'
	fi
	echo "lab: error: $why" >&2
	tail -n 20 "$log" | sed 's/^/    /' >&2
	echo "  log:  $log" >&2
	echo "  next: $next" >&2
	exit 1
fi
