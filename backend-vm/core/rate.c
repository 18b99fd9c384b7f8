// SPDX-License-Identifier: BSD-2-Clause
#include "core/rate.h"

#define SECOND UINT64_C(1000000000)

void rate_init(struct rate_limit *l, uint64_t bits, uint64_t packets)
{
	*l = (struct rate_limit){ .on = bits || packets, .bits = bits, .packets = packets };
}

static uint64_t until(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

bool rate_ready(const struct rate_limit *l, uint64_t now_ns)
{
	uint64_t limit = now_ns + RATE_BURST_NS;

	return until(&l->bits_until) < limit && until(&l->packets_until) < limit;
}

uint64_t rate_ready_at(const struct rate_limit *l)
{
	uint64_t bits = until(&l->bits_until), packets = until(&l->packets_until);
	uint64_t last = bits > packets ? bits : packets;

	return last < RATE_BURST_NS ? 0 : last - RATE_BURST_NS + RATE_WAKE_NS;
}

/* Nanoseconds that the bucket holds. */
static uint64_t level(const uint64_t *word, uint64_t now_ns)
{
	uint64_t at = until(word);

	if (at <= now_ns)
		return RATE_BURST_NS;
	return at - now_ns < RATE_BURST_NS ? RATE_BURST_NS - (at - now_ns) : 0;
}

struct rate_room rate_room(const struct rate_limit *l, uint64_t now_ns)
{
	struct rate_room room = { UINT64_MAX, UINT64_MAX };

	if (l->bits)
		room.bytes = level(&l->bits_until, now_ns) * (l->bits / 8) / SECOND;
	if (l->packets)
		room.packets = level(&l->packets_until, now_ns) * l->packets / SECOND;
	return room;
}

static void take(uint64_t *word, uint64_t now_ns, uint64_t ns)
{
	uint64_t old = until(word), new;

	do {
		new = (old > now_ns ? old : now_ns) + ns;
	} while (!__atomic_compare_exchange_n(word, &old, new, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
}

void rate_charge(struct rate_limit *l, uint64_t now_ns, uint64_t bytes, uint64_t packets)
{
	if (l->bits)
		take(&l->bits_until, now_ns, (bytes * 8 * SECOND + l->bits - 1) / l->bits);
	if (l->packets)
		take(&l->packets_until, now_ns, (packets * SECOND + l->packets - 1) / l->packets);
}
