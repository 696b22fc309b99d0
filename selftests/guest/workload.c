// SPDX-License-Identifier: GPL-2.0
/*
 * What a Linux guest runs: processes that multiply with AMX and check each
 * product against a loop that needs no tiles, and processes without AMX beside
 * them.  It is the guest's only program, and its init; on a host it is a command
 * with the same words as arguments that init takes from the kernel's command
 * line:
 *
 *   xfd.amx=N      processes with AMX
 *   xfd.plain=N    processes without
 *   xfd.rounds=N   rounds of each process, or of each with AMX if there are any: the
 *                  others end with them; 0: until a byte arrives on stdin
 *   xfd.kexec=N    init starts the kernel anew with kexec, N times
 *
 * Each line that it writes begins with "guest: ".  The last one counts: products,
 * wrong ones, processes that were lost, and the kernel's taint.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <linux/compiler.h>
#include <linux/types.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM	0x1023
#define XFEATURE_XTILEDATA	18

#define ROWS	16
#define COLSB	64
#define WORDS	(COLSB / 4)

#define MAX_TASKS	32

/* How often one looks how far all are. */
#define LOOK_MS		200
/* How long no process may get on before all is given up. */
#define STUCK_MS	120000

/* Each round of a process with AMX is one of these, in turn. */
enum round {
	ROUND_PLAIN,	/* multiply, and let go of the tiles */
	ROUND_YIELD,	/* others run between the product and its check */
	ROUND_SIGNAL,	/* a handler multiplies in between, too */
	ROUND_FORK,	/* a child multiplies, for the first time in its life */
	ROUND_SLEEP,	/* the CPU is idle in between */
	NR_ROUNDS,
};

struct count {
	u64 rounds;
	u64 products;
	u64 wrong;
};

/* One for each process; in memory that all share. */
static struct count *counts;

static struct {
	unsigned int amx, plain, kexec;
	u64 rounds;
} options = { .amx = 1, .rounds = 10 };

static bool is_init;

static void say(const char *format, ...)
{
	char line[512];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* In one piece: others write, too. */
	if (write(STDOUT_FILENO, line, len) != len)
		_exit(3);
}

