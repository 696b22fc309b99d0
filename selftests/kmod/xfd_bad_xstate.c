// SPDX-License-Identifier: GPL-2.0
/*
 * Makes XRSTORS of a guest's registers fault, which no image from userspace can: KVM
 * and the FPU core check what they take.  For xfd_xrstor_test.
 *
 * A module parameter, below /sys/module/xfd_bad_xstate/parameters:
 *
 *	tid		The thread whose next KVM_RUN begins with such a fault, once; 0: none.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

#include <asm/fpu/types.h>
#include <asm/ptrace.h>

static int tid;
module_param(tid, int, 0644);

/* fpu_swap_kvm_fpstate(guest_fpu, enter_guest): XRSTORS wants 0 in what is reserved. */
static int on_swap(struct kprobe *p, struct pt_regs *regs)
{
	struct fpu_guest *guest_fpu = (void *)regs_get_kernel_argument(regs, 0);
	bool enter_guest = regs_get_kernel_argument(regs, 1);
	u64 *reserved = guest_fpu->fpstate->regs.xsave.header.reserved;

	if (!enter_guest) {
		reserved[0] = 0;
	} else if (current->pid == tid) {
		tid = 0;
		reserved[0] = 1;
	}
	return 0;
}

static struct kprobe swap_probe = {
	.symbol_name = "fpu_swap_kvm_fpstate",
	.pre_handler = on_swap,
};

static int __init xfd_bad_xstate_init(void)
{
	return register_kprobe(&swap_probe);
}
module_init(xfd_bad_xstate_init);

static void __exit xfd_bad_xstate_exit(void)
{
	unregister_kprobe(&swap_probe);
}
module_exit(xfd_bad_xstate_exit);

MODULE_DESCRIPTION("A fault in XRSTORS of a guest's registers, for tests");
MODULE_LICENSE("GPL");
