/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver of the virtqueue fuzz targets: memory, geometry, and operations that write to the rings whatever the input
 * says. Three regions in buffers of exactly their size; the first two are adjacent in guest-physical space only, the
 * third lies apart. Random bytes alone would rarely make a valid chain, so addresses and indices are bent into range
 * except when an operation says "wild".
 *
 * All of it can exist several times (images) with the same content, for targets that compare.
 */
#ifndef VVU_TESTS_FUZZ_VQ_DRIVER_H
#define VVU_TESTS_FUZZ_VQ_DRIVER_H

#include "fuzz.h"

#include "abi/errno.h"
#include "vq/vq_dev.h"

#define REGION_BYTES 8192u
#define REGION_NUM   3u
#define IMAGES_MAX   2u
#define SIZE_MAX_    64u /* of a queue; also the most chains that can be held */

static const uint64_t region_start[REGION_NUM] = { 0x10000, 0x10000 + REGION_BYTES, 0x40000 };

struct driver {
	struct input in;
	unsigned int images;
	uint8_t *host[IMAGES_MAX][REGION_NUM];
	struct memmap map[IMAGES_MAX];
	struct vq_dev_conf conf; /* without map and track */
	bool tracked;
	struct inflight_ring track[IMAGES_MAX];
	unsigned int slot; /* packed: the next one, if the driver did as it should */
	bool wrap;
};

static inline void driver_init(struct driver *d, unsigned int images)
{
	static uint8_t *memory[IMAGES_MAX][REGION_NUM];

	d->images = images;
	for (unsigned int k = 0; k < images; k++) {
		memmap_init(&d->map[k]);
		for (unsigned int i = 0; i < REGION_NUM; i++) {
			if (!memory[k][i] &&
			    posix_memalign((void **)&memory[k][i], 4096, REGION_BYTES))
				abort();
			memset(memory[k][i], 0, REGION_BYTES);
			d->host[k][i] = memory[k][i];
			CHECK(!memmap_add(&d->map[k], gpa(region_start[i]), REGION_BYTES,
					  memory[k][i]));
		}
	}
}

/* Writes into the first two regions of every image. */
static inline void driver_poke(struct driver *d, unsigned int at, const void *bytes, unsigned int n)
{
	for (unsigned int k = 0; k < d->images; k++)
		for (unsigned int i = 0; i < n; i++)
			d->host[k][(at + i) / REGION_BYTES][(at + i) % REGION_BYTES] =
				((const uint8_t *)bytes)[i];
}

/*
 * What a predecessor left, in every image: nothing, what the queue before this one kept there, or words that make some
 * sense, or none.
 */
static inline void driver_track(struct driver *d, uint8_t how)
{
	struct inflight_ring *t = &d->track[0];
	uint8_t words;

	d->tracked = how & 0x20;
	if (!d->tracked || (how & 0x40))
		return;
	words = input_u8(&d->in);
	t->state = words & 3;
	t->size = words & 4 ? input_u16(&d->in) : d->conf.size;
	t->before = words & 8 ? input_u32(&d->in) : (input_u8(&d->in) & 0x80) * 0x01000100u;
	t->after = words & 16 ? input_u32(&d->in) : t->before + (words >> 6) * 0x00010001u;
	for (unsigned int i = 0; i < (words >> 5 & 7u); i++) {
		t->puts[i].id = input_u8(&d->in);
		t->puts[i].slots = input_u8(&d->in) % 8;
		t->puts[i].written = input_u8(&d->in);
	}
	for (unsigned int k = 1; k < d->images; k++)
		d->track[k] = *t;
}

