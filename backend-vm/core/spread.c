// SPDX-License-Identifier: BSD-2-Clause
/*
 * Which worker serves which queue pair. A pair keeps its worker as long as that is fair: new ones go to the worker with
 * the fewest, and when some went, pairs move until no worker has two more than another. Only pairs that are
 * enabled count; those that merely run (a guest uses fewer queues than it has) go where there is least of them.
 *
 * All workers stand meanwhile (pause.h).
 */
#include "core/switch.h"

struct spread {
	unsigned int workers;
	unsigned int enabled[WORKERS_MAX];
	unsigned int running[WORKERS_MAX];
};

static struct vring *pair_rx(struct port *port, unsigned int pair)
{
	return &port->vrings[2 * pair];
}

static struct vring *pair_tx(struct port *port, unsigned int pair)
{
	return &port->vrings[2 * pair + 1];
}

static bool pair_runs(struct port *port, unsigned int pair)
{
	return pair_rx(port, pair)->state == VRING_STARTED ||
	       pair_tx(port, pair)->state == VRING_STARTED;
}

static bool pair_enabled(struct port *port, unsigned int pair)
{
	return pair_rx(port, pair)->enabled || pair_tx(port, pair)->enabled;
}

static void spread_count(struct spread *s, struct port *port, unsigned int pair, unsigned int add)
{
	unsigned int owner = port->owner[pair];

	if (pair_enabled(port, pair))
		s->enabled[owner] += add;
	else
		s->running[owner] += add;
}

/* The one with the least; of those, the first. */
static unsigned int spread_least(const struct spread *s, const unsigned int *load)
{
	unsigned int least = 0;

	for (unsigned int i = 1; i < s->workers; i++) {
		if (load[i] < load[least])
			least = i;
	}
	return least;
}

static unsigned int spread_most(const struct spread *s, const unsigned int *load)
{
	unsigned int most = 0;

	for (unsigned int i = 1; i < s->workers; i++) {
		if (load[i] > load[most])
			most = i;
	}
	return most;
}

/* Counts the pairs that stay, and gives the others of this kind a worker. */
static void spread_assign(struct be_switch *sw, struct spread *s, bool fresh)
{
	for (unsigned int p = 0; p < sw->num_ports; p++) {
		struct port *port = sw->ports[p];

		for (unsigned int i = 0; i < PORT_PAIRS_MAX; i++) {
			if (!pair_runs(port, i)) {
				port->owner[i] = WORKER_NONE;
				continue;
			}
			if ((port->owner[i] == WORKER_NONE) != fresh)
				continue;
			if (fresh)
				port->owner[i] = (uint8_t)spread_least(
					s, pair_enabled(port, i) ? s->enabled : s->running);
			spread_count(s, port, i, 1);
		}
	}
}

/* Moves the last enabled pair of a worker. */
static void spread_move(struct be_switch *sw, struct spread *s, unsigned int from, unsigned int to)
{
	for (unsigned int p = sw->num_ports; p--;) {
		struct port *port = sw->ports[p];

		for (unsigned int i = PORT_PAIRS_MAX; i--;) {
			if (port->owner[i] != from || !pair_enabled(port, i))
				continue;
			s->enabled[from]--;
			s->enabled[to]++;
			port->owner[i] = (uint8_t)to;
			return;
		}
	}
}

/* The ring is this worker's from now on. */
static void spread_ring(struct be_switch *sw, struct vring *vr, unsigned int owner)
{
	struct port *port = vr->port;

	if (vr->owner != owner) {
		vr->owner = (uint8_t)owner;
		vr->routed = false;
		/* The generations of two workers' tables have nothing to do with each other. */
		vr->cache = (struct vring_cache){ 0 };
		/* The old owner may have armed it to sleep; the new one polls. */
		if (vring_is_tx(vr->index) && vr->state == VRING_STARTED)
			vq_dev_kick_disable(&vr->vq);
	}
	if (vr->routed || !vr->has_kick || port->kicks.held || !vring_is_tx(vr->index) ||
	    vr->state != VRING_STARTED)
		return;
	vr->routed = true;
	if (port->ops->route_kick)
		port->ops->route_kick(port->ctx, vr->index, owner);
}

static void spread_list(struct be_switch *sw)
{
	for (unsigned int i = 0; i < sw->num_workers; i++)
		sw->workers[i].num_rings = 0;
	for (unsigned int p = 0; p < sw->num_ports; p++) {
		struct port *port = sw->ports[p];

		for (unsigned int i = 0; i < PORT_PAIRS_MAX; i++) {
			if (port->owner[i] == WORKER_NONE)
				continue;
			spread_ring(sw, pair_rx(port, i), port->owner[i]);
			spread_ring(sw, pair_tx(port, i), port->owner[i]);
		}
		for (unsigned int i = 0; i < port->num_tx; i++) {
			struct worker *w = &sw->workers[port->tx[i]->owner];

			w->rings[w->num_rings++] = port->tx[i];
		}
	}
}

void switch_spread(struct be_switch *sw)
{
	struct spread s = { .workers = sw->num_workers };

	spread_assign(sw, &s, false);
	spread_assign(sw, &s, true);
	for (;;) {
		unsigned int most = spread_most(&s, s.enabled), least = spread_least(&s, s.enabled);

		if (s.enabled[most] - s.enabled[least] < 2)
			break;
		spread_move(sw, &s, most, least);
	}
	spread_list(sw);
}
