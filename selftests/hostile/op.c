// SPDX-License-Identifier: GPL-2.0
/* The table of what an attacker does. */
#include "fresh.h"
#include "module.h"
#include "msr.h"
#include "op.h"
#include "permission.h"
#include "run.h"
#include "setting.h"
#include "xsave.h"

static const struct op ops[] = {
	{ "run",		16,	op_run },
	{ "run, refused",	4,	op_run_refused },
	{ "KVM_SET_MSRS",	12,	op_set_msrs },
	{ "KVM_SET_ONE_REG",	6,	op_one_reg },
	{ "KVM_SET_MSRS, refused", 2,	op_msrs_refused },
	{ "KVM_SET_XSAVE",	20,	op_set_xsave },
	{ "KVM_GET_XSAVE2",	6,	op_get_xsave },
	{ "KVM_SET_CPUID2",	4,	op_set_cpuid },
	{ "KVM_ENABLE_CAP",	6,	op_enable_cap },
	{ "a page that is not there", 10, op_fault },
	{ "other state",	6,	op_refused },
	{ "the module",		2,	op_module },
	{ "another VM",		3,	op_fresh_vm },
	{ "another vCPU",	3,	op_fresh_vcpu },
	{ "arch_prctl()",	2,	op_permission },
};

const struct op *some_op(struct attacker *a)
{
	int i, sum = 0, n;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	n = below(a, sum);
	for (i = 0; n >= ops[i].weight; i++)
		n -= ops[i].weight;
	return &ops[i];
}
