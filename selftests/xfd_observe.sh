#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What Documentation/observing.rst shows: the events by tracefs alone, and the counters.  It is called
# with what runs a guest.
set -e
# [
cd /sys/kernel/tracing/events
events="xfd_switch/enable x86_fpu/x86_fpu_guest_xfd_load/enable
	x86_fpu/x86_fpu_guest_xfd_save/enable"
for event in $events; do echo 1 >"$event"; done
"$@" # runs a guest
for event in $events; do echo 0 >"$event"; done
cat ../trace
cat /sys/kernel/debug/xfd_switch/summary
