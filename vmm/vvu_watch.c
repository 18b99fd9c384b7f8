// SPDX-License-Identifier: BSD-2-Clause
/*
 * Memory that its front-end takes away while the guest uses it.
 *
 * Two things can be done to the file behind a region: it is made shorter, or holes are punched into it. A hole
 * gives zero pages again as long as there is memory to be had for them: a memfd's always is; that of a file on
 * huge pages, or on a tmpfs that is full, is not. A page that cannot be had stops the vCPU that touches it. KVM
 * may return EFAULT from KVM_RUN (machine_device_ops.memory_fault), or retry inside the kernel for ever and say
 * nothing; one kernel was seen to do either, depending on the damage. So:
 *
 *   file sealed against shrinking   cannot become shorter
 *   file not sealed                 inotify tells of each change of its length (not of holes)
 *   not sealed, not to be watched   (the VMM may not read it, no inotify left) its length is looked at with
 *                                   each beat
 *   huge pages, tmpfs with a limit  with each beat it is seen whether it has holes; and if there are some, and no
 *                                   pages left for them as far as can be told, all of the region is populated,
 *                                   which fails without a signal
 *
 * A beat (machine_ops.watch_memory) comes for every 100 ms of processor time, of which a vCPU that retries for
 * ever uses as much as one that works, and one that sleeps none. Nothing is armed for sealed memory of ordinary
 * pages.
 *
 * All devices of a machine share one inotify instance: the kernel takes an instance apart only when an RCU grace
 * period has passed, one after the other, and whoever waits for the next VM waits for that, too.
 *
 * The cure is the end of the session: zero pages take the place of its memory, and the vCPUs are made to look again.
 *
 * System calls: inotify_init1, inotify_add_watch (by a path in /proc), inotify_rm_watch, fstat, fstatfs, fcntl
 * (F_GET_SEALS), madvise.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/pages.h"
#include "vmm/vvu_priv.h"

#define PAUSE_US                                                                                   \
	10000 /* between two looks: writing to its file wakes us, which a front-end can do for ever */
#define PIECE	(UINT64_C(16) * PAGE_2M)
#define TURN_NS UINT64_C(500000)

static struct vvu_dev *of_shm(struct vvu_shm *shm)
{
	return container_of(shm, struct vvu_dev, shm);
}

/* --- what is wrong --- */

static bool too_short(const struct vvu_region *reg, const struct stat *st)
{
	return st->st_size < 0 || (uint64_t)st->st_size < reg->r.mmap_offset + reg->r.memory_size;
}

/* Pages are missing, and there may be none to put in their place. */
static bool may_lack_pages(const struct vvu_region *reg, const struct stat *st)
{
	struct statfs fs;

	if (!reg->limited || (uint64_t)st->st_blocks * 512 >= (uint64_t)st->st_size)
		return false;
	/* What is left of huge pages depends on reservations and limits of several kinds. */
	return reg->page > PAGE_4K || (fstatfs(reg->fd, &fs) == 0 && fs.f_bfree == 0);
}

static void end_session(struct vvu_shm *shm, const struct vvu_region *reg, const char *why)
{
	vvu_session_end(of_shm(shm), VVU_END_DEVICE,
			"memory at 0x%llx of the front-end is gone: %s",
			(unsigned long long)reg->r.guest_phys_addr, why);
}

static const char SHORT[] = "its file was truncated";
static const char LACKS[] = "a page of its file is missing and the host has none to give";

static bool region_lacks(const struct vvu_shm *shm, const struct vvu_region *reg, uint64_t at,
			 uint64_t bytes)
{
	int ret = pages_populate_read(shm->base + at, bytes);

	return ret && ret != -EOPNOTSUPP;
}

/* NULL: nothing is. May take long. */
static const char *region_damage(const struct vvu_shm *shm, const struct vvu_region *reg)
{
	struct stat st;

	if (reg->fd < 0)
		return NULL;
	if (fstat(reg->fd, &st) || too_short(reg, &st))
		return SHORT;
	if (may_lack_pages(reg, &st) && region_lacks(shm, reg, reg->map, reg->map_bytes))
		return LACKS;
	return NULL;
}

