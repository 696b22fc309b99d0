/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One thread: what each ioctl returns is known, and so is what the vCPU has afterwards, whether it
 * succeeded or not.
 */
#ifndef SELFTESTS_HOSTILE_ALONE_H
#define SELFTESTS_HOSTILE_ALONE_H

#include "seeds.h"

void alone(const struct seeds *seeds);

#endif /* SELFTESTS_HOSTILE_ALONE_H */
