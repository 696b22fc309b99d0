// SPDX-License-Identifier: GPL-2.0
/*
 * The rules of XFD, XFD_ERR, XINUSE and the XSAVE area that a hypervisor relies
 * on, and those of AMX's own arithmetic, executed at ring 0 of a KVM guest, one
 * subtest each.  The emulator that the project's tests run in has to keep them.
 *
 * They hold on any CPU, but for two things that the SDM leaves open.  XINUSE[i], and
 * XSTATE_BV[i] after XSAVEC, may be 1 for a component in its initial state; here they
 * must be 0.  And it does not say that tiles outlast XFD[18]=1; here they must
 * (xinuse_ignores_xfd, dormant_tiles_kept).
 *
 * Sections are those of the SDM, by title: in vol. 1 "Managing State Using the
 * XSAVE Feature Set" and there "Extended Feature Disable (XFD)" (called XFD
 * below), "Processor Tracking of XSAVE-Managed State" (XINUSE), "XSAVE Area";
 * in vol. 2 the AMX instruction reference.
 *
 * A guest's dormant tiles are lost on a stock host kernel when the vCPU leaves
 * KVM_RUN or is preempted by a task that returns to user mode.  No rule leaves
 * KVM_RUN halfway; a preemption is rare and comes at another place the next
 * time, so a rule that fails is tried again, a few times.
 */
#include "apic.h"

#include "lib/harness.h"
#include "lib/product.h"
#include "lib/xfd.h"

#define TRIES		3
/* Seconds of the machine's own clock, for each. */
#define TIMEOUT		20
#define XAREA_BYTES	16384
/* No pattern byte of a tile is ever 0; this one is nothing in particular. */
#define FILL		0xa5

#define XTILECFG	XFEATURE_MASK_XTILE_CFG
#define XTILE		XFEATURE_MASK_XTILE
#define XCOMP_COMPACTED	BIT_ULL(63)

static struct xfd_tiles tiles;
static u8 xarea[XAREA_BYTES] __aligned(4096);
static u8 xarea2[XAREA_BYTES] __aligned(4096);

#define XHDR(area)	((struct xstate_header *)((area) + 512))

/*
 * The compiler may have values in XMM registers, which these instructions
 * replace if @rfbm has SSE or AVX-512 components in it: hence the clobbers.
 */
#define XMM_CLOBBERS							\
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",	\
	"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

#define DEFINE_XSAVE(insn)						\
static u8 insn##_safe(void *area, u64 rfbm)				\
{									\
	u64 error_code;							\
	u8 vector;							\
									\
	asm volatile(KVM_ASM_SAFE(#insn "64 (%%rdi)")			\
		     : KVM_ASM_SAFE_OUTPUTS(vector, error_code)		\
		     : "D"(area), "a"((u32)rfbm), "d"(rfbm >> 32)	\
		     : KVM_ASM_SAFE_CLOBBERS, "memory", XMM_CLOBBERS);	\
	return vector;							\
}

DEFINE_XSAVE(xsave)
DEFINE_XSAVE(xsavec)
DEFINE_XSAVE(xsaveopt)
DEFINE_XSAVE(xsaves)
DEFINE_XSAVE(xrstor)
DEFINE_XSAVE(xrstors)

typedef u8 (*xsave_fn)(void *area, u64 rfbm);

/* The vCPU has written XFD, so its writes reach the CPU from here on. */
static void tiles_setup(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	wrmsr(MSR_IA32_XFD_ERR, 0);
	xfd_tiles_fill(&tiles, 1);
}

static void tiles_in_use(void)
{
	tiles_setup();
	xfd_tiles_use(&tiles);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
}

/* Reading them faults with #UD if TILECFG was lost. */
static u8 tile_store_safe(u8 *data)
{
	return kvm_asm_safe(ASM_TILESTORED(0x04), "a"(data), "d"((u64)XFD_TILE_COLSB));
}

/* The tiles in XSAVE's layout: tile after tile, row after row. */
static u64 image_differs(const u8 *image)
{
	return xfd_bytes_differ(image, tiles.want, XFD_TILES_BYTES);
}

static u8 *standard_image(u8 *area)
{
	return area + this_cpu_property(X86_PROPERTY_XSTATE_TILE_OFFSET);
}

/* An area whose header says "all initial", and FILL where components go. */
static void xarea_prepare(u8 *area)
{
	memset(area, FILL, XAREA_BYTES);
	memset(area + 512, 0, sizeof(struct xstate_header));
	/* XRSTOR checks MXCSR even of an area whose SSE is initial. */
	*(u32 *)(area + 24) = 0x1f80;
}

static void cpuid_xfd(void)
{
	/* XFD: enumeration by CPUID.(0DH,1).EAX[4]. */
	GUEST_ASSERT(this_cpu_has(X86_FEATURE_XFD));
	GUEST_ASSERT(xfd_cpuid_mask() & XFD_TILEDATA);
	/* A component in XFD's mask is one that XCR0 can enable. */
	GUEST_ASSERT_EQ(xfd_cpuid_mask() & ~this_cpu_supported_xcr0(), 0ull);
}

static void cpuid_components(void)
{
	u32 eax, ebx, ecx, edx, size17, offset17;

	/* "CPUID leaf 0DH": size, offset; ECX[0] XSS, [1] align, [2] XFD. */
	__cpuid(0xd, 17, &size17, &offset17, &ecx, &edx);
	GUEST_ASSERT_EQ(size17, (u32)sizeof(struct xfd_tilecfg));
	GUEST_ASSERT_EQ(ecx & 7, 2u);

	__cpuid(0xd, 18, &eax, &ebx, &ecx, &edx);
	GUEST_ASSERT_EQ(eax, (u32)XFD_TILES_BYTES);
	GUEST_ASSERT_EQ(ecx & 7, 6u);
	GUEST_ASSERT(ebx >= offset17 + size17);
	GUEST_ASSERT_EQ(ebx % 64, 0u);
}

static void cpuid_palette(void)
{
	/* "Tile Information Main Leaf", 1DH: what lib/tiles.h takes for granted. */
	GUEST_ASSERT(this_cpu_property(X86_PROPERTY_AMX_MAX_PALETTE_TABLES) >= 1);
	GUEST_ASSERT_EQ(this_cpu_property(X86_PROPERTY_AMX_TOTAL_TILE_BYTES), XFD_TILES_BYTES);
	GUEST_ASSERT_EQ(this_cpu_property(X86_PROPERTY_AMX_BYTES_PER_TILE), XFD_TILE_BYTES);
	GUEST_ASSERT_EQ(this_cpu_property(X86_PROPERTY_AMX_BYTES_PER_ROW), XFD_TILE_COLSB);
	GUEST_ASSERT_EQ(this_cpu_property(X86_PROPERTY_AMX_NR_TILE_REGS), XFD_TILES);
	GUEST_ASSERT_EQ(this_cpu_property(X86_PROPERTY_AMX_MAX_ROWS), XFD_TILE_ROWS);
}

static void msr_reset(void)
{
	/* XFD: the reset value of both MSRs is 0.  Tiles of zeros are initial. */
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), 0ull);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, 0ull);
}

