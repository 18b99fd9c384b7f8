// SPDX-License-Identifier: BSD-2-Clause
#include "hosted/hwindow.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/hostlib/fds.h"

/*
 * The ports that have windows, for the signal handler: changed by the thread it interrupts, or while that one stands.
 */
static struct hport *volatile ports[BE_PORTS_MAX];

void *hwindow_map(struct hport *hp, int fd, const struct vhost_user_region *region,
		  const char **why)
{
	struct hport_window *w = NULL;
	uint64_t end, page, skip;

	if (__builtin_add_overflow(region->mmap_offset, region->memory_size, &end)) {
		*why = "offset and size of a region wrap";
		return NULL;
	}
	if (fd_check_memory(fd, end, why))
		return NULL;
	for (unsigned int i = 0; i < HPORT_WINDOWS_MAX && !w; i++) {
		if (!hp->windows[i].ptr)
			w = &hp->windows[i];
	}
	if (!w) {
		*why = "too many regions";
		return NULL;
	}
	page = fd_page_size(fd);
	skip = region->mmap_offset & (page - 1);
	w->bytes = ALIGN_UP(skip + region->memory_size, page);
	w->map = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		      (off_t)(region->mmap_offset - skip));
	if (w->map == MAP_FAILED) {
		*why = "mmap of a region failed";
		return NULL;
	}
	/* Guests' memory has no business in our core dumps. */
	madvise(w->map, w->bytes, MADV_DONTDUMP);
	w->ptr = (uint8_t *)w->map + skip;
	ports[hp->port.index] = hp;
	return w->ptr;
}

void hwindow_unmap(struct hport *hp, void *ptr)
{
	for (unsigned int i = 0; i < HPORT_WINDOWS_MAX; i++) {
		struct hport_window *w = &hp->windows[i];

		if (w->ptr != ptr)
			continue;
		munmap(w->map, w->bytes);
		w->ptr = NULL;
		return;
	}
}

/* Async-signal-safe: looks at our own tables, calls mmap(). */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	const uint8_t *at = info->si_addr;

	for (unsigned int p = 0; p < BE_PORTS_MAX; p++) {
		struct hport *hp = ports[p];

		for (unsigned int i = 0; hp && i < HPORT_WINDOWS_MAX; i++) {
			struct hport_window *w = &hp->windows[i];
			const uint8_t *map = w->map;

			if (!w->ptr || at < map || at >= map + w->bytes)
				continue;
			if (mmap(w->map, w->bytes, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
				 0) != MAP_FAILED) {
				hport_dead(hp, "the front-end took memory away that it had shared");
				return;
			}
		}
	}
	/* Not memory of a front-end: our own fault. Back from here it happens again, fatally. */
	signal(SIGBUS, SIG_DFL);
}

int hwindow_catch_sigbus(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	return sigaction(SIGBUS, &sa, NULL) ? -errno : 0;
}
