/* SPDX-License-Identifier: BSD-2-Clause */
/* A place in the segments of a chain, and copying from there on. */
#ifndef VVU_CORE_CURSOR_H
#define VVU_CORE_CURSOR_H

#include "core/copy.h"
#include "vq/vq_dev.h"

struct cursor {
	const struct vq_seg *seg;
	const struct vq_seg *end;
	uint32_t off;
};

static inline struct cursor cursor_in(const struct vq_chain *chain)
{
	const struct vq_seg *first = chain->segs + chain->num_out;

	return (struct cursor){ first, first + chain->num_in, 0 };
}

static inline void cursor_skip(struct cursor *c, uint32_t n)
{
	while (c->seg < c->end && n >= c->seg->len - c->off) {
		n -= c->seg->len - c->off;
		c->seg++;
		c->off = 0;
	}
	if (c->seg < c->end)
		c->off += n;
}

/* Copies n bytes out; the caller knows that they are there. */
static inline void cursor_read(struct cursor *c, uint8_t *to, uint32_t n)
{
	while (n && c->seg < c->end) {
		uint32_t left = c->seg->len - c->off;
		uint32_t part = n < left ? n : left;

		copy_bytes(to, c->seg->base + c->off, part);
		to += part;
		n -= part;
		cursor_skip(c, part);
	}
}

/* Copies up to n bytes in; returns how many found room. */
static inline uint32_t cursor_write(struct cursor *c, const uint8_t *from, uint32_t n)
{
	uint32_t done = 0;

	while (done < n && c->seg < c->end) {
		uint32_t left = c->seg->len - c->off;
		uint32_t part = n - done < left ? n - done : left;

		copy_bytes(c->seg->base + c->off, from + done, part);
		done += part;
		cursor_skip(c, part);
	}
	return done;
}

#endif
