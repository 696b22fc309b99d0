// SPDX-License-Identifier: GPL-2.0
/* kmemleak. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kselftest.h"
#include "test_util.h"

#include "leak.h"
#include "../lib/module.h"

#define KMEMLEAK	"/sys/kernel/debug/kmemleak"

bool has_kmemleak(void)
{
	int fd = open(KMEMLEAK, O_WRONLY | O_CLOEXEC);
	bool has = fd >= 0 && write(fd, "scan=off", 8) == 8;

	if (fd >= 0)
		close(fd);
	return has;
}

void check_leaks(void)
{
	char line[512];
	int leaks = 0;
	FILE *f;

	/*
	 * kmemleak takes what is younger than 5 seconds for something on its way, and so what
	 * has changed since the last scan.
	 */
	sleep(6);
	xfd_write_to(KMEMLEAK, "scan");
	xfd_write_to(KMEMLEAK, "scan");
	f = fopen(KMEMLEAK, "r");
	TEST_ASSERT(f, "cannot open " KMEMLEAK);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		ksft_print_msg("%s\n", line);
		leaks += !strncmp(line, "unreferenced object", 19);
	}
	fclose(f);
	ksft_print_msg("hostile: leaks %d\n", leaks);
	TEST_ASSERT(!leaks, "%d leaks", leaks);
}
