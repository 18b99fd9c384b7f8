// SPDX-License-Identifier: BSD-2-Clause
/*
 * The shared-memory window of a VVU device.
 *
 * An address range as large as the BAR is reserved (PROT_NONE), aligned to 1 GiB, so that an offset
 * in the window is congruent in guest-physical and host-virtual space for every page size there is.
 * Each region is a MAP_FIXED mapping of its file in that range and one memory slot; between regions
 * there is nothing, and the guest reads all ones.
 *
 *   window   |----[ area             ]------[ area   ]------------------|
 *   mapped        .  [map          ].        [map]       whole pages of the file
 *   slot          .    [region   ]  .         [..]       what the guest sees
 *
 * Explicit layout: areas are whole pages of P = max(2 MiB, page size of the file), the region's
 * offset in its first page is that of the file: the kernel can use large pages, and two files never
 * share one. Classic layout: the place is given by the message.
 *
 * Revoking puts private zero pages under the same slot, with one mmap() and no change that the
 * guest could fault on; the slots go later (vvu_shm_clear()), since a hostile guest could fill host
 * memory through them.
 */
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/pages.h"
#include "vmm/vvu_priv.h"

#define ZERO_FOR_MS 1000

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct vvu_shm *shm = arg;

	pthread_mutex_lock(&shm->machine->lock);
	if (shm->revoked) /* a session that began meanwhile has cleared already */
		vvu_shm_clear(shm);
	pthread_mutex_unlock(&shm->machine->lock);
}

int vvu_shm_init(struct vvu_shm *shm, struct machine *machine, const char *who, uint64_t bytes)
{
	uintptr_t start;

	memset(shm, 0, sizeof(*shm));
	shm->machine = machine;
	shm->who = who;
	shm->bytes = bytes;
	shm->gpa = PCI_BAR_UNMAPPED;
	shm->reserved_bytes = bytes + PAGE_1G;
	shm->reserved = mmap(NULL, shm->reserved_bytes, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shm->reserved == MAP_FAILED) {
		shm->reserved = NULL;
		return -errno;
	}
	start = ALIGN_UP((uintptr_t)shm->reserved, (uintptr_t)PAGE_1G);
	shm->base = (uint8_t *)shm->reserved + (start - (uintptr_t)shm->reserved);
	shm->timer = evtimer_new(machine->base, on_timer, shm);
	if (!shm->timer || vvu_watch_init(shm)) {
		vvu_shm_free(shm);
		return -ENOMEM;
	}
	return 0;
}

void vvu_shm_free(struct vvu_shm *shm)
{
	if (!shm->reserved)
		return;
	vvu_shm_clear(shm);
	vvu_watch_free(shm);
	if (shm->timer)
		event_free(shm->timer);
	munmap(shm->reserved, shm->reserved_bytes);
	shm->reserved = NULL;
}

static int region_show(struct vvu_shm *shm, struct vvu_region *reg)
{
	struct machine *m = shm->machine;
	int slot;

	if (shm->gpa == PCI_BAR_UNMAPPED || reg->slot >= 0)
		return 0;
	slot = m->ops->slot_add(m->ctx, shm->gpa + reg->offset, reg->r.memory_size,
				shm->base + reg->offset);
	if (slot < 0)
		return slot;
	reg->slot = slot;
	return 0;
}

static void region_hide(struct vvu_shm *shm, struct vvu_region *reg)
{
	if (reg->slot < 0)
		return;
	shm->machine->ops->slot_del(shm->machine->ctx, reg->slot);
	reg->slot = -1;
}

void vvu_shm_move(struct vvu_shm *shm, uint64_t gpa)
{
	for (unsigned int i = 0; i < shm->num; i++)
		region_hide(shm, &shm->regions[i]);
	shm->gpa = gpa;
	for (unsigned int i = 0; i < shm->num; i++) {
		int ret = region_show(shm, &shm->regions[i]);

		/* The guest put its BAR over something else; it may move it again. */
		if (ret)
			log_peer(LOG_L_WARN, shm->who, "region %u not shown at %#llx: %s", i,
				 (unsigned long long)(gpa + shm->regions[i].offset),
				 strerror(-ret));
	}
}