static void msr_reserved_bits(u32 msr)
{
	u64 mask = xfd_cpuid_mask();
	int i;

	/*
	 * XFD: a WRMSR that sets an unsupported bit causes #GP.  KVM itself checks
	 * while it intercepts: the first non-zero write of XFD ends that.
	 */
	wrmsr(msr, mask);
	GUEST_ASSERT_EQ(rdmsr(msr), mask);
	for (i = 0; i < 64; i++) {
		if (mask & BIT_ULL(i))
			continue;
		__GUEST_ASSERT(wrmsr_safe(msr, mask | BIT_ULL(i)) == GP_VECTOR,
			       "no #GP for bit %d of MSR %x", i, msr);
		GUEST_ASSERT_EQ(rdmsr(msr), mask);
	}
	wrmsr(msr, 0);
	GUEST_ASSERT_EQ(rdmsr(msr), 0ull);
}

static void msr_xfd_reserved(void)
{
	msr_reserved_bits(MSR_IA32_XFD);
}

static void msr_xfd_err_reserved(void)
{
	msr_reserved_bits(MSR_IA32_XFD_ERR);
}

static void xinuse_ldtilecfg(void)
{
	tiles_setup();
	/* XINUSE: LDTILECFG sets TILECFG and zeroes the tiles. */
	xfd_ldtilecfg(&tiles.cfg);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILECFG);

	/* ... so that tiles which were in use no longer are. */
	xfd_tiles_load(tiles.want);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
	xfd_ldtilecfg(&tiles.cfg);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILECFG);
	xfd_tiles_store(tiles.got);
	GUEST_ASSERT(xfd_tiles_initial(&tiles));
}

static void xinuse_tileload(void)
{
	tiles_setup();
	xfd_ldtilecfg(&tiles.cfg);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), 0);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
	/* Reading tiles changes nothing. */
	GUEST_ASSERT_EQ(tile_store_safe(tiles.got), 0);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
}

static void xinuse_tilezero(void)
{
	tiles_setup();
	xfd_ldtilecfg(&tiles.cfg);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), 0);
	/*
	 * XINUSE may be 1 for a component in its initial state: nothing can be
	 * said of it after TILEZERO, except that seven other tiles stay.
	 */
	asm volatile(ASM_TILEZERO);
	xfd_tiles_load(tiles.want);
	asm volatile(ASM_TILEZERO);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
	GUEST_ASSERT_EQ(xfd_tiles_lost(&tiles), (u64)XFD_TILE_BYTES);
	GUEST_ASSERT(xfd_bytes_are(tiles.got, 0, XFD_TILE_BYTES));
}

static void xinuse_tilerelease(void)
{
	tiles_in_use();
	xfd_tilerelease();
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, 0ull);
	/* And the tiles are zero when they are configured again. */
	xfd_ldtilecfg(&tiles.cfg);
	xfd_tiles_store(tiles.got);
	GUEST_ASSERT(xfd_tiles_initial(&tiles));
}

static void xinuse_xrstor(void)
{
	tiles_in_use();
	xarea_prepare(xarea);
	GUEST_ASSERT_EQ(xsave_safe(xarea, XTILE), 0);
	GUEST_ASSERT_EQ(XHDR(xarea)->xstate_bv, XTILE);

	/* XRSTOR that initialises: XSTATE_BV[i]=0 and RFBM[i]=1. */
	xarea_prepare(xarea2);
	GUEST_ASSERT_EQ(xrstor_safe(xarea2, XTILE), 0);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, 0ull);

	/* XRSTOR that loads. */
	GUEST_ASSERT_EQ(xrstor_safe(xarea, XTILE), 0);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
	GUEST_ASSERT_EQ(xfd_tiles_lost(&tiles), 0ull);

	/* One without the other. */
	GUEST_ASSERT_EQ(xrstor_safe(xarea2, XFD_TILEDATA), 0);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILECFG);
}

static void xinuse_ignores_xfd(void)
{
	/*
	 * XINUSE: XGETBV with ECX=1 returns XCR0 & XINUSE.  XFD: it is XSAVE and its
	 * like that behave as if XINUSE[i] were 0.
	 */
	tiles_in_use();
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
	xfd_tilerelease();
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, 0ull);
	wrmsr(MSR_IA32_XFD, 0);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, 0ull);
}

static void xinuse_masked_by_xcr0(void)
{
	u64 xcr0 = xgetbv(0);

	/*
	 * XGETBV: with ECX=1 it returns XCR0 & XINUSE.  A component that XCR0
	 * hides is neither lost nor initialised.
	 */
	tiles_in_use();
	xsetbv(0, xcr0 & ~XTILE);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, 0ull);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), UD_VECTOR);
	xsetbv(0, xcr0);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
	GUEST_ASSERT_EQ(xfd_tiles_lost(&tiles), 0ull);
}

#define DEFINE_TILE_INSN(name, insn)						\
static void name(u8 *vector)							\
{										\
	*vector = kvm_asm_safe(insn, "a"(tiles.got), "d"((u64)XFD_TILE_COLSB));	\
}

DEFINE_TILE_INSN(tileloadd_tmm0, ASM_TILELOADD(0x04))
DEFINE_TILE_INSN(tileloadd_tmm7, ASM_TILELOADD(0x3c))
DEFINE_TILE_INSN(tileloaddt1, ASM_TILELOADDT1(0x04))
DEFINE_TILE_INSN(tilestored, ASM_TILESTORED(0x04))
DEFINE_TILE_INSN(tilezero, ASM_TILEZERO)
DEFINE_TILE_INSN(tdpbssd, ASM_TDPBSSD)
DEFINE_TILE_INSN(tdpbsud, ASM_TDPBSUD)
DEFINE_TILE_INSN(tdpbusd, ASM_TDPBUSD)
DEFINE_TILE_INSN(tdpbuud, ASM_TDPBUUD)
DEFINE_TILE_INSN(tdpbf16ps, ASM_TDPBF16PS)

/* An instruction that needs the tiles, with XFD clear and set. */
static void nm_insn(const char *name, void (*insn)(u8 *vector))
{
	u8 vector;

	wrmsr(MSR_IA32_XFD, 0);
	wrmsr(MSR_IA32_XFD_ERR, 0);
	insn(&vector);
	__GUEST_ASSERT(!vector, "%s: %s with XFD clear", name, ex_str(vector));
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);

	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	insn(&vector);
	__GUEST_ASSERT(vector == NM_VECTOR, "%s: %s with XFD set", name, ex_str(vector));
	__GUEST_ASSERT(rdmsr(MSR_IA32_XFD_ERR) == XFD_TILEDATA, "%s: XFD_ERR is %lx", name,
		       rdmsr(MSR_IA32_XFD_ERR));
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD_ERR, 0);
}

