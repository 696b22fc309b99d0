// SPDX-License-Identifier: GPL-2.0
/*
 * What can be seen of AMX and XFD at ring 3, on any x86-64 Linux: no root, no KVM, and
 * no header of this project's kernel is needed.
 *
 *	xfd_probe [--table]
 *
 * writes one JSON object to stdout, and with --table the same to stderr, as tables:
 *
 *	xfd_probe	the format's version
 *	kernel		its release
 *	cpu		model, numbers, microcode, and the hypervisor, if there is one
 *	cpuid		what CPUID says of AMX, XSAVE and XFD
 *	xcr0		what Linux has enabled
 *	unit		of costs: "tsc", ticks of the TSC, or "instructions", where the
 *			TSC counts those: an emulator
 *	tsc		ticks of 1000 NOPs, and of a chain of 1000 IMULs, by which the unit is
 *			known; and the TSC's kHz by the kernel's clock
 *	permission	whether Linux permits tiles to this process
 *	xinuse		XINUSE of XTILECFG and XTILEDATA, by XGETBV with ECX=1, after
 *			each thing that is done; "must" has what they must be, or null:
 *			XINUSE may be 1 for a component in its initial state (SDM vol. 1,
 *			"Processor Tracking of XSAVE-Managed State"), and what Linux does
 *			is not the SDM's
 *	costs		of each operation: the least, the median and the 99th percentile
 *			of SAMPLES, and the median beyond that of "nothing"
 *	skip		why there is no more, if there is no more
 *	failures	how many of "xinuse" are not what they must be
 *
 * Ends with 0; with 1 if something is not what it must be; with 4, which a harness takes
 * for "skipped", if the CPU or its Linux has no AMX.  The object is whole in any case.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <linux/types.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmod/tile_insn.h"
#include "kmod/tsc.h"

#define KSFT_PASS	0
#define KSFT_FAIL	1
#define KSFT_SKIP	4

#define ARCH_REQ_XCOMP_PERM	0x1023

#define XTILECFG	17
#define XTILEDATA	18
#define XTILE		(3ull << XTILECFG)

#define SAMPLES		1000
#define AREA_BYTES	16384
#define TILE_ROWS	16
#define TILE_COLSB	64
#define TILE_BYTES	(TILE_ROWS * TILE_COLSB)
/* "Either may be": for what XINUSE must be. */
#define ANY		-1

/* All that a tile of palette 1 can be. */
static alignas(64) struct {
	__u8 palette_id;
	__u8 start_row;
	__u8 reserved[14];
	__u16 colsb[16];
	__u8 rows[16];
} tilecfg, no_tilecfg;

static alignas(64) __u8 tile[TILE_BYTES];
static alignas(64) __u8 area[AREA_BYTES];
/* With XSTATE_BV=0 */
static alignas(64) __u8 initial[AREA_BYTES];

static __u64 xcr0;
static bool has_xgetbv1, has_xsavec, has_int8, has_bf16, instructions;

/* The tables, which come after the object. */
static FILE *table;

static __u64 xgetbv(__u32 nr)
{
	__u32 low, high;

	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(nr));
	return (__u64)high << 32 | low;
}

static void quote(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		if ((unsigned char)*text >= ' ' && (unsigned char)*text < 0x7f)
			putchar(*text);
	}
	putchar('"');
}

/* As Linux knows it, or "". */
static const char *microcode_shown(void)
{
	static const char name[] = "microcode\t: ";
	static char line[4096];
	FILE *file = fopen("/proc/cpuinfo", "r");
	char *value = "";

	while (file && !*value && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, name, strlen(name)))
			value = line + strlen(name);
	}
	if (file)
		fclose(file);
	return value;
}

