#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Installs the Debian packages of lab/config/packages that are missing, in one call of apt-get. The
# lab itself calls it too; it is a shell script since it must run before there is a cargo.
#
#	lab/packages.sh			what this release needs
#	lab/packages.sh SECTION...	these sections of the list
#
# SETUP=no: install nothing, only say what is missing.
set -eu
cd "$(dirname "$0")/.."
list=lab/config/packages
log=build/logs/setup.log

# The message of a failure, as the lab's: what, details (stdin), log, next step.
fail() {
	echo "lab: error: $1" >&2
	sed 's/^/    /' >&2
	[ -z "${3:-}" ] || echo "  log:  $3" >&2
	echo "  next: $2" >&2
	exit 1
}

# The packages of a section, one on each line.
section() {
	awk -v wanted="[$1]" '/^\[/ { on = $0 == wanted; next } on && !/^#/ { for (i = 1; i <= NF; i++) print $i }' "$list"
}

# Those of the arguments that dpkg does not have installed.
missing() {
	have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p')
	printf '%s\n' "$@" | grep -vxF "$have"
}

if [ $# -eq 0 ]; then
	# shellcheck disable=SC1091 # the machine's
	release=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}") || release=
	known=$(sed -n 's/^\[release \(.*\)\]$/\1/p' "$list" | paste -sd ' ')
	case " $known " in
	*" ${release:-none} "*) ;;
	*) fail "the lab knows the packages of these Debian releases, not of \"$release\": $known" \
		"use one of them (a container or a chroot will do), or add this one's names to $list" </dev/null ;;
	esac
	set -- common "release $release"
fi
wanted=$(for name; do section "$name"; done)
# shellcheck disable=SC2086 # words
lacking=$(missing $wanted | paste -sd ' ')
[ -n "$lacking" ] || exit 0
by_hand="apt-get update && apt-get install --no-install-recommends $lacking"

if [ "${SETUP:-}" = no ]; then
	echo "$lacking" | fail "these packages are missing and SETUP=no forbids installing them:" "as root: $by_hand"
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
	sudo=sudo
	# Asks for the password here, on the terminal; the calls below then need none.
	if ! command -v sudo >/dev/null 2>&1 || ! sudo -v; then
		echo "$lacking" | fail "these packages are missing, installing them needs root, and sudo does not work here:" \
			"as root: $by_hand"
	fi
fi

mkdir -p build/logs
echo "lab: installing $(echo "$lacking" | wc -w) Debian packages${sudo:+ with sudo} (log: $log): $lacking" >&2
apt() {
	$sudo env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -y \
		-o Acquire::Retries=2 -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1 </dev/null
}
began=$(date +%s)
: >"$log"
# Some source that is not Debian's may fail to update; whether that matters, the installation says.
apt update || echo "lab: apt-get update failed; going on with the lists that there are" >>"$log"
# shellcheck disable=SC2086 # words
if apt install --no-install-recommends $lacking; then
	echo "lab: installing Debian packages: done in $(($(date +%s) - began)) s" >&2
	exit 0
fi

# The first cause that is known; apt's own words otherwise.
has() {
	grep -qE "$1" "$log"
}
again='then run the same command again'
if has 'No space left on device|not have enough free space'; then
	why='the disk is full' next="free some space (the packages need about 2 GiB), $again"
elif has 'resolving|Could not resolve|Could not connect|Unable to connect|onnection timed out|is unreachable|No route'; then
	why='no network, or the mirror is down'
	next="make 'apt-get update' work here (in a chroot: /etc/resolv.conf, the proxy), $again"
elif has '404 |no longer has a Release file|does not have a Release file'; then
	why='the mirror has not what its index names'
	next="check the mirror in /etc/apt, run 'apt-get update' as root, $again"
elif has 'Unable to locate package|has no installation candidate'; then
	why="apt's sources have not all of them"
	next="add this release's main, updates and security to /etc/apt/sources.list, $again"
elif has 'Could not get lock'; then
	why='another program is installing' next="wait for it to end, $again"
else
	why='apt-get failed' next="as root: $by_hand"
fi
{ grep '^E: ' "$log" || tail -n 6 "$log"; } | tail -n 6 | fail "installing Debian packages failed: $why" "$next" "$log"
