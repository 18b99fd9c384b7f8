// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "abi/machine.h"
#include "vmm/stats_page.h"

#define COUNTERS_MAX ((STATS_PAGE_BYTES - sizeof(struct stats_page)) / sizeof(struct stats_counter))

static bool valid_name(const char *name)
{
	unsigned int i;

	for (i = 0; i <= STATS_NAME_MAX && name[i]; i++) {
		char c = name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.'))
			return false;
	}
	return i > 0 && i <= STATS_NAME_MAX;
}

int stats_page_read(struct memmap *ram, struct gpa addr,
		    void (*fn)(void *arg, const char *name, uint64_t value), void *arg,
		    const char **why)
{
	const struct stats_page *page;
	struct stats_page head;

	*why = "its address is unaligned or not in guest memory";
	page = memmap_translate(ram, addr, sizeof(head), 4096);
	if (!page)
		return -EFAULT;
	/* Copies, here and below: the guest may change what has been checked. */
	memcpy(&head, page, sizeof(head));
	*why = "it has not the magic number and version of one";
	if (head.magic != STATS_MAGIC || head.version != STATS_VERSION)
		return -EPROTO;
	*why = "it counts more counters than it has room for";
	if (head.count > head.capacity || head.count > COUNTERS_MAX)
		return -EPROTO;
	*why = "it reaches beyond guest memory";
	if (!memmap_translate(ram, addr, sizeof(head) + head.count * sizeof(page->counters[0]),
			      4096))
		return -EFAULT;

	*why = "a counter's name is empty, too long, or not of a-z, 0-9, '_' and '.'";
	for (uint32_t i = 0; i < head.count; i++) {
		struct stats_counter counter;

		memcpy(counter.name, page->counters[i].name, sizeof(counter.name));
		if (!valid_name(counter.name))
			return -EPROTO;
		/* One load, so that a value the guest is just storing is not torn. */
		counter.value = __atomic_load_n(&page->counters[i].value, __ATOMIC_RELAXED);
		fn(arg, counter.name, counter.value);
	}
	return (int)head.count;
}
