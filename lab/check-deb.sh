#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# make check-deb: the packages as a new user gets them. Makes a minimal Debian in a directory, clones the
# committed HEAD, runs `make deb` there, installs what that made, and purges it again
# (packaging/test.sh). Logs stay in build/check-deb, the result in build/report/deb.json.
#
#	CONFIG=FILE		the kernel configuration to begin with [lab: the lab's own, which is quick]
#	KEEP=yes		leave the directory there
#	DOWNLOADS=DIR		let it have this directory of downloads (otherwise it fetches all)
set -euo pipefail
cd "$(dirname "$0")/.."
{ # Read whole before it runs: it may be changed meanwhile.

target=check-deb
# The one that the packages are for: lab/src/build/deb.rs refuses all others.
release=trixie
dir=build/check-deb
# shellcheck source-path=SCRIPTDIR/..
. lab/chroot.sh

config=${CONFIG:-lab}
[ "$config" = lab ] || [ -r "$config" ] ||
	fail "CONFIG=$config: there is no such file" "give CONFIG= the .config of a kernel; or leave it out"
make_room 15 'half an hour; an hour with a distribution'\''s configuration' 'make check-deb'
make_debian
if [ "$config" != lab ]; then
	cp "$config" "$root/root/config"
	config=/root/config
fi

began=$SECONDS
inside "$dir/deb.log" "cd /root/xfd_switch && make deb CONFIG=$config" ||
	fail 'make deb failed on a fresh Debian' 'KEEP=yes leaves what there is, to look into' "$dir/deb.log"
deb=$((SECONDS - began))
began=$SECONDS
inside "$dir/test.log" /root/xfd_switch/packaging/test.sh ||
	fail 'the packages are not as they should be' 'KEEP=yes leaves what there is, to look into' "$dir/test.log"
mkdir -p build/report
cat >build/report/deb.json <<-EOS
	{
	  "commit": "$commit",
	  "config": "${CONFIG:-lab}",
	  "deb_s": $deb,
	  "test_s": $((SECONDS - began)),
	  "bytes": $(cat "$root"/root/xfd_switch/build/deb/*.deb | wc -c)
	}
EOS
echo 'lab: build/report/deb.json is written' >&2
exit
}
