#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What Documentation/observing.rst shows: the events by perf.  It is called with what runs a guest.
set -e
# [
perf record -q -e 'xfd_switch:*' -e 'x86_fpu:x86_fpu_guest_xfd*' "$@" # runs a guest
perf script
perf stat -e x86_fpu:x86_fpu_guest_xfd_save -e kvm:kvm_exit "$@"
