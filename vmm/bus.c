// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/bus.h"

/* Index of the first range that starts above addr. */
static unsigned int bus_upper(const struct bus *bus, uint64_t addr)
{
	unsigned int low = 0, high = bus->num;

	while (low < high) {
		unsigned int mid = (low + high) / 2;

		if (bus->ranges[mid].base > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

int bus_add(struct bus *bus, const struct bus_range *range)
{
	unsigned int at;

	if (!range->size || range->base + (range->size - 1) < range->base)
		return -EINVAL;

	at = bus_upper(bus, range->base);
	if (at > 0 && range->base - bus->ranges[at - 1].base < bus->ranges[at - 1].size)
		return -EEXIST;
	if (at < bus->num && bus->ranges[at].base - range->base < range->size)
		return -EEXIST;

	if (bus->num == bus->room) {
		unsigned int room = bus->room ? bus->room * 2 : 16;
		struct bus_range *more = realloc(bus->ranges, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		bus->ranges = more;
		bus->room = room;
	}
	memmove(&bus->ranges[at + 1], &bus->ranges[at], (bus->num - at) * sizeof(*range));
	bus->ranges[at] = *range;
	bus->num++;
	return 0;
}

void bus_del(struct bus *bus, uint64_t base)
{
	unsigned int at = bus_upper(bus, base);

	if (!at || bus->ranges[at - 1].base != base)
		return;
	at--;
	bus->num--;
	memmove(&bus->ranges[at], &bus->ranges[at + 1], (bus->num - at) * sizeof(bus->ranges[0]));
}

/* The range that holds all of [addr, addr + size), or NULL. */
static const struct bus_range *bus_find(const struct bus *bus, uint64_t addr, unsigned int size)
{
	unsigned int at = bus_upper(bus, addr);
	const struct bus_range *range;
	uint64_t offset;

	if (!at)
		return NULL;
	range = &bus->ranges[at - 1];
	offset = addr - range->base;
	if (offset >= range->size || range->size - offset < size)
		return NULL;
	return range;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned int size)
{
	uint64_t ones = size >= 8 ? UINT64_MAX : (UINT64_C(1) << (size * 8)) - 1;
	const struct bus_range *range = bus_find(bus, addr, size);

	if (!range || !range->ops->read)
		return ones;
	return range->ops->read(range->dev, addr - range->base, size) & ones;
}

void bus_write(struct bus *bus, uint64_t addr, unsigned int size, uint64_t value)
{
	const struct bus_range *range = bus_find(bus, addr, size);

	/* The handler may remove its own range (a BAR that moves): the range is not looked at after
	 * the call. */
	if (range && range->ops->write)
		range->ops->write(range->dev, addr - range->base, size, value);
}

void bus_free(struct bus *bus)
{
	free(bus->ranges);
	memset(bus, 0, sizeof(*bus));
}
