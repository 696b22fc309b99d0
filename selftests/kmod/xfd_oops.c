// SPDX-License-Identifier: GPL-2.0
/*
 * Kills a vCPU's thread within KVM_RUN by an oops.  For xfd_oops_test.
 *
 * A module parameter, below /sys/module/xfd_oops/parameters:
 *
 *	tid		The thread that oopses on its next hypercall, once; 0: none.
 */
#include <linux/bug.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

static int tid;
module_param(tid, int, 0644);

/* Entered instead of what was probed. */
static void die_here(void)
{
	BUG();
}

static int on_hypercall(struct kprobe *p, struct pt_regs *regs)
{
	if (current->pid != tid)
		return 0;
	tid = 0;
	/* Not here: the kernel panics if it is in an exception that it oopses. */
	instruction_pointer_set(regs, (unsigned long)die_here);
	return 1;
}

static struct kprobe hypercall_probe = {
	.symbol_name = "kvm_emulate_hypercall",
	.pre_handler = on_hypercall,
};

static int __init xfd_oops_init(void)
{
	return register_kprobe(&hypercall_probe);
}
module_init(xfd_oops_init);

static void __exit xfd_oops_exit(void)
{
	unregister_kprobe(&hypercall_probe);
}
module_exit(xfd_oops_exit);

MODULE_DESCRIPTION("An oops in KVM_RUN, for tests");
MODULE_LICENSE("GPL");
