/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two threads on one vCPU, whose descriptors are closed while it runs.  KVM lets one ioctl of a
 * vCPU wait for the other, so that what is wrong stays wrong, whoever comes first.
 */
#ifndef SELFTESTS_HOSTILE_RACE_H
#define SELFTESTS_HOSTILE_RACE_H

#include "seeds.h"

void race(const struct seeds *seeds);

#endif /* SELFTESTS_HOSTILE_RACE_H */