static void nm_tile_load_store(void)
{
	tiles_in_use();
	nm_insn("TILELOADD tmm0", tileloadd_tmm0);
	nm_insn("TILELOADD tmm7", tileloadd_tmm7);
	nm_insn("TILELOADDT1", tileloaddt1);
	nm_insn("TILESTORED", tilestored);
	nm_insn("TILEZERO", tilezero);
}

static void nm_tile_multiply(void)
{
	tiles_in_use();
	nm_insn("TDPBSSD", tdpbssd);
	nm_insn("TDPBSUD", tdpbsud);
	nm_insn("TDPBUSD", tdpbusd);
	nm_insn("TDPBUUD", tdpbuud);
	nm_insn("TDPBF16PS", tdpbf16ps);
}

static void nm_not_for_config(void)
{
	u8 vector;

	/*
	 * XFD: "LDTILECFG and TILERELEASE initialize TILEDATA; they do not
	 * cause #NM"; STTILECFG does not touch it.
	 */
	tiles_in_use();
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	vector = kvm_asm_safe(ASM_STTILECFG, "a"(&tiles.cfg_got));
	__GUEST_ASSERT(!vector, "STTILECFG: %s", ex_str(vector));
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);

	vector = kvm_asm_safe(ASM_LDTILECFG, "a"(&tiles.cfg));
	__GUEST_ASSERT(!vector, "LDTILECFG: %s", ex_str(vector));
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILECFG);

	vector = kvm_asm_safe(ASM_TILERELEASE, "a"(0));
	__GUEST_ASSERT(!vector, "TILERELEASE: %s", ex_str(vector));
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, 0ull);

	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), XFD_TILEDATA);

	/* They did what they are for. */
	wrmsr(MSR_IA32_XFD, 0);
	xfd_ldtilecfg(&tiles.cfg);
	xfd_tiles_store(tiles.got);
	GUEST_ASSERT(xfd_tiles_initial(&tiles));
}

static void xfd_err_sticky(void)
{
	tiles_in_use();
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
	/* Software clears XFD_ERR; nothing else does. */
	wrmsr(MSR_IA32_XFD, 0);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), 0);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	xfd_tilerelease();
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD_ERR, 0);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);
	/* And it has no effect of its own. */
	wrmsr(MSR_IA32_XFD_ERR, XFD_TILEDATA);
	xfd_ldtilecfg(&tiles.cfg);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), 0);
}

/*
 * With CR0.TS=1 an XMM register that the compiler uses faults, in the handler
 * as well: general registers only, and a handler of our own.
 */
static __attribute__((target("general-regs-only")))
void ts_nm_handler(struct ex_regs *regs)
{
	regs->rip = regs->r11;
	regs->r9 = regs->vector;
}

static noinline __attribute__((target("general-regs-only")))
u8 ts_nm_probe(u8 *xrstor_vector)
{
	u8 vector;

	set_cr0(get_cr0() | X86_CR0_TS);
	vector = kvm_asm_safe("fnop", "a"(0));
	/* Both reasons at once: XSTATE_BV[18]=1 with XFD[18]=1. */
	*xrstor_vector = kvm_asm_safe("xrstor64 (%%rdi)", "D"(xarea),
				      "a"((u32)XTILE), "d"(0));
	set_cr0(get_cr0() & ~X86_CR0_TS);
	return vector;
}

static void nm_cr0_ts(void)
{
	u8 vector, xrstor_vector;

	/*
	 * XFD: "device-not-available exceptions that are not due to XFD, those
	 * resulting from CR0.TS, do not modify IA32_XFD_ERR".
	 */
	tiles_in_use();
	xarea_prepare(xarea);
	GUEST_ASSERT_EQ(xsave_safe(xarea, XTILE), 0);
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	vector = ts_nm_probe(&xrstor_vector);
	GUEST_ASSERT_EQ(vector, NM_VECTOR);
	GUEST_ASSERT_EQ(xrstor_vector, NM_VECTOR);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);

	/* Nor do they clear it. */
	wrmsr(MSR_IA32_XFD_ERR, XFD_TILEDATA);
	vector = ts_nm_probe(&xrstor_vector);
	GUEST_ASSERT_EQ(vector, NM_VECTOR);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
}

static void dormant_tiles_kept(void)
{
	/* XFD stops the use of a component; no rule says that it changes its state. */
	tiles_in_use();
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(xarea), NM_VECTOR);
	GUEST_ASSERT_EQ(tile_store_safe(tiles.got), NM_VECTOR);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
	wrmsr(MSR_IA32_XFD, 0);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
	GUEST_ASSERT_EQ(xfd_tiles_lost(&tiles), 0ull);
}

/*
 * XFD: if XFD[i]=1, XSAVE and its relatives operate as if component i were in
 * its initial state: XSTATE_BV[i] becomes 0; XSAVE writes the initial state,
 * the others write nothing.  The component itself keeps what it has.
 */
static void xsave_under_xfd(xsave_fn save, bool compacted, bool writes_initial)
{
	u8 *image;

	tiles_in_use();

	/* Without XFD first: it does write where this test looks. */
	xarea_prepare(xarea);
	GUEST_ASSERT_EQ(save(xarea, XTILE), 0);
	image = compacted ? xarea + xfd_compacted_offset(XTILE, 18) : standard_image(xarea);
	GUEST_ASSERT_EQ(XHDR(xarea)->xstate_bv, XTILE);
	GUEST_ASSERT_EQ(image_differs(image), 0ull);

	xarea_prepare(xarea);
	XHDR(xarea)->xstate_bv = XFD_TILEDATA;
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	GUEST_ASSERT_EQ(save(xarea, XTILE), 0);
	GUEST_ASSERT_EQ(XHDR(xarea)->xstate_bv, XTILECFG);
	GUEST_ASSERT_EQ(XHDR(xarea)->xcomp_bv, compacted ? XCOMP_COMPACTED | XTILE : 0);
	__GUEST_ASSERT(xfd_bytes_are(image, writes_initial ? 0 : FILL, XFD_TILES_BYTES),
		       "wanted %s", writes_initial ? "zeroes" : "an untouched area");

	/* No #NM came of it. */
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);
	wrmsr(MSR_IA32_XFD, 0);
	GUEST_ASSERT_EQ(xfd_tiles_lost(&tiles), 0ull);
}

static void xsave_standard_under_xfd(void)
{
	xsave_under_xfd(xsave_safe, false, true);
}

static void xsaveopt_under_xfd(void)
{
	xsave_under_xfd(xsaveopt_safe, false, false);
}

static void xsavec_under_xfd(void)
{
	xsave_under_xfd(xsavec_safe, true, false);
}

static void xsaves_under_xfd(void)
{
	GUEST_ASSERT(this_cpu_has(X86_FEATURE_XSAVES));
	xsave_under_xfd(xsaves_safe, true, false);
}

