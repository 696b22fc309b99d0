// SPDX-License-Identifier: GPL-2.0
/* The patterns in AMX's tiles: filled, loaded, read back and compared. */
#include "tiles.h"

u64 xfd_bytes_differ(const u8 *a, const u8 *b, u64 n)
{
	u64 i, differ = 0;

	for (i = 0; i < n; i++)
		differ += a[i] != b[i];
	return differ;
}

bool xfd_bytes_are(const u8 *a, u8 value, u64 n)
{
	u64 i;

	for (i = 0; i < n; i++) {
		if (a[i] != value)
			return false;
	}
	return true;
}

void xfd_tilecfg_fill(struct xfd_tilecfg *cfg)
{
	int i;

	memset(cfg, 0, sizeof(*cfg));
	cfg->palette_id = 1;
	for (i = 0; i < XFD_TILES; i++) {
		cfg->colsb[i] = XFD_TILE_COLSB;
		cfg->rows[i] = XFD_TILE_ROWS;
	}
}

static u8 pattern(u64 seed, u32 i)
{
	u64 tile = i / XFD_TILE_BYTES, byte = i % XFD_TILE_BYTES;

	return 1 + (seed * 41 + tile * 101 + byte * 7) % 255;
}

void xfd_tiles_fill(struct xfd_tiles *t, u64 seed)
{
	u32 i;

	for (i = 0; i < XFD_TILES_BYTES; i++)
		t->want[i] = pattern(seed, i);
	memset(t->got, 0, sizeof(t->got));
	xfd_tilecfg_fill(&t->cfg);
	memset(&t->cfg_got, 0, sizeof(t->cfg_got));
}

void xfd_tiles_use(const struct xfd_tiles *t)
{
	xfd_ldtilecfg(&t->cfg);
	xfd_tiles_load(t->want);
}

u64 xfd_tiles_lost(struct xfd_tiles *t)
{
	xfd_tiles_store(t->got);
	return xfd_bytes_differ(t->want, t->got, XFD_TILES_BYTES);
}

bool xfd_tiles_initial(const struct xfd_tiles *t)
{
	return xfd_bytes_are(t->got, 0, XFD_TILES_BYTES);
}
