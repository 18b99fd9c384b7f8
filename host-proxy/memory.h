/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory of a front-end as the record keeps it: the regions and, for the next back-end, their
 * files. Nothing here is ever mapped.
 *
 * A change that will be acknowledged can be taken back until then: the caller copies the struct,
 * changes the original, and later gives both to memory_commit() or memory_rollback(). Fds are
 * numbers; which ones have gone shows by comparing the two.
 */
#ifndef HOST_PROXY_MEMORY_H
#define HOST_PROXY_MEMORY_H

#include "proto/vu_check.h"

struct memory {
	struct vu_regions regions;
	int fds[VHOST_USER_MEM_SLOTS_MAX]; /* as many as regions.num */
};

/*
 * The three changes. VU_RULE_NONE: done, the fds are taken (those that are replaced stay open until
 * memory_commit()). Else nothing has changed and the fds stay the caller's.
 */
enum vu_rule memory_set(struct memory *m, const struct vhost_user_mem_table *table, const int *fds);
enum vu_rule memory_add(struct memory *m, const struct vhost_user_region *region, int fd);
enum vu_rule memory_del(struct memory *m, const struct vhost_user_region *region);

/* The change is final: closes what only before had. */
void memory_commit(struct memory *m, const struct memory *before);
/* The change failed: closes what only m has, and m is before again. */
void memory_rollback(struct memory *m, const struct memory *before);
void memory_clear(struct memory *m);

#endif
