// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/memory.h"

#include <string.h>

#include "vmm/hostlib/fds.h"

enum vu_rule memory_set(struct memory *m, const struct vhost_user_mem_table *table, const int *fds)
{
	enum vu_rule rule = vu_regions_set(&m->regions, table);

	if (!rule)
		memcpy(m->fds, fds, m->regions.num * sizeof(m->fds[0]));
	return rule;
}

enum vu_rule memory_add(struct memory *m, const struct vhost_user_region *region, int fd)
{
	enum vu_rule rule = vu_regions_add(&m->regions, region);

	if (!rule)
		m->fds[m->regions.num - 1] = fd;
	return rule;
}

enum vu_rule memory_del(struct memory *m, const struct vhost_user_region *region)
{
	uint32_t index;
	enum vu_rule rule = vu_regions_del(&m->regions, region, &index);

	if (!rule)
		memmove(&m->fds[index], &m->fds[index + 1],
			(m->regions.num - index) * sizeof(m->fds[0]));
	return rule;
}

static bool has_fd(const struct memory *m, int fd)
{
	for (uint32_t i = 0; i < m->regions.num; i++) {
		if (m->fds[i] == fd)
			return true;
	}
	return false;
}

/* Closes the fds that are in gone and not in kept. */
static void close_rest(const struct memory *gone, const struct memory *kept)
{
	for (uint32_t i = 0; i < gone->regions.num; i++) {
		int fd = gone->fds[i];

		if (!has_fd(kept, fd))
			fd_close(&fd);
	}
}

void memory_commit(struct memory *m, const struct memory *before)
{
	close_rest(before, m);
}

void memory_rollback(struct memory *m, const struct memory *before)
{
	close_rest(m, before);
	*m = *before;
}

void memory_clear(struct memory *m)
{
	fds_close(m->fds, m->regions.num);
	m->regions.num = 0;
}
