// SPDX-License-Identifier: BSD-2-Clause
#include "vq/vq_drv.h"

#include "abi/errno.h"
#include "vq_barrier.h"

/* The used ring, which the device writes, begins a cache line of its own. */
#define CACHE_LINE 64u

struct vq_drv_layout vq_drv_layout(unsigned int size)
{
	uint32_t avail = (uint32_t)vring_desc_bytes(size);
	uint32_t used = ALIGN_UP(avail + (uint32_t)vring_avail_bytes(size), CACHE_LINE);

	return (struct vq_drv_layout){
		.avail_offset = avail,
		.used_offset = used,
		.bytes = ALIGN_UP(used + (uint32_t)vring_used_bytes(size), CACHE_LINE),
	};
}

int vq_drv_init(struct vq_drv *vq, void *mem, unsigned int size, bool event_idx)
{
	return vq_drv_init_mode(vq, mem, size, (struct vq_drv_mode){ .event_idx = event_idx });
}

int vq_drv_init_mode(struct vq_drv *vq, void *mem, unsigned int size, struct vq_drv_mode mode)
{
	struct vq_drv_layout layout;
	uint8_t *base = mem;

	/* A power of two for packed rings as well: the wrap counters are bits of the positions then. */
	if (size == 0 || size > VQ_DRV_SIZE_MAX || !IS_ALIGNED(size, size))
		return -EINVAL;
	layout = vq_drv_layout(size);
	*vq = (struct vq_drv){
		.desc = (void *)base,
		.avail = (void *)(base + layout.avail_offset),
		.used = (void *)(base + layout.used_offset),
		.mode = mode,
		.size = (uint16_t)size,
		.num_free = (uint16_t)size,
	};
	for (unsigned int i = 0; i < size; i++)
		vq->next_free[i] = (uint16_t)(mode.in_order ? (i + 1) & (size - 1) : i + 1);
	return 0;
}

/* ---- packed rings: a position's slot, wrap counter and event word ---- */

static struct vring_packed_desc *slot_of(const struct vq_drv *vq, uint16_t position)
{
	return &vq->ring[position & (vq->size - 1u)];
}

static bool wrap_of(const struct vq_drv *vq, uint16_t position)
{
	return !(position & vq->size);
}

static void packed_add(struct vq_drv *vq, uint16_t id, struct gpa addr, uint32_t len,
		       uint16_t flags)
{
	struct vring_packed_desc *desc = slot_of(vq, vq->avail_idx);

	flags |= wrap_of(vq, vq->avail_idx) ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
	vq->avail_idx++;
	vq_store64(&desc->addr, addr.v);
	vq_store32(&desc->len, len);
	vq_store16(&desc->id, id);
	vq_publish_idx(&desc->flags, flags);
}

static bool packed_kick_needed(const struct vq_drv *vq, uint16_t old)
{
	uint32_t event = vq_load32((const le32 *)(const void *)vq->device_event);
	uint16_t moved = (uint16_t)(vq->avail_idx - old);
	uint16_t laps = (uint16_t)(2 * vq->size);
	uint16_t at = event & VRING_PACKED_EVENT_OFF_MASK;

	switch (event >> 16 & 3) {
	case VRING_PACKED_EVENT_F_DISABLE:
		return false;
	case VRING_PACKED_EVENT_F_DESC:
		break;
	default:
		return true;
	}
	if (!vq->mode.event_idx || at >= vq->size || moved >= laps)
		return true;
	if (!(event >> VRING_PACKED_EVENT_WRAP_BIT & 1))
		at = (uint16_t)(at + vq->size);
	/* Positions modulo two laps, after which the wrap counter is what it was. */
	return (uint16_t)((vq->avail_idx - at - 1) & (laps - 1)) < moved;
}

static bool packed_is_used(const struct vq_drv *vq)
{
	const uint16_t both = VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED;
	uint16_t flags = vq_observe_idx(&slot_of(vq, vq->last_used)->flags);

	return (flags & both) == (wrap_of(vq, vq->last_used) ? both : 0);
}

/* ---- */

int vq_drv_add(struct vq_drv *vq, struct gpa addr, uint32_t len, bool device_writes,
	       uint64_t cookie)
{
	uint16_t flags = device_writes ? VRING_DESC_F_WRITE : 0;
	uint16_t id = vq->free_head;
	struct vring_desc *desc;

	if (vq->num_free == 0)
		return -ENOSPC;
	vq->free_head = vq->next_free[id];
	vq->num_free--;
	vq->cookie[id] = cookie;
	vq->writable[id] = device_writes ? len : 0;
	vq->in_flight[id] = true;
	if (vq->mode.packed) {
		packed_add(vq, id, addr, len, flags);
		return 0;
	}

	desc = &vq->desc[id];
	vq_store64(&desc->addr, addr.v);
	vq_store32(&desc->len, len);
	vq_store16(&desc->flags, flags);
	vq_store16(&vq->avail->ring[vq->avail_idx & (vq->size - 1u)], id);
	vq->avail_idx++;
	vq_publish_idx(&vq->avail->idx, vq->avail_idx);
	return 0;
}

