// SPDX-License-Identifier: BSD-2-Clause
#include "core/share.h"

#include "core/net_priv.h"

static bool more_than_one(uint32_t mask)
{
	return mask & (mask - 1);
}

static uint32_t ports_in(uint32_t mask)
{
	uint32_t num = 0;

	for (; mask; mask &= mask - 1)
		num++;
	return num;
}

static uint32_t sender(const struct worker *w)
{
	return w->burst.port->index;
}

void share_reset(struct vring *vr)
{
	vr->share = (struct ring_share){ 0 };
	vr->slow = vr->failed;
}

static uint32_t reserve_now(const struct ring_share *s)
{
	return s->reserve < s->reserve_max ? s->reserve : s->reserve_max;
}

/* There is no reserve before the ring has gone round once. */
static void share_begin(struct worker *w, struct vring *vr)
{
	struct ring_share *s = &vr->share;
	uint32_t senders = s->senders | s->sent;

	*s = (struct ring_share){
		.on = true,
		.needed = true,
		.second = w->now,
		.senders = senders,
		.greedy = senders,
		.reserve_max = vr->vq.size,
	};
	vr->slow = true;
}

/* Nobody looked for so long that what is known is about others. */
static bool is_old(const struct worker *w, const struct ring_share *s)
{
	return w->now - s->second > 2 * SHARE_SECONDS;
}

/* The clock has moved on. True: that was that. */
static bool share_age(struct worker *w, struct vring *vr)
{
	struct ring_share *s = &vr->share;

	if (is_old(w, s)) {
		share_reset(vr);
		s->second = w->now;
		return true;
	}
	s->second = w->now;
	if (s->on && s->refused && !s->gave)
		s->reserve_max = reserve_now(s) / 2;
	s->refused = false;
	s->gave = false;
	if (++s->age < SHARE_SECONDS)
		return false;
	if (s->on && !(more_than_one(s->senders | s->sent) && (s->needed || s->was_needed))) {
		share_reset(vr);
		return true;
	}
	s->age = 0;
	s->sent = s->senders;
	s->senders = 0;
	s->was_needed = s->needed;
	s->needed = false;
	return false;
}

/* The port has a frame for it: shares the ring out if another one has, too. */
static void share_look(struct worker *w, struct vring *vr)
{
	struct ring_share *s = &vr->share;

	s->senders |= BIT_U32(sender(w));
	if (more_than_one(s->senders | s->sent))
		share_begin(w, vr);
}

static void share_lull_ends(struct worker *w, struct vring *vr)
{
	struct ring_share *s = &vr->share;

	if (is_old(w, s)) {
		share_reset(vr);
		return;
	}
	s->calm = 0;
	s->lull = false;
	vr->slow = true;
}

void share_starved(struct worker *w, struct vring *vr)
{
	struct ring_share *s = &vr->share;

	if (s->lull)
		share_lull_ends(w, vr);
	if (s->on)
		return;
	if (s->second != w->now) {
		share_age(w, vr);
		s->watched = false;
	}
	share_look(w, vr);
	if (s->on || s->watched)
		return;
	s->watch = true;
	s->watched = true;
	s->given = 0;
	vr->slow = true;
}

/* More than n buffers are there. */
static bool has_more(struct vring *vr, uint32_t n)
{
	uint32_t ahead = (uint32_t)vr->ahead.num - vr->ahead.used;

	return ahead > n || vq_dev_has(&vr->vq, n + 1 - ahead);
}

static void share_level(struct ring_share *s)
{
	uint32_t greedy = s->greedy | s->were_greedy;
	int64_t sum = 0, num = 0;

	for (; greedy; greedy &= greedy - 1, num++)
		sum += (int32_t)(s->spent[__builtin_ctz(greedy)] - s->level);
	if (num)
		s->level += (uint32_t)(sum / num);
	s->stale = false;
}

static bool is_greedy(const struct ring_share *s, uint32_t port)
{
	return (s->greedy | s->were_greedy) & BIT_U32(port);
}