/*
 * XFD: XRSTOR and XRSTORS that would load component i with XFD[i]=1 cause #NM;
 * those that would initialise it do so.
 */
static void xrstor_under_xfd(xsave_fn save, xsave_fn restore)
{
	u8 vector;

	tiles_in_use();
	xarea_prepare(xarea);
	GUEST_ASSERT_EQ(save(xarea, XTILE), 0);
	GUEST_ASSERT_EQ(XHDR(xarea)->xstate_bv, XTILE);

	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	vector = restore(xarea, XTILE);
	__GUEST_ASSERT(vector == NM_VECTOR, "%s for XSTATE_BV[18]=1", ex_str(vector));
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD_ERR, 0);

	/* Not requested: no #NM, and the tiles stay. */
	vector = restore(xarea, XTILECFG);
	__GUEST_ASSERT(!vector, "%s for RFBM[18]=0", ex_str(vector));
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILE);

	/* Requested and initial: no #NM, and the tiles become initial. */
	XHDR(xarea)->xstate_bv = XTILECFG;
	vector = restore(xarea, XTILE);
	__GUEST_ASSERT(!vector, "%s for XSTATE_BV[18]=0", ex_str(vector));
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);
	GUEST_ASSERT_EQ(xfd_xinuse() & XTILE, XTILECFG);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_store(tiles.got);
	GUEST_ASSERT(xfd_tiles_initial(&tiles));

	/* And without XFD the same area does load. */
	XHDR(xarea)->xstate_bv = XTILE;
	GUEST_ASSERT_EQ(restore(xarea, XTILE), 0);
	GUEST_ASSERT_EQ(xfd_tiles_lost(&tiles), 0ull);
}

static void xrstor_standard_under_xfd(void)
{
	xrstor_under_xfd(xsave_safe, xrstor_safe);
}

static void xrstor_compacted_under_xfd(void)
{
	xrstor_under_xfd(xsavec_safe, xrstor_safe);
}

static void xrstors_under_xfd(void)
{
	GUEST_ASSERT(this_cpu_has(X86_FEATURE_XSAVES));
	xrstor_under_xfd(xsaves_safe, xrstors_safe);
}

/* Everything that XCR0 has on, and some parts of it. */
static int compacted_masks(u64 masks[])
{
	u64 xcr0 = xgetbv(0);
	int n = 0;

	masks[n++] = xcr0;
	masks[n++] = xcr0 & ~XFEATURE_MASK_PKRU;
	masks[n++] = xcr0 & ~XFEATURE_MASK_AVX512;
	masks[n++] = xcr0 & (XTILE | XFEATURE_MASK_PKRU);
	masks[n++] = xcr0 & (XTILE | XFEATURE_MASK_YMM | XFEATURE_MASK_PKRU);
	masks[n++] = XTILE;
	masks[n++] = XFD_TILEDATA;
	return n;
}

static void compacted_offsets(void)
{
	u64 masks[8];
	int i, n = compacted_masks(masks);
	u8 *cfg, *image;

	/*
	 * "Extended Region of an XSAVE Area": in the compacted format a
	 * component follows the one before, at the next multiple of 64 if its
	 * CPUID.(0DH,i).ECX[1] is set.
	 */
	tiles_in_use();
	for (i = 0; i < n; i++) {
		xarea_prepare(xarea);
		GUEST_ASSERT_EQ(xsavec_safe(xarea, masks[i]), 0);
		GUEST_ASSERT_EQ(XHDR(xarea)->xcomp_bv, XCOMP_COMPACTED | masks[i]);
		GUEST_ASSERT_EQ(XHDR(xarea)->xstate_bv & XTILE, masks[i] & XTILE);

		image = xarea + xfd_compacted_offset(masks[i], 18);
		__GUEST_ASSERT(!image_differs(image),
			       "%lu bytes of the tiles are not at %ld, RFBM %lx",
			       image_differs(image), image - xarea, masks[i]);
		GUEST_ASSERT(xfd_bytes_are(image + XFD_TILES_BYTES, FILL, 64));

		if (!(masks[i] & XTILECFG))
			continue;
		cfg = xarea + xfd_compacted_offset(masks[i], 17);
		__GUEST_ASSERT(!xfd_bytes_differ(cfg, (u8 *)&tiles.cfg, sizeof(tiles.cfg)),
			       "TILECFG is not at %ld, RFBM %lx", cfg - xarea, masks[i]);
	}
}

static void compacted_size(void)
{
	u32 eax, ebx, ecx, edx;

	/* CPUID.(0DH,1).EBX: the compacted size of XCR0 | IA32_XSS. */
	__cpuid(0xd, 1, &eax, &ebx, &ecx, &edx);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XSS), 0ull);
	GUEST_ASSERT_EQ(ebx, xfd_compacted_offset(xgetbv(0), 18) + XFD_TILES_BYTES);
}

static void compacted_xcomp_bv(void)
{
	int xfd;

	/* XCOMP_BV is RFBM, whether a component is initial, disarmed or in use. */
	for (xfd = 0; xfd < 2; xfd++) {
		tiles_in_use();
		xfd_tilerelease();
		wrmsr(MSR_IA32_XFD, xfd ? XFD_TILEDATA : 0);
		xarea_prepare(xarea);
		XHDR(xarea)->xstate_bv = XTILE;
		GUEST_ASSERT_EQ(xsavec_safe(xarea, XTILE), 0);
		GUEST_ASSERT_EQ(XHDR(xarea)->xstate_bv, 0ull);
		GUEST_ASSERT_EQ(XHDR(xarea)->xcomp_bv, XCOMP_COMPACTED | XTILE);
	}
}

static void compacted_xrstor_skips(void)
{
	u64 masks[8];
	int i, n = compacted_masks(masks);

	/*
	 * XRSTOR: where a component is depends on XCOMP_BV alone, not on which
	 * ones RFBM asks for.
	 */
	for (i = 0; i < n; i++) {
		tiles_in_use();
		xarea_prepare(xarea);
		GUEST_ASSERT_EQ(xsavec_safe(xarea, masks[i]), 0);
		xfd_tiles_fill(&tiles, 77);
		xfd_tiles_use(&tiles);
		xfd_tiles_fill(&tiles, 1);

		GUEST_ASSERT_EQ(xrstor_safe(xarea, XFD_TILEDATA), 0);
		__GUEST_ASSERT(!xfd_tiles_lost(&tiles), "%lu bytes wrong, XCOMP_BV %lx",
			       xfd_tiles_lost(&tiles), masks[i]);

		/* All but PKRU, which is what Linux does. */
		xfd_ldtilecfg(&tiles.cfg);
		GUEST_ASSERT_EQ(xrstor_safe(xarea, xgetbv(0) & ~XFEATURE_MASK_PKRU & masks[i]), 0);
		__GUEST_ASSERT(!xfd_tiles_lost(&tiles), "%lu bytes wrong, XCOMP_BV %lx",
			       xfd_tiles_lost(&tiles), masks[i]);
	}
}

