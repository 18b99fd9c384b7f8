/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between the files of the device side: vq_dev.c is what split and packed rings have in common and the choice between
 * them (one branch per call), vq_split.c and vq_packed.c are the two, vq_walk.c collects a chain's buffers for both.
 */
#ifndef VVU_VQ_PRIV_H
#define VVU_VQ_PRIV_H

#include "abi/errno.h"
#include "vq/vq_dev.h"
#include "vq_barrier.h"

/* As the functions of vq_dev.h; the ring was looked up unless said otherwise. */
int vq_split_start(struct vq_dev *vq);
int vq_split_avail(struct vq_dev *vq); /* running and not broken */
int vq_split_get(struct vq_dev *vq, struct vq_chain *chain);
unsigned int vq_split_get_ones(struct vq_dev *vq, bool writable, struct vq_one *ones,
			       unsigned int max);
void vq_split_put(struct vq_dev *vq, struct vq_ref ref, uint32_t written);
void vq_split_put_ones(struct vq_dev *vq, const struct vq_one *ones, const uint32_t *written,
		       unsigned int n);
void vq_split_publish(struct vq_dev *vq);
bool vq_split_call_wanted(const struct vq_dev *vq); /* at this moment, for vq->uncalled positions */
void vq_split_kick(struct vq_dev *vq, bool on);

int vq_packed_start(
	struct vq_dev *vq); /* also when the ring was not looked up: sets positions only */
uint32_t vq_packed_base(const struct vq_dev *vq);
int vq_packed_avail(struct vq_dev *vq);
/* The n-th descriptor from the next one to take on is available; at most size. */
bool vq_packed_has(const struct vq_dev *vq, unsigned int n);
int vq_packed_get(struct vq_dev *vq, struct vq_chain *chain);
unsigned int vq_packed_get_ones(struct vq_dev *vq, bool writable, struct vq_one *ones,
				unsigned int max);
void vq_packed_unget(struct vq_dev *vq, unsigned int n);
void vq_packed_put(struct vq_dev *vq, struct vq_ref ref, uint32_t written);
void vq_packed_put_ones(struct vq_dev *vq, const struct vq_one *ones, const uint32_t *written,
			unsigned int n);
void vq_packed_publish(struct vq_dev *vq);
bool vq_packed_call_wanted(const struct vq_dev *vq);
void vq_packed_kick(struct vq_dev *vq, bool on);

/* A slot counted over two laps, after which the wrap counter is what it was. */
static inline uint32_t vq_over_two_laps(const struct vq_dev *vq, uint32_t slot, bool wrap)
{
	return slot + (wrap ? 0u : vq->size);
}

/* The next used descriptor as a driver sees it, and what is then next to take, as in struct inflight_ring. */
uint32_t vq_packed_position(const struct vq_dev *vq);
/*
 * Stores the burst in vq->conf.track->puts[] into the ring: slots of them from slot on, in a lap with these used bits;
 * the first one last. False: puts[] holds something else.
 */
bool vq_packed_store(struct vq_dev *vq, uint16_t slot, uint16_t used_bits, unsigned int slots);

/*
 * vq_track.c. Makes vq->conf.base, or the skew of a split ring, what a predecessor left, if it did: vq->resumed. 0, or
 * -EPROTO: what it left makes no sense.
 */
int vq_track_resume(struct vq_dev *vq);
/* The ring runs: its place says so. */
void vq_track_begin(struct vq_dev *vq);

/* One walk through a chain, and what came of it so far. */
struct walk {
	struct vq_dev *vq;
	struct vq_chain *chain;
	unsigned int steps; /* descriptors so far */
	unsigned int segs;
	unsigned int out_segs;
	uint64_t out_bytes; /* at most 2^12 descriptors of 2^32 bytes: no overflow */
	uint64_t in_bytes;
	bool writable_seen;
};

/* Appends a buffer that is empty or not wholly in the region of the hint. */
enum vq_broken vq_walk_add_pieces(struct walk *w, struct gpa addr, uint32_t left);
/* Copies 16 bytes, unaligned and perhaps across regions, once. False: part of them is in no region. */
bool vq_walk_read_entry(struct vq_dev *vq, struct gpa addr, void *entry);
/* Fills in the chain's counts. */
void vq_walk_finish(const struct walk *w);

/*
 * Region that holds [addr, addr + len), when the one of the hint does not; NULL when none holds all of it. Becomes the
 * hint.
 */
const struct memmap_region *vq_walk_other_region(struct vq_dev *vq, struct gpa addr, uint32_t len);

static inline uint8_t *vq_try(const struct vq_dev *vq, uint64_t addr, uint32_t len)
{
	return memmap_try(vq->map, vq->hit, gpa(addr), len);
}

/* Adds one descriptor's buffer to the chain. */
static inline enum vq_broken walk_add(struct walk *w, uint64_t addr, uint32_t len, bool writable)
{
	enum vq_broken why = VQ_OK;
	uint8_t *p;

	if (writable)
		w->writable_seen = true;
	else if (w->writable_seen)
		return VQ_BROKEN_ORDER;

	p = vq_try(w->vq, addr, len);
	if (vq_likely(p && len > 0 && w->segs < VQ_CHAIN_SEGS_MAX))
		w->chain->segs[w->segs++] = (struct vq_seg){ .base = p, .len = len };
	else
		why = vq_walk_add_pieces(w, gpa(addr), len);
	if (w->writable_seen) {
		w->in_bytes += len;
	} else {
		w->out_segs = w->segs;
		w->out_bytes += len;
	}
	return why;
}

/* A chain of one buffer that lies in one region. */
static inline void chain_one(struct vq_chain *chain, uint8_t *p, uint32_t len, bool writable)
{
	chain->num_out = !writable;
	chain->num_in = writable;
	chain->out_bytes = writable ? 0 : len;
	chain->in_bytes = writable ? len : 0;
	chain->segs[0] = (struct vq_seg){ .base = p, .len = len };
}

#endif
