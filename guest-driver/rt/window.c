// SPDX-License-Identifier: BSD-2-Clause
/*
 * Mappings that ring 3 asks for: device registers and windows on shared memory.
 *
 * Registers below 4 GiB appear at their own address. Everything else gets addresses from one space
 * (WINDOW_VA_*), first fit, so that it stays dense: each GiB of it costs ring 0 one table for good.
 * A window keeps its place within a 2 MiB page, because pages of 2 MiB are all there is. What else
 * lies in its first and last page can be reached as well; in a VVU device that is nothing, or
 * memory of the same front-end.
 */
#include "internal.h"

#define WINDOWS_MAX  1200 /* 32 ports with 32 regions, and devices */
#define STEP_PAGES   64	  /* entered by one window_step(): some 100 us where ring 0 is emulated */
#define TOUCH_PAGE   4096 /* the smallest page that may be behind a window */
#define TOUCH_US     30	  /* about what one window_touch() takes */
#define TOUCH_CHUNK  16	  /* pages between two looks at the clock */
#define MMIO32_BASE  HEAP_END_MAX
#define MMIO32_PAGES 512

struct window {
	uint64_t va; /* 2 MiB aligned */
	uint64_t pa; /* same */
	uint64_t pages;
	uint64_t entered;
	uint64_t touched; /* by window_touch() up to here, ... */
	uint64_t end;	  /* ... of what was asked for; both from va */
	bool device;	  /* registers: stay, and are shared by those who ask for the same */
};

/* Sorted by va. A window's handle is its address, so the array can move. */
static struct window windows[WINDOWS_MAX];
static unsigned int num_windows;
static bool mmio32_mapped[MMIO32_PAGES];

static struct window *find(uint64_t va)
{
	for (unsigned int i = 0; i < num_windows; i++)
		if (va >= windows[i].va && va - windows[i].va < windows[i].pages * PAGE_2M)
			return &windows[i];
	return NULL;
}

/* The first gap of that many pages, with one unmapped page behind it. */
static struct window *reserve(uint64_t pages)
{
	uint64_t va = WINDOW_VA_BASE;
	unsigned int i;

	if (num_windows == WINDOWS_MAX)
		return NULL;
	for (i = 0; i < num_windows && windows[i].va - va < (pages + 1) * PAGE_2M; i++)
		va = windows[i].va + (windows[i].pages + 1) * PAGE_2M;
	if (va > WINDOW_VA_END || (pages + 1) * PAGE_2M > WINDOW_VA_END - va)
		return NULL;
	memmove(&windows[i + 1], &windows[i], (num_windows - i) * sizeof(windows[0]));
	num_windows++;
	windows[i] = (struct window){ .va = va, .pages = pages };
	return &windows[i];
}

void *window_begin(uint64_t gpa, uint64_t size)
{
	uint64_t first = ALIGN_DOWN(gpa, (uint64_t)PAGE_2M);
	uint64_t offset = gpa - first;
	struct window *w;

	if (!size || size > WINDOW_VA_END || gpa > WINDOW_VA_END * 32 || first < 2ull * PAGE_2M)
		return NULL;
	w = reserve((offset + size + PAGE_2M - 1) / PAGE_2M);
	if (!w)
		return NULL;
	w->pa = first;
	w->touched = offset;
	w->end = offset + size;
	return (void *)(w->va + offset);
}

/* Ring 0 may need memory for page tables, which it gets from the heap. */
static int64_t map_pages(uint64_t va, uint64_t pa_flags, uint64_t num)
{
	int64_t err = (int64_t)ring0_call3(RING0_MAP, va, pa_flags, num);
	void *tables;

	if (err != -ENOMEM)
		return err;
	tables = rt_alloc(PAGE_2M, PAGE_2M);
	if (!tables || ring0_call3(RING0_DONATE, (uintptr_t)tables, 0, 0))
		return -ENOMEM;
	return (int64_t)ring0_call3(RING0_MAP, va, pa_flags, num);
}

static int enter(struct window *w, uint64_t max, uint64_t flags)
{
	uint64_t num = w->pages - w->entered;
	int64_t err;

	if (num > max)
		num = max;
	err = map_pages(w->va + w->entered * PAGE_2M, (w->pa + w->entered * PAGE_2M) | flags, num);
	if (err)
		return (int)err;
	w->entered += num;
	return w->entered == w->pages;
}

int window_step(void *window)
{
	struct window *w = find((uintptr_t)window);

	return w ? enter(w, STEP_PAGES, 0) : -EINVAL;
}

/*
 * Loads only: memory that is read appears writable where the host can write it, and the front-end may be writing it
 * already. Not beyond the window's own bytes: behind them there may be nothing, which would be an exit each.
 */
int window_touch(void *window)
{
	struct window *w = find((uintptr_t)window);
	uint64_t stop = rt_tsc() + rt_tsc_khz() * TOUCH_US / 1000;

	if (!w || w->entered != w->pages || w->device)
		return -EINVAL;
	do {
		for (unsigned int i = 0; i < TOUCH_CHUNK && w->touched < w->end; i++) {
			*(const volatile uint8_t *)(w->va + w->touched);
			w->touched = ALIGN_DOWN(w->touched, (uint64_t)TOUCH_PAGE) + TOUCH_PAGE;
		}
	} while (w->touched < w->end && rt_tsc() < stop);
	return w->touched >= w->end;
}

void window_end(void *window)
{
	struct window *w = find((uintptr_t)window);
	size_t after;

	if (!w)
		return;
	if (w->entered)
		ring0_call3(RING0_UNMAP, w->va, w->entered, 0);
	after = num_windows - (size_t)(w - windows) - 1;
	memmove(w, w + 1, after * sizeof(*w));
	num_windows--;
}

static void *map_mmio32(uint64_t gpa, uint64_t size)
{
	uint64_t page = gpa / PAGE_2M, last = (gpa + size - 1) / PAGE_2M;
	const uint64_t base = MMIO32_BASE / PAGE_2M;

	for (; page <= last; page++) {
		if (mmio32_mapped[page - base])
			continue;
		if (ring0_call3(RING0_MAP, page * PAGE_2M, page * PAGE_2M | RING0_MAP_UNCACHED, 1))
			return NULL;
		mmio32_mapped[page - base] = true;
	}
	return (void *)gpa;
}

void *window_map_mmio(uint64_t gpa, uint64_t size)
{
	uint64_t first = ALIGN_DOWN(gpa, (uint64_t)PAGE_2M), offset = gpa - first;
	struct window *w;
	void *va;

	if (!size || gpa + size < gpa)
		return NULL;
	if (gpa >= MMIO32_BASE && gpa + size <= BIT_ULL(32))
		return map_mmio32(gpa, size);
	if (gpa < BIT_ULL(32))
		return NULL;
	for (unsigned int i = 0; i < num_windows; i++)
		if (windows[i].device && windows[i].pa == first &&
		    windows[i].pages * PAGE_2M >= offset + size)
			return (void *)(windows[i].va + offset);
	va = window_begin(gpa, size);
	w = va ? find((uintptr_t)va) : NULL;
	if (!w)
		return NULL;
	w->device = true;
	return enter(w, w->pages, RING0_MAP_UNCACHED) == 1 ? va : NULL;
}
