#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# make check-fresh: from nothing to the last test, as on a machine that has just been installed. Makes
# a minimal Debian in a directory, installs make and git there, clones the committed HEAD, and runs
# `make run` and `make check` as its root. Logs and reports stay in build/fresh/RELEASE, the result in
# build/report/fresh-RELEASE.json.
#
#	RELEASE=trixie|bookworm	the release
#	KEEP=yes		leave the directory there
#	PART=TARGET		make only this target there: lab, module, run or check; no report then
#	DOWNLOADS=DIR		let it have this directory of downloads (otherwise it fetches all)
set -euo pipefail
cd "$(dirname "$0")/.."
{ # Read whole before it runs: it runs for an hour, and may be changed meanwhile.

target=check-fresh
release=${RELEASE:-}
dir=build/fresh/${release:-none}
# shellcheck source-path=SCRIPTDIR/..
. lab/chroot.sh

releases=$(sed -n 's/^\[release \(.*\)\]$/\1/p' lab/config/packages | paste -sd ' ')
case " $releases " in
*" ${release:-none} "*) ;;
*) fail "RELEASE=$release: no release that the lab knows" "give RELEASE= one of: $releases" ;;
esac
case "${PART:-}" in
'') parts='run check' ;;
lab | module | run | check) parts=$PART ;;
*) fail "PART=$PART: no part of check-fresh" 'give PART= one of: lab module run check; or leave it out' ;;
esac

make_room 10 'an hour' "make check-fresh RELEASE=$release"
make_debian

declare -A took=()
ok=true
for part in $parts; do
	began=$SECONDS
	inside "$dir/$part.log" "cd /root/xfd_switch && make $part" || ok=false
	took[$part]=$((SECONDS - began))
	echo "lab: check-fresh $release: make $part: ${took[$part]} s, $([ $ok = true ] && echo passed || echo FAILED)" >&2
	[ $ok = true ] || break
done
cp "$root"/root/xfd_switch/build/report/*.json "$dir/" 2>/dev/null || true
if [ -z "${PART:-}" ]; then
	packages=$(sed -n 's/^lab: installing Debian packages: done in \([0-9]*\) s$/\1/p' "$dir/run.log")
	counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$dir/check.log" 2>/dev/null | tail -n 1) || true
	read -r passed failed skipped <<<"$counts" || true
	mkdir -p build/report
	cat >"build/report/fresh-$release.json" <<-EOF
		{
		  "release": "$release",
		  "commit": "$commit",
		  "packages_s": ${packages:-null},
		  "run_s": ${took[run]:-null},
		  "check_s": ${took[check]:-null},
		  "passed": ${passed:-null},
		  "failed": ${failed:-null},
		  "skipped": ${skipped:-null},
		  "ok": $ok
		}
	EOF
	echo "lab: build/report/fresh-$release.json is written" >&2
fi
[ $ok = true ] || fail "make $part failed on a fresh $release" \
	"KEEP=yes leaves what there is, to look into" "$dir/$part.log"
exit
}
