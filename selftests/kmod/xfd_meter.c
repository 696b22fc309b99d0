// SPDX-License-Identifier: GPL-2.0
/*
 * What the instructions cost that switch XFD and XFD_ERR: those of the ledger,
 * Documentation/costs.toml, that ring 0 can time by itself.  Loading it does it, on the
 * CPU where that happens, with interrupts off.  The results are in
 * /sys/kernel/debug/xfd_meter until it is unloaded: a key and a value in each line.
 *
 *	meter		the format's version
 *	unit		"tsc", ticks of the TSC; "instructions" where it counts those
 *	rehearsed	1: by rehearse=1, so that these are no costs
 *	hypervisor	1: in a guest, where an access may be a VM-exit
 *	cpu		which
 *	tsc_khz		of the TSC, or 0
 *	nops_1000	ticks of 1000 NOPs
 *	imuls_1000	and of a chain of 1000 IMULs, by which the unit is known
 *	rounds		of each operation
 *	rfbm		of XSAVES and XRSTORS: XCR0 and XSS; of XSAVEC: XCR0
 *
 * and for each operation NAME.min, NAME.median and NAME.p99 of all rounds, and NAME.net:
 * the median beyond that of "nothing".
 *
 *	rdmsr_xfd, rdmsr_xfd_err
 *	wrmsr_xfd, wrmsr_xfd_err		with the value that is there
 *	wrmsr_xfd_change, wrmsr_xfd_err_change	with another one
 *	xgetbv					ECX=1
 *	xsaves, xsavec, xrstors			no tiles in use, or in the area
 *	*_tiles					with tiles
 *	xsaves_dormant				with tiles in use that XFD disables
 *
 * A module parameter, rehearse: 1 lets it load where the TSC counts instructions, in an
 * emulator, where nothing costs anything.
 *
 * It is for hosts that nobody works on.  It leaves XFD and XFD_ERR as they were, and the
 * tiles in their initial state.  kernel_fpu_begin() has saved the registers of whoever
 * had any.
 */
#include <linux/cpufeature.h>
#include <linux/debugfs.h>
#include <linux/gfp.h>
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/seq_file.h>
#include <linux/smp.h>
#include <linux/sort.h>
#include <linux/string.h>

#include <asm/cpuid/api.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>
#include <asm/special_insns.h>
#include <asm/tsc.h>

#include "tile_insn.h"
#include "tsc.h"

#define ROUNDS		1000
#define TILEDATA	XFEATURE_MASK_XTILE_DATA
#define TILE_COLSB	64
#define TILE_ROWS	16
#define MAX_RESULTS	20

static bool rehearse;
module_param(rehearse, bool, 0444);
MODULE_PARM_DESC(rehearse, "load where the TSC counts instructions, too");

static struct {
	u8 palette_id;
	u8 start_row;
	u8 reserved[14];
	u16 colsb[16];
	u8 rows[16];
} tilecfg __aligned(64) = {
	.palette_id = 1,
	.colsb = { TILE_COLSB },
	.rows = { TILE_ROWS },
};

static u8 tile[TILE_ROWS * TILE_COLSB] __aligned(64);

static struct result {
	const char *name;
	u32 min, median, p99;
} results[MAX_RESULTS];

static int nr_results;
static u32 samples[ROUNDS];
static u32 nops, imuls;
static int cpu;
static bool instructions;
static u64 xcr0, xss;
static void *area;
static size_t area_bytes;

