// SPDX-License-Identifier: BSD-2-Clause
#include "hist.h"

#include <string.h>

void hist_clear(struct hist *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

/* Middle of a slot. */
static uint64_t slot_value(unsigned int slot)
{
	unsigned int shift;

	if (slot < 2 * HIST_SUB)
		return slot;
	shift = slot / HIST_SUB - 1;
	return ((uint64_t)(slot % HIST_SUB + HIST_SUB) << shift) + (1ull << shift) / 2;
}

uint64_t hist_quantile(const struct hist *h, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)h->num), seen = 0;

	if (!h->num)
		return 0;
	if (wanted >= h->num)
		return h->max;
	for (unsigned int i = 0; i < HIST_SLOTS; i++) {
		seen += h->slot[i];
		if (seen > wanted) {
			uint64_t v = slot_value(i);

			return v < h->min ? h->min : v > h->max ? h->max : v;
		}
	}
	return h->max;
}
