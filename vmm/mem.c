// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi/machine.h"
#include "vmm/hostlib/fds.h"
#include "vmm/mem.h"
#include "vmm/pages.h"

#define HUGE_SHIFT 26 /* MFD_HUGE_SHIFT: log2 of the page size goes there */

/* Guest-physical and host addresses agree modulo the page size, without which KVM cannot use large
 * mappings. A reservation of huge pages is wanted: having none is an error now and no signal later. */
static void *map_aligned(int fd, uint64_t size, uint64_t page)
{
	uint64_t align = page > PAGE_2M ? page : PAGE_2M, span = size + align;
	int flags = MAP_SHARED | MAP_FIXED | (page ? 0 : MAP_NORESERVE);
	uint8_t *room, *host;
	uintptr_t at;

	room = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	at = (uintptr_t)room;
	host = room + (ALIGN_UP(at, align) - at);
	if (mmap(host, size, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED) {
		munmap(room, span);
		return NULL;
	}
	if (host > room)
		munmap(room, (size_t)(host - room));
	munmap(host + size, span - size - (size_t)(host - room));
	return host;
}

static int populate(struct mem *mem)
{
	int ret = mem->prefault ? pages_populate(mem->host, mem->size) : 0;

	return ret == -EOPNOTSUPP ? 0 : ret; /* later, then, page by page */
}

/* The file and its mapping, with what it needs of its pages. */
static int allocate(struct mem *mem, const char **what)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	if (mem->page)
		flags |= MFD_HUGETLB | (unsigned int)__builtin_ctzll(mem->page) << HUGE_SHIFT;
	*what = "memfd_create";
	mem->fd = memfd_create("vvu-guest-ram", flags);
	if (mem->fd < 0)
		return -errno;
	*what = "ftruncate of guest memory";
	if (ftruncate(mem->fd, (off_t)mem->size) < 0)
		return -errno;
	/* Whoever gets the fd can't take memory away under the guest. */
	*what = "sealing guest memory";
	if (fcntl(mem->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	*what = "mmap of guest memory";
	mem->host = map_aligned(mem->fd, mem->size, mem->page);
	if (!mem->host)
		return -errno;
	if (!mem->page)
		pages_want_large(mem->host, mem->size);
	*what = "populating guest memory";
	return populate(mem);
}

int mem_create(struct mem *mem, const struct mem_conf *conf, struct memmap *map, const char **what)
{
	uint64_t size = conf->page ? ALIGN_UP(conf->bytes, conf->page) : conf->bytes;
	int ret;

	*mem = (struct mem){
		.fd = -1, .size = size, .page = conf->page, .prefault = conf->prefault || conf->page
	};
	mem->low = size < MACHINE_MMIO32_BASE ? size : MACHINE_MMIO32_BASE;
	mem->high = size - mem->low;
	ret = allocate(mem, what);
	if (ret)
		goto fail;
	*what = "memory map";
	ret = memmap_add(map, gpa(0), mem->low, mem->host);
	if (!ret && mem->high)
		ret = memmap_add(map, gpa(MACHINE_RAM_HIGH_BASE), mem->high, mem->host + mem->low);
	if (!ret)
		return 0;
fail:
	mem_destroy(mem);
	return ret;
}

void mem_destroy(struct mem *mem)
{
	if (mem->host)
		munmap(mem->host, mem->size);
	mem->host = NULL;
	fd_close(&mem->fd);
}

int mem_clear(struct mem *mem)
{
	/* A hole in huge pages gives up the reservation, too; somebody else could take them. */
	if (mem->page) {
		memset(mem->host, 0, mem->size);
		return 0;
	}
	if (fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)mem->size) < 0)
		return -errno;
	return populate(mem);
}
