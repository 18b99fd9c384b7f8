/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Token buckets without tokens: of each limit the time is kept until which what was taken so far lasts at the
 * limit's rate. While that is less than RATE_BURST_NS ahead there may be more. So a bucket holds RATE_BURST_NS
 * worth of bits (of packets), is never less than one frame, and goes into debt by at most what one burst took
 * too much.
 *
 * One word a limit, moved on by compare-and-swap: the workers that serve a port's rings share its limits
 * exactly, without a lock, and whichever of them has frames may use all of it. Ports without a limit are never
 * looked at.
 *
 * What is over the limit stays in the ring: nothing is dropped, and the sender sees a full ring.
 */
#ifndef VVU_CORE_RATE_H
#define VVU_CORE_RATE_H

#include <stdbool.h>

#include "abi/base.h"

#define RATE_BURST_NS UINT64_C(10000000)
/* After a limit is used up its worker sleeps until there is so much again. */
#define RATE_WAKE_NS UINT64_C(1000000)

#define RATE_BITS_MAX	 UINT64_C(1000000000000)
#define RATE_PACKETS_MAX UINT64_C(1000000000)

struct rate_limit {
	bool on;
	uint64_t bits;	  /* a second; 0: no limit */
	uint64_t packets; /* a second; 0: no limit */
	uint64_t bits_until;
	uint64_t packets_until;
};

struct rate_room {
	uint64_t bytes;
	uint64_t packets;
};

/* Time of any monotonic clock, the same for all callers. */
void rate_init(struct rate_limit *l, uint64_t bits, uint64_t packets);
bool rate_ready(const struct rate_limit *l, uint64_t now_ns);
/* When rate_ready() will be true again, and enough to be worth a wake-up. */
uint64_t rate_ready_at(const struct rate_limit *l);
/* What may be taken now. */
struct rate_room rate_room(const struct rate_limit *l, uint64_t now_ns);
void rate_charge(struct rate_limit *l, uint64_t now_ns, uint64_t bytes, uint64_t packets);

#endif
