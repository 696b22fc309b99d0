// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that keeps tiles in use while its XFD disables them.  Linux does not:
 * it saves the tiles before it arms XFD.  So this is a guest without an operating
 * system, which dormant_boot.S starts.
 *
 * It fills all tiles, arms XFD, and waits for a byte on its serial line.  Then
 * it disarms XFD, and says how many of the tiles' bytes are still what they were.
 */
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/types.h>

#include "dormant.h"

#define COM1		0x3f8
#define LSR		(COM1 + 5)
#define LSR_DATA	BIT(0)
#define LSR_EMPTY	BIT(5)

#define MSR_IA32_XFD	0x1c4
#define XTILEDATA	BIT(18)

static struct {
	u8 palette;
	u8 start_row;
	u8 reserved[14];
	u16 colsb[16];
	u8 rows[16];
} config __aligned(64);

static u8 loaded[TILES * TILE_SIZE] __aligned(64);
static u8 stored[TILES * TILE_SIZE] __aligned(64);

static void out8(u16 port, u8 value)
{
	asm volatile("outb %0, %1" : : "a"(value), "d"(port));
}

static u8 in8(u16 port)
{
	u8 value;

	asm volatile("inb %1, %0" : "=a"(value) : "d"(port));
	return value;
}

static u64 read_msr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

static void write_msr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

static void put(char c)
{
	while (!(in8(LSR) & LSR_EMPTY))
		;
	out8(COM1, c);
}

static void say(const char *text)
{
	while (*text)
		put(*text++);
}

static void say_number(unsigned int number)
{
	if (number > 9)
		say_number(number / 10);
	put('0' + number % 10);
}

/* Between two looks the vCPU runs without exits, for the host to preempt it. */
static void wait_for_byte(void)
{
	unsigned int i;

	while (!(in8(LSR) & LSR_DATA)) {
		for (i = 0; i < 100000; i++)
			asm volatile("");
	}
	in8(COM1);
}

/* None of them is 0, which is what is in a tile that was lost. */
static void fill(void)
{
	u32 random = 2463534242;
	unsigned int i;

	for (i = 0; i < sizeof(loaded); i++) {
		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		loaded[i] = random % 255 + 1;
	}
}

void run(void)
{
	unsigned int i, kept = 0;
	bool armed;

	config.palette = 1;
	for (i = 0; i < TILES; i++) {
		config.colsb[i] = COLSB;
		config.rows[i] = ROWS;
	}
	fill();
	load_tiles(&config, loaded);
	write_msr(MSR_IA32_XFD, XTILEDATA);
	say("guest: dormant\n");
	wait_for_byte();

	armed = read_msr(MSR_IA32_XFD) == XTILEDATA;
	write_msr(MSR_IA32_XFD, 0);
	store_tiles(stored);
	for (i = 0; i < sizeof(loaded); i++)
		kept += stored[i] == loaded[i];
	say("guest: woken armed=");
	say(armed ? "yes" : "no");
	say(" kept=");
	say_number(kept);
	say("\n");
}
