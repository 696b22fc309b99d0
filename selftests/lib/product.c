// SPDX-License-Identifier: GPL-2.0
/* AMX's dot products, in integers. */
#include "product.h"

#define FP32_SIGN	0x80000000u
#define FP32_INF	0x7f800000u
#define FP32_NAN	0x7fc00000u
#define FP32_ONE	0x3f800000u
#define FP32_BITS	24
/* A number with the exponent field E is its significand, an integer, times 2^(E - this). */
#define FP32_BIAS	150

/* Finite and not 0: m * 2^e. */
struct real {
	bool negative;
	u64 m;
	int e;
};

static bool is_nan(u32 f)
{
	return (f & ~FP32_SIGN) > FP32_INF;
}

static bool is_inf(u32 f)
{
	return (f & ~FP32_SIGN) == FP32_INF;
}

static bool is_zero(u32 f)
{
	return !(f & ~FP32_SIGN);
}

/* "DAZ=1": a denormal is a 0 with its sign. */
static u32 denormal_as_zero(u32 f)
{
	return f & FP32_INF ? f : f & FP32_SIGN;
}

static struct real real_of(u32 f)
{
	return (struct real) {
		.negative = f & FP32_SIGN,
		.m = (f & 0x7fffff) | 0x800000,
		.e = (int)(f >> 23 & 0xff) - FP32_BIAS,
	};
}

/* To the nearest, and of two that are as near to the even one; "FTZ=1". */
static u32 fp32_of(struct real x)
{
	int drop = 64 - FP32_BITS - __builtin_clzll(x.m);
	u32 sign = x.negative ? FP32_SIGN : 0;
	u64 rest, half;

	x.e += drop;
	if (drop > 0) {
		rest = x.m & (BIT_ULL(drop) - 1);
		half = BIT_ULL(drop - 1);
		x.m >>= drop;
		if (rest > half || (rest == half && x.m & 1))
			x.m++;
		if (x.m == BIT_ULL(FP32_BITS)) {
			x.m >>= 1;
			x.e++;
		}
	} else {
		x.m <<= -drop;
	}
	if (x.e + FP32_BIAS >= 0xff)
		return sign | FP32_INF;
	if (x.e + FP32_BIAS <= 0)
		return sign;
	return sign | (u32)(x.e + FP32_BIAS) << 23 | (x.m & 0x7fffff);
}

/* The same number, with bit 61 as the highest one of m: there is room for a carry. */
static struct real normalise(struct real x)
{
	int shift = __builtin_clzll(x.m) - 2;

	x.m <<= shift;
	x.e -= shift;
	return x;
}

static u32 fp32_of_sum(struct real x, struct real y)
{
	struct real t;
	int d;

	x = normalise(x);
	y = normalise(y);
	if (x.e < y.e) {
		t = x;
		x = y;
		y = t;
	}
	/* What falls off at the right is kept as one bit: it is below the half. */
	d = x.e - y.e;
	y.m = d > 61 ? 1 : y.m >> d | !!(y.m & (BIT_ULL(d) - 1));
	if (x.negative == y.negative) {
		x.m += y.m;
	} else if (x.m >= y.m) {
		x.m -= y.m;
	} else {
		x.m = y.m - x.m;
		x.negative = y.negative;
	}
	return x.m ? fp32_of(x) : 0;
}

/* a * b + c, rounded once: "FP32 FMA with DAZ=FTZ=1, RNE rounding" */
static u32 fp32_fma(u32 a, u32 b, u32 c)
{
	u32 sign = (a ^ b) & FP32_SIGN;
	struct real product, x, y;

	if (is_nan(a) || is_nan(b) || is_nan(c))
		return FP32_NAN;
	a = denormal_as_zero(a);
	b = denormal_as_zero(b);
	c = denormal_as_zero(c);
	if (is_inf(a) || is_inf(b)) {
		if (is_zero(a) || is_zero(b) || (is_inf(c) && (c & FP32_SIGN) != sign))
			return FP32_NAN;
		return sign | FP32_INF;
	}
	if (is_inf(c))
		return c;
	if (is_zero(a) || is_zero(b)) {
		if (is_zero(c))
			return sign & c;
		return c;
	}
	x = real_of(a);
	y = real_of(b);
	product = (struct real) { .negative = sign, .m = x.m * y.m, .e = x.e + y.e };
	return is_zero(c) ? fp32_of(product) : fp32_of_sum(product, real_of(c));
}

static u32 fp32_add(u32 a, u32 b)
{
	return fp32_fma(a, FP32_ONE, b);
}

static s32 byte_of(u32 dword, int i, bool is_signed)
{
	u8 byte = dword >> 8 * i;

	return is_signed ? (s32)(s8)byte : (s32)byte;
}

/* Four products of bytes, and a sum that wraps. */
static u32 dword_int8(u32 c, u32 a, u32 b, bool a_signed, bool b_signed)
{
	int i;

	for (i = 0; i < 4; i++)
		c += (u32)(byte_of(a, i, a_signed) * byte_of(b, i, b_signed));
	return c;
}

/* The even elements and the odd ones are summed apart, then together, then with @c. */
static u32 dword_bf16(const struct xfd_product_shape *s, u32 c, const u32 *a,
		      const u32 (*b)[XFD_TILE_DWORDS], int n)
{
	u32 even = 0, odd = 0;
	int k;

	for (k = 0; k < s->k; k++) {
		even = fp32_fma(a[k] << 16, b[k][n] << 16, even);
		odd = fp32_fma(a[k] & 0xffff0000, b[k][n] & 0xffff0000, odd);
	}
	return fp32_add(c, fp32_add(even, odd));
}

void xfd_product(enum xfd_product which, const struct xfd_product_shape *s,
		 struct xfd_tile *c, const struct xfd_tile *a, const struct xfd_tile *b)
{
	bool a_signed = which == XFD_TDPBSSD || which == XFD_TDPBSUD;
	bool b_signed = which == XFD_TDPBSSD || which == XFD_TDPBUSD;
	int m, k, n;
	u32 *out;

	for (m = 0; m < s->m; m++) {
		for (n = 0; n < s->n; n++) {
			out = &c->dword[m][n];
			if (which == XFD_TDPBF16PS) {
				*out = dword_bf16(s, *out, a->dword[m], b->dword, n);
				continue;
			}
			for (k = 0; k < s->k; k++)
				*out = dword_int8(*out, a->dword[m][k], b->dword[k][n],
						  a_signed, b_signed);
		}
	}
}

bool xfd_product_fp32_is(u32 got, u32 want)
{
	if (is_nan(want))
		return is_nan(got) && (got & FP32_NAN) == FP32_NAN;
	return got == want;
}
