// SPDX-License-Identifier: BSD-2-Clause
/* What split and packed rings have in common on the device side, and the choice between them. */
#include "vq_priv.h"

const char *vq_broken_name(enum vq_broken why)
{
	static const char *const names[VQ_BROKEN_COUNT] = {
		[VQ_OK] = "not broken",
		[VQ_BROKEN_ADDRESS] = "ring address outside the memory table or unaligned",
		[VQ_BROKEN_SIZE] = "queue size is 0, not a power of two or too large",
		[VQ_BROKEN_AVAIL_IDX] = "avail idx jumped",
		[VQ_BROKEN_HEAD] = "avail entry names no descriptor",
		[VQ_BROKEN_NEXT] = "next names no descriptor",
		[VQ_BROKEN_LOOP] = "chain longer than the queue",
		[VQ_BROKEN_INDIRECT] = "bad indirect table",
		[VQ_BROKEN_BUFFER] = "buffer outside the memory table",
		[VQ_BROKEN_ORDER] = "readable descriptor after a writable one",
		[VQ_BROKEN_SEGMENTS] = "chain has too many segments",
		[VQ_BROKEN_IN_USE] = "descriptor made available while in use",
		[VQ_BROKEN_BASE] = "position outside the ring",
		[VQ_BROKEN_CONTENT] = "content makes no sense",
	};

	if ((unsigned int)why >= VQ_BROKEN_COUNT)
		return "unknown reason";
	return names[why];
}

static void forget_ring(struct vq_dev *vq)
{
	vq->desc = NULL;
	vq->avail = NULL;
	vq->used = NULL;
	vq->running = false;
	/* Sends vq_dev_get() to vq_dev_avail(), which looks at running and broken. */
	vq->avail_seen = vq->last_avail;
}

void vq_dev_break(struct vq_dev *vq, enum vq_broken why)
{
	if (!vq->broken)
		vq->broken = why;
	vq->avail_seen = vq->last_avail; /* as in forget_ring() */
}

static void look_up_ring(struct vq_dev *vq)
{
	const struct vq_dev_conf *conf = &vq->conf;
	struct memmap *map = vq->map;

	if (vq->packed) {
		vq->ring = memmap_translate(map, conf->desc, vring_desc_bytes(conf->size),
					    VRING_PACKED_DESC_ALIGN);
		vq->driver_event =
			memmap_translate(map, conf->avail, sizeof(struct vring_packed_event),
					 VRING_PACKED_EVENT_ALIGN);
		vq->device_event =
			memmap_translate(map, conf->used, sizeof(struct vring_packed_event),
					 VRING_PACKED_EVENT_ALIGN);
	} else {
		vq->desc = memmap_translate(map, conf->desc, vring_desc_bytes(conf->size),
					    VRING_DESC_ALIGN);
		vq->avail = memmap_translate(map, conf->avail, vring_avail_bytes(conf->size),
					     VRING_AVAIL_ALIGN);
		vq->used = memmap_translate(map, conf->used, vring_used_bytes(conf->size),
					    VRING_USED_ALIGN);
	}
	if (vq->desc && vq->avail && vq->used)
		return;
	vq_dev_break(vq, VQ_BROKEN_ADDRESS);
	forget_ring(vq);
}

int vq_dev_start(struct vq_dev *vq, const struct vq_dev_conf *conf)
{
	*vq = (struct vq_dev){
		.map = conf->map,
		.last_avail = (uint16_t)conf->base,
		.avail_seen = (uint16_t)conf->base,
		.packed = conf->packed,
		.in_order = conf->in_order,
		.event_idx = conf->event_idx,
		.indirect = conf->indirect,
		.conf = *conf,
	};
	/* virtio 1.2 §2.7, §2.8.10.1: only split rings need a power of two. */
	if (conf->size == 0 || conf->size > VQ_DEV_SIZE_MAX ||
	    (!conf->packed && !IS_ALIGNED(conf->size, conf->size))) {
		vq_dev_break(vq, VQ_BROKEN_SIZE);
		return -EPROTO;
	}
	vq->size = (uint16_t)conf->size;
	look_up_ring(vq);
	if (vq->broken)
		return -EPROTO;
	if (vq_track_resume(vq) || (vq->packed ? vq_packed_start(vq) : vq_split_start(vq))) {
		forget_ring(vq);
		return -EPROTO;
	}
	vq->running = true;
	vq_track_begin(vq);
	return 0;
}

int vq_dev_remap(struct vq_dev *vq)
{
	/* A broken ring as well: what was taken from it before may still be put, and not into memory that went away. */
	if (vq->running)
		look_up_ring(vq);
	return vq->broken ? -EPROTO : 0;
}

void vq_dev_stop(struct vq_dev *vq)
{
	forget_ring(vq);
}

uint32_t vq_dev_base(const struct vq_dev *vq)
{
	return vq->packed ? vq_packed_base(vq) : vq->last_avail;
}

