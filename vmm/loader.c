// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/loader_priv.h"

int loader_bad(struct loader *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	n = snprintf(l->error, l->error_size, "%s: ", l->conf->kernel);
	if (n < 0 || (size_t)n >= l->error_size)
		return -EINVAL;
	va_start(ap, fmt);
	vsnprintf(l->error + n, l->error_size - (size_t)n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int read_all(int fd, void *dst, uint64_t offset, uint64_t len)
{
	uint8_t *at = dst;

	while (len) {
		ssize_t n = pread(fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		at += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int loader_read(struct loader *l, void *dst, uint64_t offset, uint64_t len, const char *what)
{
	int ret;

	if (offset > l->file_size || len > l->file_size - offset)
		return loader_bad(l, "truncated: %s reaches beyond the end of the file", what);
	ret = read_all(l->fd, dst, offset, len);
	if (ret == -ENODATA)
		return loader_bad(l, "truncated while reading %s", what);
	if (ret)
		loader_bad(l, "cannot read %s: %s", what, strerror(-ret));
	return ret;
}

int loader_read_guest(struct loader *l, uint64_t addr, uint64_t offset, uint64_t len,
		      const char *what)
{
	void *dst;

	if (!len)
		return 0;
	dst = memmap_translate(l->ram, gpa(addr), len, 1);
	if (!dst)
		return loader_bad(l, "%s does not fit into guest memory; raise --memory", what);
	return loader_read(l, dst, offset, len, what);
}

/* Opens a regular file. Returns the fd or -errno; the error names path. */
static int open_file(struct loader *l, const char *path, uint64_t *size)
{
	struct stat st;
	int fd, ret;

	/* Non-blocking, for a FIFO would make us wait. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		ret = -errno;
		snprintf(l->error, l->error_size, "%s: cannot open: %s", path, strerror(-ret));
		return ret;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		snprintf(l->error, l->error_size, "%s: not a regular file", path);
		close(fd);
		return -EINVAL;
	}
	*size = (uint64_t)st.st_size;
	return fd;
}

static int read_initrd(struct loader *l, int fd, uint64_t limit)
{
	uint64_t low = ALIGN_UP(l->image_end, UINT64_C(4096));
	void *dst;
	int ret;

	if (low < LOADER_HIGH_MEM)
		low = LOADER_HIGH_MEM;
	if (limit > l->conf->ram_low)
		limit = l->conf->ram_low;
	if (limit < low || l->initrd_size > limit - low)
		goto too_big;
	l->initrd = ALIGN_DOWN(limit - l->initrd_size, UINT64_C(4096));
	if (l->initrd < low)
		goto too_big;
	dst = memmap_translate(l->ram, gpa(l->initrd), l->initrd_size, 1);
	if (!dst)
		goto too_big;
	ret = read_all(fd, dst, 0, l->initrd_size);
	if (ret)
		snprintf(l->error, l->error_size, "%s: cannot read: %s", l->conf->initrd,
			 ret == -ENODATA ? "it became shorter" : strerror(-ret));
	return ret;
too_big:
	snprintf(l->error, l->error_size, "%s: does not fit into guest memory; raise --memory",
		 l->conf->initrd);
	return -E2BIG;
}

int loader_initrd(struct loader *l, uint64_t limit)
{
	int fd, ret = 0;

	if (!l->conf->initrd)
		return 0;
	fd = open_file(l, l->conf->initrd, &l->initrd_size);
	if (fd < 0)
		return fd;
	if (l->initrd_size)
		ret = read_initrd(l, fd, limit);
	close(fd);
	return ret;
}

uint64_t loader_info_room(const struct loader *l, uint64_t len)
{
	uint64_t behind = ALIGN_UP(l->image_end, UINT64_C(4096));
	uint64_t end = l->initrd ? l->initrd : l->conf->ram_low;

	if (len <= LOADER_LOW_END - LOADER_INFO_GPA &&
	    (l->image_end <= LOADER_INFO_GPA || l->image_start >= LOADER_INFO_GPA + len))
		return LOADER_INFO_GPA;
	if (behind < LOADER_HIGH_MEM)
		behind = LOADER_HIGH_MEM;
	return behind < end && len <= end - behind ? behind : 0;
}

static int load_by_kind(struct loader *l, struct loader_entry *out)
{
	uint8_t head[0x206];
	int ret;

	if (l->file_size < 64)
		return loader_bad(l, "truncated: neither an ELF image nor a bzImage");
	ret = loader_read(l, head, 0, 64, "the ELF header");
	if (ret)
		return ret;
	if (!memcmp(head, "\177ELF", 4))
		return loader_pvh(l, out);
	if (l->file_size >= sizeof(head)) {
		ret = loader_read(l, head, 0, sizeof(head), "the boot sector");
		if (ret)
			return ret;
		if (head[0x1fe] == 0x55 && head[0x1ff] == 0xaa && !memcmp(head + 0x202, "HdrS", 4))
			return loader_bzimage(l, out);
	}
	return loader_bad(l, "neither a PVH ELF image nor a Linux bzImage");
}

int loader_load(const struct loader_conf *conf, struct memmap *ram, struct loader_entry *out,
		char *error, size_t error_size)
{
	struct loader l = {
		.conf = conf,
		.ram = ram,
		.image_start = UINT64_MAX,
		.error = error,
		.error_size = error_size,
	};
	int ret;

	*out = (struct loader_entry){ .needs = UINT32_MAX };
	if (conf->ram_low <= LOADER_HIGH_MEM)
		return loader_bad(&l, "needs more than 1 MiB of guest memory; raise --memory");
	l.fd = open_file(&l, conf->kernel, &l.file_size);
	if (l.fd < 0)
		return l.fd;
	ret = load_by_kind(&l, out);
	fd_close(&l.fd);
	return ret;
}
