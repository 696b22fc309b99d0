#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Builds the lab (build/lab/release/lab); installs cargo and a C compiler first where they are
# missing. Everything else that is needed, the lab installs itself.
#
# SETUP=no: install nothing, only say what is missing.
set -eu
cd "$(dirname "$0")/.."

missing=
if ! command -v cargo >/dev/null 2>&1; then
	# The newest cargo that this Debian has: its cargo-web where there is one.
	cargo=cargo
	rustc=rustc
	if apt-cache show cargo-web >/dev/null 2>&1; then
		cargo="cargo-web"
		rustc="rustc-web"
	fi
	missing="$cargo $rustc"
fi
if ! command -v cc >/dev/null 2>&1; then
	missing="$missing gcc libc6-dev"
fi
missing=${missing# }

install_missing() {
	if [ "${SETUP:-}" = no ]; then
		echo "lab: error: these packages are missing and SETUP=no forbids installing them: $missing" >&2
		echo "  next: apt-get install --no-install-recommends $missing" >&2
		exit 1
	fi
	sudo=
	if [ "$(id -u)" -ne 0 ]; then
		sudo=sudo
		if ! command -v sudo >/dev/null 2>&1; then
			echo "lab: error: these packages are missing, and installing them needs root: $missing" >&2
			echo "  next: as root: apt-get install --no-install-recommends $missing" >&2
			exit 1
		fi
	fi
	mkdir -p build/logs
	log=build/logs/bootstrap.log
	echo "lab: installing Debian packages${sudo:+ with sudo}: $missing (log: $log)" >&2
	$sudo apt-get update >"$log" 2>&1 || true
	# The lists that were just read may know a newer cargo.
	case " $missing " in
	*" cargo "*)
		if apt-cache show cargo-web >/dev/null 2>&1; then
			missing=$(echo " $missing " | sed 's/ cargo / cargo-web /; s/ rustc / rustc-web /; s/^ //; s/ $//')
		fi
		;;
	esac
	# shellcheck disable=SC2086 # words
	if ! $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >>"$log" 2>&1; then
		echo "lab: error: installing failed: $missing" >&2
		tail -n 10 "$log" >&2
		echo "  log:  $log" >&2
		echo "  next: check the network and apt's sources, then run the same command again" >&2
		exit 1
	fi
}

if [ -n "$missing" ]; then
	install_missing
fi

mkdir -p build/logs
log=build/logs/lab.log
quiet=--quiet
[ -x build/lab/release/lab ] || echo "lab: building the lab itself (log: $log)" >&2
unset MAKEFLAGS MFLAGS MAKELEVEL
if ! CARGO_TARGET_DIR=build/lab cargo build $quiet --release --locked --manifest-path lab/Cargo.toml >"$log" 2>&1; then
	echo "lab: error: the lab itself does not build" >&2
	tail -n 20 "$log" >&2
	echo "  log:  $log" >&2
	echo "  next: check the network (crates come from crates.io) or mend lab/, then run the same command again" >&2
	exit 1
fi
