// SPDX-License-Identifier: GPL-2.0
/*
 * Random guest programs of XFD, XFD_ERR, tiles, XSAVE and #NM, each of which runs twice:
 * undisturbed, and then with exits, preemption, migration, FPU use in the kernel, a VMM's ioctls,
 * ... between any two of its operations.  Whatever the guest can see must be the same both times,
 * byte for byte.
 *
 * No model says what is right: the CPU does, when nobody interferes.
 *
 *	--seeds=FIRST-LAST	the programs; lib/program.h says what they are made of
 *	--program=TEXT		this one instead, as a difference has printed it
 *
 * The first difference ends it.  The program is shrunk as long as it differs, and printed with the
 * command that runs it again.
 *
 * Where dormant tiles may go (lib/expect.h) programs leave them out: they release tiles before XFD
 * disables them.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "vmx.h"

#include "lib/program.h"
#include "lib/xfd.h"

/* Ports of the guest's OUT: done, something for the VMM to do, an exception that nobody expects. */
#define PORT_NEXT	0x590
#define PORT_DISTURB	0x591
#define PORT_LOST	0x592
/* Added to the kind of a disturbance that a task makes: KVM wakes it, and there is no exit. */
#define PORT_TASK	0x5a0

#define AREA_BYTES	12288
#define NR_AREAS	2

/* All of a guest's state that can be read at any time, in bits. */
enum {
	STATE_XFD = BIT(0),
	STATE_XFD_ERR = BIT(1),
	STATE_XTILECFG = BIT(2),
	STATE_XTILEDATA = BIT(3),
	STATE_XCR0 = BIT(4),
	STATE_TS = BIT(5),
	/* Bits of either MSR that the guest cannot have set. */
	STATE_STRANGE = BIT(6),
	/* The guest came here. */
	STATE_SEEN = BIT(7),
};

/* What a guest sees; compared byte by byte. */
struct log {
	struct {
		/* Around its disturbance, and in the handler of its #NM likewise. */
		u8 before[2];
		u8 in_handler[2];
		u8 vector;
		u64 value;
	} ops[XFD_PROGRAM_OPS + 1];
	/* Tiles, their configuration and XMM registers at the end. */
	u64 end[3];
};

/* In guest memory. */
struct guest {
	struct xfd_program program;
	/* Dormant tiles are left out. */
	u64 clean;
	/* Tiles aren't touched with CR0.TS set: one of the fixes mends what comes of it. */
	u64 stock;
	/* It is to write XFD first. */
	u64 armed;
	/* It is L2. */
	u64 nested;
	/* The operation, and the disturbance that the VMM is to make. */
	u64 now;
	u64 in_handler;
	u64 retried;
	struct log log;
	struct xfd_tilecfg cfgs[4];
	/* All 0 before each operation. */
	u8 buffer[XFD_TILES_BYTES] __aligned(64);
	u8 areas[NR_AREAS][AREA_BYTES] __aligned(64);
};

static struct guest guest __aligned(4096);

/*
 * The guest.  XMM registers are the programs': the compiler must not use them.
 */
#pragma GCC push_options
#pragma GCC target("general-regs-only")

#define __guest_try(safe_insn, inputs...)					\
({										\
	u64 error_code;								\
	u8 vector;								\
										\
	asm volatile(safe_insn							\
		     : KVM_ASM_SAFE_OUTPUTS(vector, error_code)			\
		     : inputs							\
		     : KVM_ASM_SAFE_CLOBBERS, "memory");			\
	vector;									\
})

#define guest_try(insn, inputs...)		__guest_try(KVM_ASM_SAFE(insn), inputs)

/* By KVM's instruction emulator. */
#define guest_try_emulated(insn, inputs...)	__guest_try(KVM_ASM_SAFE_FEP(insn), inputs)

static void guest_out(u16 port)
{
	asm volatile("outb %%al, %%dx" : : "a"(0), "d"(port) : "memory");
}

static void guest_zero(void *to, u64 bytes)
{
	u64 count = bytes / 8;

	asm volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0ull) : "memory");
}

/* Of words. */
static u64 guest_hash(const void *of, u64 bytes)
{
	const u64 *word = of, *end = of + bytes;
	u64 hash = 0;

	for (; word < end; word++)
		hash = (hash ^ *word) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 32;
}

static u64 guest_rdmsr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return low | (u64)high << 32;
}

static void guest_wrmsr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static u64 guest_xgetbv(u32 index)
{
	u32 low, high;

	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index) : "memory");
	return low | (u64)high << 32;
}

static u64 guest_cr0(void)
{
	u64 cr0;

	asm volatile("mov %%cr0, %0" : "=r"(cr0) : : "memory");
	return cr0;
}

static u8 guest_xsetbv(bool on)
{
	u64 xcr0 = guest_xgetbv(0) & ~XFEATURE_MASK_XTILE;

	if (on)
		xcr0 |= XFEATURE_MASK_XTILE;
	return guest_try("xsetbv", "a"((u32)xcr0), "d"((u32)(xcr0 >> 32)), "c"(0));
}

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

static void guest_exception(struct ex_regs *regs)
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

/* Whoever steps over an operation gets here. */
static noinline void guest_step_end(void)
{
	asm volatile("fuzz_step_end: nop" : : : "memory");
}

static u64 msr_value(u8 arg)
{
	switch (arg) {
	case 6:
		return XFEATURE_MASK_XTILE_CFG;
	case 7:
		return ~0ull;
	default:
		return arg & 1 ? XFD_TILEDATA : 0;
	}
}

