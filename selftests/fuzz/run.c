// SPDX-License-Identifier: GPL-2.0
/* Runs of programs: in which VM, and what they may not lose meanwhile. */
#include <errno.h>

#include "disturb.h"
#include "machine.h"
#include "run.h"
#include "task.h"
#include "../lib/xfd.h"

struct counts counts;

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
				machine_say(m, "exception %u at RIP %lx",
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
			machine_set_stepping(m, run->debug.arch.pc != (u64)fuzz_step_end);
			break;
		default:
			machine_say(m, "KVM_RUN: exit reason %s",
				    exit_reason_str(run->exit_reason));
			return false;
		}
	}
}

/* VMs in which the guest waits for a program, with and without the capability, nested or not. */
static struct machine kept[2][2];
static struct machine fresh;

static struct xfd_tiles *own;

void runs_begin(void)
{
	own = xfd_tiles_alloc();
	xfd_tiles_fill(own, 150);
	tasks_start();
}

void runs_forget(void)
{
	int i;

	for (i = 0; i < 4; i++)
		machine_destroy(&kept[i / 2][i % 2]);
}

void run(const struct xfd_program *p, const struct log *undisturbed, struct result *result)
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
		machine_set_filter(m, false);
		if (m->stepping)
			machine_set_stepping(m, false);
	}
	if (!ended || p->fresh)
		machine_destroy(m);
	if (vcpu_cpu != vcpu_cpus[0])
		move_to(vcpu_cpus[0]);
}

void run_disturbed(const struct xfd_program *p, const struct log *undisturbed,
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

void fpu_user_begin(enum xfd_fpu_context context)
{
	if (context == XFD_FPU_OFF)
		return;
	xfd_fpu_user_set_period(context == XFD_FPU_KTHREAD ? 300 : 50);
	xfd_fpu_user_start(xfd_fpu_names[context], vcpu_cpus[0]);
}

void fpu_user_end(enum xfd_fpu_context context, struct result *result)
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

bool differs(const struct xfd_program *p, struct result both[2])
{
	int i, tries = p->fpu ? TRIES_WITH_FPU_USER : 2;

	for (i = 0; i < tries; i++) {
		run_both(p, both);
		if (result_same(&both[0], &both[1]) != !!p->fpu)
			return p->fpu;
	}
	return !p->fpu;
}