static int compare(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

static void keep(const char *name)
{
	struct result *r = &results[nr_results++];

	sort(samples, ROUNDS, sizeof(samples[0]), compare, NULL);
	r->name = name;
	r->min = samples[0];
	r->median = samples[ROUNDS / 2];
	r->p99 = samples[ROUNDS * 99 / 100];
}

static void use_tiles(void)
{
	asm volatile(ASM_LDTILECFG : : "a"(&tilecfg) : "memory");
	asm volatile(ASM_TILELOADD(0x04) : : "a"(tile), "d"((u64)TILE_COLSB) : "memory");
}

static void write_xfd(u64 value)
{
	native_wrmsrq(MSR_IA32_XFD, value);
}

static void write_xfd_err(u64 value)
{
	native_wrmsrq(MSR_IA32_XFD_ERR, value);
}

/*
 * Times @insn, each time after @before, with XFD=0 and the tiles initial at first.
 * Interrupts are off for one operation at a time; nothing else uses the FPU here
 * meanwhile.
 */
#define METER(name, before, insn, rax, rcx, rdx) do {			\
	unsigned long __flags;						\
	u64 __xfd;							\
	int __i;							\
									\
	local_irq_save(__flags);					\
	__xfd = native_rdmsrq(MSR_IA32_XFD);				\
	write_xfd(0);							\
	for (__i = 0; __i < ROUNDS; __i++) {				\
		before;							\
		samples[__i] = TSC_TIME(insn, rax, rcx, rdx, area);	\
	}								\
	write_xfd_err(0);						\
	write_xfd(0);							\
	tile_release();							\
	write_xfd(__xfd);						\
	local_irq_restore(__flags);					\
	keep(name);							\
} while (0)

/* @mask is RFBM, of 64 bits. */
#define METER_XSAVE(name, before, insn, mask) do {			\
	u64 __rfbm = mask;						\
									\
	METER(name, before, insn " (%%rbx)\n\t", (u32)__rfbm, 0, __rfbm >> 32); \
} while (0)

static void meter_msrs(void)
{
	METER("rdmsr_xfd", (void)0, "rdmsr\n\t", 0, MSR_IA32_XFD, 0);
	METER("rdmsr_xfd_err", (void)0, "rdmsr\n\t", 0, MSR_IA32_XFD_ERR, 0);
	METER("wrmsr_xfd", (void)0, "wrmsr\n\t", 0, MSR_IA32_XFD, 0);
	METER("wrmsr_xfd_err", (void)0, "wrmsr\n\t", 0, MSR_IA32_XFD_ERR, 0);
	METER("wrmsr_xfd_change", write_xfd(0), "wrmsr\n\t", TILEDATA, MSR_IA32_XFD, 0);
	METER("wrmsr_xfd_err_change", write_xfd_err(0), "wrmsr\n\t", TILEDATA,
	      MSR_IA32_XFD_ERR, 0);
}

/* What is here now, which is no tiles. */
static void save_area(u64 mask)
{
	asm volatile("xsaves64 (%0)" : : "r"(area), "a"((u32)mask), "d"((u32)(mask >> 32))
		     : "memory");
}

static void meter_xsave(void)
{
	u64 all = xcr0 | xss;

	METER("xgetbv", (void)0, "xgetbv\n\t", 0, 1, 0);
	METER("xgetbv_tiles", use_tiles(), "xgetbv\n\t", 0, 1, 0);

	METER_XSAVE("xsavec", (void)0, "xsavec64", xcr0);
	METER_XSAVE("xsavec_tiles", use_tiles(), "xsavec64", xcr0);

	/*
	 * Before any XRSTORS of the area: thereafter XSAVES may leave out what has not
	 * changed.
	 */
	METER_XSAVE("xsaves", (void)0, "xsaves64", all);
	METER_XSAVE("xsaves_dormant", write_xfd(0); use_tiles(); write_xfd(TILEDATA), "xsaves64",
		    all);
	/* It leaves tiles in the area for the next one. */
	METER_XSAVE("xsaves_tiles", use_tiles(), "xsaves64", all);
	METER_XSAVE("xrstors_tiles", (void)0, "xrstors64", all);
	save_area(all);
	METER_XSAVE("xrstors", (void)0, "xrstors64", all);
}

