/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dispatch of port I/O and MMIO accesses by address range. One bus each for ports and memory. Accesses that hit no
 * range read all ones and drop writes, as on a PC; accesses that straddle a range's end count as hitting none.
 *
 * The machine lock serialises all use.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

struct bus_ops {
	/* size: 1, 2, 4 or 8. Reads return the value zero-extended. */
	uint64_t (*read)(void *dev, uint64_t offset, unsigned int size);
	void (*write)(void *dev, uint64_t offset, unsigned int size, uint64_t value);
};

struct bus_range {
	uint64_t base;
	uint64_t size;
	const struct bus_ops *ops;
	void *dev;
	const char *name;
};

struct bus {
	struct bus_range *ranges; /* sorted by base */
	unsigned int num;
	unsigned int room;
};

/* Adds a range. 0, -EEXIST (overlap), -EINVAL, -ENOMEM. name must outlive it. */
int bus_add(struct bus *bus, const struct bus_range *range);
/* Removes the range that starts at base. */
void bus_del(struct bus *bus, uint64_t base);
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned int size);
void bus_write(struct bus *bus, uint64_t addr, unsigned int size, uint64_t value);
void bus_free(struct bus *bus);

#endif
