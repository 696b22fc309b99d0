#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Whether the rustc here is the one that a kernel was built with: no other can read the metadata of
# the kernel's crates.
#
#	same-rustc.sh HEADERS
set -eu
# Kbuild has strings there without quotes.
theirs=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT=//p' "$1/include/config/auto.conf")
ours=$(rustc --version 2>/dev/null) || ours='none'
[ "$ours" = "$theirs" ] || {
	echo "xfd_switch: the kernel was built with \"$theirs\", and the rustc here is \"$ours\"" >&2
	echo "  next: install that one, then: dpkg --configure -a; or build the kernel's packages (make deb) with this one" >&2
	exit 1
}
