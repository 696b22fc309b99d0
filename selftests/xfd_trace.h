/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counts the kernel's accesses of IA32_XFD and IA32_XFD_ERR on one CPU: an
 * instance of the tracer, with only these two MSRs in it.  Code that bypasses
 * the kernel's accessors would not be seen.
 */
#ifndef SELFTESTS_XFD_TRACE_H
#define SELFTESTS_XFD_TRACE_H

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "xfd_host.h"

#define XFD_TRACEFS	"/sys/kernel/tracing"
#define XFD_INSTANCE	XFD_TRACEFS "/instances/xfd_measure"

struct xfd_accesses {
	s64 rdmsr_xfd, wrmsr_xfd, rdmsr_xfd_err, wrmsr_xfd_err;
};

static inline void xfd_write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	TEST_ASSERT(fd >= 0, "cannot open %s, errno = %d", path, errno);
	TEST_ASSERT(write(fd, text, strlen(text)) == strlen(text),
		    "cannot write '%s' to %s, errno = %d", text, path, errno);
	close(fd);
}

/* With room for @nr accesses on each CPU. */
static inline void xfd_trace_setup(u64 nr)
{
	static const char filter[] = "msr == 0x1c4 || msr == 0x1c5";
	char kib[32];

	if (access(XFD_TRACEFS "/instances", F_OK))
		mount("tracefs", XFD_TRACEFS, "tracefs", 0, NULL);
	TEST_ASSERT(!access(XFD_TRACEFS "/events/msr", F_OK),
		    "no msr trace events in %s: CONFIG_FTRACE, and root?", XFD_TRACEFS);
	TEST_ASSERT(!mkdir(XFD_INSTANCE, 0755) || errno == EEXIST, "cannot make " XFD_INSTANCE);

	snprintf(kib, sizeof(kib), "%lu", 512 + nr * 48 / 1024);
	xfd_write_to(XFD_INSTANCE "/tracing_on", "0");
	xfd_write_to(XFD_INSTANCE "/buffer_size_kb", kib);
	xfd_write_to(XFD_INSTANCE "/events/msr/read_msr/filter", filter);
	xfd_write_to(XFD_INSTANCE "/events/msr/write_msr/filter", filter);
}

/* Not only the buffer: an event that is on costs instructions. */
static inline void xfd_trace_enable(bool on)
{
	xfd_write_to(XFD_INSTANCE "/events/msr/read_msr/enable", on ? "1" : "0");
	xfd_write_to(XFD_INSTANCE "/events/msr/write_msr/enable", on ? "1" : "0");
}

static inline void xfd_trace_begin(void)
{
	xfd_write_to(XFD_INSTANCE "/trace", "");
	xfd_write_to(XFD_INSTANCE "/tracing_on", "1");
}

/* Events that the buffer had no room for; the count would be wrong. */
static inline u64 xfd_trace_lost(int cpu)
{
	char path[128], line[128];
	u64 n, lost = 0;
	FILE *f;

	snprintf(path, sizeof(path), XFD_INSTANCE "/per_cpu/cpu%d/stats", cpu);
	f = fopen(path, "r");
	TEST_ASSERT(f, "cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "overrun: %lu", &n) == 1 ||
		    sscanf(line, "commit overrun: %lu", &n) == 1 ||
		    sscanf(line, "dropped events: %lu", &n) == 1)
			lost += n;
	}
	fclose(f);
	return lost;
}

/* The accesses on @cpu since xfd_trace_begin(). */
static inline struct xfd_accesses xfd_trace_end(int cpu)
{
	struct xfd_accesses a = {};
	char path[128], line[256], *p;
	unsigned int msr;
	FILE *f;

	xfd_write_to(XFD_INSTANCE "/tracing_on", "0");
	TEST_ASSERT(!xfd_trace_lost(cpu), "the trace buffer overflowed");
	snprintf(path, sizeof(path), XFD_INSTANCE "/per_cpu/cpu%d/trace", cpu);
	f = fopen(path, "r");
	TEST_ASSERT(f, "cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		p = strstr(line, "read_msr: ");
		if (p && sscanf(p, "read_msr: %x,", &msr) == 1) {
			a.rdmsr_xfd += msr == MSR_IA32_XFD;
			a.rdmsr_xfd_err += msr == MSR_IA32_XFD_ERR;
			continue;
		}
		p = strstr(line, "write_msr: ");
		if (p && sscanf(p, "write_msr: %x,", &msr) == 1) {
			a.wrmsr_xfd += msr == MSR_IA32_XFD;
			a.wrmsr_xfd_err += msr == MSR_IA32_XFD_ERR;
		}
	}
	fclose(f);
	return a;
}

static inline void xfd_trace_remove(void)
{
	rmdir(XFD_INSTANCE);
}

#endif /* SELFTESTS_XFD_TRACE_H */
