/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest RAM: one sealed memfd, shown below the MMIO hole and, what does not fit there, above 4 GiB
 * (abi/machine.h). Offsets in the file are contiguous: [0, low) is guest-physical [0, low), the
 * rest starts at MACHINE_RAM_HIGH_BASE.
 */
#ifndef VMM_MEM_H
#define VMM_MEM_H

#include <stdbool.h>

#include "vq/memmap.h"

struct mem_conf {
	uint64_t bytes; /* a multiple of 4096 */
	uint64_t page;	/* huge pages of that size (2 MiB, 1 GiB); 0: ordinary ones */
	bool prefault;	/* all of it is there from the beginning */
};

struct mem {
	int fd;
	uint8_t *host; /* all of it, aligned to its page size and to 2 MiB */
	uint64_t size;
	uint64_t low;  /* bytes below the hole */
	uint64_t high; /* bytes from MACHINE_RAM_HIGH_BASE on */
	uint64_t page; /* of the huge pages behind it, or 0 */
	bool prefault;
};

/*
 * Allocates memory and adds it to map. Ordinary pages appear when the guest uses them unless prefault says
 * otherwise; huge ones are there at once, and the size is rounded up to them. 0 or -errno with *what
 * naming the call that failed.
 */
int mem_create(struct mem *mem, const struct mem_conf *conf, struct memmap *map, const char **what);
void mem_destroy(struct mem *mem);
/* Drops all contents; the guest finds zeros. 0 or -errno. */
int mem_clear(struct mem *mem);

#endif
