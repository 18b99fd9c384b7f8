// SPDX-License-Identifier: BSD-2-Clause
#include "core/kicks.h"

#include "core/switch.h"

/* The interrupt may have been for a message. */
static bool excused(const struct worker *w, struct kick_watch *k, const struct port *port)
{
	uint64_t messages = __atomic_load_n(&port->counters[CTR_MESSAGES], __ATOMIC_RELAXED);
	bool any = !w->index && messages != k->messages && k->excused < KICKS_EXCUSED;

	k->messages = messages;
	k->excused += any;
	return any;
}

/* It may have been for a frame. Whoever passes kicks on to other workers does not know whose it was: they all count. */
static bool brought_frame(const struct worker *w, struct kick_watch *k, const struct port *port)
{
	uint64_t frames = switch_counter(w->sw, port, CTR_RX_FRAMES);
	uint64_t due = k->due + (frames - k->frames);

	k->frames = frames;
	k->due = due < KICKS_DUE ? (uint32_t)due : KICKS_DUE;
	if (!k->due)
		return false;
	k->due--;
	return true;
}

/* It may have been asked for before the rings were polled again. */
static bool was_asked(const struct worker *w, struct kick_watch *k, const struct port *port)
{
	uint64_t arms = 0;

	for (unsigned int i = 0; i < w->sw->num_workers; i++)
		arms += __atomic_load_n(&w->sw->workers[i].arms, __ATOMIC_RELAXED);
	if (arms != k->arms)
		k->late = port->num_tx;
	k->arms = arms;
	if (!k->late)
		return false;
	k->late--;
	return true;
}

bool worker_kicked(struct worker *w, struct port *port, bool polling)
{
	struct kick_watch *k = &w->kicks[port->index];
	bool vain;

	if (port->kicks.held)
		return false;
	if (w->now_ns - k->since_ns >= UINT64_C(1000000000)) {
		k->since_ns = w->now_ns;
		k->in_vain = 0;
		k->excused = 0;
		k->due = KICKS_DUE;
	}
	vain = !excused(w, k, port);
	if (vain && brought_frame(w, k, port))
		vain = polling && !was_asked(w, k, port);
	if (vain)
		k->in_vain += polling ? KICKS_SEEN : 1;
	if (k->in_vain <= KICKS_IN_VAIN)
		return vain;
	k->in_vain = 0;
	__atomic_store_n(&port->kicks.asked, 1, __ATOMIC_RELAXED);
	switch_ask_attention(w->sw);
	w->to_wake |= BIT_U32(0);
	return vain;
}

static void each_ring(struct port *port, bool hold)
{
	for (unsigned int i = 0; i < PORT_VRINGS; i++) {
		struct vring *vr = &port->vrings[i];

		if (vring_is_tx(i) && vr->has_kick && vr->state == VRING_STARTED &&
		    port->ops->hold_kick)
			port->ops->hold_kick(port->ctx, i, hold, vr->owner);
	}
}

static void port_hold(struct port *port, uint64_t now_ns)
{
	struct kick_hold *k = &port->kicks;
	bool again = k->hold_ns && now_ns - k->until_ns < KICKS_FORGET_NS;

	k->hold_ns = again ? 2 * k->hold_ns : KICKS_HOLD_NS;
	if (k->hold_ns > KICKS_HOLD_MAX)
		k->hold_ns = KICKS_HOLD_MAX;
	k->until_ns = now_ns + k->hold_ns;
	k->held = true;
	port->counters[CTR_KICK_FLOODS]++;
	each_ring(port, true);
	port->ops->log(port->ctx, BE_LOG_WARN, port->name,
		       "kicks in vain all the time: not woken by its kicks for a while, rings are "
		       "looked at every millisecond");
}

void switch_hold_kicks(struct be_switch *sw)
{
	for (unsigned int p = 0; p < sw->num_ports; p++) {
		struct port *port = sw->ports[p];

		if (!__atomic_load_n(&port->kicks.asked, __ATOMIC_RELAXED))
			continue;
		__atomic_store_n(&port->kicks.asked, 0, __ATOMIC_RELAXED);
		if (port->kicks.held)
			continue;
		port_hold(port, sw->workers[0].now_ns);
		sw->held |= BIT_U32(p);
	}
}

/*
 * The rings are armed and looked at again before their workers sleep without a deadline, which is after this.
 * So no kick is missed that was not seen to be one.
 */
void switch_release_kicks(struct be_switch *sw)
{
	uint64_t now = sw->workers[0].now_ns;

	for (uint32_t left = sw->held; left; left &= left - 1) {
		unsigned int p = (unsigned int)__builtin_ctz(left);
		struct port *port = sw->ports[p];

		if (now < port->kicks.until_ns)
			continue;
		switch_pause(sw);
		each_ring(port, false);
		port->kicks.held = false;
		sw->held &= ~BIT_U32(p);
		switch_resume(sw);
	}
}
