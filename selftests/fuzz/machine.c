// SPDX-License-Identifier: GPL-2.0
/* VMs, from their creation to their end. */
#include <stdarg.h>

#include "vmx.h"

#include "machine.h"
#include "task.h"
#include "../lib/xfd.h"

void machine_say(struct machine *m, const char *format, ...)
{
	va_list args;

	if (m->result->said[0])
		return;
	va_start(args, format);
	vsnprintf(m->result->said, sizeof(m->result->said), format, args);
	va_end(args);
}

void machine_equip(struct machine *m)
{
	int i;

	if (m->xstate)
		vm_enable_cap(m->vm, KVM_CAP_X86_XFD_XSTATE, 0);
	vm_enable_cap(m->vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER);
	for (i = 0; i < ARRAY_SIZE(tasks); i++) {
		struct kvm_ioeventfd event = {
			.addr = PORT_TASK + tasks[i].kind,
			.len = 1,
			.fd = tasks[i].event,
			.flags = KVM_IOEVENTFD_FLAG_PIO,
		};

		vm_ioctl(m->vm, KVM_IOEVENTFD, &event);
	}
	m->filtered = false;
}

void machine_create(struct machine *m, bool xstate, bool nested)
{
	struct xfd_tilecfg *cfgs;
	gva_t vmx;

	memset(m, 0, sizeof(*m));
	m->xstate = xstate;
	m->vm = vm_create_with_one_vcpu(&m->vcpu, nested ? (void *)guest_l1 : guest_code);
	m->guest = xfd_guest_ptr(m->vm, guest);
	m->guest->nested = nested;
	if (nested) {
		vcpu_alloc_vmx(m->vm, &vmx);
		vcpu_args_set(m->vcpu, 1, vmx);
	}
	machine_equip(m);
	xfd_patterns_fill(m->vm);
	vm_install_exception_handler(m->vm, NM_VECTOR, guest_exception);
	vm_install_exception_handler(m->vm, GP_VECTOR, guest_exception);
	vm_install_exception_handler(m->vm, UD_VECTOR, guest_exception);

	/* All tiles whole; smaller ones; none; and none that is valid. */
	cfgs = m->guest->cfgs;
	xfd_tilecfg_fill(&cfgs[0]);
	cfgs[1] = cfgs[0];
	memset(cfgs[1].rows, 5, XFD_TILES);
	xfd_tilecfg_fill(&cfgs[3]);
	cfgs[3].reserved[0] = 1;

	vcpu_run(m->vcpu);
	TEST_ASSERT_EQ(m->vcpu->run->io.port, PORT_NEXT);
}

void machine_destroy(struct machine *m)
{
	if (m->vm)
		kvm_vm_free(m->vm);
	m->vm = NULL;
}

void machine_set_filter(struct machine *m, bool on)
{
	static u64 none;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges[0] = {
			.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			.base = MSR_IA32_XFD,
			/* And XFD_ERR. */
			.nmsrs = 2,
			.bitmap = (u8 *)&none,
		},
	};

	if (m->filtered == on)
		return;
	if (m->filtered && !m->filter_exits)
		machine_say(m, "denied accesses of XFD and XFD_ERR did not exit");
	if (!on)
		memset(filter.ranges, 0, sizeof(filter.ranges));
	vm_ioctl(m->vm, KVM_X86_SET_MSR_FILTER, &filter);
	m->filtered = on;
	m->filter_exits = 0;
}

void machine_set_stepping(struct machine *m, bool on)
{
	struct kvm_guest_debug debug = {
		.control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP : 0,
	};

	vcpu_guest_debug_set(m->vcpu, &debug);
	m->stepping = on;
}
