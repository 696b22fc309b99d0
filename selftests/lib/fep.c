// SPDX-License-Identifier: GPL-2.0
/* Forced emulation. */
#include <stdio.h>
#include <unistd.h>

#include "fep.h"
#include "test_util.h"

#define PARAMETER	"/sys/module/kvm/parameters/force_emulation_prefix"

const char *xfd_fep_missing(void)
{
	return access(PARAMETER, W_OK) ? "cannot write " PARAMETER : NULL;
}

int xfd_fep_allow(int value)
{
	FILE *f = fopen(PARAMETER, "r+");
	int old;

	TEST_ASSERT(f && fscanf(f, "%d", &old) == 1, "cannot read " PARAMETER);
	rewind(f);
	TEST_ASSERT(fprintf(f, "%d", value) > 0 && !fclose(f), "cannot write " PARAMETER);
	return old;
}
