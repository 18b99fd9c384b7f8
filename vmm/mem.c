// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi/machine.h"
#include "vmm/hostlib/fds.h"
#include "vmm/mem.h"

#define LARGE_PAGE (UINT64_C(2) << 20)

/* Guest-physical and host addresses agree modulo 2 MiB, without which KVM cannot use large
 * mappings. */
static void *map_aligned(int fd, uint64_t size)
{
	uint64_t span = size + LARGE_PAGE;
	uint8_t *room, *host;
	uintptr_t at;

	room = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	at = (uintptr_t)room;
	host = room + (ALIGN_UP(at, LARGE_PAGE) - at);
	if (mmap(host, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd,
		 0) == MAP_FAILED) {
		munmap(room, span);
		return NULL;
	}
	if (host > room)
		munmap(room, (size_t)(host - room));
	munmap(host + size, span - size - (size_t)(host - room));
	return host;
}

int mem_create(struct mem *mem, uint64_t size, struct memmap *map, const char **what)
{
	int ret;

	*mem = (struct mem){ .fd = -1, .size = size };
	mem->low = size < MACHINE_MMIO32_BASE ? size : MACHINE_MMIO32_BASE;
	mem->high = size - mem->low;

	*what = "memfd_create";
	mem->fd = memfd_create("vvu-guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (mem->fd < 0)
		return -errno;
	*what = "ftruncate of guest memory";
	if (ftruncate(mem->fd, (off_t)size) < 0)
		goto fail;
	/* Whoever gets the fd can't take memory away under the guest. */
	*what = "sealing guest memory";
	if (fcntl(mem->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		goto fail;
	*what = "mmap of guest memory";
	mem->host = map_aligned(mem->fd, size);
	if (!mem->host)
		goto fail;

	*what = "memory map";
	ret = memmap_add(map, gpa(0), mem->low, mem->host);
	if (!ret && mem->high)
		ret = memmap_add(map, gpa(MACHINE_RAM_HIGH_BASE), mem->high, mem->host + mem->low);
	if (!ret)
		return 0;
	errno = -ret;
fail:
	ret = -errno;
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
	if (fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)mem->size) < 0)
		return -errno;
	return 0;
}