static bool overlaps(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

static bool area_free(const struct vvu_shm *shm, uint64_t area, uint64_t bytes, uint64_t *next)
{
	for (unsigned int i = 0; i < shm->num; i++) {
		const struct vvu_region *other = &shm->regions[i];

		if (overlaps(area, bytes, other->area, other->area_bytes)) {
			*next = other->area + other->area_bytes;
			return false;
		}
	}
	return true;
}

/* Chooses the first free place that is congruent with the file. */
static int place(const struct vvu_shm *shm, struct vvu_region *reg, uint64_t file_page)
{
	uint64_t page = file_page > PAGE_2M ? file_page : PAGE_2M;
	uint64_t in_page = reg->r.mmap_offset & (page - 1);
	uint64_t bytes = ALIGN_UP(in_page + reg->r.memory_size, page);
	uint64_t area = 0, next = 0;

	if (bytes < reg->r.memory_size || bytes > shm->bytes)
		return -ENOSPC;
	while (!area_free(shm, area, bytes, &next)) {
		area = ALIGN_UP(next, page);
		if (area > shm->bytes - bytes)
			return -ENOSPC;
	}
	reg->area = area;
	reg->area_bytes = bytes;
	reg->offset = area + in_page;
	return 0;
}

/* Draft A's place: the first mmap_offset bytes belong to the region but show nothing. */
static int place_at(const struct vvu_shm *shm, struct vvu_region *reg, uint64_t at)
{
	uint64_t bytes = reg->r.mmap_offset + reg->r.memory_size;
	uint64_t next;

	if (bytes < reg->r.memory_size || at > shm->bytes || bytes > shm->bytes - at)
		return -ENOSPC;
	reg->area = at;
	reg->area_bytes = bytes;
	reg->offset = at + reg->r.mmap_offset;
	return area_free(shm, at, bytes, &next) ? 0 : -EINVAL;
}

/* The highest free place, in pages of 4 KiB. */
static int place_top(const struct vvu_shm *shm, struct vvu_region *reg)
{
	uint64_t bytes = ALIGN_UP(reg->r.memory_size, PAGE_4K);
	uint64_t top = ALIGN_DOWN(shm->bytes, PAGE_4K);

	for (unsigned int i = 0; top >= bytes && i < shm->num; i++) {
		const struct vvu_region *other = &shm->regions[i];

		if (!overlaps(top - bytes, bytes, other->area, other->area_bytes))
			continue;
		/* Below it, where another may be in the way that was not before. */
		top = ALIGN_DOWN(other->area, PAGE_4K);
		i = UINT_MAX;
	}
	if (top < bytes)
		return -ENOSPC;
	reg->area = top - bytes;
	reg->area_bytes = bytes;
	reg->offset = reg->area;
	reg->inflight = true;
	return 0;
}

/* The part of the window that is whole pages of the file around the region; must be the region's
 * own. */
static int plan_mapping(const struct vvu_shm *shm, struct vvu_region *reg, uint64_t file_page)
{
	uint64_t end = ALIGN_UP(reg->offset + reg->r.memory_size, file_page);
	uint64_t next;

	if ((reg->offset & (file_page - 1)) != (reg->r.mmap_offset & (file_page - 1)))
		return -EINVAL;
	reg->map = ALIGN_DOWN(reg->offset, file_page);
	reg->map_bytes = end - reg->map;
	if (end > shm->bytes)
		return -ENOSPC;
	return area_free(shm, reg->map, reg->map_bytes, &next) ? 0 : -EINVAL;
}

static void unmap(struct vvu_shm *shm, struct vvu_region *reg)
{
	void *p = mmap(shm->base + reg->map, reg->map_bytes, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	if (p == MAP_FAILED)
		log_peer(LOG_L_ERROR, shm->who, "cannot take %llu bytes back: %s",
			 (unsigned long long)reg->map_bytes, strerror(errno));
}

int vvu_shm_add(struct vvu_shm *shm, const struct vhost_user_region *r, int fd, uint64_t at)
{
	uint64_t file_page = fd_page_size(fd);
	struct vvu_region *reg;
	off_t from;
	void *p;
	int ret;

	if (shm->num == VVU_REGIONS_MAX)
		return -ENOSPC;
	reg = &shm->regions[shm->num];
	*reg = (struct vvu_region){ .r = *r, .fd = -1, .slot = -1, .wd = -1, .page = file_page };
	if (at == VVU_SHM_TOP)
		ret = place_top(shm, reg);
	else
		ret = at == VVU_SHM_PLACE ? place(shm, reg, file_page) : place_at(shm, reg, at);
	if (!ret)
		ret = plan_mapping(shm, reg, file_page);
	if (ret)
		return ret;
	from = (off_t)(r->mmap_offset - (reg->offset - reg->map));
	p = mmap(shm->base + reg->map, reg->map_bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, from);
	if (p == MAP_FAILED) {
		ret = errno == ENOMEM ? -ENOMEM : -EIO;
		goto out_unmap;
	}
	/* Where huge pages come on request only, a fault of ours may be the first one. */
	if (file_page == PAGE_4K)
		pages_want_large(p, reg->map_bytes);
	reg->populate = !reg->inflight && (shm->prefault || file_page > PAGE_4K);
	ret = region_show(shm, reg) ? -EIO : 0;
	if (ret)
		goto out_unmap;
	reg->fd = fd;
	shm->num++;
	vvu_watch_region(shm, reg);
	return 0;

out_unmap:
	unmap(shm, reg); /* MAP_FIXED takes away what was there even when it fails */
	return ret;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

struct vvu_region *vvu_shm_find(struct vvu_shm *shm, const struct vhost_user_region *r, int fd)
{
	for (unsigned int i = 0; i < shm->num; i++) {
		struct vvu_region *reg = &shm->regions[i];

		if (reg->fd >= 0 && !reg->inflight && !memcmp(&reg->r, r, sizeof(*r)) &&
		    same_file(reg->fd, fd))
			return reg;
	}
	return NULL;
}

uint64_t vvu_shm_classic_end(const struct vvu_shm *shm)
{
	uint64_t end = 0;

	for (unsigned int i = 0; i < shm->num; i++) {
		if (shm->regions[i].area + shm->regions[i].area_bytes > end)
			end = shm->regions[i].area + shm->regions[i].area_bytes;
	}
	return end;
}

static void region_remove(struct vvu_shm *shm, unsigned int i)
{
	struct vvu_region *reg = &shm->regions[i];

	vvu_unwatch_region(shm, reg);
	region_hide(shm, reg);
	unmap(shm, reg);
	fd_close(&reg->fd);
	shm->num--;
	memmove(reg, reg + 1, (shm->num - i) * sizeof(*reg));
}

void vvu_shm_remove_leaving(struct vvu_shm *shm, uint32_t token)
{
	for (unsigned int i = shm->num; i-- > 0;) {
		if (shm->regions[i].leaving == token)
			region_remove(shm, i);
	}
}

void vvu_shm_clear(struct vvu_shm *shm)
{
	while (shm->num)
		region_remove(shm, shm->num - 1);
	shm->revoked = false;
	if (shm->timer)
		event_del_noblock(shm->timer);
}

void vvu_shm_clear_soon(struct vvu_shm *shm)
{
	const struct timeval at_once = { 0 };

	if (shm->num && shm->revoked)
		evtimer_add(shm->timer, &at_once);
}

static void region_revoke(struct vvu_shm *shm, struct vvu_region *reg)
{
	void *p = mmap(shm->base + reg->map, reg->map_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	if (p == MAP_FAILED) {
		log_peer(LOG_L_ERROR, shm->who,
			 "no zero pages (%s): the region is taken away at once", strerror(errno));
		region_hide(shm, reg);
		unmap(shm, reg);
	} else {
		madvise(p, reg->map_bytes,
			MADV_NOHUGEPAGE); /* a guest's read costs 4 KiB, not 2 MiB */
	}
	vvu_unwatch_region(shm, reg);
	fd_close(&reg->fd);
}

void vvu_shm_revoke(struct vvu_shm *shm)
{
	const struct timeval later = { .tv_sec = ZERO_FOR_MS / 1000 };

	if (!shm->num || shm->revoked)
		return;
	for (unsigned int i = 0; i < shm->num; i++)
		region_revoke(shm, &shm->regions[i]);
	shm->revoked = true;
	evtimer_add(shm->timer, &later);
	/* A vCPU may hang in a fault on memory that was gone before (machine.h). */
	shm->machine->ops->kick_vcpus(shm->machine->ctx);
}