static u64 random64(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

struct tile_config {
	u8 palette;
	u8 start_row;
	u8 reserved[14];
	u16 colsb[16];
	u8 rows[16];
} __packed __aligned(64);

struct tile {
	s8 byte[ROWS][COLSB];
} __aligned(64);

enum signs { SIGNED_SIGNED, SIGNED_UNSIGNED, UNSIGNED_SIGNED, UNSIGNED_UNSIGNED };

/* One product: C += A * B, in tiles 0, 1 and 2. */
struct product {
	struct tile_config config;
	struct tile a, b, c;
	/* Elements of four bytes: A has m rows of k, B k rows of n. */
	unsigned int m, k, n;
	enum signs signs;
};

static void product_make(struct product *p, u64 *seed)
{
	static const s8 edges[] = { 0, 1, -1, 127, -128 };
	struct tile *tiles[] = { &p->a, &p->b, &p->c };
	u64 r = random64(seed);
	unsigned int i, j;

	memset(&p->config, 0, sizeof(p->config));
	p->m = 1 + r % ROWS;
	p->k = 1 + (r >> 8) % WORDS;
	p->n = 1 + (r >> 16) % WORDS;
	p->signs = (r >> 24) % 4;
	p->config.palette = 1;
	p->config.rows[0] = p->m;
	p->config.colsb[0] = p->n * 4;
	p->config.rows[1] = p->m;
	p->config.colsb[1] = p->k * 4;
	p->config.rows[2] = p->k;
	p->config.colsb[2] = p->n * 4;
	/* The five others are used as well, and hold what is none of ours. */
	for (i = 3; i < 8; i++) {
		p->config.rows[i] = ROWS;
		p->config.colsb[i] = COLSB;
	}
	for (i = 0; i < 3; i++) {
		u64 *word = (u64 *)tiles[i]->byte;

		for (j = 0; j < sizeof(*tiles[i]) / sizeof(*word); j++)
			word[j] = random64(seed);
	}
	for (i = 0; i < 8; i++) {
		r = random64(seed);
		p->a.byte[r % ROWS][(r >> 8) % COLSB] = edges[(r >> 16) % 5];
		p->b.byte[(r >> 24) % ROWS][(r >> 32) % COLSB] = edges[(r >> 40) % 5];
	}
}

/* Leaves the product in tile 0. */
static void product_start(const struct product *p)
{
	/* The compiler does not know that loads of tiles read memory. */
	asm volatile("" ::: "memory");
	_tile_loadconfig(&p->config);
	_tile_loadd(0, p->c.byte, COLSB);
	_tile_loadd(1, p->a.byte, COLSB);
	_tile_loadd(2, p->b.byte, COLSB);
	_tile_loadd(7, p->a.byte, COLSB);
	switch (p->signs) {
	case SIGNED_SIGNED:
		_tile_dpbssd(0, 1, 2);
		break;
	case SIGNED_UNSIGNED:
		_tile_dpbsud(0, 1, 2);
		break;
	case UNSIGNED_SIGNED:
		_tile_dpbusd(0, 1, 2);
		break;
	case UNSIGNED_UNSIGNED:
		_tile_dpbuud(0, 1, 2);
		break;
	}
}

static int value(s8 byte, bool is_signed)
{
	return is_signed ? byte : (u8)byte;
}

static s32 product_word(const struct product *p, unsigned int row, unsigned int col)
{
	bool a_signed = p->signs == SIGNED_SIGNED || p->signs == SIGNED_UNSIGNED;
	bool b_signed = p->signs == SIGNED_SIGNED || p->signs == UNSIGNED_SIGNED;
	unsigned int i, j;
	u32 sum;

	memcpy(&sum, &p->c.byte[row][col * 4], sizeof(sum));
	for (i = 0; i < p->k; i++) {
		const s8 *a = &p->a.byte[row][i * 4];
		const s8 *b = &p->b.byte[i][col * 4];

		for (j = 0; j < 4; j++)
			sum += value(a[j], a_signed) * value(b[j], b_signed);
	}
	return sum;
}

/* Reads tile 0, and tile 7, which nobody has written since; whether both are right. */
static bool product_check(const struct product *p)
{
	struct tile c, seventh;
	unsigned int row, col;

	_tile_stored(0, c.byte, COLSB);
	_tile_stored(7, seventh.byte, COLSB);
	if (memcmp(&seventh, &p->a, sizeof(seventh))) {
		say("guest: wrong: pid %d: tile 7 is not what was loaded\n", getpid());
		return false;
	}
	for (row = 0; row < p->m; row++) {
		for (col = 0; col < p->n; col++) {
			s32 right = product_word(p, row, col), is;

			memcpy(&is, &c.byte[row][col * 4], sizeof(is));
			if (is == right)
				continue;
			say("guest: wrong: pid %d: %ux%ux%u, signs %d, row %u col %u: %d, not %d\n",
			    getpid(), p->m, p->k, p->n, p->signs, row, col, is, right);
			return false;
		}
	}
	return true;
}

static struct count *own;
static u64 own_seed;

static void count_product(bool right)
{
	__atomic_add_fetch(&own->products, 1, __ATOMIC_RELAXED);
	if (!right)
		__atomic_add_fetch(&own->wrong, 1, __ATOMIC_RELAXED);
}

static void whole_product(u64 *seed)
{
	struct product p;

	product_make(&p, seed);
	product_start(&p);
	count_product(product_check(&p));
	_tile_release();
}

static void on_signal(int number)
{
	u64 seed = 0x9e3779b97f4a7c15ull + own_seed + number;

	whole_product(&seed);
}

static void fork_product(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		u64 seed = own_seed ^ 0xda942042e4dd58b5ull;

		whole_product(&seed);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		say("guest: wrong: pid %d: its child %d ended with %#x\n", getpid(), pid, status);
		__atomic_add_fetch(&own->wrong, 1, __ATOMIC_RELAXED);
	}
}

