/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the loader share. */
#ifndef VMM_LOADER_PRIV_H
#define VMM_LOADER_PRIV_H

#include "vmm/loader.h"

/* Where boot information goes unless the image is there; above what trampolines use, below the BIOS
 * area. */
#define LOADER_INFO_GPA UINT64_C(0x90000)
#define LOADER_LOW_END	UINT64_C(0xa0000) /* RAM below ends here; video and BIOS memory follow */
#define LOADER_HIGH_MEM UINT64_C(0x100000)

/* Types of memory, as e820 and PVH have them alike. */
#define LOADER_MEM_RAM	    1
#define LOADER_MEM_RESERVED 2

struct loader {
	const struct loader_conf *conf;
	struct memmap *ram;
	int fd; /* the kernel */
	uint64_t file_size;
	uint64_t image_start; /* guest-physical range of all of the image */
	uint64_t image_end;
	uint64_t initrd; /* 0: none */
	uint64_t initrd_size;
	char *error;
	size_t error_size;
};

/* Leaves "KERNEL: text" as the error and returns -EINVAL. */
int loader_bad(struct loader *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Reads exactly len bytes of the kernel file at offset; what: for the error. 0 or -errno. */
int loader_read(struct loader *l, void *dst, uint64_t offset, uint64_t len, const char *what);
/* The same into guest memory at addr; the file's and RAM's bounds are checked. */
int loader_read_guest(struct loader *l, uint64_t addr, uint64_t offset, uint64_t len,
		      const char *what);
/* Loads the initrd, if there is one, at the top of RAM below limit, above the image. 0 or -errno.
 */
int loader_initrd(struct loader *l, uint64_t limit);
/* Guest-physical address of a page-aligned range of len bytes for boot information, clear of the
 * image. 0: no room. */
uint64_t loader_info_room(const struct loader *l, uint64_t len);

int loader_pvh(struct loader *l, struct loader_entry *out);
int loader_bzimage(struct loader *l, struct loader_entry *out);

#endif