static void print_cpu(void)
{
	__u32 eax, ebx, ecx, edx, family, model, regs[12];
	char vendor[13] = "", hypervisor[13] = "", brand[49] = "";
	const char *name = brand;
	unsigned int i;

	__cpuid(0, eax, ebx, ecx, edx);
	memcpy(vendor, &ebx, 4);
	memcpy(vendor + 4, &edx, 4);
	memcpy(vendor + 8, &ecx, 4);
	__cpuid(0x80000000, eax, ebx, ecx, edx);
	if (eax >= 0x80000004) {
		for (i = 0; i < 3; i++)
			__cpuid(0x80000002 + i, regs[4 * i], regs[4 * i + 1], regs[4 * i + 2],
				regs[4 * i + 3]);
		memcpy(brand, regs, 48);
		name += strspn(name, " ");
	}
	__cpuid(1, eax, ebx, ecx, edx);
	family = eax >> 8 & 0xf;
	model = eax >> 4 & 0xf;
	if (family == 6 || family == 15)
		model |= eax >> 12 & 0xf0;
	if (family == 15)
		family += eax >> 20 & 0xff;

	printf("\"cpu\":{\"vendor\":");
	quote(vendor);
	printf(",\"model_name\":");
	quote(name);
	printf(",\"family\":%u,\"model\":%u,\"stepping\":%u,\"microcode\":", family, model,
	       eax & 0xf);
	quote(microcode_shown());
	fprintf(table, "%s, family %u, model %u, stepping %u\n", name, family, model, eax & 0xf);
	printf(",\"hypervisor\":");
	if (ecx & 1u << 31) {
		__cpuid(0x40000000, eax, ebx, ecx, edx);
		memcpy(hypervisor, &ebx, 4);
		memcpy(hypervisor + 4, &ecx, 4);
		memcpy(hypervisor + 8, &edx, 4);
		quote(hypervisor);
		fprintf(table, "it is a guest's: %s\n", hypervisor);
	} else {
		printf("null");
	}
	printf("},");
}

static bool flag(const char *before, const char *name, __u32 reg, int bit)
{
	bool set = reg >> bit & 1;

	printf("%s\"%s\":%s", before, name, set ? "true" : "false");
	fprintf(table, " %s=%d", name, set);
	return set;
}

struct leaf {
	__u32 eax, ebx, ecx, edx;
};

/* All 0 where there is no such leaf. */
static struct leaf cpuid(__u32 nr, __u32 sub)
{
	struct leaf l = {};

	__get_cpuid_count(nr, sub, &l.eax, &l.ebx, &l.ecx, &l.edx);
	return l;
}

static void print_component(const char *name, int nr)
{
	struct leaf l = cpuid(0xd, nr);

	printf(",\"%s\":{\"size\":%u,\"offset\":%u", name, l.eax, l.ebx);
	fprintf(table, "  %s: size=%u offset=%u", name, l.eax, l.ebx);
	flag(",", "supervisor", l.ecx, 0);
	flag(",", "aligned", l.ecx, 1);
	flag(",", "xfd", l.ecx, 2);
	printf("}");
	fprintf(table, "\n");
}

/* Returns whether the CPU has tiles. */
static bool print_cpuid(void)
{
	struct leaf l = cpuid(7, 0);
	bool tiles;

	printf("\"cpuid\":{");
	fprintf(table, "CPUID:");
	tiles = flag("", "amx_tile", l.edx, 24);
	has_bf16 = flag(",", "amx_bf16", l.edx, 22);
	has_int8 = flag(",", "amx_int8", l.edx, 25);
	flag(",", "amx_fp16", cpuid(7, 1).eax, 21);
	l = cpuid(0xd, 1);
	has_xsavec = flag(",", "xsavec", l.eax, 1);
	has_xgetbv1 = flag(",", "xgetbv1", l.eax, 2);
	flag(",", "xsaves", l.eax, 3);
	flag(",", "xfd", l.eax, 4);
	fprintf(table, "\n");
	print_component("xtilecfg", XTILECFG);
	print_component("xtiledata", XTILEDATA);
	l = cpuid(0x1d, 1);
	printf(",\"palette1\":{\"tile_bytes\":%u,\"row_bytes\":%u,", l.eax >> 16,
	       l.ebx & 0xffff);
	printf("\"tiles\":%u,\"rows\":%u}},", l.ebx >> 16, l.ecx & 0xffff);
	return tiles;
}

static __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Of the TSC by the kernel's clock. */
static unsigned long tsc_khz(void)
{
	__u64 ns = now_ns(), tsc = __builtin_ia32_rdtsc();

	while (now_ns() - ns < 20 * 1000 * 1000)
		;
	tsc = __builtin_ia32_rdtsc() - tsc;
	return tsc * 1000000 / (now_ns() - ns);
}

