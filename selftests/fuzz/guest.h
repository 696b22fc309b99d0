/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest: it executes a program after the other, and writes down what it sees.
 */
#ifndef SELFTESTS_FUZZ_GUEST_H
#define SELFTESTS_FUZZ_GUEST_H

#include "processor.h"

#include "result.h"
#include "../lib/program.h"
#include "../lib/tiles.h"

struct vmx_pages;

/* Ports of the guest's OUT: done, something for the VMM to do, an exception that nobody expects. */
#define PORT_NEXT	0x590
#define PORT_DISTURB	0x591
#define PORT_LOST	0x592
/* Added to the kind of a disturbance that a task makes: KVM wakes it, and there is no exit. */
#define PORT_TASK	0x5a0

#define AREA_BYTES	12288
#define NR_AREAS	2

/* In guest memory. */
struct guest {
	struct xfd_program program;
	/* Dormant tiles are left out. */
	u64 clean;
	/* Tiles aren't touched with CR0.TS set: one of the fixes mends what comes of it. */
	u64 stock;
	/* It is to write XFD first. */
	u64 armed;
	/* It is L2. */
	u64 nested;
	/* The operation, and the disturbance that the VMM is to make. */
	u64 now;
	u64 in_handler;
	u64 retried;
	struct log log;
	struct xfd_tilecfg cfgs[4];
	/* All 0 before each operation. */
	u8 buffer[XFD_TILES_BYTES] __aligned(64);
	u8 areas[NR_AREAS][AREA_BYTES] __aligned(64);
};

/* In the guest; the host has it as machine::guest. */
extern struct guest guest;

void guest_code(void);

/* An L1 whose L2 is that, and notices nothing of it. */
void guest_l1(struct vmx_pages *vmx);

/* The handler of whatever an operation may raise. */
void guest_exception(struct ex_regs *regs);

/* Whoever steps over an operation gets here. */
extern char fuzz_step_end[];

#endif /* SELFTESTS_FUZZ_GUEST_H */