static void amx_round(enum round round)
{
	struct product p;

	product_make(&p, &own_seed);
	product_start(&p);
	switch (round) {
	case ROUND_YIELD:
		sched_yield();
		break;
	case ROUND_SIGNAL:
		raise(SIGUSR1);
		break;
	case ROUND_FORK:
		fork_product();
		break;
	case ROUND_SLEEP:
		usleep(2000);
		break;
	default:
		break;
	}
	count_product(product_check(&p));
	/* In the other rounds the tiles are in use until the next one. */
	if (round == ROUND_PLAIN)
		_tile_release();
}

/* Vector registers without tiles: sums whose result is known. */
static void plain_round(void)
{
	const __m128i one = _mm_set1_epi32(1);
	__m128i sum = _mm_setzero_si128();
	s32 words[4];
	unsigned int i;

	for (i = 0; i < 2000; i++) {
		asm volatile("paddd %1, %0" : "+x"(sum) : "x"(one));
		if (i % 500 == 0)
			sched_yield();
	}
	_mm_storeu_si128((__m128i *)words, sum);
	for (i = 0; i < 4; i++) {
		if (words[i] != 2000) {
			say("guest: wrong: pid %d: a sum is %d, not 2000\n", getpid(), words[i]);
			__atomic_add_fetch(&own->wrong, 1, __ATOMIC_RELAXED);
		}
	}
}

static bool *stop;

static void task(unsigned int number)
{
	bool amx = number < options.amx;
	/* Those without go on while there are any with: no vCPU is idle where there are enough. */
	bool bounded = options.rounds && (amx || !options.amx);
	u64 i;

	own = &counts[number];
	own_seed = 0x2545f4914f6cdd1dull * (number + 1);
	signal(SIGUSR1, on_signal);
	for (i = 0; bounded ? i < options.rounds : !READ_ONCE(*stop); i++) {
		if (amx)
			amx_round((i + number) % NR_ROUNDS);
		else
			plain_round();
		WRITE_ONCE(own->rounds, i + 1);
	}
	_exit(0);
}

static struct count total(unsigned int tasks)
{
	struct count sum = { .rounds = ~0ull };
	unsigned int i;

	for (i = 0; i < tasks; i++) {
		u64 rounds = READ_ONCE(counts[i].rounds);

		if (rounds < sum.rounds)
			sum.rounds = rounds;
		sum.products += READ_ONCE(counts[i].products);
		sum.wrong += READ_ONCE(counts[i].wrong);
	}
	return sum;
}

