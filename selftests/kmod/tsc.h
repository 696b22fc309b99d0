/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How many ticks of the TSC an instruction takes, and whether they are time: for the
 * kernel and for programs.
 *
 * The LFENCEs keep what comes before a RDTSC before it, and what comes after it after
 * it.  So it is the time from when an instruction may start until it has been executed;
 * its stores may still wait for their cache lines then.  Two MOVs are always there: what
 * the pair takes without an instruction is for the caller to measure and to subtract.
 *
 * The jumps make it exact in an emulator whose TSC counts instructions, as one may add
 * them up at jumps only.
 */
#ifndef SELFTESTS_KMOD_TSC_H
#define SELFTESTS_KMOD_TSC_H

/*
 * The ticks of @insn, a string, which may change RAX, RDX and memory.  It finds @rax,
 * @rcx and @rdx in the registers of these names, and @rbx likewise: an address.
 */
#define TSC_TIME(insn, rax, rcx, rdx, rbx)				\
({									\
	unsigned int __ticks;						\
									\
	asm volatile("lfence\n\t"					\
		     "jmp 1f\n"						\
		     "1:\n\t"						\
		     "rdtsc\n\t"					\
		     "mov %%eax, %%r8d\n\t"				\
		     "lfence\n\t"					\
		     "mov %%rsi, %%rax\n\t"				\
		     "mov %%rdi, %%rdx\n\t"				\
		     insn						\
		     "lfence\n\t"					\
		     "jmp 2f\n"						\
		     "2:\n\t"						\
		     "rdtsc\n\t"					\
		     "sub %%r8d, %%eax"					\
		     : "=a"(__ticks)					\
		     : "S"((unsigned long)(rax)), "c"((unsigned int)(rcx)), \
		       "D"((unsigned long)(rdx)), "b"(rbx)		\
		     : "rdx", "r8", "memory", "cc");			\
	__ticks;							\
})

/* The least ticks that @insn has taken, a thousand times in a row, beyond none of it. */
#define TSC_OF_1000(insn)						\
({									\
	unsigned int __t, __none = ~0u, __all = ~0u;			\
	int __i;							\
									\
	for (__i = 0; __i < 64; __i++) {				\
		__t = TSC_TIME("", 0, 0, 0, 0ul);			\
		__none = __t < __none ? __t : __none;			\
		__t = TSC_TIME(".rept 1000\n\t" insn "\n\t.endr\n\t", 0, 0, 0, 0ul); \
		__all = __t < __all ? __t : __all;			\
	}								\
	__all - __none;							\
})

static inline unsigned int tsc_of_nops(void)
{
	return TSC_OF_1000("nop");
}

/* Each waits for the one before. */
static inline unsigned int tsc_of_imuls(void)
{
	return TSC_OF_1000("imul %%rax, %%rax");
}

/*
 * Does the TSC count instructions?  Then it is an emulator's, which knows no cycles, and a
 * thousand of one kind take what a thousand of another kind take: about, if it has several
 * CPUs that run by turns.  A CPU executes several NOPs in one cycle, and one multiplication
 * of a chain in several.
 */
static inline int tsc_counts_instructions(unsigned int nops, unsigned int imuls)
{
	return imuls < 2 * nops;
}

#endif /* SELFTESTS_KMOD_TSC_H */
