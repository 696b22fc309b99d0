#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Tests and measures xfd_switch on this host, which has been booted with a kernel that has the series.
# It needs root, and nobody else's VMs should be there: it loads and unloads modules, and the tests
# keep two CPUs busy.
#
#   ./run.sh [--quick] [--rehearse] [--output=FILE]
#
#   --quick         one test, and half of the measurement, without the module and with its default
#                   strategy
#   --rehearse      in an emulator, whose TSC counts instructions: marked as "rehearsed" in FILE
#   --output=FILE   [xfd_switch.json in this directory]; the tests' output, KTAP, is FILE.ktap
#
# Ends with 0; with 1 if something failed, and FILE says what; with 2 if it cannot run here.

kit=$(cd "$(dirname "$0")" && pwd)
PATH=$kit/programs:/usr/sbin:/sbin:$PATH
export PATH modules="$kit/modules"
quick=false
rehearse=0
output=$kit/xfd_switch.json

die() {
	echo "run.sh: error: $1" >&2
	[ -z "${2:-}" ] || echo "  next: $2" >&2
	exit 2
}

usage() {
	sed -n '3,15s/^# \{0,1\}//p' "$0"
	exit 2
}

for option; do
	case $option in
	--quick) quick=true ;;
	--rehearse) rehearse=1 ;;
	--output=?*) output=${option#--output=} ;;
	*) usage ;;
	esac
done
case $output in
/*) ;;
*) output=$PWD/$output ;;
esac
# KVM's selftests look for their own file here.
cd "$kit/programs" || exit 2

# What is to be undone at the end, whatever ends this.
scratch=
child=
traced=

loaded() {
	[ -d "/sys/module/$1" ]
}

unload() {
	tries=0
	# A VM that is being destroyed still pins it.
	while loaded "$1" && ! rmmod "$1" 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -lt 20 ] || return 1
		sleep 0.5
	done
	return 0
}

finish() {
	status=$?
	trap '' HUP INT TERM
	trap - EXIT
	if [ -n "$child" ]; then
		# timeout is the leader of a group where it is of coreutils, and has become the program
		# itself where it is of busybox.
		kill -KILL -- "-$child" 2>/dev/null || kill -KILL "$child" 2>/dev/null
		wait "$child" 2>/dev/null
	fi
	if [ -n "$scratch" ]; then
		for module in xfd_switch xfd_meter xfd_fpu_user; do
			unload $module || echo "run.sh: error: $module does not unload" >&2
		done
		rm -rf "$scratch"
	fi
	[ -z "$traced" ] || umount "$traced" 2>/dev/null
	exit $status
}

# A program with a limit in seconds; a trap must not wait for it.
limited() {
	timeout -s KILL "$@" &
	child=$!
	wait $child
	status=$?
	child=
	return $status
}

# A JSON string of a text.
string() {
	printf '"%s"' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g' | tr '\n\t' '  ' | tr -d '\000-\037')"
}

# What cannot be run here is said before anything is touched.
[ "$(id -u)" = 0 ] || die "this is not root" "sudo $0"
[ -r "$kit/tests" ] || die "this is no whole kit" "make kit makes one"
release=$(cat "$kit/release")
[ "$(uname -r)" = "$release" ] ||
	die "this kernel is $(uname -r), and the modules are for $release" \
		"boot that one, or build the kit for this one: make kit KDIR=/lib/modules/$(uname -r)/build"
[ -e /dev/kvm ] || die "there is no /dev/kvm" "modprobe kvm-intel; its message says why, if it fails"
for module in xfd_switch xfd_meter xfd_fpu_user; do
	! loaded $module || die "$module is loaded" "rmmod $module"
done
[ -d /sys/kernel/debug/kvm ] || die "debugfs is not mounted" "mount -t debugfs debugfs /sys/kernel/debug"
if [ ! -d /sys/kernel/tracing/events ]; then
	mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null ||
		die "there is no tracefs" "the kernel needs CONFIG_TRACING"
	traced=/sys/kernel/tracing
fi
(: >"$output") 2>/dev/null || die "$output cannot be written" "$0 --output=FILE"
ktap=$output.ktap
: >"$ktap" || exit 2

probe=$(xfd_probe)
case $? in
0) ;;
4) die "no AMX: $(printf '%s' "$probe" | sed 's/.*"skip":"\([^"]*\)".*/\1/')" "this CPU cannot do" ;;
*) echo "run.sh: the probe has found what must not be; it is in $output" >&2 ;;
esac
case $probe in
*'"xfd":true'*) ;;
*) die "the CPU has no XFD: CPUID.(0DH,1).EAX[4]=0" "xfd_probe --table shows more" ;;
esac
case $probe in
*'"unit":"instructions"'*)
	[ $rehearse = 1 ] || die "the TSC counts instructions here: an emulator" "$0 --rehearse"
	;;
*)
	# What is marked as rehearsed, nobody would take for a figure.
	[ $rehearse = 0 ] || die "the TSC is a clock here: there is nothing to rehearse" "$0"
	;;
esac

trap finish EXIT
trap 'exit 130' HUP INT TERM
scratch=$(mktemp -d) || exit 2
began=$(date +%s)
tests_run=0
failed=0

fail() {
	echo "run.sh: failed: $1" >&2
	failed=$((failed + 1))
	[ ! -s "$scratch/failures" ] || printf , >>"$scratch/failures"
	string "$1" >>"$scratch/failures"
}

case $probe in
*'"failures":0}') ;;
*) fail "the probe: XINUSE is not what it must be" ;;
esac

# The kernel's complaints: M, B, D, W and L of its taint.
tainted() {
	echo $(($(cat /proc/sys/kernel/tainted) & (1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14)))
}

