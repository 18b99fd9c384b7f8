/* SPDX-License-Identifier: BSD-2-Clause */
/* A log-linear histogram of 64-bit values: 128 buckets per power of two, so a value is known to better than 1 %. */
#ifndef LOAD_HIST_H
#define LOAD_HIST_H

#include <stdint.h>

#define HIST_BITS  7
#define HIST_SUB   (1u << HIST_BITS)
#define HIST_SLOTS ((64 - HIST_BITS + 1) * HIST_SUB)

struct hist {
	uint64_t num, sum, min, max;
	uint64_t slot[HIST_SLOTS];
};

void hist_clear(struct hist *h);

/* Value below which the given share (0..1) of all values lies; 0 when there is none. */
uint64_t hist_quantile(const struct hist *h, double share);

static inline unsigned int hist_slot(uint64_t v)
{
	unsigned int shift;

	if (v < HIST_SUB)
		return (unsigned int)v;
	shift = 63 - (unsigned int)__builtin_clzll(v) - HIST_BITS;
	return (shift + 1) * HIST_SUB + (unsigned int)((v >> shift) - HIST_SUB);
}

static inline void hist_add(struct hist *h, uint64_t v)
{
	h->num++;
	h->sum += v;
	if (v < h->min)
		h->min = v;
	if (v > h->max)
		h->max = v;
	h->slot[hist_slot(v)]++;
}

#endif
