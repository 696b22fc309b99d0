// SPDX-License-Identifier: GPL-2.0
/* The guests. */
#include "guest.h"
#include "../lib/xfd.h"

struct order order;

static void guest_leave(void)
{
	/* The images that userspace sets have someone else's registers. */
	asm volatile("outb %%al, %%dx" : : "a"(0), "d"(PORT)
		     : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
		       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
		       "xmm15");
}

void guest_code(void)
{
	for (;;) {
		xfd_guest_check(&order.before);
		xfd_guest_enter(&order.after);
		xfd_vmcall();
		guest_leave();
	}
}

void guest_race(void)
{
	u64 i;

	for (i = 0;; i++) {
		wrmsr(MSR_IA32_XFD, i & 1 ? XFD_TILEDATA : 0);
		/* #NM, or #UD without a configuration. */
		xfd_tile_load_safe(xfd_patterns[1].want);
		wrmsr(MSR_IA32_XFD_ERR, i & 2 ? XFD_TILEDATA : 0);
		xfd_ldtilecfg(&xfd_patterns[1].cfg);
		xfd_tile_load_safe(xfd_patterns[2].want);
		if (i & 4)
			xfd_vmcall();
		if (i & 8)
			xfd_tilerelease();
		WRITE_ONCE(order.rounds, order.rounds + 1);
		if (!READ_ONCE(order.spin))
			guest_leave();
	}
}
