/* SPDX-License-Identifier: BSD-2-Clause */
/* The counters that a guest publishes in a page of its memory (abi/machine.h). All of it is
 * hostile. */
#ifndef VMM_STATS_PAGE_H
#define VMM_STATS_PAGE_H

#include "vq/memmap.h"

/*
 * Reads the page at addr in ram, calling fn for each counter; name is a copy that is valid during
 * the call, made of [a-z0-9_.]. Returns how many there are, or -errno with *why (static text): the
 * page is not in RAM, is not a statistics page, or holds a name that is none (fn may have been
 * called for those before it).
 */
int stats_page_read(struct memmap *ram, struct gpa addr,
		    void (*fn)(void *arg, const char *name, uint64_t value), void *arg,
		    const char **why);

#endif
