/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A target: one vCPU, and all that is known of it.
 */
#ifndef SELFTESTS_HOSTILE_TARGET_H
#define SELFTESTS_HOSTILE_TARGET_H

#include "attacker.h"
#include "guest.h"
#include "../lib/model.h"

struct target {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct xfd_rules rules;
	struct xfd_model model;
	u32 image_size;
	/* How a vCPU is when the library has made it. */
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_cpuid2 *cpuid;
	/* It has been in the guest: its CPUID stays. */
	bool has_run;
	int next_vcpu_id;
	struct order *order;
};

void target_create(struct target *t, void (*guest)(void));

/* A new VM with the same memory; the guest begins anew. */
void target_recreate(struct target *t);

void target_free(struct target *t);

int cpuid_size(const struct kvm_cpuid2 *cpuid);

/* The guest checks what it has, and enters this. */
void run(struct attacker *a, struct target *t, const struct xfd_model *enter);

/* By KVM_GET_MSRS: both MSRs are what they must be. */
void check_msrs(struct attacker *a, struct target *t);

/* Fills @image, all of it checked as far as it is known. */
void get_image(struct attacker *a, struct target *t, u8 *image);

/* The MSRs, and the image, which is @a's image_after then. */
void check_all(struct attacker *a, struct target *t);

#endif /* SELFTESTS_HOSTILE_TARGET_H */