static void rows_through(xsave_fn save, xsave_fn restore, bool compacted)
{
	u8 *image;

	tiles_in_use();
	xarea_prepare(xarea);
	GUEST_ASSERT_EQ(save(xarea, XTILE), 0);
	image = compacted ? xarea + xfd_compacted_offset(XTILE, 18) : standard_image(xarea);
	__GUEST_ASSERT(!image_differs(image), "%lu of %d bytes wrong in memory",
		       image_differs(image), XFD_TILES_BYTES);

	xfd_tilerelease();
	GUEST_ASSERT_EQ(restore(xarea, XTILE), 0);
	__GUEST_ASSERT(!xfd_tiles_lost(&tiles), "%lu of %d bytes wrong in the tiles",
		       xfd_tiles_lost(&tiles), XFD_TILES_BYTES);
}

static void rows_xsave(void)
{
	rows_through(xsave_safe, xrstor_safe, false);
}

static void rows_xsaveopt(void)
{
	rows_through(xsaveopt_safe, xrstor_safe, false);
}

static void rows_xsavec(void)
{
	rows_through(xsavec_safe, xrstor_safe, true);
}

static void rows_xsaves(void)
{
	GUEST_ASSERT(this_cpu_has(X86_FEATURE_XSAVES));
	rows_through(xsaves_safe, xrstors_safe, true);
}

/* Rows and columns that are different for each tile and from each other. */
static void odd_config(void)
{
	int i;

	xfd_tilecfg_fill(&tiles.cfg);
	for (i = 0; i < XFD_TILES; i++) {
		tiles.cfg.rows[i] = XFD_TILE_ROWS - i;
		tiles.cfg.colsb[i] = 4 * (i + 5);
	}
	tiles.cfg.start_row = 3;
	xfd_ldtilecfg(&tiles.cfg);
}

static void tilecfg_sttilecfg(void)
{
	/* STTILECFG: "Memory Area Layout": colsb at 16, rows at 48. */
	tiles_setup();
	odd_config();
	memset(&tiles.cfg_got, FILL, sizeof(tiles.cfg_got));
	xfd_sttilecfg(&tiles.cfg_got);
	GUEST_ASSERT_EQ(tiles.cfg_got.palette_id, 1);
	GUEST_ASSERT_EQ(tiles.cfg_got.start_row, 3);
	GUEST_ASSERT_EQ(tiles.cfg_got.rows[2], XFD_TILE_ROWS - 2);
	GUEST_ASSERT_EQ(tiles.cfg_got.colsb[2], 28);
	GUEST_ASSERT(!memcmp(&tiles.cfg, &tiles.cfg_got, sizeof(tiles.cfg)));

	/* Not configured: 64 zero bytes. */
	xfd_tilerelease();
	memset(&tiles.cfg_got, FILL, sizeof(tiles.cfg_got));
	xfd_sttilecfg(&tiles.cfg_got);
	GUEST_ASSERT(xfd_bytes_are((u8 *)&tiles.cfg_got, 0, sizeof(tiles.cfg_got)));
}

static void tilecfg_image(void)
{
	u32 eax, offset, ecx, edx;

	/* "XTILECFG state": its image is what STTILECFG stores. */
	tiles_setup();
	odd_config();
	__cpuid(0xd, 17, &eax, &offset, &ecx, &edx);
	xarea_prepare(xarea);
	GUEST_ASSERT_EQ(xsave_safe(xarea, XTILE), 0);
	GUEST_ASSERT(!memcmp(xarea + offset, &tiles.cfg, sizeof(tiles.cfg)));

	xarea_prepare(xarea2);
	GUEST_ASSERT_EQ(xsavec_safe(xarea2, XTILE), 0);
	GUEST_ASSERT(!memcmp(xarea2 + xfd_compacted_offset(XTILE, 17), &tiles.cfg,
			     sizeof(tiles.cfg)));

	/* And back. */
	xfd_tilerelease();
	GUEST_ASSERT_EQ(xrstor_safe(xarea, XTILE), 0);
	xfd_sttilecfg(&tiles.cfg_got);
	GUEST_ASSERT(!memcmp(&tiles.cfg, &tiles.cfg_got, sizeof(tiles.cfg)));
}

/* What the tiles of a product hold: tmm0, tmm1 and tmm2, and what must be in tmm0 then. */
static struct xfd_tile product_c, product_a, product_b, product_got;

static void product_insn(enum xfd_product which)
{
	switch (which) {
	case XFD_TDPBSSD:
		asm volatile(ASM_TDPBSSD);
		break;
	case XFD_TDPBSUD:
		asm volatile(ASM_TDPBSUD);
		break;
	case XFD_TDPBUSD:
		asm volatile(ASM_TDPBUSD);
		break;
	case XFD_TDPBUUD:
		asm volatile(ASM_TDPBUUD);
		break;
	case XFD_TDPBF16PS:
		asm volatile(ASM_TDPBF16PS);
		break;
	}
}

static void product_shape_set(int tile, int rows, int dwords)
{
	tiles.cfg.rows[tile] = rows;
	tiles.cfg.colsb[tile] = 4 * dwords;
}

/* product_c += product_a * product_b, by AMX and by the rules. */
static void product_check(enum xfd_product which, int m, int k, int n)
{
	struct xfd_product_shape shape = { .m = m, .k = k, .n = n };
	u32 got, want;
	int i, j;

	product_shape_set(0, m, n);
	product_shape_set(1, m, k);
	product_shape_set(2, k, n);
	xfd_ldtilecfg(&tiles.cfg);
	asm volatile(ASM_TILELOADD(0x04) : : "a"(&product_c), "d"((u64)XFD_TILE_COLSB) : "memory");
	asm volatile(ASM_TILELOADD(0x0c) : : "a"(&product_a), "d"((u64)XFD_TILE_COLSB) : "memory");
	asm volatile(ASM_TILELOADD(0x14) : : "a"(&product_b), "d"((u64)XFD_TILE_COLSB) : "memory");
	product_insn(which);
	memset(&product_got, FILL, sizeof(product_got));
	asm volatile(ASM_TILESTORED(0x04) : : "a"(&product_got), "d"((u64)XFD_TILE_COLSB)
		     : "memory");

	xfd_product(which, &shape, &product_c, &product_a, &product_b);
	for (i = 0; i < XFD_TILE_ROWS; i++) {
		for (j = 0; j < XFD_TILE_DWORDS; j++) {
			got = product_got.dword[i][j];
			want = i < m && j < n ? product_c.dword[i][j] : FILL * 0x01010101u;
			if (got == want)
				continue;
			__GUEST_ASSERT(which == XFD_TDPBF16PS && i < m && j < n &&
				       xfd_product_fp32_is(got, want),
				       "m %d, k %d, n %d: row %d, column %d: got %x, want %x",
				       m, k, n, i, j, got, want);
		}
	}
}