/* Whatever it was, and whether it is over: the kernel knows the place. */
static bool fault_at(struct vvu_shm *shm, uint64_t gpa)
{
	for (unsigned int i = 0; i < shm->num; i++) {
		const struct vvu_region *reg = &shm->regions[i];
		uint64_t start = shm->gpa + reg->offset;
		struct stat st;

		if (reg->fd < 0 || gpa < start || gpa - start >= reg->r.memory_size)
			continue;
		if (fstat(reg->fd, &st) || too_short(reg, &st))
			end_session(shm, reg, SHORT);
		else
			end_session(shm, reg, "the host could not provide a page of it");
		return true;
	}
	return false;
}

bool vvu_watch_fault(struct vvu_shm *shm, uint64_t gpa)
{
	if (gpa != MACHINE_GPA_UNKNOWN)
		return fault_at(shm, gpa);
	for (unsigned int i = 0; i < shm->num; i++) {
		const struct vvu_region *reg = &shm->regions[i];
		const char *why = region_damage(shm, reg);

		if (why) {
			end_session(shm, reg, why);
			return true;
		}
	}
	return false;
}

/* Ends the session when the length of a file is wrong. */
static bool check_lengths(struct vvu_shm *shm)
{
	struct stat st;

	for (unsigned int i = 0; i < shm->num; i++) {
		const struct vvu_region *reg = &shm->regions[i];

		if (reg->fd >= 0 && (fstat(reg->fd, &st) || too_short(reg, &st))) {
			end_session(shm, reg, SHORT);
			return false;
		}
	}
	return true;
}

/* --- inotify --- */

static void on_change(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval pause = { .tv_usec = PAUSE_US };
	struct vvu_watcher *w = arg;
	char events[4096];

	/* Which file it was does not matter, nor how many events are left: they all say to look. */
	while (read(fd, events, sizeof(events)) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&w->machine->lock);
	for (struct vvu_shm *shm = w->first; shm; shm = shm->watch.next)
		check_lengths(shm);
	evtimer_add(w->again, &pause);
	pthread_mutex_unlock(&w->machine->lock);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct vvu_watcher *w = arg;

	event_add(w->change, NULL);
}

static int watch_file(const struct vvu_watcher *w, int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return inotify_add_watch(w->inotify, path, IN_MODIFY);
}

/* A file has one watch, however many regions of however many devices show it. */
static void unwatch_file(const struct vvu_watcher *w, const struct vvu_region *reg)
{
	for (const struct vvu_shm *shm = w->first; shm; shm = shm->watch.next) {
		for (unsigned int i = 0; i < shm->num; i++) {
			if (&shm->regions[i] != reg && shm->regions[i].wd == reg->wd)
				return;
		}
	}
	inotify_rm_watch(w->inotify, reg->wd);
}

static int watcher_create(struct machine *m, const char *who)
{
	struct vvu_watcher *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	m->watcher = w;
	w->machine = m;
	w->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->inotify < 0)
		log_debug(who, "inotify: %s; files are looked at by and by", strerror(errno));
	w->change = event_new(m->base, w->inotify, w->inotify < 0 ? 0 : EV_READ, on_change, w);
	w->again = evtimer_new(m->base, on_again, w);
	if (!w->change || !w->again)
		return -ENOMEM;
	if (w->inotify >= 0)
		event_add(w->change, NULL);
	return 0;
}

static void watcher_free(struct machine *m)
{
	struct vvu_watcher *w = m->watcher;

	m->watcher = NULL;
	if (w->change)
		event_free(w->change);
	if (w->again)
		event_free(w->again);
	fd_close(&w->inotify);
	free(w);
}

/* --- beats --- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The first region to be populated that ends behind a place in the window. */
static struct vvu_region *scan_region(struct vvu_shm *shm, uint64_t at)
{
	struct vvu_region *first = NULL;

	for (unsigned int i = 0; i < shm->num; i++) {
		struct vvu_region *reg = &shm->regions[i];

		if (reg->fd >= 0 && reg->limited && reg->map + reg->map_bytes > at &&
		    (!first || reg->map < first->map))
			first = reg;
	}
	return first;
}

