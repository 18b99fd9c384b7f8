// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the device side of a ring costs, in TSC cycles per chain, without the cost of moving cache lines between
 * processors: driver and device are one thread, so the figures are the instructions' own. Bursts of 32 chains, taken
 * and given back, one publish and one decision to call per burst; what the driver does is not counted. Each figure is
 * the minimum and median of many samples.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "vq/vq_dev.h"

#define SIZE	256u
#define BURST	32u
#define SAMPLES 4001u
#define REGION	0x100000u
#define LOW	0x100000ull
#define HIGH	0x40000000ull

struct bench {
	struct memmap map;
	struct vq_dev vq;
	struct vring_desc *desc;
	struct vring_avail *avail;
	uint8_t *low;
	uint8_t *high;
	struct vq_chain chain;
	uint16_t slot; /* packed: the driver's next */
	bool wrap;
};

/* What is measured: the layout, and whether with the burst calls. */
struct what {
	bool packed;
	bool in_order;
	bool ones;
	bool writable;
	bool event_idx;
	bool kept; /* positions, for a successor (abi/inflight.h) */
};

static struct inflight_ring track;
static volatile uint8_t sink;

static void set_up(struct bench *b, struct what what)
{
	struct vq_dev_conf conf = {
		.map = &b->map,
		.desc = gpa(LOW),
		.avail = gpa(LOW + 0x2000),
		.used = gpa(LOW + 0x4000),
		.size = SIZE,
		.base = what.packed ? 0x8000 : 0,
		.packed = what.packed,
		.in_order = what.in_order,
		.event_idx = what.event_idx,
		.indirect = true,
		.track = what.kept ? &track : NULL,
	};

	track.state = INFLIGHT_STOPPED;
	memset(b->low, 0, REGION);
	memset(b->high, 0, REGION);
	memmap_init(&b->map);
	if (memmap_add(&b->map, gpa(LOW), REGION, b->low) ||
	    memmap_add(&b->map, gpa(HIGH), REGION, b->high) || vq_dev_start(&b->vq, &conf))
		exit(1);
	b->slot = 0;
	b->wrap = true;
	b->desc = (void *)b->low;
	b->avail = (void *)(b->low + 0x2000);
	for (uint16_t i = 0; i < SIZE; i++)
		b->avail->ring[i] = i;
}

/* What the descriptors look like. */
static void single(struct bench *b)
{
	for (unsigned int i = 0; i < SIZE; i++)
		b->desc[i] = (struct vring_desc){ LOW + 0x10000 + 2048 * (i % 128), 64, 0, 0 };
}

static void writable(struct bench *b)
{
	for (unsigned int i = 0; i < SIZE; i++)
		b->desc[i] = (struct vring_desc){ LOW + 0x10000 + 2048 * (i % 128), 1536,
						  VRING_DESC_F_WRITE, 0 };
}

static void chain_of_two(struct bench *b)
{
	for (uint16_t i = 0; i < SIZE; i += 2) {
		uint64_t at = LOW + 0x10000 + 2048 * (i % 128u);

		b->desc[i] = (struct vring_desc){ at, 12, VRING_DESC_F_NEXT, i + 1 };
		b->desc[i + 1] = (struct vring_desc){ at + 64, 64, 0, 0 };
		b->avail->ring[i / 2] = i;
		b->avail->ring[SIZE / 2 + i / 2] = i;
	}
}

static void indirect_of_two(struct bench *b)
{
	struct vring_desc *tables = (void *)(b->low + 0x60000);

	for (unsigned int i = 0; i < SIZE; i++) {
		uint64_t at = LOW + 0x10000 + 2048 * (i % 128);

		tables[2 * i] = (struct vring_desc){ at, 12, VRING_DESC_F_NEXT, 1 };
		tables[2 * i + 1] = (struct vring_desc){ at + 64, 64, 0, 0 };
		b->desc[i] =
			(struct vring_desc){ LOW + 0x60000 + 32 * i, 32, VRING_DESC_F_INDIRECT, 0 };
	}
}

/* Buffers in two regions by turns: the map's hint is always wrong. */
static void alternating(struct bench *b)
{
	for (unsigned int i = 0; i < SIZE; i++)
		b->desc[i] = (struct vring_desc){ (i & 1 ? HIGH : LOW + 0x10000) + 2048 * (i % 128),
						  64, 0, 0 };
}

