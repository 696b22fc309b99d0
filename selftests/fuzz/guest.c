// SPDX-License-Identifier: GPL-2.0
/* In the guest: a program from its beginning to its end, and what disturbs it. */
#include "vmx.h"

#include "guest.h"
#include "insn.h"
#include "op.h"
#include "../lib/xfd.h"

struct guest guest __aligned(4096);

/* See insn.h. */
#pragma GCC target("general-regs-only")

static u8 guest_state(void)
{
	u64 xfd = guest_rdmsr(MSR_IA32_XFD), xfd_err = guest_rdmsr(MSR_IA32_XFD_ERR);
	u64 in_use = guest_xgetbv(1);

	return STATE_SEEN |
	       (xfd & XFD_TILEDATA ? STATE_XFD : 0) |
	       (xfd_err & XFD_TILEDATA ? STATE_XFD_ERR : 0) |
	       ((xfd | xfd_err) & ~XFD_TILEDATA ? STATE_STRANGE : 0) |
	       (in_use & XFEATURE_MASK_XTILE_CFG ? STATE_XTILECFG : 0) |
	       (in_use & XFD_TILEDATA ? STATE_XTILEDATA : 0) |
	       (guest_xgetbv(0) & XFD_TILEDATA ? STATE_XCR0 : 0) |
	       (guest_cr0() & X86_CR0_TS ? STATE_TS : 0);
}

static void guest_disturb(const struct xfd_disturb *d, u8 log[2], bool in_handler)
{
	log[0] = guest_state();
	switch (d->kind) {
	case XFD_DISTURB_NONE:
	case XFD_DISTURB_EMULATE:
		break;
	case XFD_DISTURB_VMCALL:
		xfd_vmcall();
		break;
	case XFD_DISTURB_PREEMPT_AMX ... XFD_DISTURB_MIGRATE:
		guest_out(PORT_TASK + d->kind);
		break;
	default:
		guest.in_handler = in_handler;
		guest_out(PORT_DISTURB);
	}
	log[1] = guest_state();
}

void guest_exception(struct ex_regs *regs)
{
	const struct xfd_op *op = &guest.program.ops[guest.now];
	u64 i = guest.now;

	if (regs->r9 != KVM_EXCEPTION_MAGIC || regs->rip != regs->r10) {
		guest.log.ops[i].value = regs->rip;
		guest.log.ops[i].vector = regs->vector;
		guest_out(PORT_LOST);
	}
	if (regs->vector == NM_VECTOR) {
		if (!guest.log.ops[i].in_handler[0])
			guest_disturb(&guest.program.in_handler[i],
				      guest.log.ops[i].in_handler, true);
		if (op->on_nm != XFD_NM_SKIP)
			guest_wrmsr(MSR_IA32_XFD_ERR, 0);
		if (op->on_nm == XFD_NM_RETRY && !guest.retried) {
			guest.retried = 1;
			guest_wrmsr(MSR_IA32_XFD, 0);
			asm volatile("clts" : : : "memory");
			return;
		}
	}
	regs->rip = regs->r11;
	regs->r9 = regs->vector;
	regs->r10 = regs->error_code;
}

static noinline void guest_step_end(void)
{
	asm volatile(".globl fuzz_step_end\n"
		     "fuzz_step_end: nop" : : : "memory");
}

static void guest_begin(void)
{
	asm volatile("clts" : : : "memory");
	if (!(guest_xgetbv(0) & XFD_TILEDATA))
		guest_xsetbv(true);
	/* The vCPU of a fresh one has written neither yet. */
	if (guest.armed) {
		guest_wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		guest_wrmsr(MSR_IA32_XFD, 0);
		guest_wrmsr(MSR_IA32_XFD_ERR, 0);
	}
	asm volatile(ASM_TILERELEASE : : : "memory");
	guest_zero(guest.areas, sizeof(guest.areas));
	guest_zero(guest.buffer, sizeof(guest.buffer));
	guest_xmm_load(guest.buffer);
}

static void guest_end(void)
{
	asm volatile("clts" : : : "memory");
	guest_xsetbv(true);
	guest_xmm_store(guest.buffer);
	guest.log.end[0] = guest_hash(guest.buffer, 0x80);
	guest_zero(guest.buffer, 0x80);
	guest_try(ASM_STTILECFG, "a"(guest.buffer));
	guest.log.end[1] = guest_hash(guest.buffer, sizeof(struct xfd_tilecfg));
	guest_zero(guest.buffer, sizeof(struct xfd_tilecfg));
	guest_wrmsr(MSR_IA32_XFD, 0);
	/* #UD if there is no configuration. */
	guest.log.end[2] = guest_tiles_store(guest.buffer);
	guest.log.end[2] ^= guest_hash(guest.buffer, XFD_TILES_BYTES);
}

static void guest_run(void)
{
	const struct xfd_program *p = &guest.program;
	u64 i;

	guest_begin();
	for (i = 0; i <= p->nr_ops; i++) {
		u64 value = 0, hash = 0;

		guest.now = i;
		guest.retried = 0;
		guest_disturb(&p->before[i], guest.log.ops[i].before, false);
		guest.log.ops[i].vector = guest_do(&p->ops[i],
						   p->before[i].kind == XFD_DISTURB_EMULATE &&
						   !guest.nested, &value, &hash);
		guest_step_end();
		guest.log.ops[i].value = hash ? guest_hash_of(&p->ops[i], hash) : value;
	}
	guest_end();
}

void guest_code(void)
{
	for (;;) {
		guest_out(PORT_NEXT);
		guest_run();
	}
}

void guest_l1(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, guest_code);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL,
		vmreadz(CPU_BASED_VM_EXEC_CONTROL) | CPU_BASED_USE_MSR_BITMAPS);
	vmwrite(SECONDARY_VM_EXEC_CONTROL,
		vmreadz(SECONDARY_VM_EXEC_CONTROL) | SECONDARY_ENABLE_XSAV_RESTORE);
	GUEST_ASSERT(!vmlaunch());
	for (;;) {
		switch (vmreadz(VM_EXIT_REASON)) {
		case EXIT_REASON_VMCALL:
			break;
		case EXIT_REASON_XSETBV:
			asm volatile("xsetbv" : : "a"((u32)guest_regs.rax),
				     "d"((u32)guest_regs.rdx), "c"(0) : "memory");
			break;
		default:
			guest.log.ops[guest.now].value = vmreadz(GUEST_RIP);
			guest_out(PORT_LOST);
		}
		vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) + vmreadz(VM_EXIT_INSTRUCTION_LEN));
		GUEST_ASSERT(!vmresume());
	}
}
