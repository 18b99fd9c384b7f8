// SPDX-License-Identifier: BSD-2-Clause
/*
 * Packed rings, device side (virtio 1.2 §2.8). One ring of descriptors, which the driver makes available and the device
 * overwrites when it gives them back:
 *
 *      slot   0      1      2      3      4      5      6      7
 *         +------+------+------+------+------+------+------+------+
 *         | used | held   held | held | available   available | old
 *         +------+------+------+------+------+------+------+------+
 *                  ^ pk->used           ^ pk->avail             ^ as the driver left it a lap ago
 *
 * Slots between pk->used and pk->avail are held: their descriptors were read, once, and what is in memory there now is
 * of no interest. A used descriptor is written at pk->used whichever chain it is for and moves it on by the slots of
 * that chain, so it never overwrites what was not read. The driver may not make a held slot available again; one that
 * does breaks the ring when the device gets there. With that the chains held are never more than the slots.
 *
 * A driver looks at used descriptors in ring order, so a burst becomes visible with the flags of its first one. That
 * one's words stay in pk->first_word until vq_packed_publish().
 *
 * Where positions are kept for a successor (abi/inflight.h) nothing of a burst may be in the ring before all of it is
 * known there: then put collects the burst in track->puts[], and publish stores it.
 */
#include "vq_priv.h"

#define LAP_BITS (VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED)

