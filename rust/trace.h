/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's trace events. Loads and saves are not here: it is the FPU core that does those, and
 * x86_fpu:x86_fpu_guest_xfd_load and _save are events of its own.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM xfd_switch

#if !defined(XFD_SWITCH_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define XFD_SWITCH_TRACE_H

#include <linux/kvm_host.h>
#include <linux/tracepoint.h>

/* A vCPU of an attached VM is created. @strategy is no string of C's: it has a length. */
TRACE_EVENT(xfd_switch_attach,
	TP_PROTO(const struct kvm_vcpu *vcpu, const char *strategy, unsigned int len),
	TP_ARGS(vcpu, strategy, len),

	TP_STRUCT__entry(
		__string(vm, vcpu->kvm->stats_id)
		__field(unsigned int, vcpu_id)
		__string_len(strategy, strategy, len)
	),

	TP_fast_assign(
		__assign_str(vm);
		__entry->vcpu_id = vcpu->vcpu_id;
		__assign_str(strategy);
	),

	TP_printk("vm: %s vcpu: %u strategy: %s", __get_str(vm), __entry->vcpu_id,
		  __get_str(strategy))
);

/* Its XFD is other than 0 for the first time: from now on a strategy decides. */
TRACE_EVENT(xfd_switch_arm,
	TP_PROTO(const struct kvm_vcpu *vcpu, u64 xfd),
	TP_ARGS(vcpu, xfd),

	TP_STRUCT__entry(
		__string(vm, vcpu->kvm->stats_id)
		__field(unsigned int, vcpu_id)
		__field(u64, xfd)
	),

	TP_fast_assign(
		__assign_str(vm);
		__entry->vcpu_id = vcpu->vcpu_id;
		__entry->xfd = xfd;
	),

	TP_printk("vm: %s vcpu: %u xfd: %llx", __get_str(vm), __entry->vcpu_id, __entry->xfd)
);

/* For Rust, which the kernel's declare_trace!() does not serve out of tree. */
void xfd_switch_trace_attach(const struct kvm_vcpu *vcpu, const char *strategy, unsigned int len);
void xfd_switch_trace_arm(const struct kvm_vcpu *vcpu, u64 xfd);

#endif /* XFD_SWITCH_TRACE_H */

/* This part must be outside protection. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
