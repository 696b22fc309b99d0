/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What AMX's dot products are, computed without AMX or floating point: the rules of
 * SDM vol. 2, "TDPBSSD/TDPBSUD/TDPBUSD/TDPBUUD" and "TDPBF16PS".  It runs in guests.
 */
#ifndef SELFTESTS_LIB_PRODUCT_H
#define SELFTESTS_LIB_PRODUCT_H

#include <stdbool.h>

#include <linux/types.h>

#include "tiles.h"

#define XFD_TILE_DWORDS		(XFD_TILE_COLSB / 4)

enum xfd_product { XFD_TDPBSSD, XFD_TDPBSUD, XFD_TDPBUSD, XFD_TDPBUUD, XFD_TDPBF16PS };

struct xfd_tile {
	u32 dword[XFD_TILE_ROWS][XFD_TILE_DWORDS];
};

/* @c has @m rows of @n dwords, @a has @m of @k, and @b has @k of @n. */
struct xfd_product_shape {
	int m, k, n;
};

/* @c += @a * @b */
void xfd_product(enum xfd_product which, const struct xfd_product_shape *shape,
		 struct xfd_tile *c, const struct xfd_tile *a, const struct xfd_tile *b);

/*
 * Is @got the FP32 that was computed as @want?  Bit for bit, but that the SDM does not
 * say which NaN comes of an operation, only that it is quiet.
 */
bool xfd_product_fp32_is(u32 got, u32 want);

#endif /* SELFTESTS_LIB_PRODUCT_H */
