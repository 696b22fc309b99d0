/* SPDX-License-Identifier: GPL-2.0 */
/* What both halves of a guest know, dormant_boot.S and dormant.c. */
#ifndef SELFTESTS_GUEST_DORMANT_H
#define SELFTESTS_GUEST_DORMANT_H

/* Each tile has its largest shape. */
#define TILES		8
#define ROWS		16
#define COLSB		64
#define TILE_SIZE	1024

#ifndef __ASSEMBLER__
/* In dormant_boot.S */
void load_tiles(const void *config, const void *from);
void store_tiles(void *to);

/* In dormant.c: all that comes after booting */
void run(void);
#endif

#endif /* SELFTESTS_GUEST_DORMANT_H */