/* No other CPU's TSC or caches: stay where we are. */
static void stay(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void ldtilecfg(const void *cfg)
{
	asm volatile(ASM_LDTILECFG : : "a"(cfg) : "memory");
}

static void tilerelease(void)
{
	asm volatile(ASM_TILERELEASE);
}

/* tmm0, tmm1 and tmm2 */
static void tileloadd(void)
{
	asm volatile(ASM_TILELOADD(0x04)
		     ASM_TILELOADD(0x0c)
		     ASM_TILELOADD(0x14) : : "a"(tile), "d"((long)TILE_COLSB) : "memory");
}

static void use_tiles(void)
{
	ldtilecfg(&tilecfg);
	tileloadd();
}

static void xsavec(__u64 rfbm)
{
	asm volatile("xsavec64 (%2)"
		     : : "a"((__u32)rfbm), "d"((__u32)(rfbm >> 32)), "b"(area) : "memory");
}

/* From an area that is compacted: bit 63 of XCOMP_BV is set in both. */
static void xrstor(const void *from, __u64 rfbm)
{
	asm volatile("xrstor64 (%2)"
		     : : "a"((__u32)rfbm), "d"((__u32)(rfbm >> 32)), "b"(from) : "memory");
}

static int failures;
static bool first_row = true;

/* A row of "xinuse": what has just been done, what XINUSE is, and what it must be. */
static void row(const char *after, __u64 in_use, int cfg, int data)
{
	static const char * const must[] = { "null", "0", "1" };
	int got_cfg = in_use >> XTILECFG & 1, got_data = in_use >> XTILEDATA & 1;
	bool good = (cfg == ANY || cfg == got_cfg) && (data == ANY || data == got_data);

	printf("%s{\"after\":\"%s\",\"xtilecfg\":%d,\"xtiledata\":%d,\"must\":[%s,%s]}",
	       first_row ? "" : ",", after, got_cfg, got_data, must[cfg + 1], must[data + 1]);
	fprintf(table, "  %-44s %d %d%s\n", after, got_cfg, got_data,
		good ? "" : "   NOT WHAT IT MUST BE");
	first_row = false;
	failures += !good;
}

static int in_handler;

static void handler(int signal)
{
	__atomic_store_n(&in_handler, xgetbv(1) >> XTILECFG & 3, __ATOMIC_RELAXED);
}

/* A process on this CPU that answers each byte: two switches, and it uses no tiles. */
static pid_t partner;
static int to_partner[2], from_partner[2];

static bool partner_start(void)
{
	char byte;

	if (pipe(to_partner) || pipe(from_partner))
		return false;
	partner = fork();
	if (partner)
		return partner > 0;
	/* Its reads end when the other one has. */
	close(to_partner[1]);
	close(from_partner[0]);
	while (read(to_partner[0], &byte, 1) == 1) {
		if (write(from_partner[1], &byte, 1) != 1)
			break;
	}
	_exit(0);
}

static void partner_end(void)
{
	close(to_partner[1]);
	waitpid(partner, NULL, 0);
}

/* Returns XINUSE as it is right after the two. */
static __u64 switch_and_back(void)
{
	char byte = 0;

	if (write(to_partner[1], &byte, 1) != 1 || read(from_partner[0], &byte, 1) != 1)
		return 0;
	return xgetbv(1);
}

/* One thing after the other; each XGETBV follows at once. */
static void print_xinuse(void)
{
	struct sigaction action = { .sa_handler = handler };
	__u64 in_use;

	printf("\"xinuse\":[");
	fprintf(table, "\nXINUSE after                                   XTILECFG XTILEDATA\n");
	row("the permission, and nothing else", xgetbv(1), ANY, ANY);
	ldtilecfg(&tilecfg);
	row("LDTILECFG", xgetbv(1), 1, ANY);
	tileloadd();
	row("TILELOADD", xgetbv(1), 1, 1);
	if (has_int8) {
		asm volatile(ASM_TDPBSSD);
		row("TDPBSSD", xgetbv(1), 1, 1);
		asm volatile(ASM_TDPBUUD);
		row("TDPBUUD", xgetbv(1), 1, 1);
	}
	if (has_bf16) {
		asm volatile(ASM_TDPBF16PS);
		row("TDPBF16PS", xgetbv(1), 1, 1);
	}
	asm volatile(ASM_STTILECFG : : "a"(area) : "memory");
	row("STTILECFG", xgetbv(1), 1, 1);
	asm volatile(ASM_TILESTORED(0x04) : : "a"(area), "d"((long)TILE_COLSB) : "memory");
	row("TILESTORED", xgetbv(1), 1, 1);
	asm volatile(ASM_TILEZERO);
	row("TILEZERO of one tile of three", xgetbv(1), 1, 1);
	syscall(SYS_getppid);
	row("a system call", xgetbv(1), 1, 1);
	row("a switch to a task without tiles, and back", switch_and_back(), 1, 1);
	if (!sigaction(SIGUSR1, &action, NULL)) {
		raise(SIGUSR1);
		in_use = xgetbv(1);
		row("the start of a signal's handler",
		    (__u64)__atomic_load_n(&in_handler, __ATOMIC_RELAXED) << XTILECFG, ANY, ANY);
		row("the handler's return", in_use, 1, 1);
	}
	if (has_xsavec) {
		memset(area, 0, sizeof(area));
		xsavec(XTILE);
		row("XSAVEC", xgetbv(1), 1, 1);
		xrstor(initial, XTILE);
		row("XRSTOR that initialises", xgetbv(1), ANY, ANY);
		xrstor(area, XTILE);
		row("XRSTOR that loads", xgetbv(1), 1, 1);
	}
	ldtilecfg(&tilecfg);
	row("LDTILECFG while tiles are in use", xgetbv(1), 1, ANY);
	asm volatile(ASM_TILEZERO);
	row("TILEZERO of a tile that is zero", xgetbv(1), 1, ANY);
	use_tiles();
	ldtilecfg(&no_tilecfg);
	row("LDTILECFG of palette 0", xgetbv(1), ANY, ANY);
	use_tiles();
	tilerelease();
	row("TILERELEASE", xgetbv(1), 0, 0);
	printf("],");
}

static __u32 samples[SAMPLES];
static __u32 nothing;
static bool first_cost = true;

static int compare(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;

	return x < y ? -1 : x > y;
}

static void cost(const char *name)
{
	__u32 median, p99;

	qsort(samples, SAMPLES, sizeof(samples[0]), compare);
	median = samples[SAMPLES / 2];
	p99 = samples[SAMPLES * 99 / 100];
	if (first_cost)
		nothing = median;
	printf("%s\"%s\":{\"min\":%u,\"median\":%u,\"p99\":%u,\"net\":%d}", first_cost ? "" : ",",
	       name, samples[0], median, p99, (int)(median - nothing));
	fprintf(table, "  %-20s %8u %8u %8u %8d\n", name, samples[0], median, p99,
		(int)(median - nothing));
	first_cost = false;
}

/* @before is done each time, and is not timed. */
#define COST(name, before, insn, rax, rcx, rdx, rbx) do {		\
	int __i;							\
									\
	for (__i = 0; __i < SAMPLES; __i++) {				\
		before;							\
		samples[__i] = TSC_TIME(insn, rax, rcx, rdx, rbx);	\
	}								\
	cost(name);							\
} while (0)

