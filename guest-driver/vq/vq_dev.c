// SPDX-License-Identifier: BSD-2-Clause
/*
 * The hot path is vq_dev_get() for a chain of one descriptor, vq_dev_put() and vq_dev_publish(): a handful of
 * loads, one translation that the map's hint answers, no calls. Everything else (longer chains, indirect
 * tables, region boundaries, errors) is in functions of its own.
 *
 * A descriptor is read once into a local struct vring_desc, and only that is looked at. The words it came from may
 * change meanwhile; that harms nobody but the driver.
 */
#include "vq/vq_dev.h"

#include "abi/errno.h"
#include "vq_barrier.h"

/*
 * How far behind avail_event may fall before it is moved along: rarely enough to leave the driver's cache line
 * alone.
 */
#define KICK_MOVE_EVERY 16384

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

	vq->desc = memmap_translate(vq->map, conf->desc, vring_desc_bytes(conf->size),
				    VRING_DESC_ALIGN);
	vq->avail = memmap_translate(vq->map, conf->avail, vring_avail_bytes(conf->size),
				     VRING_AVAIL_ALIGN);
	vq->used = memmap_translate(vq->map, conf->used, vring_used_bytes(conf->size),
				    VRING_USED_ALIGN);
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
		.event_idx = conf->event_idx,
		.indirect = conf->indirect,
		.conf = *conf,
	};
	if (conf->size == 0 || conf->size > VQ_DEV_SIZE_MAX ||
	    !IS_ALIGNED(conf->size, conf->size)) {
		vq_dev_break(vq, VQ_BROKEN_SIZE);
		return -EPROTO;
	}
	vq->size = (uint16_t)conf->size;
	look_up_ring(vq);
	if (vq->broken)
		return -EPROTO;
	vq->used_idx = vq_load16(&vq->used->idx);
	vq->used_next = vq->used_idx;
	vq->used_called = vq->used_idx;
	vq->skew = (uint16_t)(vq->last_avail - vq->used_idx);
	vq->running = true;
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
	return vq->last_avail;
}

/* The driver's used_event and our avail_event lie behind the rings' entries. */
static const le16 *used_event(const struct vq_dev *vq)
{
	return &vq->avail->ring[vq->size];
}

static le16 *avail_event(const struct vq_dev *vq)
{
	return (le16 *)(void *)&vq->used->ring[vq->size];
}

/* The event index furthest from being passed by the driver: just behind where it is. */
static void move_avail_event(struct vq_dev *vq)
{
	vq->kick_moved = vq->last_avail;
	vq_store16(avail_event(vq), (uint16_t)(vq->last_avail - 1));
}

/* Chains taken and not put: what the driver can't offer again. */
static inline uint16_t held(const struct vq_dev *vq)
{
	return (uint16_t)(vq->last_avail - vq->used_next - vq->skew);
}

int vq_dev_avail(struct vq_dev *vq)
{
	uint16_t idx;
	uint16_t num;

	if (vq_unlikely(vq->broken || !vq->running))
		return vq->broken ? -EPROTO : 0;
	idx = vq_observe_idx(&vq->avail->idx);
	num = (uint16_t)(idx - vq->last_avail);
	if (num == 0) {
		vq->avail_seen = idx;
		return 0;
	}
	/* A driver has at most size chains outstanding; without this a device model's tables of them could run over. */
	if (vq_unlikely((uint32_t)num + held(vq) > vq->size)) {
		vq_dev_break(vq, VQ_BROKEN_AVAIL_IDX);
		return -EPROTO;
	}
	vq->avail_seen = idx;
	if (vq->kick_off && vq->event_idx &&
	    (uint16_t)(vq->last_avail - vq->kick_moved) >= KICK_MOVE_EVERY)
		move_avail_event(vq);
	return num;
}

