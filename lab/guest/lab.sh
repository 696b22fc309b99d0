# SPDX-License-Identifier: GPL-2.0
# What scripts in the machine can call: `. /etc/lab.sh`.

# A word for the lab, outside of the command's output.
mark() {
	printf '\036LAB %s\n' "$*"
}

# Our module: xfd_switch.ko, or the broken build of it.
lab_module=$(cat /lib/modules/own 2>/dev/null)

# Loads it with a strategy; further arguments are more parameters.
lab_load() {
	if said=$(insmod "/lib/modules/$lab_module" strategy="$@" 2>&1); then
		mark "loaded $1"
		return 0
	fi
	mark "failed insmod $lab_module strategy=$*: $said $(dmesg | grep xfd_switch | tail -n 1)"
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

# Runs one test: its name, its time limit in seconds of the machine, and a command for sh.
lab_test() {
	mark "test $1"
	echo "lab: test $1" >/dev/kmsg
	( cd /tests && exec timeout -s KILL "$2" sh -c "$3" )
	lab_status=$?
	echo "lab: end $1" >/dev/kmsg
	mark "end $lab_status $1"
}