/* The driver makes a burst available. */
static void offer(struct bench *b, struct what what)
{
	struct vring_packed_desc *ring = (void *)b->desc;

	if (!what.packed) {
		b->avail->idx = (uint16_t)(b->avail->idx + BURST);
		return;
	}
	for (unsigned int i = 0; i < BURST; i++) {
		uint16_t at = b->slot;
		uint16_t flags = what.writable ? VRING_DESC_F_WRITE : 0;

		flags |= b->wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
		ring[at] = (struct vring_packed_desc){ LOW + 0x10000 + 2048 * (at % 128u), 1536, at,
						       flags };
		b->slot = (at + 1) % SIZE;
		b->wrap ^= b->slot == 0;
	}
}

static void burst(struct bench *b, struct what what)
{
	static const uint32_t lengths[BURST] = { 64, 64, 64, 64 };
	struct vq_one ones[BURST];
	struct vq_ref refs[BURST];
	unsigned int n = 0;

	if (what.ones) {
		sink = vq_dev_avail(&b->vq) > 0;
		n = vq_dev_get_ones(&b->vq, what.writable, ones, BURST);
		vq_dev_put_ones(&b->vq, ones, what.writable ? lengths : NULL, n);
	} else {
		while (n < BURST && vq_dev_get(&b->vq, &b->chain) == 1) {
			refs[n++] = b->chain.ref;
			sink = (uint8_t)b->chain.segs[0].len;
		}
		for (unsigned int i = 0; i < n; i++)
			vq_dev_put(&b->vq, refs[i], 0);
	}
	vq_dev_publish(&b->vq);
	sink = vq_dev_call_needed(&b->vq);
	if (n != BURST)
		abort();
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void run(struct bench *b, const char *name, void (*fill)(struct bench *b), struct what what)
{
	static uint64_t samples[SAMPLES];

	set_up(b, what);
	if (fill)
		fill(b);
	for (unsigned int i = 0; i < 1000; i++) {
		offer(b, what);
		burst(b, what);
	}
	for (unsigned int i = 0; i < SAMPLES; i++) {
		uint64_t start;

		offer(b, what);
		start = __rdtsc();
		burst(b, what);
		samples[i] = __rdtsc() - start;
	}
	qsort(samples, SAMPLES, sizeof(samples[0]), by_value);
	printf("%-34s %6.1f  %6.1f\n", name, (double)samples[0] / BURST,
	       (double)samples[SAMPLES / 2] / BURST);
}

int main(void)
{
	static const char *const layouts[] = { "split", "packed", "split in order",
					       "packed in order" };
	const struct what plain = { 0 };
	struct bench *b = calloc(1, sizeof(*b));

	if (!b)
		return 1;
	b->low = aligned_alloc(4096, REGION);
	b->high = aligned_alloc(4096, REGION);
	if (!b->low || !b->high)
		return 1;
	printf("%-34s %6s  %6s\n", "TSC cycles per chain", "min", "median");
	run(b, "one readable descriptor", single, plain);
	run(b, "one readable descriptor, EVENT_IDX", single, (struct what){ .event_idx = true });
	run(b, "one writable descriptor", writable, plain);
	run(b, "chain of two", chain_of_two, plain);
	run(b, "indirect table of two", indirect_of_two, plain);
	run(b, "regions by turns", alternating, plain);
	run(b, "regions by turns, burst calls", alternating, (struct what){ .ones = true });
	run(b, "packed, one readable descriptor", NULL, (struct what){ .packed = true });
	for (unsigned int i = 0; i < 16; i++) {
		struct what what = { .packed = i & 1,
				     .in_order = i & 2,
				     .writable = i & 4,
				     .ones = true,
				     .kept = i & 8 };
		char name[64];

		snprintf(name, sizeof(name), "%s, bursts, %s%s", layouts[i & 3],
			 what.writable ? "writable" : "readable", what.kept ? ", kept" : "");
		run(b, name, what.packed ? NULL : what.writable ? writable : single, what);
	}
	free(b->low);
	free(b->high);
	free(b);
	return 0;
}
