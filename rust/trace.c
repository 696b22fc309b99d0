// SPDX-License-Identifier: GPL-2.0
/* What trace.h declares. C must define trace events: no Rust can. */
#define CREATE_TRACE_POINTS
#include "trace.h"

void xfd_switch_trace_attach(const struct kvm_vcpu *vcpu, const char *strategy, unsigned int len)
{
	trace_xfd_switch_attach(vcpu, strategy, len);
}

void xfd_switch_trace_arm(const struct kvm_vcpu *vcpu, u64 xfd)
{
	trace_xfd_switch_arm(vcpu, xfd);
}
