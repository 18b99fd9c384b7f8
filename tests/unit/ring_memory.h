/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory for ring tests: two regions that are adjacent in guest-physical space and not in ours, and a
 * third one far away. A scripted driver writes the rings in the first.
 */
#ifndef VVU_TESTS_RING_MEMORY_H
#define VVU_TESTS_RING_MEMORY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vq/vq_dev.h"
#include "vq/vq_drv.h"

#define RM_BYTES 0x8000u
#define RM_LOW	 0x100000ull
#define RM_HIGH	 (RM_LOW + RM_BYTES)
#define RM_FAR	 0x4000000000ull
#define RM_DESC	 RM_LOW
#define RM_AVAIL (RM_LOW + 0x2000)
#define RM_USED	 (RM_LOW + 0x3000)
#define RM_BUF	 (RM_LOW + 0x6000) /* buffers, up to RM_HIGH and across it */

struct ring_memory {
	struct memmap map;
	uint8_t *low;
	uint8_t *high;
	uint8_t *far;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	/* A packed ring lies in the same places. */
	struct vring_packed_desc *ring;
	struct vring_packed_event *driver_event;
	struct vring_packed_event *device_event;
	unsigned int slot; /* the scripted driver's next, and its wrap counter */
	bool wrap;
	unsigned int size;
	struct vq_dev vq;
	struct vq_chain *chain;
};

/* A buffer of exactly RM_BYTES, page-aligned, so that ASan sees every byte too far. */
static inline uint8_t *rm_alloc(void)
{
	uint8_t *p = aligned_alloc(4096, RM_BYTES);

	assert_non_null(p);
	memset(p, 0, RM_BYTES);
	return p;
}

static inline struct vq_dev_conf rm_conf(struct ring_memory *m, unsigned int size)
{
	return (struct vq_dev_conf){
		.map = &m->map,
		.desc = gpa(RM_DESC),
		.avail = gpa(RM_AVAIL),
		.used = gpa(RM_USED),
		.size = size,
		.indirect = true,
	};
}

/* Fresh memory, no queue. */
static inline struct ring_memory *rm_memory(unsigned int size)
{
	struct ring_memory *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->chain = malloc(sizeof(*m->chain));
	assert_non_null(m->chain);
	memset(m->chain, 0xa5, sizeof(*m->chain)); /* nothing may rely on a zeroed chain */
	m->low = rm_alloc();
	m->high = rm_alloc();
	m->far = rm_alloc();
	memmap_init(&m->map);
	assert_int_equal(memmap_add(&m->map, gpa(RM_LOW), RM_BYTES, m->low), 0);
	assert_int_equal(memmap_add(&m->map, gpa(RM_HIGH), RM_BYTES, m->high), 0);
	assert_int_equal(memmap_add(&m->map, gpa(RM_FAR), RM_BYTES, m->far), 0);
	m->size = size;
	m->desc = (void *)m->low;
	m->avail = (void *)(m->low + (RM_AVAIL - RM_LOW));
	m->used = (void *)(m->low + (RM_USED - RM_LOW));
	m->ring = (void *)m->low;
	m->driver_event = (void *)m->avail;
	m->device_event = (void *)m->used;
	m->wrap = true;
	return m;
}

/* With a running split device queue of size entries. */
static inline struct ring_memory *rm_new(unsigned int size)
{
	struct ring_memory *m = rm_memory(size);
	struct vq_dev_conf conf = rm_conf(m, size);

	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	return m;
}

/* With a running packed one. */
static inline struct ring_memory *rm_new_packed(unsigned int size)
{
	struct ring_memory *m = rm_memory(size);
	struct vq_dev_conf conf = rm_conf(m, size);

	conf.packed = true;
	conf.base = 0x80008000;
	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	return m;
}

/* The scripted driver makes its next slot available. */
static inline void rm_add(struct ring_memory *m, uint64_t addr, uint32_t len, uint16_t flags,
			  uint16_t id)
{
	flags |= m->wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
	m->ring[m->slot] = (struct vring_packed_desc){ addr, len, id, flags };
	if (++m->slot == m->size) {
		m->slot = 0;
		m->wrap = !m->wrap;
	}
}

/* Has the device used the descriptor in slot, in a lap with that wrap counter? */
static inline bool rm_is_used(const struct ring_memory *m, unsigned int slot, bool wrap)
{
	uint16_t both = VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED;

	return (m->ring[slot].flags & both) == (wrap ? both : 0);
}

static inline void rm_free(struct ring_memory *m)
{
	free(m->chain);
	free(m->low);
	free(m->high);
	free(m->far);
	free(m);
}

static inline void rm_desc(struct ring_memory *m, unsigned int i, uint64_t addr, uint32_t len,
			   uint16_t flags, uint16_t next)
{
	m->desc[i] = (struct vring_desc){ addr, len, flags, next };
}

static inline void rm_offer(struct ring_memory *m, uint16_t head)
{
	m->avail->ring[m->avail->idx % m->size] = head;
	m->avail->idx++;
}

static inline struct vq_ref rm_ref(uint16_t head)
{
	return (struct vq_ref){ head, 1 };
}

static inline le16 *rm_used_event(struct ring_memory *m)
{
	return &m->avail->ring[m->size];
}

static inline le16 *rm_avail_event(struct ring_memory *m)
{
	return (le16 *)(void *)&m->used->ring[m->size];
}

#endif