static int32_t above_level(const struct ring_share *s, uint32_t port)
{
	return (int32_t)(s->spent[port] - s->level);
}

/* What the port must leave in the ring. */
static uint32_t to_leave(struct vring *vr, uint32_t port, uint32_t need)
{
	struct ring_share *s = &vr->share;
	uint32_t leave, more;

	if (above_level(s, port) >= 0 && s->stale)
		share_level(s);
	if (above_level(s, port) < 0 && !is_greedy(s, port)) {
		s->wanted += need;
		return 0;
	}
	/* There are more buffers than it seemed. */
	if (s->reserve_max < vr->vq.size && has_more(vr, 2 * s->reserve_max + 1))
		s->reserve_max = s->reserve_max ? 2 * s->reserve_max : 1;
	leave = reserve_now(s);
	if (above_level(s, port) <= 0)
		return leave;
	/* The greedy ones that have had more wait for the others, who may not come. */
	more = (vr->vq.size - leave) / 2;
	return leave + (leave / 4 < more ? leave / 4 : more);
}

bool share_admits(struct worker *w, struct vring *vr, uint32_t need)
{
	struct ring_share *s = &vr->share;
	uint32_t port = sender(w), least, leave;

	if (s->watch)
		share_look(w, vr);
	if (!s->on || (s->second != w->now && share_age(w, vr)))
		return true;
	s->senders |= BIT_U32(port);
	least = s->level - vr->vq.size;
	if ((int32_t)(s->spent[port] - least) < 0)
		s->spent[port] = least;
	leave = to_leave(vr, port, need);
	if (!leave)
		return true;
	if (has_more(vr, leave + need - 1)) {
		s->gave = true;
		return true;
	}
	/* Whoever takes the next buffer finds out. */
	if (vr->vq.broken)
		return true;
	s->refused = true;
	s->lacked += need;
	s->needed = true;
	if (above_level(s, port) >= 0 && !(s->greedy & BIT_U32(port))) {
		s->greedy |= BIT_U32(port);
		s->stale = true;
	}
	return false;
}

/* Of the ring, for those below the level: all but a fair share of each of the greedy, half of it in any case. */
static uint32_t reserve_most(const struct vring *vr)
{
	const struct ring_share *s = &vr->share;
	uint32_t greedy = ports_in(s->greedy | s->were_greedy);
	uint32_t all = ports_in(s->senders | s->sent);

	if (greedy * 2 >= all)
		return vr->vq.size / 2u;
	return vr->vq.size - vr->vq.size * (greedy ? greedy : 1) / all;
}

/* As many buffers were given as the ring has room for. */
static void share_lap(struct vring *vr)
{
	struct ring_share *s = &vr->share;
	uint32_t least = vr->vq.size / 8u, most = reserve_most(vr), reserve = 2 * s->wanted;

	if (least > SHARE_RESERVE)
		least = SHARE_RESERVE;
	/* It grows at once, and gets smaller slowly. */
	if (reserve < s->reserve)
		reserve = s->reserve - (s->reserve - reserve + 7) / 8;
	s->reserve = reserve < least ? least : reserve > most ? most : reserve;
	s->wanted = 0;
	s->given = 0;
	s->stale |= s->were_greedy != s->greedy;
	s->were_greedy = s->greedy;
	s->greedy = 0;
	s->calm = s->lacked * SHARE_FEW > vr->vq.size ? 0 : s->calm + 1;
	s->lacked = 0;
	if (s->calm >= SHARE_CALM) {
		s->lull = true;
		vr->slow = vr->failed;
	}
}

void share_charge(struct worker *w, struct vring *vr, uint32_t num)
{
	struct ring_share *s = &vr->share;

	s->given += num;
	if (!s->on) {
		/* Gone round. */
		if (s->watch && s->given >= vr->vq.size) {
			s->watch = false;
			vr->slow = vr->failed;
		}
		return;
	}
	s->spent[sender(w)] += num;
	s->stale = true;
	if (s->given >= vr->vq.size)
		share_lap(vr);
}