/* The words of a descriptor but its address. */
struct rest {
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

static inline le64 *rest_of(struct vring_packed_desc *desc)
{
	return (le64 *)(void *)&desc->len;
}

/*
 * One load of len, id and flags, before the load of the address and of what is behind it: the driver stores the flags
 * last (virtio 1.2 §2.8.21.1).
 */
static inline struct rest rest_snapshot(struct vring_packed_desc *desc)
{
	uint64_t v = __atomic_load_n(rest_of(desc), __ATOMIC_ACQUIRE);

	return (struct rest){ (uint32_t)v, (uint16_t)(v >> 32), (uint16_t)(v >> 48) };
}

/* AVAIL and USED as the driver, and as the device, sets them in a lap with this wrap counter (virtio 1.2 §2.8.1). */
static uint16_t avail_bits(bool wrap)
{
	return wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
}

static uint16_t used_bits(bool wrap)
{
	return wrap ? LAP_BITS : 0;
}

int vq_packed_start(struct vq_dev *vq)
{
	uint32_t base = vq->conf.base;
	uint16_t avail = base & 0x7fff, used;
	bool avail_wrap = base & 0x8000, used_wrap;
	uint32_t ahead;

	if (!(base >> 16) && !vq->resumed)
		base |= base << 16; /* nothing held */
	used = base >> 16 & 0x7fff;
	used_wrap = base >> 31;
	ahead = vq_over_two_laps(vq, avail, avail_wrap) - vq_over_two_laps(vq, used, used_wrap);
	if (ahead > UINT32_MAX / 2)
		ahead += 2u * vq->size;
	if (avail >= vq->size || used >= vq->size || ahead > vq->size) {
		vq_dev_break(vq, VQ_BROKEN_BASE);
		return -EPROTO;
	}
	vq->pk.avail = avail;
	vq->pk.avail_bits = avail_bits(avail_wrap);
	vq->pk.used = used;
	vq->pk.used_bits = used_bits(used_wrap);
	vq->pk.held = (uint16_t)ahead; /* of an earlier life: nobody will put them */
	vq->pk.left_out = (uint16_t)ahead;
	return 0;
}

/* The next used descriptor as the driver sees it: what is put and not published does not count. */
static uint16_t published_slot(const struct vq_packed *pk)
{
	return pk->unpublished ? pk->first : pk->used;
}

static bool published_wrap(const struct vq_packed *pk)
{
	uint64_t bits = pk->unpublished ? pk->first_word >> 48 : pk->used_bits;

	return bits & VRING_PACKED_DESC_F_USED;
}

uint32_t vq_packed_base(const struct vq_dev *vq)
{
	const struct vq_packed *pk = &vq->pk;
	bool wrap = pk->avail_bits & VRING_PACKED_DESC_F_AVAIL;

	if (!pk->avail_bits) /* never started */
		return vq->conf.base;
	return pk->avail | (uint32_t)wrap << 15 | (uint32_t)published_slot(pk) << 16 |
	       (uint32_t)published_wrap(pk) << 31;
}

uint32_t vq_packed_position(const struct vq_dev *vq)
{
	const struct vq_packed *pk = &vq->pk;
	uint32_t used = pk->used, avail = used + pk->left_out;
	bool wrap = pk->used_bits & VRING_PACKED_DESC_F_USED, avail_wrap = wrap;

	if (avail >= vq->size) {
		avail -= vq->size;
		avail_wrap = !wrap;
	}
	avail |= avail_wrap ? 0x8000u : 0;
	used |= wrap ? 0x8000u : 0;
	return avail | used << 16;
}

/* ---- taking ---- */

static inline bool is_available(const struct vq_packed *pk, uint16_t flags)
{
	return (flags & LAP_BITS) == pk->avail_bits;
}

/* Takes n slots. */
static inline void advance_avail(struct vq_dev *vq, unsigned int n)
{
	struct vq_packed *pk = &vq->pk;
	unsigned int slot = pk->avail + n;

	pk->held = (uint16_t)(pk->held + n);
	if (slot >= vq->size) {
		slot -= vq->size;
		pk->avail_bits ^= LAP_BITS;
	}
	pk->avail = (uint16_t)slot;
}

/* Notes whether the next n slots, which lie in one lap, are the heads of chains. */
static inline void note_heads(struct vq_packed *pk, unsigned int slot, unsigned int n, bool heads)
{
	while (n > 0) {
		unsigned int shift = slot % 64;
		unsigned int here = n < 64 - shift ? n : 64 - shift;
		uint64_t mask = (here == 64 ? UINT64_MAX : BIT_ULL(here) - 1) << shift;

		if (heads)
			pk->heads[slot / 64] |= mask;
		else
			pk->heads[slot / 64] &= ~mask;
		slot += here;
		n -= here;
	}
}

int vq_packed_avail(struct vq_dev *vq)
{
	if (!is_available(&vq->pk, rest_snapshot(&vq->ring[vq->pk.avail]).flags))
		return 0;
	if (vq_unlikely(vq->pk.held == vq->size)) {
		vq_dev_break(vq, VQ_BROKEN_IN_USE);
		return -EPROTO;
	}
	return vq->size - vq->pk.held;
}

bool vq_packed_has(const struct vq_dev *vq, unsigned int n)
{
	uint32_t slot = vq->pk.avail + n - 1;
	uint16_t bits = vq->pk.avail_bits;

	if (slot >= vq->size) {
		slot -= vq->size;
		bits ^= LAP_BITS;
	}
	return (vq_load16(&vq->ring[slot].flags) & LAP_BITS) == bits;
}

static bool entry_snapshot(struct vq_dev *vq, uint64_t addr, struct vring_packed_desc *entry)
{
	uint8_t *p = vq_try(vq, addr, sizeof(*entry));

	if (vq_likely(p && IS_ALIGNED((uintptr_t)p, sizeof(le64)))) {
		struct vring_packed_desc *desc = (void *)p;
		uint64_t rest = vq_load64(rest_of(desc));

		*entry = (struct vring_packed_desc){
			.addr = vq_load64(&desc->addr),
			.len = (uint32_t)rest,
			.flags = (uint16_t)(rest >> 48),
		};
		return true;
	}
	return vq_walk_read_entry(vq, gpa(addr), entry);
}

/*
 * An indirect table: entries one behind the other, no more of them than the queue has (virtio 1.2 §2.8.7). It is the
 * only descriptor of its chain (§2.8.19). Flags of an entry other than WRITE mean nothing.
 *
 * DPDK's driver (22.11 and before) leaves WRITE set in the first entry of its transmit tables, which holds the header.
 * A writable entry may not come before a readable one, so there is one way only to understand such a table, and it is
 * taken.
 */
static enum vq_broken walk_indirect(struct walk *w, uint64_t addr, const struct rest *table)
{
	uint32_t num = table->len / sizeof(struct vring_packed_desc);
	struct vring_packed_desc entry;