/* One piece, the lock let go meanwhile. False: nothing left to do. */
static bool scan_piece(struct vvu_shm *shm)
{
	struct vvu_watch *w = &shm->watch;
	struct vvu_region *reg = scan_region(shm, w->scanned);
	uint64_t at, end, map;
	int ret;

	if (!reg)
		return false;
	map = reg->map;
	at = w->scanned > map ? w->scanned : map;
	end = map + reg->map_bytes;
	if (end - at > PIECE)
		end = at + PIECE;
	pthread_mutex_unlock(&shm->machine->lock);
	ret = pages_populate_read(shm->base + at, end - at);
	pthread_mutex_lock(&shm->machine->lock);

	w->scanned = end;
	reg = scan_region(shm, at);
	if (!ret || !reg || reg->map != map)
		return true;
	/* Unless it was the change of the window that disturbed us. */
	if (reg->map + reg->map_bytes >= end && region_lacks(shm, reg, at, end - at)) {
		end_session(shm, reg, LACKS);
		return false;
	}
	return true;
}

static void on_scan(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval at_once = { 0 };
	struct vvu_shm *shm = arg;
	uint64_t until = now_ns() + TURN_NS;
	bool more;

	pthread_mutex_lock(&shm->machine->lock);
	do {
		more = shm->watch.scanning && scan_piece(shm);
	} while (more && now_ns() < until);
	shm->watch.scanning = more;
	if (more)
		evtimer_add(shm->watch.scan, &at_once);
	pthread_mutex_unlock(&shm->machine->lock);
}

static bool scan_wanted(const struct vvu_shm *shm)
{
	struct stat st;

	for (unsigned int i = 0; i < shm->num; i++) {
		const struct vvu_region *reg = &shm->regions[i];

		if (reg->fd >= 0 && reg->limited && !fstat(reg->fd, &st) &&
		    may_lack_pages(reg, &st))
			return true;
	}
	return false;
}

void vvu_watch_beat(struct vvu_shm *shm)
{
	const struct timeval at_once = { 0 };
	struct vvu_watch *w = &shm->watch;

	if (!w->beats || !check_lengths(shm) || w->scanning || !scan_wanted(shm))
		return;
	w->scanning = true;
	w->scanned = 0;
	evtimer_add(w->scan, &at_once);
}

/* --- regions --- */

static bool is_limited(const struct vvu_region *reg)
{
	struct statfs fs;

	return reg->page > PAGE_4K || fstatfs(reg->fd, &fs) || fs.f_blocks != 0;
}

void vvu_watch_region(struct vvu_shm *shm, struct vvu_region *reg)
{
	int seals = fcntl(reg->fd, F_GET_SEALS);
	bool unwatched = false;
	struct stat st;

	reg->limited = is_limited(reg);
	if (seals < 0 || !(seals & F_SEAL_SHRINK)) {
		reg->wd = watch_file(shm->machine->watcher, reg->fd);
		unwatched = reg->wd < 0;
	}
	reg->beats = reg->limited || unwatched;
	if (reg->beats && shm->watch.beats++ == 0)
		shm->machine->ops->watch_memory(shm->machine->ctx, true);
	/* It was long enough when the message was checked, before it was watched. */
	if (reg->wd >= 0 && (fstat(reg->fd, &st) || too_short(reg, &st)))
		event_active(shm->machine->watcher->change, EV_READ, 0);
}

void vvu_unwatch_region(struct vvu_shm *shm, struct vvu_region *reg)
{
	if (reg->wd >= 0)
		unwatch_file(shm->machine->watcher, reg);
	reg->wd = -1;
	if (reg->beats && --shm->watch.beats == 0)
		shm->machine->ops->watch_memory(shm->machine->ctx, false);
	reg->beats = false;
}

int vvu_watch_init(struct vvu_shm *shm)
{
	struct machine *m = shm->machine;
	struct vvu_watch *w = &shm->watch;
	int ret = m->watcher ? 0 : watcher_create(m, shm->who);

	if (m->watcher) {
		w->next = m->watcher->first;
		m->watcher->first = shm;
	}
	w->scan = evtimer_new(m->base, on_scan, shm);
	return ret || !w->scan ? -ENOMEM : 0;
}

void vvu_watch_free(struct vvu_shm *shm)
{
	struct machine *m = shm->machine;
	struct vvu_shm **at = m->watcher ? &m->watcher->first : NULL;

	while (at && *at && *at != shm)
		at = &(*at)->watch.next;
	if (at && *at) {
		*at = shm->watch.next;
		if (!m->watcher->first)
			watcher_free(m);
	}
	if (shm->watch.scan)
		event_free(shm->watch.scan);
	shm->watch = (struct vvu_watch){ 0 };
}
