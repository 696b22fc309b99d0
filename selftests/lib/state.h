/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The states that a guest's XFD, XFD_ERR and tiles can be in together, for a
 * guest that uses tiles lazily, as Linux does: how it enters them, at ring 0 of
 * any mode that has tiles, and everything that it sees of them there.
 */
#ifndef SELFTESTS_LIB_STATE_H
#define SELFTESTS_LIB_STATE_H

#include "tiles.h"

enum xfd_state {
	/* XFD[18]=1, tiles initial. */
	XFD_ARMED,
	/* XFD=0, tiles in use. */
	XFD_LIVE,
	/* XFD[18]=1, tiles in use. */
	XFD_DORMANT,
	/* As armed, and XFD_ERR[18]=1 left by a #NM. */
	XFD_PENDING,
	XFD_NR_STATES,
};

static inline u64 xfd_state_xfd(enum xfd_state state)
{
	return state == XFD_LIVE ? 0 : XFD_TILEDATA;
}

static inline u64 xfd_state_xfd_err(enum xfd_state state)
{
	return state == XFD_PENDING ? XFD_TILEDATA : 0;
}

static inline u64 xfd_state_xinuse(enum xfd_state state)
{
	return state == XFD_LIVE || state == XFD_DORMANT ? XFD_TILEDATA : 0;
}

/* From any state to @state, with the tiles of @t where they are in use. */
void xfd_state_enter(struct xfd_tiles *t, enum xfd_state state);

/*
 * Tiles in use are those of @t, whatever XFD is.  If they are, or were, @dormant
 * and those of the VM may go, they may instead be initial, as XINUSE then says,
 * and are loaded again.
 */
void xfd_state_check_tiles(struct xfd_tiles *t, bool dormant);

/* Everything that a guest can see of its state, and that it keeps working. */
void xfd_state_check(struct xfd_tiles *t, enum xfd_state state);

#endif /* SELFTESTS_LIB_STATE_H */
