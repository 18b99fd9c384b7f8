/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counters as a flat list of names and values: the statistics page of abi/machine.h, and the status of vvu-backend.
 *
 *   port.NAME.rx_frames      counters.h has them all; NAME in lower case, '-' as '_', at most 20 characters
 *   switch.frames_delivered, switch.frames_dropped, switch.addresses
 *   worker.N.frames (taken from transmit rings), .polls (rounds), .sleeps, .bursts, .busy_cycles (of the TSC, in rounds
 *   that found something to do); and over all workers switch.frames_polled, switch.polls and so on
 */
#ifndef VVU_CORE_STATS_H
#define VVU_CORE_STATS_H

#include "abi/machine.h"
#include "core/switch.h"

#define STATS_SWITCH_COUNTERS 8
#define STATS_WORKER_COUNTERS 5

/* Counters of a switch with so many ports and workers. */
static inline unsigned int stats_count(unsigned int ports, unsigned int workers)
{
	return STATS_SWITCH_COUNTERS + workers * STATS_WORKER_COUNTERS + ports * CTR_COUNT;
}

/* Bytes of the page, without rounding. */
static inline size_t stats_bytes(unsigned int ports, unsigned int workers)
{
	return sizeof(struct stats_page) +
	       stats_count(ports, workers) * sizeof(struct stats_counter);
}

/* Name (STATS_NAME_MAX + 1 bytes) and value of counter i < stats_count(). */
void stats_name(const struct be_switch *sw, unsigned int i, char *name);
uint64_t stats_value(const struct be_switch *sw, unsigned int i);

/* Fills in the names once; page has stats_bytes(). Then the values as often as somebody may look. */
void stats_page_init(const struct be_switch *sw, struct stats_page *page);
void stats_page_update(const struct be_switch *sw, struct stats_page *page);

/*
 * The same by any worker, before it sleeps: what it counted last must not have to wait for worker 0, which may sleep
 * already. Of several at once one does it, for the others too. *requests: 0 at first, of all who may be doing this.
 */
void stats_page_share(const struct be_switch *sw, struct stats_page *page, uint32_t *requests);

#endif
