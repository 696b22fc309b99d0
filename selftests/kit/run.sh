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
# Ends with 0; with 1 if something failed, and FILE says what; with 2 if it cannot run here.  FILE
# comes at the end: what ends this before leaves the last one as it is.

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
ktap=$output.ktap
# KVM's selftests look for their own file here.
cd "$kit/programs" || exit 2

# What is to be undone at the end, whatever ends this.
loads='xfd_switch xfd_meter xfd_fpu_user'
scratch=
child=
traced=

loaded() {
	[ -d "/sys/module/$1" ]
}

# Has a command remove a directory, which a program that was killed may still use for a moment.
rid_of() {
	tries=0
	while [ -d "$1" ] && ! "$2" "$3" 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -lt 20 ] || return 1
		sleep 0.5
	done
	return 0
}

# A VM that is being destroyed still pins it.
unload() {
	rid_of "/sys/module/$1" rmmod "$1"
}

# What the tests change of the host.  Each puts it back itself, unless it is killed or fails before.
note_host() {
	for file in /sys/devices/system/cpu/cpu[0-9]*/online /proc/sys/kernel/printk \
		/sys/module/kvm/parameters/force_emulation_prefix \
		/sys/module/kvm_intel/parameters/dump_invalid_vmcs \
		/sys/kernel/tracing/events/x86_fpu/x86_fpu_guest_xfd_*/enable; do
		[ ! -r "$file" ] || echo "$file $(cat "$file")"
	done >"$scratch/host"
	instance=/sys/kernel/tracing/instances/xfd_test
	[ ! -d $instance ] || instance=
}

put_back() {
	while read -r file value; do
		[ "$(cat "$file")" = "$value" ] || echo "$value" >"$file" ||
			echo "run.sh: error: $file was $value, and cannot be put back" >&2
	done <"$scratch/host"
	rid_of "$instance" rmdir "$instance" || echo "run.sh: error: $instance cannot be removed" >&2
}

finish() {
	status=$?
	trap '' HUP INT TERM
	trap - EXIT
	if [ -n "$child" ]; then
		# timeout is the leader of a group where it is of coreutils, and has become the program
		# itself where it is of busybox.
		kill -KILL "-$child" 2>/dev/null || kill -KILL "$child" 2>/dev/null
		wait "$child" 2>/dev/null
	fi
	for module in $loads; do
		unload "$module" || echo "run.sh: error: $module does not unload" >&2
	done
	if [ -n "$scratch" ]; then
		[ ! -e "$scratch/host" ] || put_back
		rm -rf "$scratch"
	fi
	[ -z "$traced" ] || umount "$traced" 2>/dev/null
	rm -f "$output.new" "$ktap.new"
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
# The kit's modules are not signed.
case $(cat /sys/kernel/security/lockdown 2>/dev/null) in
*'[integrity]'* | *'[confidentiality]'*)
	die "the kernel is locked down: it loads no unsigned module, and no MSR can be written" \
		"turn Secure Boot off in the firmware's setup, and boot without lockdown="
	;;
esac
if [ "$(cat /sys/module/module/parameters/sig_enforce 2>/dev/null)" = Y ] &&
	grep -L '~Module signature appended~' "$modules"/*.ko | grep -q .; then
	die "the kernel loads signed modules alone, and the kit's are not" \
		"boot without module.sig_enforce, or sign $modules/*.ko with the kernel's scripts/sign-file"
fi
for file in "$output" "$ktap"; do
	[ ! -e "$file" ] || [ -f "$file" ] || die "$file is no plain file" "$0 --output=FILE"
done
for module in $loads; do
	! loaded "$module" || die "$module is loaded" "rmmod $module"
done
[ -d /sys/kernel/debug/kvm ] || die "debugfs is not mounted" "mount -t debugfs debugfs /sys/kernel/debug"

trap finish EXIT
trap 'exit 130' HUP INT TERM
if [ ! -d /sys/kernel/tracing/events ]; then
	mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null ||
		die "there is no tracefs" "the kernel needs CONFIG_TRACING"
	traced=/sys/kernel/tracing
fi
# Without the msr driver some tests would look at no MSR of the host, and not say so.
if [ ! -e /dev/cpu/0/msr ] && ! loaded msr && modprobe msr 2>/dev/null; then
	loads="$loads msr"
fi
[ -e /dev/cpu/0/msr ] || die "there is no /dev/cpu/0/msr" \
	"modprobe msr; its message says why, if it fails: the kernel needs CONFIG_X86_MSR"
# The last results stay where they are until there are new ones.
(: >"$output.new" && : >"$ktap.new") 2>/dev/null || die "$output cannot be written" "$0 --output=FILE"

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

scratch=$(mktemp -d) || exit 2
note_host
began=$(date +%s)
tests_run=0
failed=0
skipped=0

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
	[ $status = 0 ] || put_back
	result=fail word="not ok" note=
	if [ $status = 137 ]; then
		note="killed after $3 s"
	elif [ "$after" != "$before" ]; then
		note="the kernel complained: its log says of what"
	elif [ $status = 4 ] || { [ $status = 0 ] && grep -q '^ok .* # SKIP' "$scratch/said"; }; then
		why=$(sed -n 's/.*# SKIP[ -]*//p' "$scratch/said" | head -n 1)
		# A part of it may be for kernels with some option more; its reason says which.
		if [ "$2" = yes ] || [ $status = 0 ]; then
			result=skip word=ok note="SKIP $why"
			skipped=$((skipped + 1))
		else
			note="it has skipped what it must not: $why"
		fi
	elif [ $status = 0 ]; then
		result=pass word=ok
	else
		note="exit status $status"
	fi
	{
		sed 's/^/  /' "$scratch/said"
		echo "$word $tests_run $on: $1${note:+ # $note}"
	} >>"$ktap.new"
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
	put_back
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
echo "KTAP version 1" >"$ktap.new"
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
echo "1..$tests_run" >>"$ktap.new"

cat >"$output.new" <<END || die "$output.new cannot be written" "$0 --output=FILE"
{"xfd_switch_kit":1,"version":$(string "$(cat "$kit/version")"),"kernel":$(string "$release"),
"date":"$(date -u +%Y-%m-%d)","seconds":$(($(date +%s) - began)),
"rehearsed":$([ $rehearse = 1 ] && echo true || echo false),"quick":$quick,
"probe":$probe,
"meter":$meter,
"measured":{$(cat "$scratch/measured")},
"tests":[$(cat "$scratch/tests" 2>/dev/null)],
"failures":[$(cat "$scratch/failures" 2>/dev/null)]}
END
if ! mv -f "$ktap.new" "$ktap" || ! mv -f "$output.new" "$output"; then
	die "$output cannot be written" "$0 --output=FILE"
fi
echo "run.sh: $tests_run tests, $failed failures, $skipped skipped; $output is written" >&2
[ $failed = 0 ]
