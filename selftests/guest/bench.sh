# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# For `make bench`: a Linux guest with AMX at work, and $1, what tracefs has of its exits meanwhile.

# shellcheck source-path=SCRIPTDIR disable=SC1091 # it lies beside this one in the machine
. /add/guest/qemu.sh

trace=$1
instance=/sys/kernel/tracing/instances/bench

events() {
	for event in kvm/kvm_entry kvm/kvm_exit kvm/kvm_userspace_exit sched/sched_switch; do
		echo "$1" >"$instance/events/$event/enable"
	done
	echo "$1" >"$instance/tracing_on"
}

guest_start vm 1 "xfd.amx=2 xfd.plain=1 xfd.rounds=2000"
guest_wait vm "guest: begin"

mkdir "$instance"
# Ticks of the TSC, which counts instructions, and few pages: going on to the next one takes longer than
# most of what is traced.
echo x86-tsc >"$instance/trace_clock"
echo 64 >"$instance/buffer_subbuf_size_kb"
echo 8192 >"$instance/buffer_size_kb"
events 1
guest_wait vm "guest: end"
events 0
cat "$instance/trace" >"$trace"

guest_end vm