# A test of the list: its name, whether a part may be skipped, its limit, and a command.
kit_test() {
	if $quick && [ "$1" != "$quick_test" ]; then
		return
	fi
	tests_run=$((tests_run + 1))
	echo "run.sh: $on: $1" >&2
	before=$(tainted)
	since=$(date +%s)
	limited "$3" sh -c "$4" >"$scratch/said" 2>&1
	status=$?
	seconds=$(($(date +%s) - since))
	after=$(tainted)
	result=fail word="not ok" note=
	if [ $status = 137 ]; then
		note="killed after $3 s"
	elif [ "$after" != "$before" ]; then
		note="the kernel complained: its log says of what"
	elif [ $status = 4 ] || { [ $status = 0 ] && grep -q '^ok .* # SKIP' "$scratch/said" && [ "$2" = no ]; }; then
		result=skip word=ok note="SKIP"
	elif [ $status = 0 ]; then
		result=pass word=ok
	else
		note="exit status $status"
	fi
	{
		sed 's/^/  /' "$scratch/said"
		echo "$word $tests_run $on: $1${note:+ # $note}"
	} >>"$ktap"
	[ $result != fail ] || fail "$on: $1: $note"
	[ ! -s "$scratch/tests" ] || printf , >>"$scratch/tests"
	printf '{"name":%s,"on":"%s","result":"%s","status":%d,"seconds":%d}' \
		"$(string "$1")" "$on" $result $status $seconds >>"$scratch/tests"
}

# Lines that begin with "#XFD " are figures.
figures() {
	sed -n 's/^#XFD //p' "$scratch/said" >>"$scratch/figures"
}

measure() {
	echo "run.sh: $on: xfd_measure $1" >&2
	limited 600 xfd_measure "$@" >"$scratch/said" 2>&1
	status=$?
	figures
	[ $status = 0 ] && return
	fail "$on: xfd_measure $1: exit status $status: $(grep -v '^#XFD ' "$scratch/said" | tail -n 1)"
}

# As `make run` measures; slabs that the kernel has merged have no size of their own.
measure_all() {
	measure states
	$quick || measure nested
	$quick || measure vcpus
	measure loss
	awk '{ size[$1] = $4 } END {
		printf "#XFD {\"bytes_per_vcpu\":{\"kvm_vcpu\":%d,\"task_struct\":%d}}\n",
			size["kvm_vcpu"], size["task_struct"]
	}' /proc/slabinfo >"$scratch/said"
	figures
}

# The figures of one column, as an array of objects.
column() {
	[ ! -s "$scratch/measured" ] || printf , >>"$scratch/measured"
	printf '"%s":[%s]' "$on" "$(tr '\n' ',' <"$scratch/figures" | sed 's/,$//')" >>"$scratch/measured"
	: >"$scratch/figures"
}

# "key value" in each line, a name and what is of it in one key: an object.
object() {
	awk '{
		value = ($2 ~ /^-?[0-9]+$/) ? $2 : "\"" $2 "\""
		name = $1
		if (split($1, part, ".") == 2) {
			name = part[2]
			if (part[1] != of) {
				printf "%s\"%s\":{", (of ? "}," : comma), part[1]
				of = part[1]
				comma = ""
			}
		}
		printf "%s\"%s\":%s", comma, name, value
		comma = ","
	} END { if (of) printf "}" }'
}

# `make kit` has made it, with these and the function kit_tests.
strategies='' quick_strategy='' quick_test=''
# shellcheck source=/dev/null
. "$kit/tests"
echo "KTAP version 1" >"$ktap"
: >"$scratch/figures"

meter=null
echo "run.sh: the meter" >&2
if said=$(insmod "$modules/xfd_meter.ko" rehearse=$rehearse 2>&1); then
	meter="{$(object </sys/kernel/debug/xfd_meter)}"
	unload xfd_meter || fail "xfd_meter does not unload"
else
	fail "the meter: $said: $(dmesg | grep xfd_meter | tail -n 1)"
fi

! $quick || strategies=$quick_strategy
on=unloaded
measure_all
column
kit_tests unloaded
for on in $strategies; do
	# VMs that are older than the module must not notice it.
	measure older "insmod '$modules/xfd_switch.ko' strategy=$on"
	if ! loaded xfd_switch && ! said=$(insmod "$modules/xfd_switch.ko" "strategy=$on" 2>&1); then
		fail "$on: $said: $(dmesg | grep xfd_switch | tail -n 1)"
		: >"$scratch/figures"
		continue
	fi
	dmesg | grep 'xfd_switch: strategy' | tail -n 1 |
		sed -n 's/.* \([0-9]*\) bytes per vCPU.*/{"bytes_per_vcpu":{"module":\1}}/p' >>"$scratch/figures"
	measure_all
	column
	kit_tests "$on"
	unload xfd_switch || fail "$on: the module does not unload"
done
echo "1..$tests_run" >>"$ktap"

cat >"$output" <<END
{"xfd_switch_kit":1,"version":$(string "$(cat "$kit/version")"),"kernel":$(string "$release"),
"date":"$(date -u +%Y-%m-%d)","seconds":$(($(date +%s) - began)),
"rehearsed":$([ $rehearse = 1 ] && echo true || echo false),"quick":$quick,
"probe":$probe,
"meter":$meter,
"measured":{$(cat "$scratch/measured")},
"tests":[$(cat "$scratch/tests" 2>/dev/null)],
"failures":[$(cat "$scratch/failures" 2>/dev/null)]}
END
echo "run.sh: $tests_run tests, $failed failures; $output is written" >&2
[ $failed = 0 ]