/* A queue's layout, positions and features: three bytes, more when they are wild. */
static inline void driver_geometry(struct driver *d)
{
	uint8_t b = input_u8(&d->in);
	uint8_t layout = input_u8(&d->in);
	bool packed = layout & 1;

	d->conf = (struct vq_dev_conf){
		.desc = gpa(region_start[0]),
		.avail = gpa(region_start[0] + 2048),
		.used = gpa(region_start[0] + 4096),
		.size = 1u << (b & 7) % 7, /* 1..64 */
		.base = packed ? 0x8000 : 0,
		.packed = packed,
		.in_order = layout & 2,
		.event_idx = b & 0x20,
		.indirect = !(b & 0x40),
	};
	if (packed && (layout & 4) && d->conf.size > 3)
		d->conf.size -= 1 + (layout >> 3 & 1);
	if (b & 0x10)
		d->conf.base = layout & 0x10 ? input_u32(&d->in)
					     : (input_u16(&d->in) % 64u | d->conf.base);
	if (b & 0x80) { /* wild geometry */
		d->conf.desc.v += input_u16(&d->in);
		d->conf.avail.v += input_u16(&d->in);
		d->conf.used.v += input_u16(&d->in);
		d->conf.size = input_u16(&d->in);
		if (d->conf.size > SIZE_MAX_)
			d->conf.size &= 0xffc0;
	}
	d->slot = d->conf.base & 0x7fff;
	d->wrap = d->conf.base & 0x8000;
	driver_track(d, layout);
}

static inline uint64_t driver_address(struct driver *d, bool wild)
{
	uint64_t v = wild ? input_u64(&d->in) : input_u16(&d->in);

	if (wild)
		return v;
	return v & 0x8000 ? region_start[2] + (v & 0x3fff) : region_start[0] + (v & 0x7fff);
}

/* A descriptor, of a split ring or of a table, somewhere. */
static inline void driver_descriptor(struct driver *d, bool wild)
{
	struct vring_desc desc = { .addr = driver_address(d, wild) };
	uint8_t flags;
	unsigned int at;

	at = (input_u8(&d->in) & 63u) * 16u;
	flags = input_u8(&d->in);
	desc.len = wild ? input_u32(&d->in) : input_u16(&d->in) & 0x1fff;
	desc.flags = wild ? input_u16(&d->in) : flags & 7;
	desc.next = wild ? input_u16(&d->in) : (flags >> 3) & 31;
	/* Bit 7 puts it across the boundary of the first two regions, where indirect tables may be. */
	at = flags & 0x80 ? at % 512 : at;
	if (flags & 0x80)
		at += REGION_BYTES - 264;
	driver_poke(d, at, &desc, sizeof(desc));
}

/* The next descriptor of a packed ring, available; bits 3-4 of the flags byte: how much of that is wrong. */
static inline void driver_packed(struct driver *d, bool wild)
{
	struct vring_packed_desc desc = { .addr = driver_address(d, wild) };
	uint8_t flags = input_u8(&d->in);
	unsigned int size = d->conf.size && d->conf.size <= SIZE_MAX_ ? d->conf.size : 1;
	bool wrap = d->wrap ^ ((flags & 0x18) == 0x18);

	desc.len = wild ? input_u32(&d->in) : input_u16(&d->in) & 0x1fff;
	desc.id = flags & 0x20 ? input_u16(&d->in) : (uint16_t)d->slot;
	desc.flags = (flags & 7) | (wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED);
	driver_poke(d, d->slot % size * 16, &desc, sizeof(desc));
	if (++d->slot >= size) {
		d->slot = 0;
		d->wrap = !d->wrap;
	}
}

static inline void driver_word(struct driver *d)
{
	uint16_t at = input_u16(&d->in);
	uint16_t value = input_u16(&d->in);

	at = (uint16_t)(at % (2 * REGION_BYTES - 1)) & 0xfffe;
	driver_poke(d, at, &value, sizeof(value));
}

/* An avail entry, and idx moved on: sometimes by more than one, with old entries. */
static inline void driver_make_available(struct driver *d)
{
	uint8_t b = input_u8(&d->in);
	unsigned int size = d->conf.size && d->conf.size <= SIZE_MAX_ ? d->conf.size : 1;
	uint16_t head = b & 63;
	uint16_t idx;

	memcpy(&idx, d->host[0][0] + 2048 + 2, 2);
	driver_poke(d, 2048 + 4 + 2 * (idx % size), &head, 2);
	idx = (uint16_t)(idx + 1 + (b >> 6) * (b >> 6));
	driver_poke(d, 2048 + 2, &idx, 2);
}

#endif
