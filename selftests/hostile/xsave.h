/* SPDX-License-Identifier: GPL-2.0 */
/*
 * XSAVE images, good ones and bad ones.
 */
#ifndef SELFTESTS_HOSTILE_XSAVE_H
#define SELFTESTS_HOSTILE_XSAVE_H

#include "target.h"

/* What KVM must refuse in an image; false if this is nothing. */
bool spoil(struct attacker *a, struct kvm_xsave *image);

/*
 * An image with any tiles, dormant ones included; or one that KVM must refuse, which leaves
 * all as it was.
 */
void op_set_xsave(struct attacker *a, struct target *t);

void op_get_xsave(struct attacker *a, struct target *t);

#endif /* SELFTESTS_HOSTILE_XSAVE_H */
