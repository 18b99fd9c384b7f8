/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory maps: where the guest-physical ranges of one VM are visible to us.
 *
 * A front-end's memory table, or a guest's RAM, is a short sorted array of regions. memmap_translate() is the one
 * place where a struct gpa turns into a pointer; it checks length, overflow and region, and nothing else may do
 * pointer arithmetic on guest addresses. Regions adjacent in guest-physical space need not be adjacent here, so a
 * range can need several steps: the caller loops.
 *
 * Not locked: one thread changes and uses a map, or the caller serialises.
 */
#ifndef VVU_VQ_MEMMAP_H
#define VVU_VQ_MEMMAP_H

#include <stdbool.h>

#include "abi/base.h"
#include "abi/vhost_user.h"

#define MEMMAP_REGIONS_MAX VHOST_USER_MEM_SLOTS_MAX

struct memmap_region {
	uint64_t start; /* guest-physical */
	uint64_t size;
	uint8_t *host;
};

struct memmap {
	unsigned int num;
	unsigned int last_hit; /* a hint: the region the last translation fell into */
	struct memmap_region regions[MEMMAP_REGIONS_MAX]; /* sorted by start, not overlapping */
};

void memmap_init(struct memmap *map);

/*
 * Adds [start, start + size) visible at host. Returns 0, -EINVAL (size 0 or the range wraps), -EEXIST (overlaps a
 * region of the map) or -ENOSPC (MEMMAP_REGIONS_MAX regions).
 */
int memmap_add(struct memmap *map, struct gpa start, uint64_t size, void *host);

/* Removes the region that is exactly [start, start + size). Returns 0 or -ENOENT. */
int memmap_del(struct memmap *map, struct gpa start, uint64_t size);

/*
 * The host pointer of addr, with *len set to the bytes, at most want, that are contiguous from there in its region,
 * and *hint to the index of that region. NULL when addr is in no region (then *len is 0, *hint as before). want 0
 * gives NULL. For users with a hint of their own, who may share the map with others that only look things up.
 */
void *memmap_lookup(const struct memmap *map, unsigned int *hint, struct gpa addr, uint64_t want,
		    uint64_t *len);

/*
 * The host pointer of [addr, addr + len) when the region the hint names holds all of it; else NULL, which says
 * nothing about other regions. Inline and without a call, for the data path.
 */
static inline uint8_t *memmap_try(const struct memmap *map, unsigned int hint, struct gpa addr,
				  uint32_t len)
{
	const struct memmap_region *r = &map->regions[hint];
	uint64_t offset = addr.v - r->start; /* huge when addr lies before the region */

	/* An empty slot has size 0, so the hint needs no check of its own. */
	if (__builtin_expect(offset >= r->size || len > r->size - offset, 0))
		return NULL;
	return r->host + offset;
}

/*
 * The host pointer of addr, with *len set to the bytes, at most want, that are contiguous from there in its region.
 * NULL when addr is in no region (then *len is 0). want 0 gives NULL.
 *
 * Inline, because every descriptor of the data path goes through it: the region of the last translation answers
 * without a call. An empty slot has size 0, so the hint needs no check of its own.
 */
static inline void *memmap_translate_some(struct memmap *map, struct gpa addr, uint64_t want,
					  uint64_t *len)
{
	const struct memmap_region *r = &map->regions[map->last_hit];
	uint64_t offset = addr.v - r->start; /* huge when addr lies before the region */

	if (__builtin_expect(offset >= r->size || want == 0, 0))
		return memmap_lookup(map, &map->last_hit, addr, want, len);
	*len = want <= r->size - offset ? want : r->size - offset;
	return r->host + offset;
}

/*
 * The host pointer of [addr, addr + len) if one region holds all of it and both addr and the pointer are multiples of
 * align (a power of two); else NULL.
 */
void *memmap_translate(struct memmap *map, struct gpa addr, uint64_t len, uint64_t align);

/* Copies len bytes at addr, which may cross regions, to dst. False when part of them is in no region. */
bool memmap_read(struct memmap *map, struct gpa addr, void *dst, uint32_t len);

#endif
