#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What Documentation/observing.rst shows: the events by tracefs alone, and the counters.  It is called
# with what runs a guest.
set -e
# [
cd /sys/kernel/tracing
echo 1 >events/xfd_switch/enable
echo 1 >events/x86_fpu/x86_fpu_guest_xfd_load/enable
echo 1 >events/x86_fpu/x86_fpu_guest_xfd_save/enable
"$@" # runs a guest
echo 0 >events/enable
cat trace
cat /sys/kernel/debug/xfd_switch/summary