static inline struct vring_desc desc_snapshot(const struct vring_desc *desc)
{
	uint64_t rest = vq_load64((const le64 *)(const void *)&desc->len);

	return (struct vring_desc){
		.addr = vq_load64(&desc->addr),
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
}

/* State of one walk through a chain. */
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

/* Appends a buffer that is not wholly in the region the map's hint names. */
static __attribute__((noinline)) enum vq_broken add_pieces(struct walk *w, struct gpa addr,
							   uint32_t left)
{
	while (left > 0) {
		uint64_t got;
		uint8_t *p = memmap_translate_some(w->vq->map, addr, left, &got);

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

/* Adds one descriptor's buffer to the chain. */
static inline enum vq_broken add_buffer(struct walk *w, const struct vring_desc *desc)
{
	enum vq_broken why = VQ_OK;
	uint8_t *p;

	if (desc->flags & VRING_DESC_F_WRITE)
		w->writable_seen = true;
	else if (w->writable_seen)
		return VQ_BROKEN_ORDER;

	p = memmap_try(w->vq->map, gpa(desc->addr), desc->len);
	if (vq_likely(p && desc->len > 0 && w->segs < VQ_CHAIN_SEGS_MAX))
		w->chain->segs[w->segs++] = (struct vq_seg){ .base = p, .len = desc->len };
	else
		why = add_pieces(w, gpa(desc->addr), desc->len);
	if (w->writable_seen) {
		w->in_bytes += desc->len;
	} else {
		w->out_segs = w->segs;
		w->out_bytes += desc->len;
	}
	return why;
}

/*
 * Reads entry i of the indirect table at addr. Neither the table nor an entry needs to be aligned or to lie in one
 * region.
 */
static bool indirect_snapshot(struct vq_dev *vq, struct gpa addr, unsigned int i,
			      struct vring_desc *desc)
{
	const void *p = memmap_try(vq->map, gpa(addr.v + 16ull * i), sizeof(*desc));

	if (vq_likely(p && IS_ALIGNED((uintptr_t)p, sizeof(le64)))) {
		*desc = desc_snapshot(p);
		return true;
	}
	return memmap_read(vq->map, gpa(addr.v + 16ull * i), desc, sizeof(*desc));
}

static enum vq_broken walk_indirect(struct walk *w, const struct vring_desc *table)
{
	uint32_t num = table->len / sizeof(struct vring_desc);
	struct gpa addr = gpa(table->addr);
	struct vring_desc desc;
	uint32_t i = 0;

	/* virtio 1.2 §2.7.5.3.1, §2.7.5.3.2; the write flag of this descriptor is to be ignored. */
	if (!w->vq->indirect || (table->flags & VRING_DESC_F_NEXT) || num == 0 ||
	    table->len % sizeof(struct vring_desc))
		return VQ_BROKEN_INDIRECT;
	if (table->len > UINT64_MAX - addr.v)
		return VQ_BROKEN_BUFFER;

	for (;;) {
		enum vq_broken why;

		if (w->steps++ == w->vq->size)
			return VQ_BROKEN_LOOP;
		if (!indirect_snapshot(w->vq, addr, i, &desc))
			return VQ_BROKEN_BUFFER;
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return VQ_BROKEN_INDIRECT;
		why = add_buffer(w, &desc);
		if (why || !(desc.flags & VRING_DESC_F_NEXT))
			return why;
		if (desc.next >= num)
			return VQ_BROKEN_NEXT;
		i = desc.next;
	}
}

static enum vq_broken walk_direct(struct walk *w, struct vring_desc desc)
{
	struct vq_dev *vq = w->vq;

	for (;;) {
		enum vq_broken why;

		/* Ordinary descriptors may come before the one that names the table (virtio 1.2 §2.7.5.3.2). */
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return walk_indirect(w, &desc);
		if (w->steps++ == vq->size)
			return VQ_BROKEN_LOOP;
		why = add_buffer(w, &desc);
		if (why || !(desc.flags & VRING_DESC_F_NEXT))
			return why;
		if (desc.next >= vq->size)
			return VQ_BROKEN_NEXT;
		desc = desc_snapshot(&vq->desc[desc.next]);
	}
}

static uint32_t saturated(uint64_t v)
{
	return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

/* Any chain, from its first descriptor on; takes it when it is good. As vq_dev_get(). */
static __attribute__((noinline)) int get_chain(struct vq_dev *vq, struct vq_chain *chain,
					       struct vring_desc desc)
{
	struct walk w = { .vq = vq, .chain = chain };
	enum vq_broken why = walk_direct(&w, desc);

	if (vq_unlikely(why)) {
		vq_dev_break(vq, why);
		return -EPROTO;
	}
	chain->num_out = (uint16_t)w.out_segs;
	chain->num_in = (uint16_t)(w.segs - w.out_segs);
	chain->out_bytes = saturated(w.out_bytes);
	chain->in_bytes = saturated(w.in_bytes);
	vq->last_avail++;
	return 1;
}

static inline int get_next(struct vq_dev *vq, struct vq_chain *chain)
{
	uint16_t head = vq_load16(&vq->avail->ring[vq->last_avail & (vq->size - 1u)]);
	struct vring_desc desc;
	uint32_t in;
	uint8_t *p;

	if (vq_unlikely(head >= vq->size)) {
		vq_dev_break(vq, VQ_BROKEN_HEAD);
		return -EPROTO;
	}
	chain->ref = (struct vq_ref){ head, 1 };
	desc = desc_snapshot(&vq->desc[head]);
	p = memmap_try(vq->map, gpa(desc.addr), desc.len);
	if (!p || desc.len == 0 || (desc.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)))
		return get_chain(vq, chain, desc);

	/* One descriptor whose buffer lies in one region. */
	in = (desc.flags & VRING_DESC_F_WRITE) / VRING_DESC_F_WRITE;
	chain->num_out = (uint16_t)(1 - in);
	chain->num_in = (uint16_t)in;
	chain->out_bytes = in ? 0 : desc.len;
	chain->in_bytes = in ? desc.len : 0;
	chain->segs[0] = (struct vq_seg){ .base = p, .len = desc.len };
	vq->last_avail++;
	return 1;
}

/* The chains seen last time are used up. */
static __attribute__((noinline)) int look_and_get(struct vq_dev *vq, struct vq_chain *chain)
{
	int num = vq_dev_avail(vq);

	return num > 0 ? get_next(vq, chain) : num;
}

int vq_dev_get(struct vq_dev *vq, struct vq_chain *chain)
{
	if (vq->last_avail == vq->avail_seen)
		return look_and_get(vq, chain);
	return get_next(vq, chain);
}

/* The region that holds [addr, addr + len), when the hint's does not; NULL when none holds all of it. */
static __attribute__((noinline)) const struct memmap_region *
other_region(struct vq_dev *vq, struct gpa addr, uint32_t len)
{
	int at = memmap_find(vq->map, addr, len);

	if (at < 0)
		return NULL;
	vq->hit = (unsigned int)at;
	return &vq->map->regions[at];
}

/* Reads up to max avail entries, which are remembered in ones[].ref, and gets their descriptors on the way. */
static unsigned int ones_heads(const struct vq_dev *vq, struct vq_one *ones, unsigned int max)
{
	unsigned int n = (uint16_t)(vq->avail_seen - vq->last_avail);
	unsigned int mask = vq->size - 1u;

	if (n > max)
		n = max;
	for (unsigned int i = 0; i < n; i++) {
		uint16_t head = vq_load16(&vq->avail->ring[(vq->last_avail + i) & mask]);

		ones[i].ref = (struct vq_ref){ head, 1 };
		__builtin_prefetch(&vq->desc[head & mask]);
	}
	return n;
}

unsigned int vq_dev_get_ones(struct vq_dev *vq, bool writable, struct vq_one *ones,
			     unsigned int max)
{
	const uint16_t care = VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE;
	const uint16_t want = writable ? VRING_DESC_F_WRITE : 0;
	const struct memmap_region *r;
	unsigned int n = ones_heads(vq, ones, max);
	unsigned int i;

	if (n == 0) /* also when stopped or broken, see forget_ring() */
		return 0;
	r = &vq->map->regions[vq->hit];
	for (i = 0; i < n; i++) {
		struct vring_desc desc;
		uint64_t offset;

		if (vq_unlikely(ones[i].ref.id >= vq->size))
			break;
		desc = desc_snapshot(&vq->desc[ones[i].ref.id]);
		if (vq_unlikely((desc.flags & care) != want || desc.len == 0))
			break;
		offset = desc.addr - r->start; /* huge when addr lies before the region */
		if (vq_unlikely(offset >= r->size || desc.len > r->size - offset)) {
			const struct memmap_region *other =
				other_region(vq, gpa(desc.addr), desc.len);

			if (!other)
				break;
			r = other;
			offset = desc.addr - r->start;
		}
		ones[i].base = r->host + offset;
		ones[i].len = desc.len;
	}
	vq->last_avail = (uint16_t)(vq->last_avail + i);
	return i;
}

void vq_dev_unget(struct vq_dev *vq, unsigned int n)
{
	vq->last_avail = (uint16_t)(vq->last_avail - n);
	if (vq->broken || !vq->running)
		vq->avail_seen = vq->last_avail; /* as in forget_ring() */
}

static inline void put_used(struct vq_dev *vq, uint16_t at, uint16_t id, uint32_t written)
{
	struct vring_used_elem elem = { .id = id, .len = written };

	/* One store of 8 bytes, 4-aligned: it may tear, but nobody looks before used idx says so. */
	__builtin_memcpy(&vq->used->ring[at & (vq->size - 1u)], &elem, sizeof(elem));
}

void vq_dev_put(struct vq_dev *vq, struct vq_ref ref, uint32_t written)
{
	if (vq_unlikely(!vq->used))
		return;
	put_used(vq, vq->used_next++, ref.id, written);
}

void vq_dev_put_ones(struct vq_dev *vq, const struct vq_one *ones, const uint32_t *written,
		     unsigned int n)
{
	uint16_t at = vq->used_next;

	if (vq_unlikely(!vq->used))
		return;
	for (unsigned int i = 0; i < n; i++)
		put_used(vq, (uint16_t)(at + i), ones[i].ref.id, written ? written[i] : 0);
	vq->used_next = (uint16_t)(at + n);
}

void vq_dev_publish(struct vq_dev *vq)
{
	if (vq->used_next == vq->used_idx || vq_unlikely(!vq->used))
		return;
	vq->used_idx = vq->used_next;
	vq_publish_idx(&vq->used->idx, vq->used_idx);
}

/* Does what the driver asks for at this moment call for a call? */
static bool call_wanted(const struct vq_dev *vq)
{
	if (!vq->event_idx)
		return !(vq_load16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return !vq->called_valid ||
	       vring_need_event(vq_load16(used_event(vq)), vq->used_idx, vq->used_called);
}

bool vq_dev_call_hint(struct vq_dev *vq)
{
	if (vq->used_called == vq->used_idx || vq_unlikely(!vq->used) || !call_wanted(vq))
		return false;
	vq->used_called = vq->used_idx;
	vq->called_valid = true;
	return true;
}

bool vq_dev_call_settle(struct vq_dev *vq)
{
	bool wanted;

	if (vq->used_called == vq->used_idx || vq_unlikely(!vq->used))
		return false;
	wanted = call_wanted(vq);
	vq->used_called = vq->used_idx;
	vq->called_valid = true;
	return wanted;
}

bool vq_dev_call_needed(struct vq_dev *vq)
{
	if (vq->used_called == vq->used_idx || vq_unlikely(!vq->used))
		return false;
	vq_mb_idx_before_event();
	return vq_dev_call_settle(vq);
}

void vq_dev_kick_disable(struct vq_dev *vq)
{
	vq->kick_off = true;
	if (!vq->used)
		return;
	if (vq->event_idx)
		move_avail_event(vq);
	else
		vq_store16(&vq->used->flags, VRING_USED_F_NO_NOTIFY);
}

bool vq_dev_kick_enable(struct vq_dev *vq)
{
	vq->kick_off = false;
	if (!vq->used || vq->broken)
		return false;
	if (vq->event_idx)
		vq_store16(avail_event(vq), vq->last_avail);
	else
		vq_store16(&vq->used->flags, 0);
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
