# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What scripts in the machine can call: `. /etc/lab.sh`.

# A word for the lab, outside of the command's output.
mark() {
	printf '\036LAB %s\n' "$*"
}

# Our module: xfd_switch.ko, or the broken build of it.
lab_module=$(cat /lib/modules/own 2>/dev/null)

# Loads it with a strategy; further arguments are more parameters.
lab_load() {
	lab_strategy=$1
	shift
	set -- "strategy=$lab_strategy" "$@"
	if said=$(insmod "/lib/modules/$lab_module" "$@" 2>&1); then
		mark "loaded $lab_strategy"
		return 0
	fi
	mark "failed insmod $lab_module $*: $said $(dmesg | grep xfd_switch | tail -n 1)"
	return 1
}

lab_unload() {
	if said=$(rmmod "${lab_module%.ko}" 2>&1); then
		mark "unloaded"
		return 0
	fi
	mark "failed rmmod ${lab_module%.ko}: $said"
	return 1
}

# Figures that follow in the output belong to this label.
lab_label() {
	mark "label $1"
}

# Brings a file out of the machine: the lab puts it below files/ in the machine's directory.
lab_get() {
	if [ ! -e "$1" ]; then
		echo "lab: there is no $1 to bring out"
		return 1
	fi
	stty -F /dev/ttyS1 115200
	mark "file ${1##*/}"
	gzip -c "$1" | base64
	mark "end-file"
}

# Brings out what a kernel with gcov has counted. The files say that they are empty until they are read.
lab_get_gcov() {
	lab_counts=/tmp/gcov
	mkdir -p $lab_counts
	( cd /sys/kernel/debug/gcov && find . -name '*.gcda' ) | while read -r lab_file; do
		mkdir -p "$lab_counts/${lab_file%/*}"
		cat "/sys/kernel/debug/gcov/$lab_file" >"$lab_counts/$lab_file"
	done
	tar -C $lab_counts -cf $lab_counts.tar .
	lab_get $lab_counts.tar
}

# Bits of the kernel's taint that it sets when it complains: M, B, D, W and L.
lab_bad=$((1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14))

# Complains in the kernel's log if the kernel has got such a bit since the last call, or lockdep has
# turned itself off: a complaint that the lab does not know by its words is found like this.
lab_look() {
	lab_was=$(cat /etc/.taint 2>/dev/null || echo 0)
	lab_is=$(($(cat /proc/sys/kernel/tainted) & lab_bad))
	echo $lab_is >/etc/.taint
	if [ $((lab_is & ~lab_was)) -ne 0 ]; then
		echo "BUG: lab: the kernel is tainted: $lab_was -> $lab_is" >/dev/kmsg
	fi
	if grep -q 'debug_locks: *0' /proc/lockdep_stats 2>/dev/null && [ ! -e /etc/.lockdep ]; then
		touch /etc/.lockdep
		echo "BUG: lab: lockdep has turned itself off" >/dev/kmsg
	fi
}

# What an oops, or a WARN, makes of taint and lockdep is what the next test is for: the words of
# each of the kernel's complaints are looked at.
lab_expect_oops() {
	echo $((1 << 7 | 1 << 9)) >/etc/.taint
	touch /etc/.lockdep
}

# Runs one test: its name, its time limit in seconds of the machine, and a command for sh.
lab_test() {
	mark "test $1"
	echo "lab: test $1" >/dev/kmsg
	# Each test gets to see each WARN_ON_ONCE().
	echo 1 >/sys/kernel/debug/clear_warn_once
	( cd /tests && exec timeout -s KILL "$2" sh -c "$3" )
	lab_status=$?
	lab_look
	echo "lab: end $1" >/dev/kmsg
	mark "end $lab_status $1"
}
