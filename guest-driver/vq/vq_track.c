// SPDX-License-Identifier: BSD-2-Clause
/*
 * Going on where a predecessor died (abi/inflight.h): what was left is read here, with the mistrust that any
 * peer's words get, and where a ring that starts or moves writes its first positions.
 */
#include "vq_priv.h"

#define POS_SLOT 0x7fffu
#define POS_WRAP 0x8000u

/* From a to b, slots with their wrap counters in bits 0-15, modulo two laps. */
static uint32_t distance(const struct vq_dev *vq, uint32_t a, uint32_t b)
{
	uint32_t d = vq_over_two_laps(vq, b & POS_SLOT, b & POS_WRAP) -
		     vq_over_two_laps(vq, a & POS_SLOT, a & POS_WRAP);

	return d > UINT32_MAX / 2 ? d + 2u * vq->size : d;
}

static bool position_ok(const struct vq_dev *vq, uint32_t pos)
{
	return (pos & POS_SLOT) < vq->size && (pos >> 16 & POS_SLOT) < vq->size;
}

/* A burst of slots was being published from there on. Once more if it was not all stored; false: it makes no sense. */
static bool finish_burst(struct vq_dev *vq, uint32_t pos, uint32_t slots)
{
	bool wrap = pos & POS_WRAP;
	uint16_t slot = pos & POS_SLOT;
	bool used = vq_load16(&vq->ring[slot].flags) & VRING_PACKED_DESC_F_USED;

	/* The driver may have taken it, and made the slot available in the next lap: that has the bit as well. */
	if (used == wrap)
		return true;
	return vq_packed_store(
		vq, slot, wrap ? VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED : 0, slots);
}

static bool resume_packed(struct vq_dev *vq)
{
	struct inflight_ring *t = vq->conf.track;
	uint32_t before = vq_load32(&t->before), after = vq_load32(&t->after);
	uint32_t slots;

	if (!position_ok(vq, before) || !position_ok(vq, after))
		return false;
	if (before != after) {
		slots = distance(vq, before >> 16, after >> 16);
		/* Both positions move alike, and what was put had been taken. */
		if (slots != distance(vq, before, after) ||
		    slots + distance(vq, before >> 16, before) > vq->size ||
		    !finish_burst(vq, before >> 16, slots))
			return false;
		vq_step();
		vq_store32(&t->before, after);
	}
	vq->conf.base = after; /* vq_packed_start() checks it */
	return true;
}

static bool resume_split(struct vq_dev *vq)
{
	uint32_t skew = vq_load32(&vq->conf.track->before);

	vq->skew = (uint16_t)skew;
	return skew <= UINT16_MAX;
}

int vq_track_resume(struct vq_dev *vq)
{
	const struct inflight_ring *t = vq->conf.track;
	uint32_t state = t && vq->conf.resume ? vq_load32(&t->state) : INFLIGHT_STOPPED;

	if (state == INFLIGHT_STOPPED)
		return 0;
	if (state != (vq->packed ? INFLIGHT_PACKED : INFLIGHT_SPLIT) ||
	    vq_load32(&t->size) != vq->size ||
	    !(vq->packed ? resume_packed(vq) : resume_split(vq))) {
		vq_dev_break(vq, VQ_BROKEN_BASE);
		return -EPROTO;
	}
	vq->resumed = true;
	return 0;
}

static void track_stopped(struct inflight_ring *track)
{
	if (vq_load32(&track->state) != INFLIGHT_STOPPED)
		vq_store32(&track->state, INFLIGHT_STOPPED);
}

void vq_track_begin(struct vq_dev *vq)
{
	struct inflight_ring *t = vq->conf.track;
	uint32_t pos;

	vq->track = t;
	if (!t)
		return;
	/* A successor of ours that comes now begins as we did; one that resumed finds the same again. */
	pos = vq->packed ? vq_packed_position(vq) : vq->skew;
	if (!vq->resumed) {
		track_stopped(t); /* an earlier run's */
		vq_step();
	}
	vq_store32(&t->size, vq->size);
	vq_store32(&t->before, pos);
	vq_store32(&t->after, pos);
	vq_step();
	vq_store32(&t->state, vq->packed ? INFLIGHT_PACKED : INFLIGHT_SPLIT);
}

bool vq_track_runs(const struct inflight_ring *track)
{
	return track && vq_load32(&track->state) != INFLIGHT_STOPPED;
}

void vq_dev_track(struct vq_dev *vq, struct inflight_ring *track)
{
	vq_dev_publish(vq);
	vq->track = NULL;
	vq->conf.track = track;
	if (!vq->running)
		return;
	if (track)
		track_stopped(track);
	vq_track_begin(vq);
}
