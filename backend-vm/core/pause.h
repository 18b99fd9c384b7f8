/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How workers stand still, sleep, and are woken.
 *
 * The control plane runs on worker 0's CPU (thread). Before it changes anything that another worker may look at it
 * makes all of them stand (switch_pause()): nothing else in the data path is ever locked. While they stand it first
 * empties their mailboxes for them, so that no frame is on its way to a ring that is about to be somebody else's, or to
 * go: that keeps frames of a flow in order when rings are dealt out anew.
 *
 *   worker 0                               worker k, at the top of each round
 *     request = odd number                   if (request is odd)
 *     full barrier                                   ack = request, wait for the next (even) one
 *     until ack == request or asleep:        if (request is not the last one seen)
 *             wait                                   resumed() hook: forget stale translations
 *
 * A worker falls asleep and rises like this; it has armed its rings before, so asleep it touches nothing:
 *
 *     asleep = odd number                    asleep = even number
 *     full barrier                           full barrier
 *     look for mail, for a request;          look at request as above
 *     if there is any, rise; else wait
 *
 * Why no wake-up is lost: who has something for a sleeper (mail, a ring that failed, new rings) stores it, then a full
 * barrier, then looks at `asleep`, and calls wake() if that is odd. Of two threads that each store, pass a full
 * barrier and load what the other stored, at least one sees the other's store: either the sleeper finds the mail, or
 * it is woken. wake() leaves something behind that ends the wait even when it comes before it (a pending interrupt,
 * an eventfd's count). One barrier serves all mail of a round, and rounds that post none have none. The rings are the
 * same game played with the drivers (vq_dev_kick_enable()), before.
 *
 * Why pausing is safe: the same two-sided barrier. A riser that did not see the request was seen awake, so it is
 * waited for; one that was seen asleep sees the request before it touches anything.
 */
#ifndef VVU_CORE_PAUSE_H
#define VVU_CORE_PAUSE_H

#include <stdbool.h>

#include "abi/base.h"

struct worker;
struct be_switch;

/* Part of each worker. */
struct worker_gate {
	_Alignas(64) uint32_t request; /* by worker 0 */
	_Alignas(64) uint32_t ack;     /* by the worker, as the rest */
	uint64_t asleep;	       /* changes of it are counted for ever */
	uint32_t seen;		       /* the request it went on with last */
};

/*
 * What workers need of those who run them. None of it is needed with one worker. ctx is theirs.
 *
 * wake: ends the sleep of a worker, or the next one if it has not begun; called by any worker. relax: called again and
 * again while waiting for another worker; may be NULL. resumed: called by a worker that goes on after changes were
 * made; may be NULL.
 */
struct switch_ops {
	void (*wake)(void *ctx, unsigned int worker);
	void (*relax)(void *ctx);
	void (*resumed)(void *ctx, unsigned int worker);
	void *ctx;
};

/* Control plane: makes the workers stand, and go on. Can be nested. */
void switch_pause(struct be_switch *sw);
void switch_resume(struct be_switch *sw);

/* Workers but 0, at the top of a round: stands if it has to. */
void worker_gate(struct worker *w);

/*
 * A worker is asleep when it is made; but for worker 0, worker_rise() is the first thing it does.
 *
 * With all rings armed: falls asleep. False: there is something to do, the worker is awake as before. True: to
 * wait, until wake() or a kick; then worker_rise() before anything else.
 */
bool worker_fall_asleep(struct worker *w);
void worker_rise(struct worker *w);

/* The worker ends for good: it counts as asleep. */
void worker_leave(struct worker *w);

/* Wakes those of the mask that sleep. Contains the barrier between what was stored for them and the look. */
void worker_wake(struct worker *w, uint32_t mask);

#endif