/* The kernel's taint, as far as it tells of a complaint: M, B, D, W and L. */
static unsigned long taint(void)
{
	const unsigned long bad = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14;
	char text[32] = "0";
	int fd = open("/proc/sys/kernel/tainted", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return ~0ul;
	close(fd);
	return strtoul(text, NULL, 10) & bad;
}

/* Starts them all and waits for them, and says how far they are; whether all was well. */
static bool work(void)
{
	unsigned int tasks = options.amx + options.plain, left, lost = 0, i, quiet = 0;
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	u64 seen = 0, said = 0;
	struct count sum;

	for (i = 0; i < tasks; i++) {
		pid_t pid = fork();

		if (!pid)
			task(i);
		if (pid < 0)
			lost++;
	}
	for (left = tasks - lost; left;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid > 0) {
			left--;
			if (left == options.plain && options.amx)
				WRITE_ONCE(*stop, true);
			if (status) {
				say("guest: wrong: process %d ended with %#x\n", pid, status);
				lost++;
			}
			continue;
		}
		sum = total(tasks);
		if (sum.rounds > seen) {
			seen = sum.rounds;
			quiet = 0;
			/* A line is many exits: with an end, nobody waits for it. */
			if (!options.rounds || seen >= said * 8) {
				said = seen;
				say("guest: round %llu products=%llu wrong=%llu\n",
				    (unsigned long long)said, (unsigned long long)sum.products,
				    (unsigned long long)sum.wrong);
			}
		} else if (++quiet > STUCK_MS / LOOK_MS) {
			say("guest: wrong: no process gets on\n");
			lost += left;
			break;
		}
		/* What is there is not read, and so nobody asks again. */
		if (poll(&input, options.rounds || READ_ONCE(*stop) ? 0 : 1, LOOK_MS) > 0)
			WRITE_ONCE(*stop, true);
	}
	sum = total(tasks);
	say("guest: end products=%llu wrong=%llu lost=%u taint=%lu\n",
	    (unsigned long long)sum.products, (unsigned long long)sum.wrong, lost, taint());
	return !sum.wrong && !lost;
}

static void option(const char *word)
{
	unsigned long long n;

	if (sscanf(word, "xfd.amx=%llu", &n) == 1)
		options.amx = n;
	else if (sscanf(word, "xfd.plain=%llu", &n) == 1)
		options.plain = n;
	else if (sscanf(word, "xfd.rounds=%llu", &n) == 1)
		options.rounds = n;
	else if (sscanf(word, "xfd.kexec=%llu", &n) == 1)
		options.kexec = n;
}

static void init_setup(char *line, size_t size)
{
	int fd;
	ssize_t len;

	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	fd = open("/dev/console", O_RDWR);
	if (fd >= 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
	}
	fd = open("/proc/cmdline", O_RDONLY);
	len = fd < 0 ? 0 : read(fd, line, size - 1);
	line[len > 0 ? len : 0] = 0;
}

/* Once more, with one time less to go; comes back only if it cannot. */
static void start_anew(const char *line)
{
	char again[1024], number[16], *at;
	int kernel = open("/bzImage", O_RDONLY), initrd = open("/initrd", O_RDONLY);

	snprintf(again, sizeof(again), "%s", line);
	at = strstr(again, "xfd.kexec=");
	snprintf(number, sizeof(number), "%u", options.kexec - 1);
	/* It is one digit. */
	if (at)
		at[strlen("xfd.kexec=")] = number[0];
	again[strcspn(again, "\n")] = 0;
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(again) + 1, again, 0ul))
		say("guest: wrong: kexec_file_load: %s\n", strerror(errno));
	else
		reboot(RB_KEXEC);
	say("guest: wrong: kexec: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
	char line[1024];
	bool amx, well;
	int i;

	is_init = getpid() == 1;
	if (is_init) {
		char words[sizeof(line)], *word, *rest = words;

		init_setup(line, sizeof(line));
		memcpy(words, line, sizeof(words));
		while ((word = strsep(&rest, "\n ")))
			option(word);
	}
	for (i = 1; i < argc; i++)
		option(argv[i]);
	if (options.amx + options.plain > MAX_TASKS)
		return 2;

	/* Children inherit the permission. */
	amx = !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
	say("guest: begin cpus=%ld amx=%s\n", sysconf(_SC_NPROCESSORS_ONLN), amx ? "yes" : "no");
	if (options.amx && !amx)
		say("guest: wrong: no permission to use tiles\n");
	counts = mmap(NULL, sizeof(*counts) * MAX_TASKS + sizeof(*stop), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		return 2;
	stop = (void *)&counts[MAX_TASKS];
	well = work();
	if (!is_init)
		return !well;
	/* The kernel's own lines would come in between. */
	tcdrain(STDOUT_FILENO);
	if (options.kexec)
		start_anew(line);
	reboot(RB_AUTOBOOT);
	return 1;
}
