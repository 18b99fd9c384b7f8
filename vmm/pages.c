// SPDX-License-Identifier: BSD-2-Clause
#include "vmm/pages.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

/* Newer than Debian 12's glibc on some systems (Linux 5.14). */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

static int populate(void *at, uint64_t bytes, int how)
{
	while (madvise(at, bytes, how)) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		return errno == EINVAL ? -EOPNOTSUPP : -errno;
	}
	return 0;
}

int pages_populate(void *at, uint64_t bytes)
{
	return populate(at, bytes, MADV_POPULATE_WRITE);
}

int pages_populate_read(void *at, uint64_t bytes)
{
	return populate(at, bytes, MADV_POPULATE_READ);
}

void pages_want_large(void *at, uint64_t bytes)
{
	if (bytes >= PAGE_2M)
		madvise(at, bytes, MADV_HUGEPAGE); /* a wish; hosts without them refuse it */
}

int64_t pages_free(uint64_t page)
{
	char path[96];
	long long n;
	FILE *f;
	int got;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/free_hugepages",
		 (unsigned long long)page >> 10);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	got = fscanf(f, "%lld", &n);
	fclose(f);
	return got == 1 && n >= 0 ? (int64_t)n : -EIO;
}

uint64_t pages_default_huge(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];

	if (!f)
		return PAGE_2M;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Hugepagesize: %llu kB", &kib) == 1)
			break;
	}
	fclose(f);
	return kib ? (uint64_t)kib << 10 : PAGE_2M;
}
