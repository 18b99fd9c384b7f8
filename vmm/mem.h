/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest RAM: one sealed memfd, shown below the MMIO hole and, what does not fit there, above 4 GiB
 * (abi/machine.h). Offsets in the file are contiguous: [0, low) is guest-physical [0, low), the
 * rest starts at MACHINE_RAM_HIGH_BASE.
 */
#ifndef VMM_MEM_H
#define VMM_MEM_H

#include "vq/memmap.h"

struct mem {
	int fd;
	uint8_t *host; /* all of it, 2 MiB aligned */
	uint64_t size;
	uint64_t low;  /* bytes below the hole */
	uint64_t high; /* bytes from MACHINE_RAM_HIGH_BASE on */
};

/*
 * Allocates size bytes (a multiple of 4096) and adds them to map. Nothing is touched: pages appear
 * when the guest uses them. 0 or -errno with *what naming the call that failed.
 */
int mem_create(struct mem *mem, uint64_t size, struct memmap *map, const char **what);
void mem_destroy(struct mem *mem);
/* Drops all contents; the guest finds zeros. 0 or -errno. */
int mem_clear(struct mem *mem);

#endif
