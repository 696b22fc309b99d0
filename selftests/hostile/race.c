// SPDX-License-Identifier: GPL-2.0
/* Two threads. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "module.h"
#include "msr.h"
#include "others.h"
#include "race.h"
#include "target.h"
#include "xsave.h"
#include "../lib/xfd.h"

struct race {
	struct target *t;
	/* An image that is good, but for its tiles, which are any. */
	u8 *image;
	pthread_t threads[2];
	pthread_barrier_t end;
	int steps;
	/* Not both: a copy that fails is fatal where it is of a signal's frame. */
	bool faults, signals;
};

struct racer {
	struct attacker a;
	struct race *race;
	int nr;
};

static void nothing(int signal)
{
}

static void race_msrs(struct attacker *a, struct target *t)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = {
		.header.nmsrs = 1,
		.entry.index = one_in(a, 2) ? MSR_IA32_XFD : MSR_IA32_XFD_ERR,
		.entry.data = some_xfd(a),
	};

	if (xfd_expect == XFD_STOCK && msrs.entry.index == MSR_IA32_XFD)
		msrs.entry.data = 0;
	expect(a, t->vcpu->fd, KVM_SET_MSRS, &msrs, is_xfd(msrs.entry.data));
	if (expect(a, t->vcpu->fd, KVM_GET_MSRS, &msrs, 1) && !is_xfd(msrs.entry.data))
		fail(a, "KVM_GET_MSRS returns what is no value of this MSR");
}

static void race_xsave(struct attacker *a, struct race *r)
{
	struct kvm_xsave *image = buffer(a, r->t->image_size);
	bool bad;

	memcpy(image, r->image, r->t->image_size);
	bad = one_in(a, 2) && spoil(a, image);
	if (!bad)
		xfd_image_put_tiles(image, below(a, XFD_PATTERNS), 1);
	if (one_in(a, 4))
		expect(a, r->t->vcpu->fd, KVM_SET_XSAVE, cut_short(a, image), -EFAULT);
	else
		expect(a, r->t->vcpu->fd, KVM_SET_XSAVE, image, bad ? -EINVAL : 0);
}

static void race_run(struct attacker *a, struct target *t)
{
	long got;

	/* The other thread's next, maybe. */
	WRITE_ONCE(t->vcpu->run->immediate_exit, one_in(a, 4));
	got = call(a, t->vcpu->fd, KVM_RUN, 0);
	if (got && got != -EINTR)
		fail(a, strerror(-got));
}

static void race_cpuid(struct attacker *a, struct target *t)
{
	struct kvm_cpuid2 *cpuid = buffer(a, cpuid_size(t->cpuid));

	memcpy(cpuid, t->cpuid, cpuid_size(t->cpuid));
	if (one_in(a, 2)) {
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, 0);
		return;
	}
	cpuid->nent = below(a, cpuid->nent);
	expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, -EINVAL);
}

static void race_cap(struct attacker *a, struct target *t)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_XFD_XSTATE,
		.args[0] = one_in(a, 2),
	};

	expect(a, t->vm->fd, KVM_ENABLE_CAP, &cap,
	       t->rules.attached && !cap.args[0] ? 0 : -EINVAL);
}

static void race_step(struct racer *racer)
{
	struct attacker *a = &racer->a;
	struct race *r = racer->race;
	struct target *t = r->t;
	long got;

	a->op = "race";
	switch (below(a, 12)) {
	case 0 ... 3:
		race_run(a, t);
		break;
	case 4 ... 5:
		race_msrs(a, t);
		break;
	case 6 ... 7:
		race_xsave(a, r);
		break;
	case 8:
		expect(a, t->vcpu->fd, KVM_GET_XSAVE2, buffer(a, t->image_size), 0);
		break;
	case 9:
		race_cpuid(a, t);
		break;
	case 10:
		race_cap(a, t);
		__expect(a, t->vm->fd, KVM_CREATE_VCPU, 0, -EEXIST, &got);
		break;
	case 11:
		if (r->signals)
			pthread_kill(r->threads[!racer->nr], SIGUSR1);
		break;
	}
}

