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
	struct vq_drv_layout layout;
	uint8_t *base = mem;

	if (size == 0 || size > VQ_DRV_SIZE_MAX || !IS_ALIGNED(size, size))
		return -EINVAL;
	layout = vq_drv_layout(size);
	*vq = (struct vq_drv){
		.desc = (void *)base,
		.avail = (void *)(base + layout.avail_offset),
		.used = (void *)(base + layout.used_offset),
		.size = (uint16_t)size,
		.num_free = (uint16_t)size,
		.event_idx = event_idx,
	};
	for (unsigned int i = 0; i < size; i++)
		vq->next_free[i] = (uint16_t)(i + 1);
	return 0;
}

int vq_drv_add(struct vq_drv *vq, struct gpa addr, uint32_t len, bool device_writes,
	       uint64_t cookie)
{
	uint16_t id = vq->free_head;
	struct vring_desc *desc;

	if (vq->num_free == 0)
		return -ENOSPC;
	vq->free_head = vq->next_free[id];
	vq->num_free--;
	vq->cookie[id] = cookie;
	vq->writable[id] = device_writes ? len : 0;
	vq->in_flight[id] = true;

	desc = &vq->desc[id];
	vq_store64(&desc->addr, addr.v);
	vq_store32(&desc->len, len);
	vq_store16(&desc->flags, device_writes ? VRING_DESC_F_WRITE : 0);
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
	if (!vq->event_idx)
		return !(vq_load16(&vq->used->flags) & VRING_USED_F_NO_NOTIFY);
	avail_event = (const le16 *)(const void *)&vq->used->ring[vq->size];
	return vring_need_event(vq_load16(avail_event), vq->avail_idx, old);
}

/* Used entries not taken yet; 0 only after the device was asked to interrupt for the next one. */
static uint16_t used_waiting(struct vq_drv *vq)
{
	uint16_t waiting = (uint16_t)(vq_observe_idx(&vq->used->idx) - vq->last_used);

	if (waiting || !vq->event_idx)
		return waiting;
	vq_store16(&vq->avail->ring[vq->size], vq->last_used); /* used_event */
	vq_mb_event_before_idx();
	return (uint16_t)(vq_observe_idx(&vq->used->idx) - vq->last_used);
}

int vq_drv_get_used(struct vq_drv *vq, uint64_t *cookie, uint32_t *written)
{
	uint16_t waiting = used_waiting(vq);
	const struct vring_used_elem *elem;
	uint32_t id;
	uint32_t len;

	if (waiting == 0)
		return 0;
	if (waiting > vq->size - vq->num_free)
		return -EPROTO;
	elem = &vq->used->ring[vq->last_used & (vq->size - 1u)];
	id = vq_load32(&elem->id);
	len = vq_load32(&elem->len);
	if (id >= vq->size || !vq->in_flight[id] || len > vq->writable[id])
		return -EPROTO;

	vq->in_flight[id] = false;
	vq->next_free[id] = vq->free_head;
	vq->free_head = (uint16_t)id;
	vq->num_free++;
	vq->last_used++;
	*cookie = vq->cookie[id];
	*written = len;
	return 1;
}

bool vq_drv_arm(struct vq_drv *vq)
{
	return used_waiting(vq) != 0;
}