static u64 product_seed;

static u32 product_random(void)
{
	product_seed ^= product_seed << 13;
	product_seed ^= product_seed >> 7;
	product_seed ^= product_seed << 17;
	return product_seed >> 32;
}

/* 0 and -0, denormals, the least and the greatest numbers, infinities, NaNs, ones. */
static const u16 bf16_edges[] = {
	0x0000, 0x8000, 0x0001, 0x8001, 0x007f, 0x807f, 0x0080, 0x8080,
	0x0100, 0x8100, 0x0140, 0x8140, 0x3f80, 0xbf80, 0x3f81, 0xbf81,
	0x2000, 0xa000, 0x1f80, 0x9f80, 0x1fff, 0x5f80, 0xdf80, 0x3fff,
	0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7f81, 0xffff, 0x7fc0, 0x4000,
};

static const u32 fp32_edges[] = {
	0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x00800000, 0x80800000,
	0x01400000, 0x81000000, 0x3f800000, 0xbf800001, 0x7f7fffff, 0xff7fffff,
	0x7f800000, 0xff800000, 0x7f800001, 0x4b7fffff,
};

enum operands { NEAR, EDGES, ANY, NR_OPERANDS };

static u16 random_bf16(enum operands operands)
{
	u32 r = product_random();

	switch (operands) {
	case NEAR:
		/* 2^-8 to 2^8: they round, and cancel each other. */
		return (r & 0x807f) | (127 - 8 + (r >> 16) % 16) << 7;
	case EDGES:
		return bf16_edges[r % ARRAY_SIZE(bf16_edges)];
	default:
		return r;
	}
}

static u32 random_fp32(enum operands operands)
{
	u32 r = product_random();

	switch (operands) {
	case NEAR:
		return (r & 0x807fffff) | (127 - 8 + product_random() % 16) << 23;
	case EDGES:
		return fp32_edges[r % ARRAY_SIZE(fp32_edges)];
	default:
		return r;
	}
}

static u32 random_bytes(enum operands operands)
{
	static const u8 edges[] = { 0x00, 0x01, 0x7f, 0x80, 0x81, 0xff };
	u32 r = product_random();

	if (operands != EDGES)
		return r;
	return edges[(r & 0xff) % 6] | edges[(r >> 8 & 0xff) % 6] << 8 |
	       edges[(r >> 16 & 0xff) % 6] << 16 | (u32)edges[(r >> 24) % 6] << 24;
}

static u32 random_operand(enum xfd_product which, enum operands operands)
{
	if (which != XFD_TDPBF16PS)
		return random_bytes(operands);
	return random_bf16(operands) | (u32)random_bf16(operands) << 16;
}

static void product_fill(enum xfd_product which, enum operands operands)
{
	int i, j;

	for (i = 0; i < XFD_TILE_ROWS; i++) {
		for (j = 0; j < XFD_TILE_DWORDS; j++) {
			product_a.dword[i][j] = random_operand(which, operands);
			product_b.dword[i][j] = random_operand(which, operands);
			product_c.dword[i][j] = random_fp32(operands);
		}
	}
}

/*
 * Each shape of each operand: every m with every k, k with n, and n with m.  Each
 * with one kind of operands, and the greatest with all of them.
 */
static void product_shapes(enum xfd_product which)
{
	int m, k, n, i = 0;

	tiles_setup();
	product_seed = 0x123456789abcdef;
	for (m = 1; m <= XFD_TILE_ROWS; m++) {
		for (k = 1; k <= XFD_TILE_ROWS; k++) {
			n = 1 + (m + k) % XFD_TILE_DWORDS;
			product_fill(which, i++ % NR_OPERANDS);
			product_check(which, m, k, n);
		}
	}
	for (i = 0; i < NR_OPERANDS; i++) {
		product_fill(which, i);
		product_check(which, XFD_TILE_ROWS, XFD_TILE_ROWS, XFD_TILE_DWORDS);
	}
}

/* Each byte times each other byte, at one of the four places. */
static void product_bytes(enum xfd_product which)
{
	int a, b, i, shift;

	tiles_setup();
	for (a = 0; a < 256; a += XFD_TILE_ROWS) {
		for (b = 0; b < 256; b += XFD_TILE_DWORDS) {
			shift = 8 * ((a + b) / XFD_TILE_ROWS % 4);
			for (i = 0; i < XFD_TILE_ROWS; i++) {
				product_a.dword[i][0] = (u32)(a + i) << shift;
				product_b.dword[0][i] = (u32)(b + i) << shift;
			}
			memset(&product_c, 0, sizeof(product_c));
			product_check(which, XFD_TILE_ROWS, 1, XFD_TILE_DWORDS);
		}
	}
}

static void product_int8(enum xfd_product which)
{
	product_bytes(which);
	product_shapes(which);
}

/* "TDPBSSD/TDPBSUD/TDPBUSD/TDPBUUD": S is a signed operand, U an unsigned one. */
static void product_tdpbssd(void)
{
	product_int8(XFD_TDPBSSD);
}

static void product_tdpbsud(void)
{
	product_int8(XFD_TDPBSUD);
}

static void product_tdpbusd(void)
{
	product_int8(XFD_TDPBUSD);
}

static void product_tdpbuud(void)
{
	product_int8(XFD_TDPBUUD);
}

#define MXCSR_DEFAULT		0x1f80
#define MXCSR_ROUND_UP		0x4000
#define MXCSR_FTZ		0x8000

/* 16 of the edges with 16 others, each pair beside @a and @b, and @c added to all. */
static void product_bf16_edges(const u16 *edges_a, const u16 *edges_b, u32 a, u32 b, u32 c)
{
	int i, j;

	for (i = 0; i < XFD_TILE_ROWS; i++) {
		product_a.dword[i][0] = edges_a[i] | a << 16;
		product_b.dword[0][i] = edges_b[i] | b << 16;
		for (j = 0; j < XFD_TILE_DWORDS; j++)
			product_c.dword[i][j] = c;
	}
	product_check(XFD_TDPBF16PS, XFD_TILE_ROWS, 1, XFD_TILE_DWORDS);
}

static void product_tdpbf16ps(void)
{
	static const u16 beside[][2] = {
		{ 0x0000, 0x0000 }, { 0x8100, 0x3f80 }, { 0x3f80, 0xbf80 }, { 0x7f80, 0x3f80 },
	};
	u32 mxcsr = MXCSR_DEFAULT | MXCSR_ROUND_UP;
	int a, b, i, j;

	/* "TDPBF16PS": DAZ=FTZ=1, to the nearest even, whatever MXCSR says. */
	asm volatile("ldmxcsr %0" : : "m"(mxcsr));
	tiles_setup();
	for (i = 0; i < (int)ARRAY_SIZE(beside); i++) {
		for (j = 0; j < (int)ARRAY_SIZE(fp32_edges); j++) {
			for (a = 0; a < 32; a += 16)
				for (b = 0; b < 32; b += 16)
					product_bf16_edges(bf16_edges + a, bf16_edges + b,
							   beside[i][0], beside[i][1],
							   fp32_edges[j]);
		}
	}
	product_shapes(XFD_TDPBF16PS);
}

