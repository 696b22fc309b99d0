// SPDX-License-Identifier: GPL-2.0
/* An instance of the tracer for XFD and XFD_ERR. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm_util.h"
#include "module.h"
#include "processor.h"
#include "trace.h"

#define TRACEFS		XFD_TRACEFS
#define INSTANCE	XFD_TRACE_INSTANCE

void xfd_trace_setup(u64 nr)
{
	static const char filter[] = "msr == 0x1c4 || msr == 0x1c5";
	char kib[32];

	if (access(TRACEFS "/instances", F_OK))
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	TEST_ASSERT(!access(TRACEFS "/events/msr", F_OK),
		    "no msr trace events in %s: CONFIG_FTRACE, and root?", TRACEFS);
	TEST_ASSERT(!mkdir(INSTANCE, 0755) || errno == EEXIST, "cannot make " INSTANCE);

	snprintf(kib, sizeof(kib), "%lu", 512 + nr * 48 / 1024);
	xfd_write_to(INSTANCE "/tracing_on", "0");
	xfd_write_to(INSTANCE "/buffer_size_kb", kib);
	xfd_write_to(INSTANCE "/events/msr/read_msr/filter", filter);
	xfd_write_to(INSTANCE "/events/msr/write_msr/filter", filter);
}

void xfd_trace_remove(void)
{
	rmdir(INSTANCE);
}

void xfd_trace_enable(bool on)
{
	xfd_write_to(INSTANCE "/events/msr/read_msr/enable", on ? "1" : "0");
	xfd_write_to(INSTANCE "/events/msr/write_msr/enable", on ? "1" : "0");
}

static void enable_exits_of_this_thread(void)
{
	char tid[32];

	snprintf(tid, sizeof(tid), "%ld", syscall(SYS_gettid));
	xfd_write_to(INSTANCE "/set_event_pid", tid);
	xfd_write_to(INSTANCE "/events/kvm/kvm_entry/enable", "1");
	xfd_write_to(INSTANCE "/events/kvm/kvm_exit/enable", "1");
}

void xfd_trace_enable_own_exits(void)
{
	enable_exits_of_this_thread();
	xfd_write_to(INSTANCE "/events/sched/sched_switch/enable", "1");
	xfd_trace_enable(true);
}

void xfd_trace_enable_latencies(void)
{
	xfd_write_to(INSTANCE "/trace_clock", "x86-tsc");
	/* Going on to the next page of the buffer takes longer than most of what is traced. */
	xfd_write_to(INSTANCE "/buffer_subbuf_size_kb", "64");
	enable_exits_of_this_thread();
	xfd_write_to(INSTANCE "/events/kvm/kvm_userspace_exit/enable", "1");
	xfd_write_to(INSTANCE "/events/sched/sched_switch/enable", "1");
}

void xfd_trace_begin(void)
{
	xfd_write_to(INSTANCE "/trace", "");
	xfd_write_to(INSTANCE "/tracing_on", "1");
}

/* Events that the buffer had no room for; the count would be wrong. */
static u64 lost_events(int cpu)
{
	char path[128], line[128];
	u64 n, lost = 0;
	FILE *f;

	snprintf(path, sizeof(path), INSTANCE "/per_cpu/cpu%d/stats", cpu);
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

FILE *xfd_trace_end_open(int cpu)
{
	char path[128];
	FILE *f;

	xfd_write_to(INSTANCE "/tracing_on", "0");
	TEST_ASSERT(!lost_events(cpu), "the trace buffer overflowed");
	snprintf(path, sizeof(path), INSTANCE "/per_cpu/cpu%d/trace", cpu);
	f = fopen(path, "r");
	TEST_ASSERT(f, "cannot open %s", path);
	return f;
}

bool xfd_trace_is_access(const char *line, struct xfd_access *a)
{
	const char *p = strstr(line, "_msr: ");

	if (!p || sscanf(p, "_msr: %x, value %lx", &a->msr, &a->value) != 2)
		return false;
	a->write = strstr(line, " write_msr: ");
	return true;
}

struct xfd_accesses xfd_trace_end(int cpu)
{
	struct xfd_accesses n = {};
	struct xfd_access a;
	char line[256];
	FILE *f = xfd_trace_end_open(cpu);

	while (fgets(line, sizeof(line), f)) {
		if (!xfd_trace_is_access(line, &a))
			continue;
		n.rdmsr_xfd += !a.write && a.msr == MSR_IA32_XFD;
		n.rdmsr_xfd_err += !a.write && a.msr == MSR_IA32_XFD_ERR;
		n.wrmsr_xfd += a.write && a.msr == MSR_IA32_XFD;
		n.wrmsr_xfd_err += a.write && a.msr == MSR_IA32_XFD_ERR;
	}
	fclose(f);
	return n;
}

char *xfd_trace_end_words(int cpu)
{
	char line[512], reason[64], *p, *words;
	const char *space = "";
	FILE *f = xfd_trace_end_open(cpu), *out;
	struct xfd_access a;
	size_t size;

	out = open_memstream(&words, &size);
	TEST_ASSERT(out, "out of memory");
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#')
			continue;
		p = strstr(line, " reason ");
		if (xfd_trace_is_access(line, &a))
			fprintf(out, "%s%c%x:%lx", space, a.write ? 'W' : 'R', a.msr & 0xf,
				a.value);
		else if (p && sscanf(p, " reason %63s", reason) == 1)
			fprintf(out, "%s<%s", space, reason);
		else if (strstr(line, " kvm_entry: "))
			fprintf(out, "%s>", space);
		else if (strstr(line, " sched_switch: "))
			fprintf(out, "%s/", space);
		else
			TEST_FAIL("not an event that was asked for: %s", line);
		space = " ";
	}
	fclose(f);
	fclose(out);
	return words;
}
