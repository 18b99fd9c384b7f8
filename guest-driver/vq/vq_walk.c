// SPDX-License-Identifier: BSD-2-Clause
/* Collecting the buffers of a chain, whichever ring its descriptors are in: everything but the usual case. */
#include "vq_priv.h"

enum vq_broken vq_walk_add_pieces(struct walk *w, struct gpa addr, uint32_t left)
{
	struct vq_dev *vq = w->vq;

	while (left > 0) {
		uint64_t got;
		uint8_t *p = memmap_lookup(vq->map, &vq->hit, addr, left, &got);

		if (!p)
			return VQ_BROKEN_BUFFER;
		if (w->segs == VQ_CHAIN_SEGS_MAX)
			return VQ_BROKEN_SEGMENTS;
		w->chain->segs[w->segs++] = (struct vq_seg){ .base = p, .len = (uint32_t)got };
		left -= (uint32_t)got;
		addr.v += got; /* cannot wrap: no region reaches the end of the address space */
	}
	return VQ_OK;
}

bool vq_walk_read_entry(struct vq_dev *vq, struct gpa addr, void *entry)
{
	uint8_t *to = entry;
	uint32_t left = 16;

	while (left > 0) {
		uint64_t got;
		const void *from = memmap_lookup(vq->map, &vq->hit, addr, left, &got);

		if (!from)
			return false;
		__builtin_memcpy(to, from, got);
		to += got;
		left -= (uint32_t)got;
		addr.v += got; /* cannot wrap, as above */
	}
	return true;
}

static uint32_t saturated(uint64_t v)
{
	return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

void vq_walk_finish(const struct walk *w)
{
	w->chain->num_out = (uint16_t)w->out_segs;
	w->chain->num_in = (uint16_t)(w->segs - w->out_segs);
	w->chain->out_bytes = saturated(w->out_bytes);
	w->chain->in_bytes = saturated(w->in_bytes);
}

const struct memmap_region *vq_walk_other_region(struct vq_dev *vq, struct gpa addr, uint32_t len)
{
	unsigned int before = vq->hit;
	uint64_t got;

	/* Buffers in two regions by turns are common: headers here, frames there. */
	if (memmap_try(vq->map, vq->hit_before, addr, len)) {
		vq->hit = vq->hit_before;
	} else if (!memmap_lookup(vq->map, &vq->hit, addr, len, &got) || got != len) {
		vq->hit = before;
		return NULL;
	}
	vq->hit_before = before;
	return &vq->map->regions[vq->hit];
}