static u8 guest_do_wrmsr(u32 msr, u64 value, bool emulated)
{
	if (guest.clean && msr == MSR_IA32_XFD && value) {
		/* Not seen, and not released, without XCR0. */
		if (!(guest_xgetbv(0) & XFD_TILEDATA))
			return 0;
		if (guest_xgetbv(1) & XFD_TILEDATA)
			asm volatile(ASM_TILERELEASE : : : "memory");
	}
	if (emulated)
		return guest_try_emulated("wrmsr", "c"(msr), "a"((u32)value),
					  "d"((u32)(value >> 32)));
	return guest_try("wrmsr", "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

static u8 guest_do_rdmsr(u32 msr, u64 *value, bool emulated)
{
	u32 low, high;
	u64 error_code;
	u8 vector;

	if (emulated)
		asm volatile(KVM_ASM_SAFE_FEP("rdmsr")
			     : "=a"(low), "=d"(high), KVM_ASM_SAFE_OUTPUTS(vector, error_code)
			     : "c"(msr)
			     : KVM_ASM_SAFE_CLOBBERS, "memory");
	else
		asm volatile(KVM_ASM_SAFE("rdmsr")
			     : "=a"(low), "=d"(high), KVM_ASM_SAFE_OUTPUTS(vector, error_code)
			     : "c"(msr)
			     : KVM_ASM_SAFE_CLOBBERS, "memory");
	*value = vector ? 0 : low | (u64)high << 32;
	return vector;
}

/*
 * AMX instructions don't look at CR0.TS.  If XFD makes one raise #NM while it is set, stock
 * takes the #NM for one of CR0.TS, and leaves XFD_ERR in the CPU for whoever is next.
 */
static bool guest_lets_xfd_err_stay(const struct xfd_op *op)
{
	return op->kind >= XFD_OP_TILES_LOAD && op->kind <= XFD_OP_TDPBSSD && guest.stock;
}

/* Of all eight: what the first does not raise no other does. */
#define GUEST_TRY_TILES(insn, data)						\
({										\
	const u8 *tile = data;							\
	u64 error_code;								\
	u8 vector;								\
										\
	asm volatile(KVM_ASM_SAFE(insn)						\
		     : "+a"(tile), KVM_ASM_SAFE_OUTPUTS(vector, error_code)	\
		     : "d"((u64)XFD_TILE_COLSB), [tile_bytes]"i"(XFD_TILE_BYTES)\
		     : KVM_ASM_SAFE_CLOBBERS, "memory", "cc");			\
	vector;									\
})

static u8 guest_tiles_load(const u8 *data)
{
	return GUEST_TRY_TILES(ASM_TILELOADD(0x04) ASM_NEXT_TILE ASM_TILELOADD(0x0c) ASM_NEXT_TILE
			       ASM_TILELOADD(0x14) ASM_NEXT_TILE ASM_TILELOADD(0x1c) ASM_NEXT_TILE
			       ASM_TILELOADD(0x24) ASM_NEXT_TILE ASM_TILELOADD(0x2c) ASM_NEXT_TILE
			       ASM_TILELOADD(0x34) ASM_NEXT_TILE ASM_TILELOADD(0x3c), data);
}

static u8 guest_tiles_store(u8 *data)
{
	return GUEST_TRY_TILES(ASM_TILESTORED(0x04) ASM_NEXT_TILE ASM_TILESTORED(0x0c)
			       ASM_NEXT_TILE ASM_TILESTORED(0x14) ASM_NEXT_TILE
			       ASM_TILESTORED(0x1c) ASM_NEXT_TILE ASM_TILESTORED(0x24)
			       ASM_NEXT_TILE ASM_TILESTORED(0x2c) ASM_NEXT_TILE
			       ASM_TILESTORED(0x34) ASM_NEXT_TILE ASM_TILESTORED(0x3c), data);
}

static u8 guest_xmm_load(const u8 *data)
{
	return guest_try("movdqu 0x00(%%rax), %%xmm0\n\tmovdqu 0x10(%%rax), %%xmm1\n\t"
			 "movdqu 0x20(%%rax), %%xmm2\n\tmovdqu 0x30(%%rax), %%xmm3\n\t"
			 "movdqu 0x40(%%rax), %%xmm4\n\tmovdqu 0x50(%%rax), %%xmm5\n\t"
			 "movdqu 0x60(%%rax), %%xmm6\n\tmovdqu 0x70(%%rax), %%xmm15", "a"(data));
}

static u8 guest_xmm_store(u8 *data)
{
	return guest_try("movdqu %%xmm0, 0x00(%%rax)\n\tmovdqu %%xmm1, 0x10(%%rax)\n\t"
			 "movdqu %%xmm2, 0x20(%%rax)\n\tmovdqu %%xmm3, 0x30(%%rax)\n\t"
			 "movdqu %%xmm4, 0x40(%%rax)\n\tmovdqu %%xmm5, 0x50(%%rax)\n\t"
			 "movdqu %%xmm6, 0x60(%%rax)\n\tmovdqu %%xmm15, 0x70(%%rax)", "a"(data));
}

#define XSTATE_TRY(insn, area, mask)						\
	guest_try(insn " (%%rdi)", "D"(area), "a"((u32)(mask)), "d"(0))

/* Returns the vector, and what it is to hash. */
static u8 guest_do(const struct xfd_op *op, bool emulated, u64 *value, u64 *hash)
{
	/* XINUSE of other components is up to the CPU. */
	static const u32 masks[] = {
		XFEATURE_MASK_XTILE, XFD_TILEDATA, XFEATURE_MASK_XTILE | XFEATURE_MASK_SSE,
		XFEATURE_MASK_XTILE_CFG,
	};
	const u8 *pattern = xfd_patterns[1 + (op->arg & 1)].want;
	u8 *area = guest.areas[op->arg & 1];
	u32 mask = masks[op->arg >> 1 & 3];
	u8 vector;

	if (guest_lets_xfd_err_stay(op))
		asm volatile("clts" : : : "memory");

	switch (op->kind) {
	case XFD_OP_WRMSR_XFD:
		return guest_do_wrmsr(MSR_IA32_XFD, msr_value(op->arg), emulated);
	case XFD_OP_WRMSR_XFD_ERR:
		return guest_do_wrmsr(MSR_IA32_XFD_ERR, msr_value(op->arg), emulated);
	case XFD_OP_RDMSR_XFD:
		return guest_do_rdmsr(MSR_IA32_XFD, value, emulated);
	case XFD_OP_RDMSR_XFD_ERR:
		return guest_do_rdmsr(MSR_IA32_XFD_ERR, value, emulated);
	case XFD_OP_LDTILECFG:
		return guest_try(ASM_LDTILECFG,
				 "a"(&guest.cfgs[op->arg >= 4 && op->arg < 7 ? op->arg - 3 : 0]));
	case XFD_OP_STTILECFG:
		*hash = sizeof(struct xfd_tilecfg);
		return guest_try(ASM_STTILECFG, "a"(guest.buffer));
	case XFD_OP_TILES_LOAD:
		return guest_tiles_load(pattern);
	case XFD_OP_TILE_LOAD:
		return guest_try(ASM_TILELOADD(0x04), "a"(pattern), "d"((u64)XFD_TILE_COLSB));
	case XFD_OP_TILES_STORE:
		*hash = XFD_TILES_BYTES;
		return guest_tiles_store(guest.buffer);
	case XFD_OP_TILEZERO:
		/* XINUSE of tiles that are all 0 is up to the CPU: let there be one that is not. */
		vector = guest_try(ASM_TILELOADD(0x0c), "a"(pattern), "d"((u64)XFD_TILE_COLSB));
		return vector ?: guest_try(ASM_TILEZERO);
	case XFD_OP_TDPBSSD:
		return guest_try(ASM_TDPBSSD);
	case XFD_OP_TILERELEASE:
		return guest_try(ASM_TILERELEASE);
	case XFD_OP_XSAVE:
		*hash = AREA_BYTES;
		return XSTATE_TRY("xsave64", area, mask);
	case XFD_OP_XSAVEC:
		*hash = AREA_BYTES;
		return XSTATE_TRY("xsavec64", area, mask);
	case XFD_OP_XSAVEOPT:
		*hash = AREA_BYTES;
		return XSTATE_TRY("xsaveopt64", area, mask);
	case XFD_OP_XSAVES:
		*hash = AREA_BYTES;
		return XSTATE_TRY("xsaves64", area, mask);
	case XFD_OP_XRSTOR:
		return XSTATE_TRY("xrstor64", area, mask);
	case XFD_OP_XRSTORS:
		return XSTATE_TRY("xrstors64", area, mask);
	case XFD_OP_SET_TS:
		asm volatile("mov %0, %%cr0" : : "r"(guest_cr0() | X86_CR0_TS) : "memory");
		return 0;
	case XFD_OP_CLEAR_TS:
		return emulated ? guest_try_emulated("clts", "a"(0)) : guest_try("clts", "a"(0));
	case XFD_OP_XCR0_OFF:
		return guest_xsetbv(false);
	case XFD_OP_XCR0_ON:
		return guest_xsetbv(true);
	case XFD_OP_XMM_LOAD:
		return guest_xmm_load(pattern);
	case XFD_OP_XMM_STORE:
		*hash = 0x80;
		return guest_xmm_store(guest.buffer);
	}
	return 0;
}

/*
 * Of an area the header and what follows the legacy region and AVX's, where all else
 * that programs save is.  Of the header no bits of SSE.
 */
static u64 guest_hash_of(const struct xfd_op *op, u64 bytes)
{
	const u8 *area = guest.areas[op->arg & 1];
	const u64 *header = (const u64 *)(area + 512);

	u64 hash;

	if (bytes != AREA_BYTES) {
		hash = guest_hash(guest.buffer, bytes);
		guest_zero(guest.buffer, bytes);
		return hash;
	}
	hash = guest_hash(area + 576, AREA_BYTES - 576);
	return hash ^ (header[0] & XFEATURE_MASK_XTILE) ^ header[1];
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

static void guest_code(void)
{
	for (;;) {
		guest_out(PORT_NEXT);
		guest_run();
	}
}

/* An L1 whose L2 notices nothing of it. */
static void guest_l1(struct vmx_pages *vmx)
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

#pragma GCC pop_options

/*
 * The host.
 */
static int cpus[2];
/* Where the vCPU's thread is. */
static int cpu;

/* What was run of the seeds. */
static struct counts {
	u64 operations;
	u64 disturbances[XFD_NR_DISTURB];
} counts;

/* Tasks that the guest wakes: they preempt it, by their priority. */
struct task {
	enum xfd_disturb_kind kind;
	int event;
	pthread_t thread;
	struct xfd_tiles *tiles;
	bool lost;
};

static struct task tasks[] = {
	{ XFD_DISTURB_PREEMPT_AMX },
	{ XFD_DISTURB_PREEMPT_PLAIN },
	{ XFD_DISTURB_SIGNAL },
	{ XFD_DISTURB_MIGRATE },
};

static pthread_t vcpu_thread;

static void move_to(int where)
{
	int i;

	cpu = where;
	pin_task_to_cpu(vcpu_thread, where);
	for (i = 0; i < ARRAY_SIZE(tasks); i++)
		pin_task_to_cpu(tasks[i].thread, where);
}

static bool tiles_are(struct xfd_tiles *t)
{
	xfd_tiles_store(t->got);
	return xfd_same(t->want, t->got, sizeof(t->got));
}

static void *task_fn(void *arg)
{
	struct task *t = arg;
	u64 n;

	if (t->kind == XFD_DISTURB_PREEMPT_AMX) {
		t->tiles = xfd_tiles_alloc();
		xfd_tiles_fill(t->tiles, 200);
		xfd_tiles_use(t->tiles);
	}
	while (read(t->event, &n, sizeof(n)) == sizeof(n)) {
		switch (t->kind) {
		case XFD_DISTURB_PREEMPT_AMX:
			t->lost |= !tiles_are(t->tiles);
			break;
		case XFD_DISTURB_SIGNAL:
			pthread_kill(vcpu_thread, SIGUSR1);
			break;
		case XFD_DISTURB_MIGRATE:
			if (cpus[1] >= 0)
				move_to(cpus[cpu == cpus[0]]);
			break;
		default:
			/* Registers of its own. */
			asm volatile("pcmpeqb %%xmm0, %%xmm0" : : : "xmm0");
			break;
		}
	}
	return NULL;
}

static void empty_handler(int sig)
{
}

static void tasks_start(void)
{
	struct sched_param priority = { .sched_priority = 10 };
	int i;

	vcpu_thread = pthread_self();
	signal(SIGUSR1, empty_handler);
	for (i = 0; i < ARRAY_SIZE(tasks); i++) {
		struct task *t = &tasks[i];

		t->event = eventfd(0, EFD_CLOEXEC);
		TEST_ASSERT(t->event >= 0, "eventfd(): errno %d", errno);
		TEST_ASSERT(!pthread_create(&t->thread, NULL, task_fn, t), "pthread_create()");
		TEST_ASSERT(!pthread_setschedparam(t->thread, SCHED_FIFO, &priority),
			    "pthread_setschedparam()");
	}
	move_to(cpus[0]);
}

/* A VM, and what has come of its program. */
struct machine {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct guest *guest;
	const struct xfd_program *program;
	bool xstate;
	bool armed;
	bool filtered;
	/* Exits for RDMSR and WRMSR since then. */
	u64 filter_exits;
	bool stepping;
	/* Of the run without disturbances; NULL while that runs. */
	const struct log *undisturbed;
	struct result *result;
};

struct result {
	struct log log;
	/* What the VMM saw that it must not. */
	char said[256];
};

static void say(struct machine *m, const char *format, ...)
{
	va_list args;

	/* The first counts. */
	if (m->result->said[0])
		return;
	va_start(args, format);
	vsnprintf(m->result->said, sizeof(m->result->said), format, args);
	va_end(args);
}

/* What a new VM's file descriptor has. */
static void equip(struct machine *m)
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

static void machine_create(struct machine *m, bool xstate, bool nested)
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
	equip(m);
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

static void machine_destroy(struct machine *m)
{
	if (m->vm)
		kvm_vm_free(m->vm);
	m->vm = NULL;
}

static void set_filter(struct machine *m, bool on)
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
		say(m, "denied accesses of XFD and XFD_ERR did not exit");
	if (!on)
		memset(filter.ranges, 0, sizeof(filter.ranges));
	vm_ioctl(m->vm, KVM_X86_SET_MSR_FILTER, &filter);
	m->filtered = on;
	m->filter_exits = 0;
}

static void set_stepping(struct machine *m, bool on)
{
	struct kvm_guest_debug debug = {
		.control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP : 0,
	};

	vcpu_guest_debug_set(m->vcpu, &debug);
	m->stepping = on;
}

/* What the guest has here, by its own word; XINUSE from when it could be seen. */
static u8 state_here(struct machine *m, bool in_handler)
{
	s64 i = m->guest->now;
	u8 state, seen;

	seen = in_handler ? m->undisturbed->ops[i].in_handler[0] : m->undisturbed->ops[i].before[0];
	for (state = seen; !(state & STATE_XCR0) && i >= 0; i--)
		state = m->undisturbed->ops[i].before[0];
	return seen | (state & (STATE_XTILECFG | STATE_XTILEDATA));
}

static void check(struct machine *m, u8 state)
{
	u64 xfd = vcpu_get_msr(m->vcpu, MSR_IA32_XFD);
	u64 xfd_err = vcpu_get_msr(m->vcpu, MSR_IA32_XFD_ERR), host;
	struct kvm_xsave *image = xfd_image_get(m->vcpu);
	u64 xstate_bv = xfd_image_header(image)->xstate_bv & XFEATURE_MASK_XTILE;
	u64 want = 0;

	if (xfd != (state & STATE_XFD ? XFD_TILEDATA : 0))
		say(m, "KVM_GET_MSRS: XFD=%lx", xfd);
	if (xfd_err != (state & STATE_XFD_ERR ? XFD_TILEDATA : 0))
		say(m, "KVM_GET_MSRS: XFD_ERR=%lx", xfd_err);
	if (state & STATE_XTILECFG)
		want |= XFEATURE_MASK_XTILE_CFG;
	if (state & STATE_XTILEDATA && (m->xstate || !(state & STATE_XFD)))
		want |= XFD_TILEDATA;
	if (xstate_bv != want)
		say(m, "KVM_GET_XSAVE2: XSTATE_BV is %lx, not %lx", xstate_bv, want);
	free(image);
	if (xfd_rdmsr_on_cpu(sched_getcpu(), MSR_IA32_XFD_ERR, &host) && host)
		say(m, "XFD_ERR of the host is %lx", host);
}

static void toggle(struct machine *m, u32 msr)
{
	u64 value = vcpu_get_msr(m->vcpu, msr);

	vcpu_set_msr(m->vcpu, msr, value ^ XFD_TILEDATA);
	vcpu_run_complete_io(m->vcpu);
	if (vcpu_get_msr(m->vcpu, msr) != (value ^ XFD_TILEDATA))
		say(m, "KVM_SET_MSRS of MSR %x is forgotten", msr);
	vcpu_set_msr(m->vcpu, msr, value);
}

static void set_msrs(struct machine *m, bool xfd_err_first)
{
	u64 xfd = vcpu_get_msr(m->vcpu, MSR_IA32_XFD);
	u64 xfd_err = vcpu_get_msr(m->vcpu, MSR_IA32_XFD_ERR);

	if (xfd_err_first)
		vcpu_set_msr(m->vcpu, MSR_IA32_XFD_ERR, xfd_err);
	vcpu_set_msr(m->vcpu, MSR_IA32_XFD, xfd);
	if (!xfd_err_first)
		vcpu_set_msr(m->vcpu, MSR_IA32_XFD_ERR, xfd_err);
}

static void new_vm(struct machine *m, bool xsave_first)
{
	struct kvm_x86_state *s = vcpu_save_state(m->vcpu);
	bool filtered = m->filtered;

	kvm_vm_release(m->vm);
	m->vcpu = vm_recreate_with_one_vcpu(m->vm);
	equip(m);
	set_filter(m, filtered);
	vcpu_sregs_set(m->vcpu, &s->sregs);
	if (xsave_first)
		vcpu_xsave_set(m->vcpu, s->xsave);
	vcpu_msrs_set(m->vcpu, &s->msrs);
	vcpu_xcrs_set(m->vcpu, &s->xcrs);
	if (!xsave_first)
		vcpu_xsave_set(m->vcpu, s->xsave);
	vcpu_events_set(m->vcpu, &s->events);
	vcpu_mp_state_set(m->vcpu, &s->mp_state);
	vcpu_debugregs_set(m->vcpu, &s->debugregs);
	vcpu_regs_set(m->vcpu, &s->regs);
	if (s->nested.size)
		vcpu_nested_state_set(m->vcpu, &s->nested);
	kvm_x86_state_cleanup(s);
	if (m->stepping)
		set_stepping(m, true);
}

static void task_wake(struct task *t)
{
	u64 one = 1;

	TEST_ASSERT_EQ(write(t->event, &one, sizeof(one)), (ssize_t)sizeof(one));
}

static void disturb(struct machine *m)
{
	bool in_handler = m->guest->in_handler;
	const struct xfd_program *p = m->program;
	const struct xfd_disturb *d = in_handler ? &p->in_handler[m->guest->now] :
						   &p->before[m->guest->now];
	u8 state = state_here(m, in_handler);
	bool in_use = state & STATE_XTILEDATA;
	/* Its tiles are not in images. */
	bool unsaved = in_use && state & STATE_XFD && !m->xstate;
	struct kvm_xsave *image;

	switch (d->kind) {
	case XFD_DISTURB_USERSPACE:
		if (d->arg & 1)
			task_wake(&tasks[0]);
		break;
	case XFD_DISTURB_IMMEDIATE_EXIT:
		vcpu_run_complete_io(m->vcpu);
		break;
	case XFD_DISTURB_GET:
		check(m, state);
		break;
	case XFD_DISTURB_SET_MSRS:
		set_msrs(m, d->arg & 1);
		break;
	case XFD_DISTURB_SET_XSAVE:
		if (unsaved)
			break;
		image = xfd_image_get(m->vcpu);
		vcpu_xsave_set(m->vcpu, image);
		free(image);
		break;
	case XFD_DISTURB_TOGGLE_XFD:
		if (in_use && xfd_dormant_may_go())
			break;
		toggle(m, MSR_IA32_XFD);
		break;
	case XFD_DISTURB_TOGGLE_XFD_ERR:
		toggle(m, MSR_IA32_XFD_ERR);
		break;
	case XFD_DISTURB_NEW_VM:
		if (!unsaved)
			new_vm(m, d->arg & 1);
		break;
	case XFD_DISTURB_FILTER:
		set_filter(m, true);
		break;
	case XFD_DISTURB_UNFILTER:
		set_filter(m, false);
		break;
	case XFD_DISTURB_STEP:
		set_stepping(m, true);
		break;
	case XFD_DISTURB_FIRST_USE:
		xfd_first_use(cpu, 100);
		break;
	}
}

extern char fuzz_step_end[];

/* Until the guest asks for its next program; false if it does not come to that. */
static bool run_to_the_end(struct machine *m)
{
	struct kvm_run *run = m->vcpu->run;

	for (;;) {
		int ret = __vcpu_run(m->vcpu);

		/* A new VM has a new one. */
		run = m->vcpu->run;
		if (ret) {
			TEST_ASSERT(errno == EINTR, "KVM_RUN: errno %d", errno);
			continue;
		}
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			if (run->io.port == PORT_NEXT)
				return true;
			if (run->io.port != PORT_DISTURB) {
				say(m, "exception %u at RIP %lx",
				    m->guest->log.ops[m->guest->now].vector,
				    (u64)m->guest->log.ops[m->guest->now].value);
				return false;
			}
			disturb(m);
			break;
		case KVM_EXIT_X86_RDMSR:
			m->filter_exits++;
			run->msr.data = vcpu_get_msr(m->vcpu, run->msr.index);
			run->msr.error = 0;
			break;
		case KVM_EXIT_X86_WRMSR:
			m->filter_exits++;
			run->msr.error = _vcpu_set_msr(m->vcpu, run->msr.index, run->msr.data) != 1;
			break;
		case KVM_EXIT_DEBUG:
			set_stepping(m, run->debug.arch.pc != (u64)fuzz_step_end);
			break;
		default:
			say(m, "KVM_RUN: exit reason %s", exit_reason_str(run->exit_reason));
			return false;
		}
	}
}

/* VMs in which the guest waits for a program, with and without the capability, nested or not. */
static struct machine kept[2][2];
static struct machine fresh;

static void run(const struct xfd_program *p, const struct log *undisturbed, struct result *result)
{
	bool nested = p->nested && undisturbed, ended;
	struct machine *m = p->fresh ? &fresh : &kept[p->xstate][nested];

	memset(result, 0, sizeof(*result));
	if (!m->vm)
		machine_create(m, p->xstate, nested);
	m->program = p;
	m->result = result;
	m->undisturbed = undisturbed;

	m->guest->program = *p;
	if (!undisturbed) {
		memset(m->guest->program.before, 0, sizeof(p->before));
		memset(m->guest->program.in_handler, 0, sizeof(p->in_handler));
	}
	m->guest->clean = xfd_dormant_may_go();
	m->guest->stock = xfd_expect == XFD_STOCK;
	m->guest->armed = !p->fresh;
	memset(&m->guest->log, 0, sizeof(m->guest->log));
	ended = run_to_the_end(m);
	result->log = m->guest->log;
	if (ended) {
		set_filter(m, false);
		if (m->stepping)
			set_stepping(m, false);
	}
	if (!ended || p->fresh)
		machine_destroy(m);
	if (cpu != cpus[0])
		move_to(cpus[0]);
}

static struct xfd_tiles *own;

/* The seed that is being run disturbed, and how many have been. */
static u64 seed, seeds_done;

static void run_disturbed(const struct xfd_program *p, const struct log *undisturbed,
			  struct result *result)
{
	unsigned long taint = xfd_taint();
	u32 i;

	if (p->own_tiles)
		xfd_tiles_use(own);
	run(p, undisturbed, result);
	if (p->own_tiles) {
		if (!tiles_are(own))
			snprintf(result->said, sizeof(result->said), "the VMM lost its own tiles");
		xfd_tilerelease();
	}
	if (tasks[0].lost)
		snprintf(result->said, sizeof(result->said), "a task lost its tiles");
	tasks[0].lost = false;
	if (xfd_taint() & ~taint)
		snprintf(result->said, sizeof(result->said), "the kernel complained");

	counts.operations += p->nr_ops;
	for (i = 0; i <= p->nr_ops; i++) {
		if (result->log.ops[i].before[0])
			counts.disturbances[p->before[i].kind]++;
		if (result->log.ops[i].in_handler[0])
			counts.disturbances[p->in_handler[i].kind]++;
	}
}

static bool same(const struct result *a, const struct result *b)
{
	return !memcmp(&a->log, &b->log, sizeof(a->log)) && !a->said[0] && !b->said[0];
}

static void fpu_user_begin(enum xfd_fpu_context context)
{
	if (context == XFD_FPU_OFF)
		return;
	xfd_fpu_user_set_period(context == XFD_FPU_KTHREAD ? 300 : 50);
	xfd_fpu_user_start(xfd_fpu_names[context], cpus[0]);
}

/* What it saw of a guest. */
static void fpu_user_end(enum xfd_fpu_context context, struct result *result)
{
	if (context == XFD_FPU_OFF)
		return;
	xfd_fpu_user_stop();
	/* Else it may see XFD_ERR in the interrupt that ended the guest's run: nobody minds. */
	if (xfd_dormant_may_go())
		return;
	if (xfd_fpu_user_count("xfd_err"))
		snprintf(result->said, sizeof(result->said), "XFD_ERR was not 0 in the kernel");
	if (xfd_fpu_user_count("dormant"))
		snprintf(result->said, sizeof(result->said), "XFD disabled what was in use");
}

static void run_both(const struct xfd_program *p, struct result both[2])
{
	run(p, NULL, &both[0]);
	fpu_user_begin(p->fpu);
	run_disturbed(p, &both[0].log, &both[1]);
	fpu_user_end(p->fpu, &both[1]);
}

/*
 * Timers of the kernel's do not come at the same place each time: once is enough, of some.
 * All else is the same each time; what is not is of what ran before it.
 */
#define TRIES_WITH_FPU_USER	3

static bool differs(const struct xfd_program *p, struct result both[2])
{
	int i, tries = p->fpu ? TRIES_WITH_FPU_USER : 2;

	for (i = 0; i < tries; i++) {
		run_both(p, both);
		if (same(&both[0], &both[1]) != !!p->fpu)
			return p->fpu;
	}
	return !p->fpu;
}

static bool shrinks_to(struct xfd_program *p, const struct xfd_program *smaller)
{
	struct result both[2];

	if (!differs(smaller, both))
		return false;
	*p = *smaller;
	printf("# %u operations, %u disturbances\n", p->nr_ops, xfd_program_disturbances(p));
	fflush(stdout);
	return true;
}

/* Tries without @flag, which is one of @smaller's. */
static bool shrinks_without(struct xfd_program *p, struct xfd_program *smaller, bool *flag)
{
	bool set = *flag;

	*flag = false;
	return set && shrinks_to(p, smaller);
}

static bool shrink_flags(struct xfd_program *p)
{
	struct xfd_program smaller = *p;
	bool shrunk = false;

	/* VMs take longest. */
	shrunk |= shrinks_without(p, &smaller, &smaller.fresh);
	smaller = *p;
	shrunk |= shrinks_without(p, &smaller, &smaller.nested);
	smaller = *p;
	shrunk |= shrinks_without(p, &smaller, &smaller.own_tiles);
	smaller = *p;
	shrunk |= shrinks_without(p, &smaller, &smaller.xstate);
	smaller = *p;
	smaller.fpu = XFD_FPU_OFF;
	return (p->fpu && shrinks_to(p, &smaller)) || shrunk;
}

/* In chunks at first. */
static bool shrink_ops(struct xfd_program *p)
{
	struct xfd_program smaller;
	bool shrunk = false;
	u32 i, j, chunk;

	for (chunk = XFD_PROGRAM_OPS / 2; chunk; chunk /= 2) {
		for (i = 0; i + chunk <= p->nr_ops;) {
			smaller = *p;
			for (j = 0; j < chunk; j++)
				xfd_program_drop(&smaller, i);
			if (shrinks_to(p, &smaller))
				shrunk = true;
			else
				i += chunk;
		}
	}
	return shrunk;
}

static bool shrink_disturbances(struct xfd_program *p)
{
	struct xfd_program smaller;
	bool shrunk = false;
	u32 i;

	for (i = 0; i <= p->nr_ops; i++) {
		if (p->before[i].kind) {
			smaller = *p;
			smaller.before[i] = (struct xfd_disturb){};
			shrunk |= shrinks_to(p, &smaller);
		}
		if (p->in_handler[i].kind) {
			smaller = *p;
			smaller.in_handler[i] = (struct xfd_disturb){};
			shrunk |= shrinks_to(p, &smaller);
		}
	}
	return shrunk;
}

/* Takes away what is not needed for a difference. */
static void shrink(struct xfd_program *p)
{
	bool shrunk;

	do {
		shrunk = shrink_flags(p);
		shrunk |= shrink_ops(p);
		shrunk |= shrink_disturbances(p);
	} while (shrunk);
}

static const char *state_words(u8 state)
{
	static char words[4][64];
	static int next;
	char *s = words[next++ % 4];

	snprintf(s, 64, "XFD=%d XFD_ERR=%d cfg=%d tiles=%d XCR0=%d TS=%d%s",
		 !!(state & STATE_XFD), !!(state & STATE_XFD_ERR), !!(state & STATE_XTILECFG),
		 !!(state & STATE_XTILEDATA), !!(state & STATE_XCR0), !!(state & STATE_TS),
		 state & STATE_STRANGE ? " and more" : "");
	return state & STATE_SEEN ? s : "it never came there";
}

static void print_states(u32 i, const char *when, u8 undisturbed, u8 disturbed)
{
	if (undisturbed != disturbed)
		printf("#   %s operation %u: %s, undisturbed: %s\n", when, i,
		       state_words(disturbed), state_words(undisturbed));
}

static void print_difference(const struct xfd_program *p, const struct result both[2])
{
	static const char * const ends[] = { "XMM registers", "TILECFG", "tiles" };
	const struct log *a = &both[0].log, *b = &both[1].log;
	u32 i;

	for (i = 0; i < 2; i++) {
		if (both[i].said[0])
			printf("#   %s: %s\n", i ? "disturbed" : "undisturbed", both[i].said);
	}
	for (i = 0; i <= p->nr_ops; i++) {
		print_states(i, "before what disturbs", a->ops[i].before[0], b->ops[i].before[0]);
		print_states(i, "before", a->ops[i].before[1], b->ops[i].before[1]);
		print_states(i, "in the handler, before what disturbs,", a->ops[i].in_handler[0],
			     b->ops[i].in_handler[0]);
		print_states(i, "in the handler of", a->ops[i].in_handler[1],
			     b->ops[i].in_handler[1]);
		if (a->ops[i].vector != b->ops[i].vector)
			printf("#   operation %u: exception %u, undisturbed: %u\n", i,
			       b->ops[i].vector, a->ops[i].vector);
		if (a->ops[i].value != b->ops[i].value)
			printf("#   operation %u: result %lx, undisturbed: %lx\n", i,
			       (u64)b->ops[i].value, (u64)a->ops[i].value);
	}
	for (i = 0; i < ARRAY_SIZE(ends); i++) {
		if (a->end[i] != b->end[i])
			printf("#   at the end other %s\n", ends[i]);
	}
}

enum { SEEDS, PROGRAM, FPU_USER };

static struct xfd_option options[] = {
	[SEEDS] = { "seeds", "FIRST-LAST", "which programs (default: 1-200)" },
	[PROGRAM] = { "program", "TEXT", "this one instead" },
	[FPU_USER] = { "fpu-user", "PATH", "xfd_fpu_user.ko, to be loaded" },
	{}
};

static struct xfd_option common[] = {
	{ "expect", "KIND", "of VMs: stock, unattached or attached (default: what they are)" },
	{ "control", NULL, "a negative control: --expect is more than they are" },
	{}
};

static void print_command(const struct xfd_program *p)
{
	int i;

	printf("#   xfd_fuzz");
	for (i = 0; i < 2; i++) {
		if (common[i].value)
			printf(" --%s%s%s", common[i].name, common[i].value[0] ? "=" : "",
			       common[i].value);
	}
	if (options[FPU_USER].value)
		printf(" --fpu-user=%s", options[FPU_USER].value);
	printf(" --program=");
	xfd_program_print(p, stdout);
	printf("\n");
}

static void report(const struct xfd_program *found, const struct result found_both[2])
{
	struct xfd_program p = *found;
	struct result both[2];

	printf("# a program of %u operations and %u disturbances differs:\n", p.nr_ops,
	       xfd_program_disturbances(&p));
	print_difference(&p, found_both);
	print_command(&p);
	fflush(stdout);
	if (!differs(&p, both)) {
		printf("# it does not differ by itself: what ran before it has a part in it\n");
		return;
	}
	shrink(&p);
	if (!differs(&p, both))
		printf("# it differs at times; here it did not:\n");
	printf("# the smallest like it has %u operations and %u disturbances:\n", p.nr_ops,
	       xfd_program_disturbances(&p));
	xfd_program_list(&p, stdout);
	print_difference(&p, both);
	printf("# it is run by:\n");
	print_command(&p);
}

static void print_counts(u64 differences)
{
	u64 sum = 0;
	int i;

	printf("#");
	for (i = XFD_DISTURB_NONE + 1; i < XFD_NR_DISTURB; i++) {
		printf(" %s %lu", xfd_disturb_name(i), counts.disturbances[i]);
		sum += counts.disturbances[i];
	}
	printf("\n# fuzz: {\"seeds\":%lu,\"operations\":%lu,", seeds_done, counts.operations);
	printf("\"disturbances\":%lu,\"differences\":%lu}\n", sum, differences);
}

/* All of a batch undisturbed, and then all of it disturbed.  False if one differs. */
static bool batch(u64 first, u64 last, const struct xfd_program_rules *rules)
{
	static struct xfd_program programs[XFD_PROGRAM_BATCH];
	static struct result undisturbed[XFD_PROGRAM_BATCH];
	struct result both[2] = {};
	u64 i, nr = last - first + 1;

	printf("# seeds %lu-%lu\n", first, last);
	fflush(stdout);
	for (i = 0; i < nr; i++) {
		xfd_program_make(&programs[i], first + i, rules);
		run(&programs[i], NULL, &undisturbed[i]);
	}
	fpu_user_begin(programs[0].fpu);
	for (i = 0; i < nr; i++) {
		seed = first + i;
		seeds_done++;
		run_disturbed(&programs[i], &undisturbed[i].log, &both[1]);
		if (i + 1 == nr || !same(&undisturbed[i], &both[1]))
			fpu_user_end(programs[0].fpu, &both[1]);
		both[0] = undisturbed[i];
		if (!same(&both[0], &both[1])) {
			struct counts of_seeds = counts;

			printf("# seed %lu:\n", seed);
			report(&programs[i], both);
			counts = of_seeds;
			return false;
		}
	}
	return true;
}

static bool run_seeds(u64 first, u64 last, const struct xfd_program_rules *rules)
{
	bool well = true;

	while (well && first <= last) {
		u64 end = min_t(u64, last, first | (XFD_PROGRAM_BATCH - 1));

		well = batch(first, end, rules);
		first = end + 1;
	}
	print_counts(!well);
	return well;
}

static bool run_program(const struct xfd_program *p)
{
	struct result both[2];

	xfd_program_list(p, stdout);
	if (!differs(p, both))
		return true;
	print_difference(p, both);
	return false;
}

static int fep_before = -1;
static bool finished;

/* An assertion that fails exits. */
static void clean_up(void)
{
	if (!finished) {
		printf("# an assertion failed in seed %lu\n", seed);
		print_counts(1);
		printf("not ok 1 fuzz\n");
	}
	xfd_fpu_user_stop();
	if (fep_before >= 0)
		xfd_fep_allow(fep_before);
}

int main(int argc, char *argv[])
{
	const char *seeds = "1-200", *wrong;
	struct xfd_program_rules rules;
	struct xfd_program program;
	u64 first, last;
	char rest;
	bool well;
	int i;

	argc = xfd_options_take(argc, argv, common, options);
	if (argc > 1) {
		xfd_options_print(common);
		xfd_options_print(options);
		return KSFT_FAIL;
	}
	xfd_expect_set(common[0].value, common[1].value);
	if (options[SEEDS].value)
		seeds = options[SEEDS].value;
	if (sscanf(seeds, "%lu-%lu%c", &first, &last, &rest) != 2 || first > last)
		ksft_exit_fail_msg("--seeds=%s: give FIRST-LAST\n", seeds);
	if (options[PROGRAM].value) {
		wrong = xfd_program_parse(&program, options[PROGRAM].value);
		if (wrong)
			ksft_exit_fail_msg("--program=: what is this: %s\n", wrong);
	}
	xfd_require_amx();
	if (options[FPU_USER].value)
		xfd_test_module_load(options[FPU_USER].value);

	rules = (struct xfd_program_rules){
		.xstate = xfd_kind_of_new_vm() == XFD_ATTACHED,
		/* Which stock gets wrong: see xfd_hole_emulated_write. */
		.emulation = xfd_expect != XFD_STOCK && !xfd_fep_missing(),
		.fpu_user = xfd_fpu_user_loaded(),
		/* Of L2's first write of XFD stock makes nothing: see xfd_nested_test. */
		.nested = xfd_expect != XFD_STOCK && kvm_cpu_has(X86_FEATURE_VMX),
	};
	atexit(clean_up);
	if (rules.emulation)
		fep_before = xfd_fep_allow(1);
	cpus[0] = xfd_cpu(0);
	cpus[1] = xfd_cpu(1);
	own = xfd_tiles_alloc();
	xfd_tiles_fill(own, 150);
	tasks_start();

	ksft_print_header();
	ksft_set_plan(1);
	if (options[PROGRAM].value)
		well = run_program(&program);
	else
		well = run_seeds(first, last, &rules);
	finished = true;
	ksft_test_result(well, "fuzz\n");
	for (i = 0; i < 4; i++)
		machine_destroy(&kept[i / 2][i % 2]);
	ksft_finished();
}
