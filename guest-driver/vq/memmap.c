// SPDX-License-Identifier: BSD-2-Clause
/*
 * Regions stay sorted by start and packed at the front of the array; every slot behind them is all zero, so that a
 * stale hint hits nothing.
 */
#include "vq/memmap.h"

#include "abi/errno.h"

void memmap_init(struct memmap *map)
{
	*map = (struct memmap){ 0 };
}

/* Index of the first region that ends after addr, or num. No region wraps (memmap_add()). */
static unsigned int first_ending_after(const struct memmap *map, uint64_t addr)
{
	unsigned int lo = 0;
	unsigned int hi = map->num;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;
		const struct memmap_region *r = &map->regions[mid];

		if (r->start + r->size <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int memmap_add(struct memmap *map, struct gpa start, uint64_t size, void *host)
{
	unsigned int at;

	if (size == 0 || size > UINT64_MAX - start.v)
		return -EINVAL;
	at = first_ending_after(map, start.v);
	if (at < map->num && map->regions[at].start < start.v + size)
		return -EEXIST;
	if (map->num == MEMMAP_REGIONS_MAX)
		return -ENOSPC;

	for (unsigned int i = map->num; i > at; i--)
		map->regions[i] = map->regions[i - 1];
	map->regions[at] = (struct memmap_region){ start.v, size, host };
	map->num++;
	map->last_hit = 0;
	return 0;
}

int memmap_del(struct memmap *map, struct gpa start, uint64_t size)
{
	unsigned int at = first_ending_after(map, start.v);

	if (at == map->num || map->regions[at].start != start.v || map->regions[at].size != size)
		return -ENOENT;
	map->num--;
	for (unsigned int i = at; i < map->num; i++)
		map->regions[i] = map->regions[i + 1];
	map->regions[map->num] = (struct memmap_region){ 0 };
	map->last_hit = 0;
	return 0;
}

void *memmap_lookup(const struct memmap *map, unsigned int *hint, struct gpa addr, uint64_t want,
		    uint64_t *len)
{
	unsigned int at = first_ending_after(map, addr.v);
	const struct memmap_region *r;
	uint64_t offset;

	*len = 0;
	if (want == 0 || at == map->num || addr.v < map->regions[at].start)
		return NULL;
	r = &map->regions[at];
	offset = addr.v - r->start;
	*hint = at;
	*len = want <= r->size - offset ? want : r->size - offset;
	return r->host + offset;
}

void *memmap_translate(struct memmap *map, struct gpa addr, uint64_t len, uint64_t align)
{
	uint64_t got;
	uint8_t *p = memmap_translate_some(map, addr, len, &got);

	if (!p || got != len || !IS_ALIGNED(addr.v | (uintptr_t)p, align))
		return NULL;
	return p;
}

bool memmap_read(struct memmap *map, struct gpa addr, void *dst, uint32_t len)
{
	uint8_t *to = dst;

	while (len > 0) {
		uint64_t got;
		const void *from = memmap_translate_some(map, addr, len, &got);

		if (!from)
			return false;
		__builtin_memcpy(to, from, got);
		to += got;
		len -= (uint32_t)got;
		addr.v += got; /* cannot wrap: no region reaches the end of the address space */
	}
	return true;
}
