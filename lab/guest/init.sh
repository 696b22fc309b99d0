#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The first and only process of the machine: sets it up, runs /cmd, says how it ended, powers off.
#
# ttyS0 is the kernel's console. What the command writes goes to ttyS1, and there also go the marks
# for the lab: a record separator (octal 036), "LAB", and words up to the end of the line.

export PATH=/bin:/tests:/add HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /dev/shm
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null

stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1 2>&1 </dev/null

# shellcheck disable=SC1091 # it lies beside this one
. /etc/lab.sh

finish() {
	lab_look
	mark "exit $1"
	# Long enough for the last characters to leave the machine.
	sleep 0.3
	poweroff -f
	sleep 60
}

mark begin
# modprobe takes the parameters of modules from the kernel's command line.
while IFS=: read -r module _; do
	# A machine without VMX is there to see what happens then.
	if [ "$module" = kvm-intel.ko ] && ! grep -qw vmx /proc/cpuinfo; then
		continue
	fi
	if ! said=$(modprobe "${module%.ko}" 2>&1); then
		mark "failed modprobe $module: $said"
		finish 125
	fi
done <"/lib/modules/$(uname -r)/modules.dep"
if [ -s /etc/strategy ]; then
	if ! lab_load "$(cat /etc/strategy)"; then
		finish 125
	fi
fi
lab_look
mark run
cd /add || finish 125
sh /cmd
status=$?
if [ -d /sys/kernel/debug/gcov ]; then
	lab_get_gcov
fi
finish $status
