/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages behind mappings of ours: their sizes, and having them there before they are needed. */
#ifndef VMM_PAGES_H
#define VMM_PAGES_H

#include <stdint.h>

#define PAGE_4K UINT64_C(4096)
#define PAGE_2M (UINT64_C(2) << 20)
#define PAGE_1G (UINT64_C(1) << 30)

/*
 * Gives every page of [at, at + bytes) its memory, as a write would (at is 4096-aligned), and never as a
 * load or store of ours: what can't be had is an error and not a signal. 0; -EFAULT (behind the end
 * of the file, or no huge page left), -ENOMEM, -EHWPOISON; -EOPNOTSUPP: Linux before 5.14.
 */
int pages_populate(void *at, uint64_t bytes);
/* The same for reading: shared pages are there afterwards, too, but not marked as written to. */
int pages_populate_read(void *at, uint64_t bytes);

/* Asks for large pages where the host gives them to shared memory on request (shmem_enabled=advise). */
void pages_want_large(void *at, uint64_t bytes);

/* Huge pages of that size that the host has free, or -errno. */
int64_t pages_free(uint64_t page);

/* The size of huge pages that the host uses when nobody says which. 2 MiB when it does not tell. */
uint64_t pages_default_huge(void);

#endif