int vq_dev_avail(struct vq_dev *vq)
{
	if (vq_unlikely(vq->broken || !vq->running))
		return vq->broken ? -EPROTO : 0;
	return vq->packed ? vq_packed_avail(vq) : vq_split_avail(vq);
}

bool vq_dev_has(struct vq_dev *vq, unsigned int n)
{
	int avail = vq_dev_avail(vq);

	if (avail <= 0 || n > (unsigned int)avail)
		return false;
	return !vq->packed || vq_packed_has(vq, n);
}

int vq_dev_get(struct vq_dev *vq, struct vq_chain *chain)
{
	return vq->packed ? vq_packed_get(vq, chain) : vq_split_get(vq, chain);
}

unsigned int vq_dev_get_ones(struct vq_dev *vq, bool writable, struct vq_one *ones,
			     unsigned int max)
{
	return vq->packed ? vq_packed_get_ones(vq, writable, ones, max)
			  : vq_split_get_ones(vq, writable, ones, max);
}

void vq_dev_unget(struct vq_dev *vq, unsigned int n)
{
	if (vq->packed) {
		vq_packed_unget(vq, n);
		return;
	}
	vq->last_avail = (uint16_t)(vq->last_avail - n);
	if (vq->broken || !vq->running)
		vq->avail_seen = vq->last_avail; /* as in forget_ring() */
}

void vq_dev_put(struct vq_dev *vq, struct vq_ref ref, uint32_t written)
{
	if (vq_unlikely(!vq->used))
		return;
	if (vq->packed)
		vq_packed_put(vq, ref, written);
	else
		vq_split_put(vq, ref, written);
}

void vq_dev_put_ones(struct vq_dev *vq, const struct vq_one *ones, const uint32_t *written,
		     unsigned int n)
{
	if (vq_unlikely(!vq->used || n == 0))
		return;
	if (vq->packed)
		vq_packed_put_ones(vq, ones, written, n);
	else
		vq_split_put_ones(vq, ones, written, n);
}

void vq_dev_publish(struct vq_dev *vq)
{
	if (vq_unlikely(!vq->used))
		return;
	if (vq->packed)
		vq_packed_publish(vq);
	else
		vq_split_publish(vq);
}

static bool call_wanted(const struct vq_dev *vq)
{
	return vq->packed ? vq_packed_call_wanted(vq) : vq_split_call_wanted(vq);
}

static void call_decided(struct vq_dev *vq)
{
	vq->uncalled = 0;
	vq->called_valid = true;
}

bool vq_dev_call_hint(struct vq_dev *vq)
{
	if (!vq->uncalled || vq_unlikely(!vq->used) || !call_wanted(vq))
		return false;
	call_decided(vq);
	return true;
}

bool vq_dev_call_settle(struct vq_dev *vq)
{
	bool wanted;

	if (!vq->uncalled || vq_unlikely(!vq->used))
		return false;
	wanted = call_wanted(vq);
	call_decided(vq);
	return wanted;
}

bool vq_dev_call_needed(struct vq_dev *vq)
{
	if (!vq->uncalled || vq_unlikely(!vq->used))
		return false;
	vq_mb_idx_before_event();
	return vq_dev_call_settle(vq);
}

static void kick(struct vq_dev *vq, bool on)
{
	vq->kick_off = !on;
	if (!vq->used)
		return;
	if (vq->packed)
		vq_packed_kick(vq, on);
	else
		vq_split_kick(vq, on);
}

void vq_dev_kick_disable(struct vq_dev *vq)
{
	kick(vq, false);
}

bool vq_dev_kick_enable(struct vq_dev *vq)
{
	if (vq->broken)
		return false;
	kick(vq, true);
	vq_mb_event_before_idx();
	return vq_dev_avail(vq) != 0;
}

/* Copies at most len bytes from offset on between flat memory and num segments; to_segs says which way. */
static uint32_t copy_segs(const struct vq_seg *seg, unsigned int num, uint32_t offset,
			  uint8_t *flat, uint32_t len, bool to_segs)
{
	uint32_t done = 0;

	for (unsigned int i = 0; i < num && done < len; i++) {
		uint32_t n = seg[i].len;

		if (offset >= n) {
			offset -= n;
			continue;
		}
		n -= offset;
		if (n > len - done)
			n = len - done;
		if (to_segs)
			__builtin_memcpy(seg[i].base + offset, flat + done, n);
		else
			__builtin_memcpy(flat + done, seg[i].base + offset, n);
		done += n;
		offset = 0;
	}
	return done;
}

uint32_t vq_chain_read(const struct vq_chain *chain, uint32_t offset, void *dst, uint32_t len)
{
	return copy_segs(chain->segs, chain->num_out, offset, dst, len, false);
}

uint32_t vq_chain_write(struct vq_chain *chain, uint32_t offset, const void *src, uint32_t len)
{
	/* Only read from: the cast is for the shared copy loop. */
	uint8_t *from = (uint8_t *)(uintptr_t)src;

	return copy_segs(&chain->segs[chain->num_out], chain->num_in, offset, from, len, true);
}