/* The names are the ledger's, Documentation/costs.toml, where it has the operation. */
static void print_costs(bool tiles)
{
	__u64 plain = xcr0 & ~XTILE;

	printf("\"costs\":{");
	fprintf(table, "\n%-22s %8s %8s %8s %8s\n",
		instructions ? "instructions of" : "TSC ticks of", "least", "median", "p99", "net");
	COST("nothing", (void)0, "", 0, 0, 0, area);
	if (has_xgetbv1)
		COST("xgetbv", (void)0, "xgetbv\n\t", 0, 1, 0, area);
	if (has_xsavec) {
		memset(area, 0, sizeof(area));
		COST("xsavec", (void)0, "xsavec64 (%%rbx)\n\t", (__u32)xcr0, 0, xcr0 >> 32, area);
		COST("xrstor", (void)0, "xrstor64 (%%rbx)\n\t", (__u32)plain, 0, plain >> 32, area);
	}
	if (tiles) {
		COST("ldtilecfg", tilerelease(), ASM_LDTILECFG, &tilecfg, 0, 0, area);
		COST("tilezero", use_tiles(), ASM_TILEZERO, 0, 0, 0, area);
		COST("tileloadd", use_tiles(), ASM_TILELOADD(0x04), tile, 0, TILE_COLSB, area);
		COST("tilerelease", use_tiles(), ASM_TILERELEASE, 0, 0, 0, area);
		COST("tilerelease_idle", (void)0, ASM_TILERELEASE, 0, 0, 0, area);
		use_tiles();
		COST("xgetbv_tiles", (void)0, "xgetbv\n\t", 0, 1, 0, area);
	}
	if (tiles && has_xsavec) {
		COST("xsavec_tiles_masked", (void)0, "xsavec64 (%%rbx)\n\t", (__u32)plain, 0,
		     plain >> 32, area);
		COST("xsavec_tiles", (void)0, "xsavec64 (%%rbx)\n\t", (__u32)xcr0, 0, xcr0 >> 32,
		     area);
		COST("xrstor_tiles", (void)0, "xrstor64 (%%rbx)\n\t", (__u32)xcr0, 0, xcr0 >> 32,
		     area);
	}
	if (tiles)
		tilerelease();
	printf("},");
}