	if (!w->vq->indirect || w->steps || (table->flags & VRING_DESC_F_NEXT) || num == 0 ||
	    table->len % sizeof(struct vring_packed_desc))
		return VQ_BROKEN_INDIRECT;
	if (table->len > UINT64_MAX - addr)
		return VQ_BROKEN_BUFFER;
	if (num > w->vq->size)
		return VQ_BROKEN_LOOP;
	if (!entry_snapshot(w->vq, addr, &entry))
		return VQ_BROKEN_BUFFER;
	for (uint32_t i = 0; i < num; i++) {
		bool writable = entry.flags & VRING_DESC_F_WRITE;
		struct vring_packed_desc next = { 0 };
		enum vq_broken why;

		if (i + 1 < num && !entry_snapshot(w->vq, addr + 16ull * (i + 1), &next))
			return VQ_BROKEN_BUFFER;
		if (entry.flags & VRING_DESC_F_INDIRECT)
			return VQ_BROKEN_INDIRECT;
		if (i == 0 && num > 1 && !(next.flags & VRING_DESC_F_WRITE))
			writable = false;
		why = walk_add(w, entry.addr, entry.len, writable);
		if (why)
			return why;
		entry = next;
	}
	return VQ_OK;
}

/*
 * Descriptors of one chain are neighbours; the last one has the buffer id (virtio 1.2 §2.8.6). rest: of the first one.
 * *slots: how many there are. Descriptors behind the first are the device's as soon as the first one is.
 */
static enum vq_broken walk_ring(struct walk *w, struct rest rest, unsigned int *slots)
{
	struct vq_dev *vq = w->vq;
	unsigned int room = vq->size - vq->pk.held; /* > 0: see get_chain() */
	unsigned int slot = vq->pk.avail;

	for (*slots = 1;; ++*slots) {
		uint64_t addr = vq_load64(&vq->ring[slot].addr);
		enum vq_broken why;

		w->chain->ref = (struct vq_ref){ rest.id, (uint16_t)*slots };
		if (rest.flags & VRING_DESC_F_INDIRECT)
			return walk_indirect(w, addr, &rest);
		w->steps++;
		why = walk_add(w, addr, rest.len, rest.flags & VRING_DESC_F_WRITE);
		if (why || !(rest.flags & VRING_DESC_F_NEXT))
			return why;
		if (*slots == room)
			return room == vq->size ? VQ_BROKEN_LOOP : VQ_BROKEN_IN_USE;
		slot = slot + 1 == vq->size ? 0 : slot + 1;
		rest = rest_snapshot(&vq->ring[slot]);
	}
}

/* Any chain, from its first descriptor on; takes it when it is good. As vq_dev_get(). */
static __attribute__((noinline)) int get_chain(struct vq_dev *vq, struct vq_chain *chain,
					       struct rest rest)
{
	struct walk w = { .vq = vq, .chain = chain };
	struct vq_packed *pk = &vq->pk;
	enum vq_broken why = VQ_BROKEN_IN_USE;
	unsigned int slots;

