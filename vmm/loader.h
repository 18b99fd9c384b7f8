/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Puts an image and its boot information into guest RAM.
 *
 * Two kinds are known by their first bytes: an ELF file with a PVH entry note (pvh.c), started as
 * PVH says, and a Linux bzImage (bzimage.c), started by the 64-bit boot protocol. Files are
 * hostile: every field is checked against the file's size and against RAM before it is used. File
 * contents are read straight into guest memory, so that they cost the VMM's process nothing.
 */
#ifndef VMM_LOADER_H
#define VMM_LOADER_H

#include <stddef.h>

#include "vq/memmap.h"

struct loader_conf {
	const char *kernel;
	const char *initrd; /* NULL: none */
	const char *cmdline;
	uint64_t ram_low;  /* RAM is [0, ram_low) and, unless ram_high is 0, */
	uint64_t ram_high; /* [MACHINE_RAM_HIGH_BASE, +ram_high) */
};

enum loader_kind {
	LOADER_PVH,
	LOADER_LINUX64
};

/* How the boot vCPU starts. */
struct loader_entry {
	enum loader_kind kind;
	uint64_t entry; /* instruction pointer */
	uint64_t info;	/* guest-physical address of the start info or of boot_params */
	uint64_t
		page_tables; /* LOADER_LINUX64: identity mapping of the first 4 GiB; 0: no paging */
	uint64_t gdt;
	uint16_t gdt_bytes; /* 0: no GDT, the segments are only in the registers */
	uint32_t needs;	    /* MACHINE_NEEDS_*_MASK */
};

/*
 * Loads into ram, which must be all zero (segments' zero parts are not written). 0, or -errno with
 * one line in error that names the file, what is wrong with it and what to do.
 */
int loader_load(const struct loader_conf *conf, struct memmap *ram, struct loader_entry *out,
		char *error, size_t error_size);

#endif
