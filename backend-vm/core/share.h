/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shares: how the ports that send to one receive ring share its buffers while there are too few. Frames that find no
 * buffer are dropped, so without a rule whoever sends most would have nearly all of them.
 *
 * Nothing of this is looked at, or counted, before a frame has found no buffer. Then the ring is watched until it has
 * gone round, once a second at most: who sends to it alone is let alone. When frames of two ports come, or find no
 * buffer, it is shared out: its frames go the general way one by one, until nobody but one port has sent to it, or
 * nobody had to be refused, for some seconds.
 *
 * Each port has an account of the buffers it was given. The level is the mean of the accounts of the greedy:
 * those above the level that were refused a buffer in this lap of the ring or the one before. Who is not greedy
 * and below the level may have any buffer. The greedy must leave some in the ring, the reserve, about twice as
 * many as the others wanted per lap, at most all but their own share; and those of them above the level must
 * leave a few more, for those below. So somebody who wants less than a fair share finds a buffer, also when the
 * receiver gives back many at a time and seldom; and none is kept from being used, because a reserve that is
 * not used is there for the next time. A port that was idle begins one lap below the level.
 *
 * Buffers are counted, not frames: what a frame needs of a receiver with mergeable buffers is judged by the next
 * one, and what it took is charged. Of a super-frame that is cut for the receiver each segment counts by itself.
 *
 * A driver may have fewer buffers in its ring than the ring has room for, perhaps fewer than the reserve. That
 * can't be told from a receiver that does nothing: when the greedy got nothing for a second the reserve is
 * halved. It grows again as soon as twice as many are seen.
 *
 * Looking at each frame costs as much as forwarding it, and what the greedy have to leave may be more than a receiver
 * needs that takes all it has at once. So when the ring has gone round a few times and next to nobody was refused
 * there is a lull: the hot path goes on with the ring, and nothing is looked at or counted until a frame finds no
 * buffer.
 */
#ifndef VVU_CORE_SHARE_H
#define VVU_CORE_SHARE_H

#include <stdbool.h>

#include "abi/base.h"
#include "core/options.h"

struct vring;
struct worker;

#define SHARE_RESERVE 16u /* at least, in rings with 8 times as many entries */
#define SHARE_SECONDS 4u  /* that a port counts as sending, or twice that */
#define SHARE_CALM    4u  /* laps in which next to nobody was refused, before a lull */
#define SHARE_FEW     16u /* next to nobody: of so many buffers given one was refused */

/* Of one receive ring; written by the worker that owns it. */
struct ring_share {
	bool on;
	bool lull;    /* on, but there are buffers enough now: the ring is not vring.slow */
	bool watch;   /* not on yet: whether others send to it */
	bool watched; /* it was, in this second */
	bool stale;   /* accounts have changed since the level was computed */
	bool refused; /* somebody was, in this second */
	bool gave;    /* the greedy got something */
	bool needed;  /* refused, at this age or the one before */
	bool was_needed;
	uint8_t age;  /* seconds */
	uint8_t calm; /* laps in which next to nobody was refused */
	uint32_t second;
	uint32_t
		senders; /* ports that sent to it (not watched: in vain), at this age and the one before */
	uint32_t sent;
	uint32_t greedy; /* in this lap, and the one before */
	uint32_t were_greedy;
	uint32_t level;
	uint32_t given;	 /* in this lap; while watched: since then */
	uint32_t wanted; /* in this lap, by those below the level */
	uint32_t lacked; /* in this lap, by those who were refused */
	uint32_t reserve;
	uint32_t reserve_max; /* for want of buffers */
	uint32_t spent[BE_PORTS_MAX];
};

/* Nobody has sent to it yet. */
void share_reset(struct vring *vr);

/* A frame of the port that w works for found no buffer. */
void share_starved(struct worker *w, struct vring *vr);

/*
 * While it is watched or shared out (vring.slow): whether the port that w works for may have so many buffers
 * for a frame, if there are as many.
 */
bool share_admits(struct worker *w, struct vring *vr, uint32_t need);
/* It got them. */
void share_charge(struct worker *w, struct vring *vr, uint32_t num);

#endif