	if (vq_likely(pk->held < vq->size))
		why = walk_ring(&w, rest, &slots);
	if (vq_unlikely(why)) {
		vq_dev_break(vq, why);
		return -EPROTO;
	}
	vq_walk_finish(&w);
	note_heads(pk, pk->avail, 1, true);
	for (unsigned int i = 1, slot = pk->avail; i < slots; i++) {
		slot = slot + 1 == vq->size ? 0 : slot + 1;
		note_heads(pk, slot, 1, false);
	}
	advance_avail(vq, slots);
	return 1;
}

int vq_packed_get(struct vq_dev *vq, struct vq_chain *chain)
{
	struct vring_packed_desc *desc;
	struct rest rest;

	if (vq_unlikely(vq->broken || !vq->running))
		return vq->broken ? -EPROTO : 0;
	desc = &vq->ring[vq->pk.avail];
	rest = rest_snapshot(desc);
	return is_available(&vq->pk, rest.flags) ? get_chain(vq, chain, rest) : 0;
}

/* Up to n chains from pk->avail on, all in one lap. As vq_dev_get_ones(). */
static unsigned int ones_of_lap(struct vq_dev *vq, uint16_t want, struct vq_one *ones,
				unsigned int n)
{
	const uint16_t care =
		LAP_BITS | VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE;
	const struct memmap_region *r = &vq->map->regions[vq->hit];
	struct vring_packed_desc *desc = &vq->ring[vq->pk.avail];
	unsigned int i;

	want |= vq->pk.avail_bits;
	for (i = 0; i < n; i++) {
		struct rest rest = rest_snapshot(&desc[i]);
		uint64_t addr = vq_load64(&desc[i].addr);
		uint64_t offset = addr - r->start; /* huge when addr lies before the region */

		if ((rest.flags & care) != want || vq_unlikely(rest.len == 0))
			break;
		if (vq_unlikely(offset >= r->size || rest.len > r->size - offset)) {
			const struct memmap_region *other =
				vq_walk_other_region(vq, gpa(addr), rest.len);

			if (!other)
				break;
			r = other;
			offset = addr - r->start;
		}
		ones[i] = (struct vq_one){ r->host + offset, rest.len, { rest.id, 1 } };
	}
	note_heads(&vq->pk, vq->pk.avail, i, true);
	advance_avail(vq, i);
	return i;
}

unsigned int vq_packed_get_ones(struct vq_dev *vq, bool writable, struct vq_one *ones,
				unsigned int max)
{
	const uint16_t want = writable ? VRING_DESC_F_WRITE : 0;
	unsigned int room =
		vq->size - vq->pk.held; /* a slot that is held is for vq_dev_get() to refuse */
	unsigned int n = max < room ? max : room;
	unsigned int end = vq->size - vq->pk.avail;
	unsigned int first = n < end ? n : end;
	unsigned int got;

	if (n == 0 || vq_unlikely(vq->broken || !vq->running) ||
	    !is_available(&vq->pk, vq_load16(&vq->ring[vq->pk.avail].flags)))
		return 0;
	/* Only now: a line that the driver is about to write is better left with it. */
	for (unsigned int i = 4; i < first; i += 4)
		__builtin_prefetch(&vq->ring[vq->pk.avail + i]);
	got = ones_of_lap(vq, want, ones, first);
	if (got == end && got < n)
		got += ones_of_lap(vq, want, ones + got, n - got);
	return got;
}

void vq_packed_unget(struct vq_dev *vq, unsigned int n)
{
	struct vq_packed *pk = &vq->pk;

	while (n > 0 && pk->held > 0) {
		if (pk->avail == 0) {
			pk->avail = vq->size;
			pk->avail_bits ^= LAP_BITS;
		}
		pk->avail--;
		pk->held--;
		n -= pk->heads[pk->avail / 64] >> pk->avail % 64 & 1;
	}
}

/* ---- giving back ---- */

/* virtio 1.2 §2.8.3: WRITE in a used descriptor says that len means something. */
static inline uint64_t used_word(uint16_t used_bits, uint64_t id_written)
{
	uint64_t flags = used_bits | ((uint32_t)id_written ? VRING_DESC_F_WRITE : 0u);

	return (id_written & ~(UINT64_C(0xffff) << 48)) | flags << 48;
}

/* The first three fields of struct inflight_put, and of a used descriptor from len on. */
static inline uint64_t id_written(uint16_t id, uint32_t written)
{
	return written | (uint64_t)id << 32;
}

static inline le64 *put_at(struct inflight_ring *track, unsigned int i)
{
	return (le64 *)(void *)&track->puts[i];
}

/* Slots from pk->used on are put; first: what the used descriptor of the first chain says. */
static inline void advance_used(struct vq_dev *vq, unsigned int slots, uint64_t first)
{
	struct vq_packed *pk = &vq->pk;
	unsigned int next = pk->used + slots;

	if (pk->unpublished == 0) {
		pk->first = pk->used;
		pk->first_word = used_word(pk->used_bits, first);
	}
	pk->unpublished += slots;
	pk->held = (uint16_t)(pk->held - slots);
	if (next >= vq->size) {
		next -= vq->size;
		pk->used_bits ^= LAP_BITS;
	}
	pk->used = (uint16_t)next;
}

/* Into the ring at once. */
static inline void put_used(struct vq_dev *vq, uint16_t id, unsigned int slots, uint32_t written)
{
	struct vq_packed *pk = &vq->pk;
	uint64_t word = id_written(id, written);

	if (pk->unpublished)
		vq_store64(rest_of(&vq->ring[pk->used]), used_word(pk->used_bits, word));
	advance_used(vq, slots, word);
}

void vq_packed_put(struct vq_dev *vq, struct vq_ref ref, uint32_t written)
{
	uint64_t word = id_written(ref.id, written);

	if (!vq->track) {
		put_used(vq, ref.id, ref.num, written);
		return;
	}
	if (vq_unlikely(vq->pk.puts == INFLIGHT_PUTS_MAX))
		vq_packed_publish(vq);
	vq_store64(put_at(vq->track, vq->pk.puts++), word | (uint64_t)ref.num << 48);
	advance_used(vq, ref.num, word);
}

static void put_ones_tracked(struct vq_dev *vq, const struct vq_one *ones, const uint32_t *written,
			     unsigned int n)
{
	struct vq_packed *pk = &vq->pk;
	le64 *put = put_at(vq->track, pk->puts);

	for (unsigned int i = 0; i < n; i++) {
		uint64_t word = id_written(ones[i].ref.id, written ? written[i] : 0);

		vq_store64(&put[i], word | UINT64_C(1) << 48);
	}
	pk->puts = (uint16_t)(pk->puts + n);
	advance_used(vq, n, id_written(ones[0].ref.id, written ? written[0] : 0));
}

void vq_packed_put_ones(struct vq_dev *vq, const struct vq_one *ones, const uint32_t *written,
			unsigned int n)
{
	/* virtio 1.2 §2.8.8: one descriptor, at the first one's place, names the last chain of a batch. */
	if (vq->in_order && !written) {
		vq_packed_put(vq, (struct vq_ref){ ones[n - 1].ref.id, (uint16_t)n }, 0);
		return;
	}
	if (!vq->track) {
		for (unsigned int i = 0; i < n; i++)
			put_used(vq, ones[i].ref.id, 1, written ? written[i] : 0);
		return;
	}
	/* What is put together is published together. */
	if (vq_unlikely(vq_dev_put_room(vq) < n))
		vq_packed_publish(vq);
	for (; vq_unlikely(n > INFLIGHT_PUTS_MAX); n--, ones++)
		vq_packed_put(vq, ones->ref, written ? *written++ : 0);
	if (vq_unlikely(vq_dev_put_room(vq) < n))
		vq_packed_publish(vq);
	put_ones_tracked(vq, ones, written, n);
}

/* As vq_packed_store(), of chains of one slot. */
static void store_ones(struct vq_dev *vq, uint16_t slot, uint16_t used_bits, unsigned int n)
{
	const le64 *put = put_at(vq->track, 0);
	struct vring_packed_desc *desc = &vq->ring[slot];
	uint64_t first = used_word(used_bits, vq_load64(put));
	unsigned int i = 1, end = vq->size - slot;

	for (; i < n && i < end; i++)
		vq_store64(rest_of(&desc[i]), used_word(used_bits, vq_load64(&put[i])));
	for (; i < n; i++)
		vq_store64(rest_of(&vq->ring[i - end]),
			   used_word(used_bits ^ LAP_BITS, vq_load64(&put[i])));
	vq_publish_used(rest_of(desc), first);
}

bool vq_packed_store(struct vq_dev *vq, uint16_t slot, uint16_t used_bits, unsigned int slots)
{
	const uint16_t first_slot = slot;
	uint64_t first = 0;

	for (unsigned int i = 0; slots > 0; i++) {
		uint64_t put = i < INFLIGHT_PUTS_MAX ? vq_load64(put_at(vq->conf.track, i)) : 0;
		unsigned int n = put >> 48;

		if (vq_unlikely(n == 0 || n > slots))
			return false;
		if (i == 0)
			first = used_word(used_bits, put);
		else
			vq_store64(rest_of(&vq->ring[slot]), used_word(used_bits, put));
		slots -= n;
		if (slot + n >= vq->size) {
			slot = (uint16_t)(slot + n - vq->size);
			used_bits ^= LAP_BITS;
		} else {
			slot = (uint16_t)(slot + n);
		}
	}
	vq_publish_used(rest_of(&vq->ring[first_slot]), first);
	return true;
}

/* One store of the positions before, one after the burst (abi/inflight.h). */
static void publish_tracked(struct vq_dev *vq)
{
	struct vq_packed *pk = &vq->pk;
	uint32_t after = vq_packed_position(vq);

	vq_step();
	vq_store32(&vq->track->after, after);
	vq_step();
	if (pk->puts == pk->unpublished)
		store_ones(vq, pk->first, pk->first_word >> 48 & LAP_BITS, pk->puts);
	else
		vq_packed_store(vq, pk->first, pk->first_word >> 48 & LAP_BITS, pk->unpublished);
	vq_step();
	vq_store32(&vq->track->before, after);
	pk->puts = 0;
}

void vq_packed_publish(struct vq_dev *vq)
{
	struct vq_packed *pk = &vq->pk;

	if (pk->unpublished == 0)
		return;
	/* Everything put is complete before these flags say so; one store of len, id and flags. */
	if (vq->track)
		publish_tracked(vq);
	else
		vq_publish_used(rest_of(&vq->ring[pk->first]), pk->first_word);
	vq->uncalled += pk->unpublished;
	pk->unpublished = 0;
}

/* ---- notifications (virtio 1.2 §2.8.10) ---- */

bool vq_packed_call_wanted(const struct vq_dev *vq)
{
	uint32_t event = vq_load32((const le32 *)(const void *)vq->driver_event);
	uint16_t slot = event & VRING_PACKED_EVENT_OFF_MASK;
	uint32_t laps = 2u * vq->size;
	uint32_t now, at;

	switch (event >> 16 & 3) {
	case VRING_PACKED_EVENT_F_DISABLE:
		return false;
	case VRING_PACKED_EVENT_F_DESC:
		break;
	default:
		return true;
	}
	if (!vq->event_idx || !vq->called_valid || slot >= vq->size || vq->uncalled >= laps)
		return true;
	now = vq_over_two_laps(vq, published_slot(&vq->pk), published_wrap(&vq->pk));
	at = vq_over_two_laps(vq, slot, event >> VRING_PACKED_EVENT_WRAP_BIT & 1);
	/* The position at was passed if it is one of the uncalled ones before now. */
	now += now > at ? 0 : laps;
	return now - at <= vq->uncalled;
}

void vq_packed_kick(struct vq_dev *vq, bool on)
{
	uint32_t event = VRING_PACKED_EVENT_F_DISABLE << 16;

	if (on && vq->event_idx) {
		bool wrap = vq->pk.avail_bits & VRING_PACKED_DESC_F_AVAIL;

		event = vq->pk.avail | (uint32_t)wrap << VRING_PACKED_EVENT_WRAP_BIT |
			VRING_PACKED_EVENT_F_DESC << 16;
	} else if (on) {
		event = VRING_PACKED_EVENT_F_ENABLE << 16;
	}
	/* Both fields with one store, as drivers read them. */
	vq_store32((le32 *)(void *)vq->device_event, event);
}
