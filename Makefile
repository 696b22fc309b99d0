# SPDX-License-Identifier: GPL-2.0
# The front door. Everything is done by the lab (lab/, a Rust program), which this builds first.

.DEFAULT_GOAL := module

LAB := build/lab/release/lab

# Absent variables are empty ones; the lab knows.
export SETUP JOBS KDIR CONFIG KERNEL KERNEL_SOURCE EMULATOR_SOURCE DOWNLOADS
export RELEASE KEEP PART
# The lab's own makes get their jobs from JOBS.
MAKEFLAGS += --no-print-directory

.PHONY: help run bench figures check check-debug check-rt check-fresh check-deb guests hostile probe kit deb upstream mutants explore fuzz coverage bisect nightly fits module rustdoc kernel emulator boot docs clean distclean lab
.NOTPARALLEL:

help:		## This text
	@echo "xfd_switch: a Linux kernel module that switches IA32_XFD for KVM's vCPUs."
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 21
	@echo
	@echo "Variables:"
	@echo "  SETUP=no           install nothing; say what is missing"
	@echo "  JOBS=N             parallel jobs [number of CPUs]"
	@echo "  KDIR=DIR           make module, make kit: build against this prepared kernel instead"
	@echo "  CONFIG=FILE        make deb: the kernel configuration to begin with [the running one]"
	@echo "  KERNEL=SERIES      the kernel series [7.3, the only one that patches/linux is for]"
	@echo "  KERNEL_SOURCE=FILE an archive to use instead of fetching linux-source"
	@echo "  EMULATOR_SOURCE=FILE  an archive to use instead of fetching Bochs"
	@echo "  RELEASE=trixie     make check-fresh: the release; KEEP=yes keeps its chroot,"
	@echo "                     PART=lab|module|run|check makes only this there"
	@echo "  SEEDS=N, MINUTES=N make fuzz: programs on each host [500], and when to begin no more"
	@echo "  DOWNLOADS=DIR      where downloads are kept [~/.cache/xfd_switch/downloads]"
	@echo
	@echo "More: $(LAB) --help"

lab:
	@lab/bootstrap.sh

run: lab	## Measure every strategy in the emulated machine; print the table
	@$(LAB) run

bench: lab	## Trace how long VM-exits take; draw build/report/bench
	@$(LAB) bench

figures: lab	## Write the figures of the last run into README.md and Documentation/
	@$(LAB) figures

check: lab	## Run all tests (KTAP); the last line counts them
	@$(LAB) check

check-debug: lab	## Run them on a debug kernel (PROVE_LOCKING, X86_DEBUG_FPU, KASAN, ...)
	@$(LAB) check --debug

check-rt: lab	## Run them on a kernel with PREEMPT_RT
	@$(LAB) check --rt

check-fresh:	## Run both on a minimal RELEASE=trixie or bookworm, from nothing (root only)
	@lab/fresh.sh

check-deb:	## Make the packages, install and purge them on a minimal Debian 13 (root only)
	@lab/check-deb.sh

guests: lab	## Let Linux guests in QEMU compute, migrate, reboot, ...; print what it costs
	@$(LAB) guests

hostile: lab	## Throw a million wrong ioctls at KVM: right errno, no harm, no leak
	@$(LAB) hostile

kit: lab	## Make build/kit: what tests and measures the module on a host of real hardware
	@$(LAB) build kit

deb: lab	## Make build/deb: Debian packages of the kernel and, for DKMS, of the module
	@$(LAB) deb

# It ends with 4 where there is no AMX, which is no failure.
probe:		## See what this machine's AMX does, at ring 3 (any x86-64 Linux; gcc alone is needed)
	@$(MAKE) -s -C selftests probe OUTPUT=$(CURDIR)/build/probe
	@mkdir -p build/report
	@build/probe/xfd_probe --table >build/report/probe.json || [ $$? -eq 4 ]
	@echo "probe: build/report/probe.json is written"

upstream: lab	## Run the kernel tree's own KVM selftests with and without the module
	@$(LAB) upstream

mutants: lab	## Break each synchronisation point of the host series; a test must notice
	@$(LAB) mutants

explore: lab	## Explore every interleaving of the shipped save path
	@$(LAB) explore

fuzz: lab	## Let random guest programs run undisturbed and disturbed; nothing may differ
	@$(LAB) fuzz $(if $(SEEDS),--seeds=$(SEEDS)) $(if $(MINUTES),--minutes=$(MINUTES))

coverage: lab	## Count which lines of the patches the tests run; each other has its reason
	@$(LAB) coverage

bisect: lab	## Build and boot the kernel after each patch for it
	@$(LAB) bisect

nightly: lab	## check-debug, check-rt, guests, hostile, mutants, explore, fuzz, coverage, bisect and upstream, whatever of it is not done yet
	@$(LAB) nightly

fits: lab	## Say whether the kernel in KERNEL_SOURCE=FILE|DIR takes the patches
	@$(LAB) fits

module: lab	## Build the module (default)
	@$(LAB) build module

rustdoc: lab	## Build the module's documentation as HTML, with the kernel's settings
	@$(LAB) build rustdoc

kernel: lab	## Build the stock, the minimal, the patched, the debug and the rt kernel
	@$(LAB) build stock
	@$(LAB) build minimal
	@$(LAB) build patched
	@$(LAB) build debug
	@$(LAB) build rt

emulator: lab	## Build the emulator
	@$(LAB) build emulator

boot: lab	## Say how to run a command of your own in the machine
	@echo "For example:"
	@echo "  $(LAB) boot -- uname -a"
	@echo "  $(LAB) boot --strategy xinuse --cpus 2 --add ./mytest -- ./mytest"
	@echo "  $(LAB) boot --stock --timeout 60 -- 'amx_test && dmesg | tail'"
	@$(LAB) boot --help

docs:		## Build Documentation/ as HTML (needs sphinx-build)
	@command -v sphinx-build >/dev/null || { \
		echo "docs: error: sphinx-build is missing" >&2; \
		echo "  next: apt-get install python3-sphinx" >&2; exit 1; }
	sphinx-build -W -n -E -q --keep-going -b html Documentation build/docs
	@echo "docs: build/docs/index.html"

clean:		## Remove build/ (downloads stay)
	rm -rf build

distclean: clean	## Remove the downloads, too
	rm -rf "$${DOWNLOADS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/xfd_switch/downloads}"
