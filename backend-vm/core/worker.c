// SPDX-License-Identifier: BSD-2-Clause
#include "core/worker.h"

#include "core/switch.h"

/* Frames taken before receivers see those delivered so far, though the round is not over. */
#define FLUSH_FRAMES 256

/* Rounds between two barriers for the calls that were not seen to be wanted. */
#define SETTLE_ROUNDS 8

void worker_init(struct worker *w, struct be_switch *sw, unsigned int index)
{
	__builtin_memset(w, 0, offsetof(struct worker, fdb));
	w->sw = sw;
	w->index = index;
	w->isa = net_isa_choose();
	w->gate.asleep = index ? 1 : 0;
	w->turns.round = 1;
}

void worker_set_time(struct worker *w, uint64_t now_ns)
{
	w->now = (uint32_t)(now_ns / 1000000000u);
	w->now_ns = now_ns;
}

void worker_ring_broken(struct worker *w, struct vring *vr)
{
	vr->failed = true;
	vr->slow = true;
	switch_ask_attention(w->sw);
	w->to_wake |= BIT_U32(0);
}

bool worker_deliver(struct worker *w, struct port *to, struct net_frame *f)
{
	struct vring *vr = net_rx_ring(to, f);

	if (!vr)
		worker_count(w, to, CTR_DROP_DOWN, 1);
	else if (vr->owner != w->index)
		return worker_mail_frame(w, vr, f);
	else
		net_deliver(w, vr, f);
	return true;
}

void worker_put_back(struct worker *w, unsigned int i)
{
	net_tx_untake(w, w->burst.num - i);
	worker_count(w, w->burst.port, CTR_MAIL_WAITS, 1);
	if (!i)
		turn_passes(w, w->burst.port);
}

/* virtio-net: a disabled transmit ring is emptied, its frames go nowhere (vhost-user §Ring states). */
static void discard_burst(struct worker *w)
{
	worker_count(w, w->burst.port, CTR_DROP_DISABLED, w->burst.num);
}

static unsigned int worker_ring(struct worker *w, struct vring *vr)
{
	if (!net_tx_burst(w, vr))
		return 0;
	if (turn_cuts(w, vr->port))
		turn_cut(w);
	if (!vr->enabled)
		discard_burst(w);
	else if (w->sw->app == BE_APP_ECHO)
		echo_burst(w);
	else
		switch_burst(w);
	net_tx_done(w);
	worker_publish_mail(w);
	worker_add(&w->bursts, 1);
	return w->burst.num;
}

/* One look at the TSC per round: a round lasts until the next one begins. */
static void worker_clock(struct worker *w)
{
	uint64_t now = __builtin_ia32_rdtsc();

	if (w->round_busy)
		worker_add(&w->busy_cycles, now - w->round_start);
	w->round_start = now;
}

/* The next ring, from number *at on, that has a burst and whose port's turn it is. */
static struct vring *worker_next(struct worker *w, unsigned int *at)
{
	while (*at < w->num_rings) {
		struct vring *vr = w->rings[(*at)++];

		if (net_tx_look(w, vr) && turn_begin(w, vr))
			return vr;
	}
	return NULL;
}

/* One burst of each ring that has one. While one is worked on, the next one's frames come near. */
static unsigned int worker_rings(struct worker *w)
{
	unsigned int frames = 0, flushed = 0, at = 0;
	struct vring *vr = worker_next(w, &at);

	while (vr) {
		struct vring *next = worker_next(w, &at);

		frames += worker_ring(w, vr);
		if (frames - flushed >= FLUSH_FRAMES) {
			net_flush(w);
			flushed = frames;
		}
		vr = next;
	}
	net_flush(w);
	net_tx_flush(w);
	turns_end(w);
	return frames;
}

unsigned int worker_round(struct worker *w)
{
	unsigned int mails = 0, frames;

	worker_clock(w);
	worker_add(&w->polls, 1);
	if (w->sw->num_workers > 1) {
		if (w->index)
			worker_gate(w);
		mails = worker_take_mail(w, false);
	}
	if (w->index == 0)
		switch_rarps(w);
	frames = worker_rings(w);
	if (!(mails + frames) && w->num_thin)
		net_idle(w);
	if (!(mails + frames) || ++w->settle_rounds >= SETTLE_ROUNDS) {
		net_settle(w);
		w->settle_rounds = 0;
	}
	if (w->to_wake) {
		worker_wake(w, w->to_wake);
		w->to_wake = 0;
	}
	if (frames)
		worker_add(&w->frames, frames);
	w->round_busy = mails + frames;
	return mails + frames;
}

bool worker_arm(struct worker *w)
{
	bool work = false;

	w->limited_until = 0;
	worker_add(&w->arms, 1);
	for (unsigned int i = 0; i < w->num_rings; i++) {
		struct vring *vr = w->rings[i];
		const struct rate_limit *limit = &vr->port->limit;

		if (!limit->on || rate_ready(limit, w->now_ns)) {
			work |= vq_dev_kick_enable(&vr->vq);
			/* Taken in a round in which the port had to wait: no kick comes for it. */
			work |= vr->ahead.num > vr->ahead.used;
		} else {
			uint64_t at = rate_ready_at(limit);

			if (!w->limited_until || at < w->limited_until)
				w->limited_until = at;
		}
	}
	return work;
}

void worker_disarm(struct worker *w)
{
	for (unsigned int i = 0; i < w->num_rings; i++)
		vq_dev_kick_disable(&w->rings[i]->vq);
}

bool worker_must_poll(const struct worker *w)
{
	for (unsigned int i = 0; i < w->num_rings; i++) {
		if (!w->rings[i]->has_kick || w->rings[i]->port->kicks.held)
			return true;
	}
	return false;
}