static u64 fp64_add_ftz(u64 a, u64 b)
{
	u32 ftz = MXCSR_DEFAULT | MXCSR_FTZ, normal = MXCSR_DEFAULT;

	asm volatile("ldmxcsr %[ftz]\n\t"
		     "movq %[a], %%xmm0\n\t"
		     "movq %[b], %%xmm1\n\t"
		     "addsd %%xmm1, %%xmm0\n\t"
		     "movq %%xmm0, %[a]\n\t"
		     "ldmxcsr %[normal]"
		     : [a]"+r"(a)
		     : [b]"r"(b), [ftz]"m"(ftz), [normal]"m"(normal)
		     : "xmm0", "xmm1");
	return a;
}

static void flush_to_zero(void)
{
	/* "Flush-To-Zero": denormal results alone.  2^-1022 is none, half of it is. */
	GUEST_ASSERT_EQ(fp64_add_ftz(0x0028000000000000, 0x8020000000000000),
			0x0010000000000000ul);
	GUEST_ASSERT_EQ(fp64_add_ftz(0x0018000000000000, 0x8010000000000000), 0ul);
}

static void tile_without_index(void)
{
	int i;

	/*
	 * TILELOADD, TILESTORED: "If the SIB encoding omits an index register, the value
	 * zero is assumed": all rows are at one place.
	 */
	tiles_setup();
	xfd_ldtilecfg(&tiles.cfg);
	GUEST_ASSERT_EQ(kvm_asm_safe(ASM_TILELOADD_NO_INDEX, "a"(tiles.want)), 0);
	asm volatile(ASM_TILESTORED(0x04) : : "a"(tiles.got), "d"((u64)XFD_TILE_COLSB) : "memory");
	for (i = 0; i < XFD_TILE_ROWS; i++)
		GUEST_ASSERT(!xfd_bytes_differ(tiles.got + i * XFD_TILE_COLSB, tiles.want,
					       XFD_TILE_COLSB));

	/* The last row stays. */
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), 0);
	memset(tiles.got, FILL, sizeof(tiles.got));
	GUEST_ASSERT_EQ(kvm_asm_safe(ASM_TILESTORED_NO_INDEX, "a"(tiles.got)), 0);
	GUEST_ASSERT(!xfd_bytes_differ(tiles.got, tiles.want + XFD_TILE_BYTES - XFD_TILE_COLSB,
				       XFD_TILE_COLSB));
	GUEST_ASSERT(xfd_bytes_are(tiles.got + XFD_TILE_COLSB, FILL, XFD_TILE_COLSB));

	/* Without a SIB byte there is no such instruction. */
	GUEST_ASSERT_EQ(kvm_asm_safe(ASM_TILELOADD_NO_SIB, "a"(tiles.want)), UD_VECTOR);
	GUEST_ASSERT_EQ(kvm_asm_safe(ASM_TILESTORED_NO_SIB, "a"(tiles.got)), UD_VECTOR);
}

static void pkru_supervisor(void)
{
	u8 before = READ_ONCE(tiles.want[0]);

	/*
	 * "Protection Keys": PKRU governs pages that are user-mode addresses
	 * (U/S=1 all the way).  All of this guest's are supervisor-mode.
	 */
	set_cr4(get_cr4() | X86_CR4_PKE);
	wrpkru(-1u);
	WRITE_ONCE(tiles.want[0], before + 1);
	xfd_vmcall();
	GUEST_ASSERT_EQ(READ_ONCE(tiles.want[0]), before + 1);
	wrpkru(0);
	set_cr4(get_cr4() & ~X86_CR4_PKE);
}

/*
 * A fault is delivered once, with the RSP before it, even if the host is interrupted
 * just then.  #DE, as KVM intercepts #NM and #UD.
 */
static void fault_delivered_once(void)
{
	u64 before, after, i;

	for (i = 0; i < 2000000; i++) {
		asm volatile("mov %%rsp, %0" : "=r"(before));
		GUEST_ASSERT_EQ(kvm_asm_safe("div %[zero]", "a"(0), "d"(0), [zero]"r"(0)),
				KVM_MAGIC_DE_VECTOR);
		asm volatile("mov %%rsp, %0" : "=r"(after));
		GUEST_ASSERT_EQ(after, before);
	}
}

/* Any vector that is no exception's. */
#define INTERRUPT_VECTOR	0x40
/* Some of the host's timer ticks, in TSC ticks. */
#define HOST_TICKS		30000000

static u64 interrupts;

static void interrupted(struct ex_regs *regs)
{
	WRITE_ONCE(interrupts, interrupts + 1);
	x2apic_write_reg(APIC_EOI, 0);
}

static void interrupt_spin(void)
{
	u64 end = rdtsc() + HOST_TICKS;

	while (rdtsc() < end)
		cpu_relax();
}

static void interrupt_masked(void)
{
	/*
	 * "Virtual-Interrupt Delivery": where RFLAGS.IF=1, and nowhere else, whatever
	 * interrupts the host meanwhile.
	 */
	cli();
	x2apic_enable();
	x2apic_write_reg(APIC_SELF_IPI, INTERRUPT_VECTOR);
	interrupt_spin();
	GUEST_ASSERT_EQ(READ_ONCE(interrupts), 0);
	sti_nop();
	cli();
	GUEST_ASSERT_EQ(READ_ONCE(interrupts), 1);

	/* "Evaluation of Pending Virtual Interrupts": above the processor priority. */
	x2apic_write_reg(APIC_TASKPRI, INTERRUPT_VECTOR & 0xf0);
	x2apic_write_reg(APIC_SELF_IPI, INTERRUPT_VECTOR);
	sti();
	interrupt_spin();
	GUEST_ASSERT_EQ(READ_ONCE(interrupts), 1);
	x2apic_write_reg(APIC_TASKPRI, 0);
	GUEST_ASSERT_EQ(READ_ONCE(interrupts), 2);
	cli();
}

/* Why there is nothing to be tested, or NULL. */
static const char *missing;

FIXTURE(rule) {
};

FIXTURE_VARIANT(rule) {
	void (*guest)(void);
	void (*nm_handler)(struct ex_regs *regs);
	void (*interrupt)(struct ex_regs *regs);
	bool needs_pku;
};

