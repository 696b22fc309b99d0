/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a guest executes in real mode, and in SMM.  It reads XFD, XFD_ERR and
 * XINUSE, takes a #NM because of CR0.TS and one because of XFD, and tells the host.
 *
 * Code and data are in the page at 0, which the library uses for nothing.
 */
#ifndef SELFTESTS_LIB_REAL_MODE_H
#define SELFTESTS_LIB_REAL_MODE_H

#include <linux/stringify.h>
#include <linux/types.h>

/* Counts up while the guest is preempted, as xfd_neighbour::progress. */
#define RM_PROGRESS	0x500
/* u16: where the next record goes. */
#define RM_NEXT_RECORD	0x508
/* u32: what the handler of #NM writes to XFD_ERR. */
#define RM_XFD_ERR	0x50c
/* u8: whether to execute XRSTOR, and to wait until preempted. */
#define RM_XRSTOR	0x510
#define RM_PREEMPT	0x511
#define RM_RECORDS	0x540
#define RM_CODE		0x600
/* An XSAVE area, of which XRSTOR reads no more than the header before its #NM. */
#define RM_XSAVE	0x800
#define RM_STACK	0x1ff0
/* An OUT to this one exits to the VMM. */
#define RM_PORT		0x80

#define RM(x)		__stringify(RM_##x)

/* What the guest sees at some point. */
struct rm_record {
	u32 xfd;
	u32 xfd_err;
	u32 xinuse;
	u32 unused;
};

extern char rm_start[], rm_nm[], rm_end[], smi_start[], smi_end[];

#endif /* SELFTESTS_LIB_REAL_MODE_H */
