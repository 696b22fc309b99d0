#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What Documentation/observing.rst shows: the events by trace-cmd.  It is called with what runs a
# guest.
set -e
# [
trace-cmd record -e xfd_switch -e x86_fpu:x86_fpu_guest_xfd_load \
	-e x86_fpu:x86_fpu_guest_xfd_save "$@" # runs a guest
trace-cmd report