bool vq_drv_kick_needed(struct vq_drv *vq)
{
	uint16_t old = vq->avail_kicked;
	const le16 *avail_event;

	if (old == vq->avail_idx)
		return false;
	vq->avail_kicked = vq->avail_idx;
	vq_mb_idx_before_event();
	if (vq->mode.packed)
		return packed_kick_needed(vq, old);
	if (!vq->mode.event_idx)
		return !(vq_load16(&vq->used->flags) & VRING_USED_F_NO_NOTIFY);
	avail_event = (const le16 *)(const void *)&vq->used->ring[vq->size];
	return vring_need_event(vq_load16(avail_event), vq->avail_idx, old);
}

/* Used entries that can be seen; packed: 0 or 1. */
static uint16_t used_seen(const struct vq_drv *vq)
{
	if (vq->mode.packed)
		return packed_is_used(vq);
	return (uint16_t)(vq_observe_idx(&vq->used->idx) - vq->last_used);
}

/* Used entries not taken yet; 0 only after the device was asked to interrupt for the next one. */
static uint16_t used_waiting(struct vq_drv *vq)
{
	uint16_t waiting = used_seen(vq);

	if (waiting || !vq->mode.event_idx)
		return waiting;
	if (vq->mode.packed) {
		uint32_t slot = vq->last_used & (vq->size - 1u);
		uint32_t wrap = wrap_of(vq, vq->last_used);

		vq_store32((le32 *)(void *)vq->driver_event,
			   slot | wrap << VRING_PACKED_EVENT_WRAP_BIT |
				   VRING_PACKED_EVENT_F_DESC << 16);
	} else {
		vq_store16(&vq->avail->ring[vq->size], vq->last_used); /* used_event */
	}
	vq_mb_event_before_idx();
	return used_seen(vq);
}

/* Takes the buffer back that has this id, which is in flight. */
static int take_back(struct vq_drv *vq, uint16_t id, uint64_t *cookie, uint32_t *written)
{
	if (*written > vq->writable[id])
		return -EPROTO;
	vq->in_flight[id] = false;
	if (!vq->mode.in_order) {
		vq->next_free[id] = vq->free_head;
		vq->free_head = id;
	}
	vq->num_free++;
	vq->last_used++;
	*cookie = vq->cookie[id];
	return 1;
}

/* In order the ids are used in turn; all of a batch but its last buffer were used completely (virtio 1.2 §2.7.9). */
static int take_of_batch(struct vq_drv *vq, uint64_t *cookie, uint32_t *written)
{
	uint16_t id = vq->last_used & (vq->size - 1u);

	*written = --vq->batch ? vq->writable[id] : vq->batch_written;
	return take_back(vq, id, cookie, written);
}

int vq_drv_get_used(struct vq_drv *vq, uint64_t *cookie, uint32_t *written)
{
	uint16_t out = (uint16_t)(vq->size - vq->num_free);
	uint16_t waiting;
	uint32_t id;

	if (vq->batch)
		return take_of_batch(vq, cookie, written);
	waiting = used_waiting(vq);
	if (waiting == 0)
		return 0;
	if (waiting > out)
		return -EPROTO;
	if (vq->mode.packed) {
		id = vq_load16(&slot_of(vq, vq->last_used)->id);
		*written = vq_load32(&slot_of(vq, vq->last_used)->len);
	} else {
		const struct vring_used_elem *elem =
			&vq->used->ring[vq->last_used & (vq->size - 1u)];

		id = vq_load32(&elem->id);
		*written = vq_load32(&elem->len);
	}
	if (id >= vq->size || !vq->in_flight[id])
		return -EPROTO;
	if (!vq->mode.in_order)
		return take_back(vq, (uint16_t)id, cookie, written);
	vq->batch = (uint16_t)(((id - vq->last_used) & (vq->size - 1u)) + 1);
	vq->batch_written = *written;
	/* Packed: nothing else says how many; in flight from last_used on, so never more than out. */
	if (!vq->mode.packed && vq->batch > waiting)
		return -EPROTO;
	return take_of_batch(vq, cookie, written);
}

bool vq_drv_pending(const struct vq_drv *vq)
{
	return vq->batch || used_seen(vq) != 0;
}

bool vq_drv_arm(struct vq_drv *vq)
{
	return vq->batch || used_waiting(vq) != 0;
}