static void *race_fn(void *arg)
{
	struct racer *racer = arg;
	struct attacker *a = &racer->a;
	struct race *r = racer->race;

	attacker_init(a);
	for (a->step = 0; a->step < r->steps; a->step++) {
		a->inject = r->faults && one_in(a, 4);
		race_step(racer);
	}
	attacker_free(a);
	/* Until then either may signal the other. */
	pthread_barrier_wait(&r->end);
	return NULL;
}

/* KVM_RUN, with a guest that stays in there while its VMM closes all that it has. */
static void *closed_fn(void *arg)
{
	struct racer *racer = arg;

	racer->a.op = "closed while it runs";
	if (call(&racer->a, racer->race->t->vcpu->fd, KVM_RUN, 0))
		fail(&racer->a, "KVM_RUN failed");
	return NULL;
}

static void leave_race(struct attacker *a, struct target *t)
{
	struct kvm_run *r = t->vcpu->run;

	r->immediate_exit = 0;
	if (call(a, t->vcpu->fd, KVM_RUN, 0))
		fail(a, "KVM_RUN fails after the race");
	if (r->exit_reason != KVM_EXIT_IO || r->io.port != PORT)
		fail(a, "the guest does not leave by its port any more");
}

static void close_under_run(struct race *r, struct racer *racer)
{
	struct target *t = r->t;
	u64 rounds;

	t->order->spin = 1;
	rounds = READ_ONCE(t->order->rounds);
	TEST_ASSERT(!pthread_create(&r->threads[0], NULL, closed_fn, racer), "pthread_create()");
	while (READ_ONCE(t->order->rounds) < rounds + 3)
		usleep(100);
	kvm_vm_release(t->vm);
	rounds = READ_ONCE(t->order->rounds);
	while (READ_ONCE(t->order->rounds) < rounds + 3)
		usleep(100);
	if (t->rules.attached)
		check_holders(&racer->a);
	WRITE_ONCE(t->order->spin, 0);
	pthread_join(r->threads[0], NULL);
}

void race(const struct seeds *seeds)
{
	const u64 wanted = seeds->ioctls / 4;
	struct racer racers[2];
	struct tally sum = {};
	struct attacker a = {};
	struct others o;
	struct target t;
	struct race r = { .t = &t, .steps = STEPS_PER_SEED };
	u64 seed;
	int i;

	signal(SIGUSR1, nothing);
	others_begin(&o, seeds->first);
	attacker_init(&a);
	pthread_barrier_init(&r.end, NULL, 2);
	target_create(&t, guest_race);
	r.image = calloc(1, t.image_size);
	TEST_ASSERT(r.image, "out of memory");
	for (seed = seeds->first; more(seeds, seed, sum.ioctls, wanted); seed++) {
		attacker_seed(&a, seed);
		a.op = "race";
		module_state.held += t.rules.attached;
		r.faults = xfd_fault_available() && seed % 2;
		r.signals = !r.faults;
		t.order->spin = 0;
		vcpu_run(t.vcpu);
		if (call(&a, t.vcpu->fd, KVM_GET_XSAVE2, (unsigned long)r.image))
			fail(&a, "KVM_GET_XSAVE2 failed");
		for (i = 0; i < 2; i++) {
			memset(&racers[i], 0, sizeof(racers[i]));
			racers[i].race = &r;
			racers[i].nr = i;
			attacker_seed(&racers[i].a, seed);
			racers[i].a.random.state += i * 0x5851f42d4c957f2dull;
			/* Until the second one is there, the first disturbs itself. */
			r.threads[1] = pthread_self();
			TEST_ASSERT(!pthread_create(&r.threads[i], NULL, race_fn, &racers[i]),
				    "pthread_create()");
		}
		for (i = 0; i < 2; i++)
			pthread_join(r.threads[i], NULL);
		leave_race(&a, &t);
		close_under_run(&r, &racers[0]);
		module_state.held -= t.rules.attached;
		check_holders(&a);
		for (i = 0; i < 2; i++)
			tally_add(&sum, &racers[i].a.tally);
		target_recreate(&t);
	}
	tally_add(&sum, &a.tally);
	target_free(&t);
	free(r.image);
	others_end(&o);
	tally_report(&sum, seed - seeds->first);
	attacker_free(&a);
}