/* The end of the object, and of this. */
static int end(const char *skip)
{
	printf("\"skip\":");
	if (skip) {
		quote(skip);
		fprintf(table, "\nno more: %s\n", skip);
	} else {
		printf("null");
	}
	printf(",\"failures\":%d}\n", failures);
	if (failures)
		return KSFT_FAIL;
	return skip ? KSFT_SKIP : KSFT_PASS;
}

/* Why there is nothing to see of tiles, or NULL. */
static const char *look(void)
{
	__u32 eax, ebx, ecx, edx, nops, imuls;
	bool tiles, permitted = false;
	struct utsname uts;
	int i;

	uname(&uts);
	printf("{\"xfd_probe\":1,\"kernel\":");
	quote(uts.release);
	printf(",");
	fprintf(table, "Linux %s\n", uts.release);
	print_cpu();
	tiles = print_cpuid();
	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & 1u << 27))
		return "the kernel has not enabled XSAVE";
	xcr0 = xgetbv(0);
	printf("\"xcr0\":\"%#llx\",", (unsigned long long)xcr0);
	nops = tsc_of_nops();
	imuls = tsc_of_imuls();
	instructions = tsc_counts_instructions(nops, imuls);
	printf("\"unit\":\"%s\",", instructions ? "instructions" : "tsc");
	printf("\"tsc\":{\"ticks_of_1000_nops\":%u,\"ticks_of_1000_imuls\":%u,", nops, imuls);
	printf("\"khz\":%lu},", tsc_khz());

	if (tiles && (xcr0 & XTILE) == XTILE)
		permitted = !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA);
	printf("\"permission\":%s,", permitted ? "true" : "false");
	if (permitted) {
		tilecfg.palette_id = 1;
		for (i = 0; i < 8; i++) {
			tilecfg.colsb[i] = TILE_COLSB;
			tilecfg.rows[i] = TILE_ROWS;
		}
		memset(tile, 1, sizeof(tile));
		/* XCOMP_BV of the compacted format, and XSTATE_BV is 0. */
		memcpy(initial + 520, &(__u64){ 1ull << 63 | XTILE }, 8);
		/* Before any use of tiles, so that it has none. */
		if (!partner_start())
			return "pipe() or fork() failed";
		print_xinuse();
		partner_end();
	}
	print_costs(permitted);
	if (!tiles)
		return "the CPU has no AMX: CPUID.(07H,0).EDX[24]=0";
	if ((xcr0 & XTILE) != XTILE)
		return "the kernel has not enabled AMX in XCR0 (Linux 5.16 is the first that does)";
	if (!permitted)
		return "the kernel gives no permission for tiles (ARCH_REQ_XCOMP_PERM)";
	return NULL;
}

int main(int argc, char *argv[])
{
	char *text = NULL;
	size_t size;
	int status;

	if (argc > 2 || (argc == 2 && strcmp(argv[1], "--table"))) {
		fprintf(stderr, "Usage: %s [--table]\n", argv[0]);
		return KSFT_FAIL;
	}
	table = open_memstream(&text, &size);
	if (!table)
		return KSFT_FAIL;
	stay();
	status = end(look());
	fclose(table);
	if (fflush(stdout)) {
		perror("xfd_probe: writing the object");
		return KSFT_FAIL;
	}
	if (argc == 2)
		fputs(text, stderr);
	return status;
}
