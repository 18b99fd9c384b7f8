// SPDX-License-Identifier: BSD-2-Clause
/*
 * Split rings, device side. The hot path is vq_split_get_ones() and vq_split_put_ones(), and vq_split_get() for a chain
 * of one descriptor: a handful of loads, one translation that the hint answers, no calls. Everything else (longer
 * chains, indirect tables, region boundaries, errors) is in functions of its own.
 *
 * A descriptor is read once into a local struct vring_desc, and only that is looked at. The words it came from may
 * change meanwhile; that harms nobody but the driver.
 */
#include "vq_priv.h"

/*
 * How far behind avail_event may fall before it is moved along: rarely enough to leave the driver's cache line
 * alone.
 */
#define KICK_MOVE_EVERY 16384

int vq_split_start(struct vq_dev *vq)
{
	vq->used_idx = vq_load16(&vq->used->idx);
	vq->used_next = vq->used_idx;
	if (vq->resumed) {
		vq->last_avail = (uint16_t)(vq->used_idx + vq->skew);
		vq->avail_seen = vq->last_avail;
	}
	vq->skew = (uint16_t)(vq->last_avail - vq->used_idx);
	return 0;
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

int vq_split_avail(struct vq_dev *vq)
{
	uint16_t idx = vq_observe_idx(&vq->avail->idx);
	uint16_t num = (uint16_t)(idx - vq->last_avail);

	if (num == 0) {
		/*
		 * What a driver that sends chain by chain writes next is wanted together with its idx, not after it:
		 * while the load of a new idx is on its way, the processor runs ahead into the next look, and to here.
		 * A driver that sends bursts would find these lines gone while it writes them.
		 */
		if (vq->by_ones) {
			__builtin_prefetch(&vq->avail->ring[vq->last_avail & (vq->size - 1u)]);
			__builtin_prefetch(&vq->desc[vq->expect]);
		}
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

/*
 * Reads entry i of the indirect table at addr. Neither the table nor an entry needs to be aligned or to lie in one
 * region.
 */
static bool indirect_snapshot(struct vq_dev *vq, struct gpa addr, unsigned int i,
			      struct vring_desc *desc)
{
	const void *p = vq_try(vq, addr.v + 16ull * i, sizeof(*desc));

	if (vq_likely(p && IS_ALIGNED((uintptr_t)p, sizeof(le64)))) {
		*desc = desc_snapshot(p);
		return true;
	}
	return vq_walk_read_entry(vq, gpa(addr.v + 16ull * i), desc);
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
		why = walk_add(w, desc.addr, desc.len, desc.flags & VRING_DESC_F_WRITE);
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
		why = walk_add(w, desc.addr, desc.len, desc.flags & VRING_DESC_F_WRITE);
		if (why || !(desc.flags & VRING_DESC_F_NEXT))
			return why;
		if (desc.next >= vq->size)
			return VQ_BROKEN_NEXT;
		desc = desc_snapshot(&vq->desc[desc.next]);
	}
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
	vq_walk_finish(&w);
	vq->last_avail++;
	return 1;
}

static inline int get_next(struct vq_dev *vq, struct vq_chain *chain)
{
	uint16_t head = vq_load16(&vq->avail->ring[vq->last_avail & (vq->size - 1u)]);
	struct vring_desc desc;
	uint8_t *p;

	if (vq_unlikely(head >= vq->size)) {
		vq_dev_break(vq, VQ_BROKEN_HEAD);
		return -EPROTO;
	}
	chain->ref = (struct vq_ref){ head, 1 };
	desc = desc_snapshot(&vq->desc[head]);
	p = vq_try(vq, desc.addr, desc.len);
	if (!p || desc.len == 0 || (desc.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)))
		return get_chain(vq, chain, desc);

	chain_one(chain, p, desc.len, desc.flags & VRING_DESC_F_WRITE);
	vq->last_avail++;
	return 1;
}

/* The chains seen last time are used up. */
static __attribute__((noinline)) int look_and_get(struct vq_dev *vq, struct vq_chain *chain)
{
	int num = vq_dev_avail(vq);

	return num > 0 ? get_next(vq, chain) : num;
}

int vq_split_get(struct vq_dev *vq, struct vq_chain *chain)
{
	if (vq->last_avail == vq->avail_seen)
		return look_and_get(vq, chain);
	return get_next(vq, chain);
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

unsigned int vq_split_get_ones(struct vq_dev *vq, bool writable, struct vq_one *ones,
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
				vq_walk_other_region(vq, gpa(desc.addr), desc.len);

			if (!other)
				break;
			r = other;
			offset = desc.addr - r->start;
		}
		ones[i].base = r->host + offset;
		ones[i].len = desc.len;
	}
	vq->last_avail = (uint16_t)(vq->last_avail + i);
	vq->by_ones = i <= 2;
	if (i)
		vq->expect = (uint16_t)(ones[i - 1].ref.id + 1) & (vq->size - 1u);
	return i;
}

static inline void put_used(struct vq_dev *vq, uint16_t at, uint16_t id, uint32_t written)
{
	struct vring_used_elem elem = { .id = id, .len = written };

	/* One store of 8 bytes, 4-aligned: it may tear, but nobody looks before used idx says so. */
	__builtin_memcpy(&vq->used->ring[at & (vq->size - 1u)], &elem, sizeof(elem));
	vq_test_stored();
}

void vq_split_put(struct vq_dev *vq, struct vq_ref ref, uint32_t written)
{
	put_used(vq, vq->used_next++, ref.id, written);
}

void vq_split_put_ones(struct vq_dev *vq, const struct vq_one *ones, const uint32_t *written,
		       unsigned int n)
{
	uint16_t at = vq->used_next;

	/* virtio 1.2 §2.7.9: one entry, at the first one's place, names the last chain of a batch. */
	if (vq->in_order && !written)
		put_used(vq, at, ones[n - 1].ref.id, 0);
	else
		for (unsigned int i = 0; i < n; i++)
			put_used(vq, (uint16_t)(at + i), ones[i].ref.id, written ? written[i] : 0);
	vq->used_next = (uint16_t)(at + n);
}

void vq_split_publish(struct vq_dev *vq)
{
	if (vq->used_next == vq->used_idx)
		return;
	vq->uncalled += (uint16_t)(vq->used_next - vq->used_idx);
	vq->used_idx = vq->used_next;
	vq_publish_idx(&vq->used->idx, vq->used_idx);
}

bool vq_split_call_wanted(const struct vq_dev *vq)
{
	if (!vq->event_idx)
		return !(vq_load16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return !vq->called_valid || vq->uncalled > UINT16_MAX ||
	       vring_need_event(vq_load16(used_event(vq)), vq->used_idx,
				(uint16_t)(vq->used_idx - vq->uncalled));
}

void vq_split_kick(struct vq_dev *vq, bool on)
{
	if (!vq->event_idx)
		vq_store16(&vq->used->flags, on ? 0 : VRING_USED_F_NO_NOTIFY);
	else if (on)
		vq_store16(avail_event(vq), vq->last_avail);
	else
		move_avail_event(vq);
}