FIXTURE_VARIANT_ADD(rule, cpuid_xfd) { .guest = cpuid_xfd };
FIXTURE_VARIANT_ADD(rule, cpuid_components) { .guest = cpuid_components };
FIXTURE_VARIANT_ADD(rule, cpuid_palette) { .guest = cpuid_palette };
FIXTURE_VARIANT_ADD(rule, msr_reset) { .guest = msr_reset };
FIXTURE_VARIANT_ADD(rule, msr_xfd_reserved) { .guest = msr_xfd_reserved };
FIXTURE_VARIANT_ADD(rule, msr_xfd_err_reserved) { .guest = msr_xfd_err_reserved };
FIXTURE_VARIANT_ADD(rule, xinuse_ldtilecfg) { .guest = xinuse_ldtilecfg };
FIXTURE_VARIANT_ADD(rule, xinuse_tileload) { .guest = xinuse_tileload };
FIXTURE_VARIANT_ADD(rule, xinuse_tilezero) { .guest = xinuse_tilezero };
FIXTURE_VARIANT_ADD(rule, xinuse_tilerelease) { .guest = xinuse_tilerelease };
FIXTURE_VARIANT_ADD(rule, xinuse_xrstor) { .guest = xinuse_xrstor };
FIXTURE_VARIANT_ADD(rule, xinuse_ignores_xfd) { .guest = xinuse_ignores_xfd };
FIXTURE_VARIANT_ADD(rule, xinuse_masked_by_xcr0) { .guest = xinuse_masked_by_xcr0 };
FIXTURE_VARIANT_ADD(rule, nm_tile_load_store) { .guest = nm_tile_load_store };
FIXTURE_VARIANT_ADD(rule, nm_tile_multiply) { .guest = nm_tile_multiply };
FIXTURE_VARIANT_ADD(rule, nm_not_for_config) { .guest = nm_not_for_config };
FIXTURE_VARIANT_ADD(rule, xfd_err_sticky) { .guest = xfd_err_sticky };
FIXTURE_VARIANT_ADD(rule, nm_cr0_ts) { .guest = nm_cr0_ts, .nm_handler = ts_nm_handler };
FIXTURE_VARIANT_ADD(rule, dormant_tiles_kept) { .guest = dormant_tiles_kept };
FIXTURE_VARIANT_ADD(rule, xsave_standard_under_xfd) { .guest = xsave_standard_under_xfd };
FIXTURE_VARIANT_ADD(rule, xsaveopt_under_xfd) { .guest = xsaveopt_under_xfd };
FIXTURE_VARIANT_ADD(rule, xsavec_under_xfd) { .guest = xsavec_under_xfd };
FIXTURE_VARIANT_ADD(rule, xsaves_under_xfd) { .guest = xsaves_under_xfd };
FIXTURE_VARIANT_ADD(rule, xrstor_standard_under_xfd) { .guest = xrstor_standard_under_xfd };
FIXTURE_VARIANT_ADD(rule, xrstor_compacted_under_xfd) { .guest = xrstor_compacted_under_xfd };
FIXTURE_VARIANT_ADD(rule, xrstors_under_xfd) { .guest = xrstors_under_xfd };
FIXTURE_VARIANT_ADD(rule, compacted_offsets) { .guest = compacted_offsets };
FIXTURE_VARIANT_ADD(rule, compacted_size) { .guest = compacted_size };
FIXTURE_VARIANT_ADD(rule, compacted_xcomp_bv) { .guest = compacted_xcomp_bv };
FIXTURE_VARIANT_ADD(rule, compacted_xrstor_skips) { .guest = compacted_xrstor_skips };
FIXTURE_VARIANT_ADD(rule, rows_xsave) { .guest = rows_xsave };
FIXTURE_VARIANT_ADD(rule, rows_xsaveopt) { .guest = rows_xsaveopt };
FIXTURE_VARIANT_ADD(rule, rows_xsavec) { .guest = rows_xsavec };
FIXTURE_VARIANT_ADD(rule, rows_xsaves) { .guest = rows_xsaves };
FIXTURE_VARIANT_ADD(rule, tilecfg_sttilecfg) { .guest = tilecfg_sttilecfg };
FIXTURE_VARIANT_ADD(rule, tilecfg_image) { .guest = tilecfg_image };
FIXTURE_VARIANT_ADD(rule, tile_without_index) { .guest = tile_without_index };
FIXTURE_VARIANT_ADD(rule, flush_to_zero) { .guest = flush_to_zero };
FIXTURE_VARIANT_ADD(rule, product_tdpbssd) { .guest = product_tdpbssd };
FIXTURE_VARIANT_ADD(rule, product_tdpbsud) { .guest = product_tdpbsud };
FIXTURE_VARIANT_ADD(rule, product_tdpbusd) { .guest = product_tdpbusd };
FIXTURE_VARIANT_ADD(rule, product_tdpbuud) { .guest = product_tdpbuud };
FIXTURE_VARIANT_ADD(rule, product_tdpbf16ps) { .guest = product_tdpbf16ps };
FIXTURE_VARIANT_ADD(rule, interrupt_masked) { .guest = interrupt_masked, .interrupt = interrupted };
FIXTURE_VARIANT_ADD(rule, fault_delivered_once) { .guest = fault_delivered_once };
/* Last: where it is broken it can take the host down. */
FIXTURE_VARIANT_ADD(rule, pkru_supervisor) { .guest = pkru_supervisor, .needs_pku = true };

FIXTURE_SETUP(rule)
{
	TEST_ASSERT(!missing, "%s", missing);
	if (variant->needs_pku && !kvm_cpu_has(X86_FEATURE_PKU))
		SKIP(return, "no protection keys");
}

FIXTURE_TEARDOWN(rule)
{
}

static void guest_main(void (*rule)(void))
{
	rule();
	GUEST_DONE();
}

static void run_rule(const FIXTURE_VARIANT(rule) * rule)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_main);
	if (rule->nm_handler)
		vm_install_exception_handler(vm, NM_VECTOR, rule->nm_handler);
	if (rule->interrupt)
		vm_install_exception_handler(vm, INTERRUPT_VECTOR, rule->interrupt);
	vcpu_args_set(vcpu, 1, (u64)rule->guest);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	kvm_vm_free(vm);
}

/* A failed assertion ends a process: each try has one of its own. */
static bool try_rule(const FIXTURE_VARIANT(rule) * rule)
{
	int status;
	pid_t pid;

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		alarm(TIMEOUT);
		run_rule(rule);
		_exit(0);
	}
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed, errno = %d", errno);
	if (WIFSIGNALED(status))
		ksft_print_msg("killed by signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

TEST_F_TIMEOUT(rule, holds, TRIES * TIMEOUT + 10)
{
	int try;

	for (try = 1; try <= TRIES; try++) {
		if (try_rule(variant))
			return;
		ksft_print_msg("failed, try %d of %d\n", try, TRIES);
	}
	TEST_FAIL("failed in each of %d tries", TRIES);
}

static struct xfd_option options[] = {
	{ "require", NULL, "a CPU or KVM without XFD fails each rule: it skips none" },
	{}
};

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, options);
	missing = xfd_amx_missing();
	if (!options[0].value)
		__TEST_REQUIRE(!missing, "%s", missing);
	return xfd_run_tests(argc, argv);
}
