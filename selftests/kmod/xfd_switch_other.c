// SPDX-License-Identifier: GPL-2.0
/*
 * Another provider of KVM's hooks for XFD, for xfd_module_test: one of it and
 * xfd_switch can be registered.
 *
 * It decides nothing, and so switches as xfd_switch does with strategy=lazy.  Its
 * name is one of those that KVM exports the registration to.
 */
#include <linux/kvm.h>
#include <linux/module.h>

#ifdef KVM_CAP_X86_XFD_XSTATE	/* a kernel with the series */
#include <asm/kvm_xfd.h>

static int vcpu_create(struct kvm_vcpu *vcpu)
{
	return 0;
}

static void ignore(struct kvm_vcpu *vcpu)
{
}

static const struct kvm_xfd_ops ops = {
	.owner		= THIS_MODULE,
	.vcpu_create	= vcpu_create,
	.vcpu_free	= ignore,
	.run_begin	= ignore,
	.run_end	= ignore,
};

static int __init xfd_switch_other_init(void)
{
	int ret = kvm_register_xfd_ops(&ops);

	if (ret == -EBUSY)
		pr_err("xfd_switch_other: another module switches XFD for KVM: unload that first\n");
	return ret;
}

static void __exit xfd_switch_other_exit(void)
{
	kvm_unregister_xfd_ops(&ops);
}
module_exit(xfd_switch_other_exit);
#else
/* The tests' modules are built for the stock kernel, too. */
static int __init xfd_switch_other_init(void)
{
	return -EOPNOTSUPP;
}
#endif
module_init(xfd_switch_other_init);

MODULE_DESCRIPTION("A second provider of KVM's hooks for XFD, for tests");
MODULE_LICENSE("GPL");
