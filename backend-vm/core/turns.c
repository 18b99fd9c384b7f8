// SPDX-License-Identifier: BSD-2-Clause
#include "core/turns.h"

#include "core/switch.h"

/* One of several ports, and its bursts are costly. */
static bool turn_is_heavy(const struct turns *ts, const struct port *port)
{
	return ts->contended && ((ts->heavy | ts->were_heavy) & BIT_U32(port->index));
}

/* The first time in a round that one of the port's rings has a burst decides for all of them. */
static bool turn_decide(struct worker *w, const struct port *port, struct turn *t)
{
	struct turns *ts = &w->turns;

	t->round = ts->round;
	if (!t->cut)
		t->served = 0;
	t->cut = false;
	t->waits = port->limit.on && !rate_ready(&port->limit, w->now_ns);
	if (t->waits) {
		worker_count(w, port, CTR_RATE_WAITS, 1);
		return false;
	}
	ts->ports |= BIT_U32(port->index);
	if (t->spent < ts->poorest)
		t->spent = ts->poorest;
	t->began = t->spent;
	t->bounded = port->num_tx > 1 && turn_is_heavy(ts, port);
	t->waits = ts->contended && t->spent - ts->poorest > TURN_LEAD;
	if (t->waits)
		worker_count(w, port, CTR_TURN_WAITS, 1);
	return !t->waits;
}

/* The port has so much per round, and this ring's burst may be more. */
static bool turn_of_ring(struct turn *t, const struct vring *vr)
{
	if (t->served & BIT_U32(vr->index))
		return false;
	if (t->spent - t->began >= TURN_COST) {
		t->cut = true;
		return false;
	}
	t->served |= (uint16_t)BIT_U32(vr->index);
	return true;
}

bool turn_begin(struct worker *w, const struct vring *vr)
{
	struct turn *t = &w->turn[vr->port->index];

	if (t->round == w->turns.round ? t->waits : !turn_decide(w, vr->port, t))
		return false;
	return !t->bounded || turn_of_ring(t, vr);
}

bool turn_cuts(const struct worker *w, const struct port *port)
{
	return port->limit.on || turn_is_heavy(&w->turns, port);
}

void turn_charge(struct worker *w, const struct port *port, uint64_t cost)
{
	w->turn[port->index].spent += cost;
	if (cost > TURN_HEAVY)
		w->turns.heavy |= BIT_U32(port->index);
}

/* Packets that a frame will be in the end. */
static uint64_t packets(const struct net_frame *f)
{
	return f->hdr.gso_type && f->hdr.gso_size ? f->len / f->hdr.gso_size + 1u : 1;
}

void turn_cut(struct worker *w)
{
	struct net_burst *b = &w->burst;
	const struct port *port = b->port;
	uint64_t cost = 0, bytes = 0, num = 0;
	uint64_t cost_max = UINT64_MAX;
	struct rate_room room = { UINT64_MAX, UINT64_MAX };
	unsigned int i;

	if (w->turns.contended)
		cost_max = port->num_tx > 1 ? TURN_COST / 2 : TURN_COST;
	if (port->limit.on)
		room = rate_room(&port->limit, w->now_ns);
	/* One frame goes in any case: what it is too much is paid by later ones. */
	for (i = 0; i < b->num; i++) {
		const struct net_frame *f = &b->frames[i];

		if (i && (cost >= cost_max || bytes >= room.bytes || num >= room.packets))
			break;
		cost += TURN_COPY(f->len);
		bytes += f->len;
		num += packets(f);
	}
	if (i < b->num)
		net_tx_untake(w, b->num - i);
}

void turn_charge_limit(struct worker *w, uint64_t bytes)
{
	const struct net_burst *b = &w->burst;
	uint64_t num = 0;

	for (unsigned int i = 0; i < b->num; i++)
		num += packets(&b->frames[i]);
	rate_charge(&b->port->limit, w->now_ns, bytes, num);
}

void turn_passes(struct worker *w, const struct port *port)
{
	w->turns.ports &= ~BIT_U32(port->index);
}

bool turn_mail(struct worker *w, const struct port *port)
{
	const struct turns *ts = &w->turns;
	struct turn *t = &w->turn[port->index];

	if (t->spent < ts->poorest)
		t->spent = ts->poorest;
	if (t->spent - ts->poorest <= TURN_MAIL_LEAD)
		return true;
	if (ts->busy) {
		worker_count(w, port, CTR_TURN_WAITS, 1);
		return false;
	}
	/* What it takes while nobody wants it is not held against it. */
	t->spent = ts->poorest + TURN_MAIL_LEAD;
	return true;
}

static bool more_than_one(uint32_t mask)
{
	return mask & (mask - 1);
}

void turns_end(struct worker *w)
{
	struct turns *ts = &w->turns;
	uint64_t poorest = UINT64_MAX;

	for (uint32_t left = ts->ports; left; left &= left - 1) {
		const struct turn *t = &w->turn[__builtin_ctz(left)];

		if (t->spent < poorest)
			poorest = t->spent;
	}
	/* It never falls: who was idle has been lifted to it. */
	if (ts->ports)
		ts->poorest = poorest;
	ts->busy = ts->ports;
	ts->sending |= ts->ports;
	ts->ports = 0;
	ts->round++;
	if (++ts->age_rounds >= TURN_ROUNDS) {
		ts->sent = ts->sending;
		ts->sending = 0;
		ts->were_heavy = ts->heavy;
		ts->heavy = 0;
		ts->age_rounds = 0;
	}
	ts->contended = more_than_one(ts->sending | ts->sent);
}