/* Is there somebody's value on this CPU that nobody has saved? */
static bool somebody_here(void)
{
	u64 xfd = native_rdmsrq(MSR_IA32_XFD);

	return native_rdmsrq(MSR_IA32_XFD_ERR) || (xfd & xfeatures_in_use());
}

static int meter(void)
{
	unsigned long flags;
	int ret = 0;

	kernel_fpu_begin();
	local_irq_save(flags);
	cpu = smp_processor_id();
	nops = tsc_of_nops();
	imuls = tsc_of_imuls();
	instructions = tsc_counts_instructions(nops, imuls);
	if (somebody_here())
		ret = -EBUSY;
	else if (instructions && !rehearse)
		ret = -EOPNOTSUPP;
	local_irq_restore(flags);

	if (!ret) {
		METER("nothing", (void)0, "", 0, 0, 0);
		meter_msrs();
		meter_xsave();
	}
	kernel_fpu_end();
	return ret;
}

static int xfd_meter_show(struct seq_file *m, void *unused)
{
	int i;

	seq_puts(m, "meter 1\n");
	seq_printf(m, "unit %s\n", instructions ? "instructions" : "tsc");
	seq_printf(m, "rehearsed %d\n", rehearse);
	seq_printf(m, "hypervisor %d\n", boot_cpu_has(X86_FEATURE_HYPERVISOR));
	seq_printf(m, "cpu %d\n", cpu);
	seq_printf(m, "tsc_khz %u\n", tsc_khz);
	seq_printf(m, "nops_1000 %u\n", nops);
	seq_printf(m, "imuls_1000 %u\n", imuls);
	seq_printf(m, "rounds %d\n", ROUNDS);
	seq_printf(m, "rfbm %#llx\n", xcr0 | xss);
	for (i = 0; i < nr_results; i++) {
		const struct result *r = &results[i];

		seq_printf(m, "%s.min %u\n", r->name, r->min);
		seq_printf(m, "%s.median %u\n", r->name, r->median);
		seq_printf(m, "%s.p99 %u\n", r->name, r->p99);
		seq_printf(m, "%s.net %d\n", r->name, (int)(r->median - results[0].median));
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(xfd_meter);

static struct dentry *file;

static int __init xfd_meter_init(void)
{
	u32 eax, ebx, ecx, edx;
	int ret;

	if (!cpu_feature_enabled(X86_FEATURE_XFD) || !cpu_feature_enabled(X86_FEATURE_AMX_TILE) ||
	    !cpu_feature_enabled(X86_FEATURE_XSAVES)) {
		pr_err("xfd_meter: this CPU has no XFD, or no AMX, or no XSAVES\n");
		return -ENODEV;
	}

	xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	xss = native_rdmsrq(MSR_IA32_XSS);
	/* Of all that XCR0 and XSS enable, compacted. */
	cpuid_count(0xd, 1, &eax, &ebx, &ecx, &edx);
	area_bytes = ebx;
	area = alloc_pages_exact(area_bytes, GFP_KERNEL | __GFP_ZERO);
	if (!area)
		return -ENOMEM;
	memset(tile, 1, sizeof(tile));

	ret = meter();
	free_pages_exact(area, area_bytes);
	if (ret == -EBUSY)
		pr_err("xfd_meter: a guest's or a task's XFD or XFD_ERR is live on CPU %d\n", cpu);
	if (ret == -EOPNOTSUPP)
		pr_err("xfd_meter: the TSC counts instructions, so there are no cycles; rehearse=1 meters all the same\n");
	if (ret)
		return ret;

	file = debugfs_create_file("xfd_meter", 0444, NULL, NULL, &xfd_meter_fops);
	return 0;
}
module_init(xfd_meter_init);

static void __exit xfd_meter_exit(void)
{
	debugfs_remove(file);
}
module_exit(xfd_meter_exit);

MODULE_DESCRIPTION("Times what accesses XFD, XFD_ERR and XSAVE areas");
MODULE_LICENSE("GPL");
