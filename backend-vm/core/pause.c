// SPDX-License-Identifier: BSD-2-Clause
#include "core/pause.h"

#include "core/switch.h"

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* Release: what was done before it is seen by whoever acts on it. */
static void store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

/* Of a worker's own going to sleep and rising. */
static uint64_t load_naps(const struct worker_gate *g)
{
	return __atomic_load_n(&g->asleep, __ATOMIC_ACQUIRE);
}

static void next_nap(struct worker_gate *g)
{
	__atomic_store_n(&g->asleep, g->asleep + 1, __ATOMIC_RELEASE);
}

static void relax(const struct be_switch *sw)
{
	__builtin_ia32_pause();
	if (sw->ops.relax)
		sw->ops.relax(sw->ops.ctx);
}

static bool stands(const struct worker *w)
{
	const struct worker_gate *g = &w->gate;

	return (load_naps(g) & 1) || load(&g->ack) == g->request;
}

void switch_pause(struct be_switch *sw)
{
	if (sw->num_workers == 1 || sw->paused++)
		return;
	for (unsigned int i = 1; i < sw->num_workers; i++)
		store(&sw->workers[i].gate.request, sw->workers[i].gate.request + 1);
	vq_dev_fence();
	for (unsigned int i = 1; i < sw->num_workers; i++) {
		while (!stands(&sw->workers[i]))
			relax(sw);
	}
	/* A sleeper's clock has stopped. */
	for (unsigned int i = 1; i < sw->num_workers; i++) {
		if (sw->workers[i].now < sw->workers[0].now)
			sw->workers[i].now = sw->workers[0].now;
	}
	for (unsigned int i = 0; i < sw->num_workers; i++) {
		worker_take_mail(&sw->workers[i], true);
		/* What was put off with rings that may get another owner: calls to decide, buffers to take. */
		net_settle(&sw->workers[i]);
		net_idle(&sw->workers[i]);
	}
}

void switch_resume(struct be_switch *sw)
{
	if (sw->num_workers == 1 || --sw->paused)
		return;
	for (unsigned int i = 1; i < sw->num_workers; i++)
		store(&sw->workers[i].gate.request, sw->workers[i].gate.request + 1);
	/* Sleepers have to arm rings that they were given. */
	worker_wake(&sw->workers[0], UINT32_MAX << 1);
}

/* The request has changed. */
static void worker_stand(struct worker *w)
{
	struct worker_gate *g = &w->gate;
	uint32_t request = load(&g->request);

	if (request & 1) {
		store(&g->ack, request);
		while (load(&g->request) == request)
			relax(w->sw);
	}
	/* If it is odd again, the next look finds that. */
	g->seen = request + (request & 1);
	if (w->sw->ops.resumed)
		w->sw->ops.resumed(w->sw->ops.ctx, w->index);
}

void worker_gate(struct worker *w)
{
	while (__builtin_expect(load(&w->gate.request) != w->gate.seen, 0))
		worker_stand(w);
}

bool worker_fall_asleep(struct worker *w)
{
	struct worker_gate *g = &w->gate;

	if (w->sw->num_workers == 1)
		return true;
	next_nap(g);
	vq_dev_fence();
	if (!worker_has_mail(w) && load(&g->request) == g->seen &&
	    (w->index || !load(&w->sw->attention)))
		return true;
	worker_rise(w);
	return false;
}

void worker_rise(struct worker *w)
{
	struct worker_gate *g = &w->gate;

	if (w->sw->num_workers == 1)
		return;
	next_nap(g);
	vq_dev_fence();
	worker_gate(w);
}

void worker_leave(struct worker *w)
{
	next_nap(&w->gate);
}

void worker_wake(struct worker *w, uint32_t mask)
{
	const struct be_switch *sw = w->sw;

	vq_dev_fence();
	for (unsigned int i = 0; i < sw->num_workers; i++) {
		uint64_t asleep = load_naps(&sw->workers[i].gate);

		/* Once per sleep is enough; it may take a while to rise. */
		if (!(mask & BIT_U32(i)) || !(asleep & 1) || w->woken[i] == asleep)
			continue;
		w->woken[i] = asleep;
		sw->ops.wake(sw->ops.ctx, i);
	}
}
