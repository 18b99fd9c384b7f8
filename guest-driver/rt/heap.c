// SPDX-License-Identifier: BSD-2-Clause
/*
 * The heap: a pointer that moves up through the RAM behind the image. Its pages are entered into
 * the page tables as it grows. Memory is never given back: images allocate at start-up and when a
 * port comes into use.
 */
#include "internal.h"

#define MAP_STEP (16ull * PAGE_2M)

static uint64_t heap_next;
static uint64_t heap_end;    /* of RAM */
static uint64_t heap_mapped; /* entered up to here */

void heap_init(void)
{
	uint64_t image_end = (uintptr_t)rt_image_end;

	for (unsigned int i = 0; i < rt_boot.memmap_num; i++) {
		const struct pvh_memmap_entry *e = &rt_boot.memmap[i];

		if (e->type == PVH_MEM_RAM && e->addr < image_end && e->size >= image_end - e->addr)
			heap_end = e->addr + e->size;
	}
	if (!heap_end)
		rt_panic("no RAM at the image's end (%#lx) in the memory map", image_end);
	if (heap_end > HEAP_END_MAX)
		heap_end = HEAP_END_MAX;
	heap_next = image_end;
	heap_mapped = rt_boot.mapped_end;
}

static bool heap_map(uint64_t end)
{
	uint64_t num;

	if (end <= heap_mapped)
		return true;
	if (end < heap_mapped + MAP_STEP)
		end = heap_mapped + MAP_STEP;
	if (end > heap_end)
		end = heap_end;
	num = (ALIGN_UP(end, (uint64_t)PAGE_2M) - heap_mapped) / PAGE_2M;
	if (ring0_call3(RING0_MAP, heap_mapped, heap_mapped, num))
		return false;
	heap_mapped += num * PAGE_2M;
	return true;
}

void *rt_alloc(size_t size, size_t align)
{
	uint64_t start = ALIGN_UP(heap_next, (uint64_t)align);

	if (rt_cpu_id() || !align || (align & (align - 1)) || start < heap_next ||
	    start > heap_end || size > heap_end - start)
		return NULL;
	if (!heap_map(start + size))
		return NULL;
	heap_next = start + size;
	/* vvu-vmm starts every guest with zeroed RAM; memory that is not used is not touched. */
	if (!rt_is_vvu_machine())
		memset((void *)start, 0, size);
	return (void *)start;
}

size_t rt_free_bytes(void)
{
	return heap_end - heap_next;
}
