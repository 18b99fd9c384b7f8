/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When to poll and when to sleep, the same for the VM and the hosted process:
 *
 *   poll=always       never sleeps
 *   poll=adaptive:US  sleeps when US microseconds have brought no work
 *   poll=never        sleeps as soon as there is none
 *
 * To sleep: ask for kicks on all rings, look again, wait; a ring without kick fd shortens the wait to 1 ms. A port that
 * has used up its rate limit (rate.h) is not asked for kicks, and shortens the wait until it may go on.
 */
#ifndef VVU_CORE_POLL_H
#define VVU_CORE_POLL_H

#include "core/switch.h"

#define POLL_NO_KICK_NS UINT64_C(1000000)

/*
 * The most that counts as spinning between two looks. Looks are a microsecond apart; when the time between them
 * is longer, the processor was taken away, and nobody has looked for work meanwhile.
 */
#define POLL_LOOK_NS UINT64_C(5000)

struct poller {
	enum be_poll mode;
	uint64_t spin_ns;
	uint64_t spun_ns; /* without finding work */
	uint64_t looked_ns;
};

static inline void poller_init(struct poller *p, const struct be_options *o, uint64_t now_ns)
{
	p->mode = o->poll;
	p->spin_ns = o->poll == BE_POLL_ADAPTIVE ? o->poll_us * UINT64_C(1000) : 0;
	p->spun_ns = 0;
	p->looked_ns = now_ns;
}

/* False when every empty round is to look at the clock and go to sleep. */
static inline bool poller_spins(const struct poller *p)
{
	return p->mode != BE_POLL_NEVER;
}

/* Something was done: the time to spin starts again. */
static inline void poller_work(struct poller *p, uint64_t now_ns)
{
	p->spun_ns = 0;
	p->looked_ns = now_ns;
}

/* True when it is time to sleep, rings armed (worker_disarm() after waking); *deadline_ns: how long at most. */
static inline bool poller_sleep(struct poller *p, struct worker *w, uint64_t now_ns,
				uint64_t *deadline_ns)
{
	uint64_t since = now_ns - p->looked_ns;

	p->looked_ns = now_ns;
	p->spun_ns += since < POLL_LOOK_NS ? since : POLL_LOOK_NS;
	if (p->mode == BE_POLL_ALWAYS || p->spun_ns < p->spin_ns)
		return false;
	if (worker_arm(w)) {
		worker_disarm(w);
		p->spun_ns = 0;
		return false;
	}
	*deadline_ns = worker_must_poll(w) ? now_ns + POLL_NO_KICK_NS : UINT64_MAX;
	if (w->limited_until && w->limited_until < *deadline_ns)
		*deadline_ns = w->limited_until > now_ns ? w->limited_until : now_ns;
	worker_add(&w->sleeps, 1);
	return true;
}

#endif
