/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker: one poll loop, on one vCPU (appliance) or in one thread (vvu-backend). It owns rings, and whatever
 * the data path writes is in here, in a ring it owns, or in a mailbox of which it is the one writer:
 *
 *   spread.c   which worker owns which queue pair
 *   mail.c     frames for rings of other workers, and addresses learned
 *   pause.h    how the control plane changes what workers look at, and how they sleep
 *
 *   turns.h    how the ports share the worker
 *
 * One round of worker_round() takes one burst of every transmit ring that has one, if it is its port's turn. A burst is
 * decided first (learn, look up), then delivered, then every receiver touched and the sender are told once.
 */
#ifndef VVU_CORE_WORKER_H
#define VVU_CORE_WORKER_H

#include "core/fdb.h"
#include "core/kicks.h"
#include "core/mailbox.h"
#include "core/net.h"
#include "core/pause.h"
#include "core/turns.h"

#define WORKERS_MAX	 8
#define WORKER_NONE	 0xff
#define WORKER_RINGS_MAX (BE_PORTS_MAX * PORT_PAIRS_MAX)

struct be_switch;

/* What one worker counted of one port. */
struct worker_counters {
	_Alignas(64) uint64_t v[CTR_COUNT];
};

struct worker {
	unsigned int index;
	struct be_switch *sw;
	uint32_t now; /* seconds, for the table */
	uint64_t now_ns;

	unsigned int num_rings; /* transmit rings to poll */
	struct vring *rings[WORKER_RINGS_MAX];
	const struct net_isa *isa;
	unsigned int num_unsettled; /* rings whose calls net_settle() decides */
	unsigned int settle_rounds; /* since the last time */
	struct vring *unsettled[2 * WORKER_RINGS_MAX];
	unsigned int num_done; /* transmit rings whose bursts are to go back */
	struct vring *done[WORKER_RINGS_MAX];
	unsigned int num_thin; /* receive rings that have little taken ahead */
	struct vring *thin[WORKER_RINGS_MAX];
	unsigned int num_dirty; /* receive rings that may have entries nobody was told of */
	struct vring *dirty[WORKER_RINGS_MAX];

	struct turns turns;
	struct turn turn[BE_PORTS_MAX];
	struct kick_watch kicks[BE_PORTS_MAX];
	uint64_t
		limited_until; /* of worker_arm(): when a port that has used up its rate may go on; 0: none */

	/* Written by the worker alone (worker_add()), read by anybody. */
	uint64_t bursts;
	uint64_t polls;
	uint64_t sleeps;
	uint64_t arms; /* times it asked for kicks */
	uint64_t frames;
	uint64_t busy_cycles; /* of rounds that found frames */
	struct worker_counters counters[BE_PORTS_MAX];

	uint64_t round_start; /* TSC */
	bool round_busy;

	uint32_t posted; /* workers with mail from us that is not published */
	uint32_t
		to_wake; /* workers that have got something since we last looked whether they sleep */
	uint64_t woken[WORKERS_MAX]; /* the sleep each was woken from last */
	struct worker_gate gate;

	/* Up to here worker_init() sets all to zero. */
	struct fdb fdb;
	struct net_frame rarp;
	uint8_t rarp_bytes[FRAME_RARP_LEN];
	struct net_frame by_mail;
	struct net_burst burst;
	struct net_scratch scratch;
};

/* Adds to a number of the worker's own that others may be reading. */
static inline void worker_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void worker_count(struct worker *w, const struct port *port, enum port_counter c,
				uint64_t n)
{
	worker_add(&w->counters[port->index].v[c], n);
}

void worker_init(struct worker *w, struct be_switch *sw, unsigned int index);

/* The clock of ageing, of the move limit and of rate limits; to be told every now and then. */
void worker_set_time(struct worker *w, uint64_t now_ns);

/* One round: what came by mail, then the rings. Returns how much there was; 0: nothing. */
unsigned int worker_round(struct worker *w);

/*
 * Delivers a frame to a port, or counts there why not. False: there is no room in the mailbox that it has to go
 * through.
 */
bool worker_deliver(struct worker *w, struct port *to, struct net_frame *f);

/*
 * The ring turned out to be broken (vr->vq.broken says how): the worker leaves it alone from now on, and the control
 * plane is asked to stop it.
 */
void worker_ring_broken(struct worker *w, struct vring *vr);

/*
 * Asks every transmit ring for a kick. Returns true when there is work already; then (and after waking up)
 * worker_disarm() before polling on. Rings of a port that has used up its rate limit are left out: it does not matter
 * what is in them until w->limited_until, when the worker has to be awake again.
 */
bool worker_arm(struct worker *w);
void worker_disarm(struct worker *w);

/* The frames of the burst from number i on stay where they are, until there is room in a mailbox. */
void worker_put_back(struct worker *w, unsigned int i);

/* mail.c: the frame goes to the owner of a receive ring. False: there is no room. */
bool worker_mail_frame(struct worker *w, const struct vring *vr, const struct net_frame *f);
/* The others are to know the address. */
void worker_tell_learned(struct worker *w, uint64_t mac, const struct port *port);
/* Makes mail visible; after it, worker_wake(w->to_wake) is due. */
void worker_publish_mail(struct worker *w);
/* Does what came by mail; how much it was. all: also what is not due yet (turns.h). */
unsigned int worker_take_mail(struct worker *w, bool all);
bool worker_has_mail(const struct worker *w);

/*
 * True when some ring has no kick fd, or its kicks are held off (kicks.h): such rings must be looked at every
 * millisecond (vhost-user §SET_VRING_KICK).
 */
bool worker_must_poll(const struct worker *w);

#endif
