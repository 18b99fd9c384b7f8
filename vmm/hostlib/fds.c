// SPDX-License-Identifier: BSD-2-Clause
#include "vmm/hostlib/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SMALL_PAGE 4096u

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void fds_close(int *fds, unsigned int num)
{
	for (unsigned int i = 0; i < num; i++)
		fd_close(&fds[i]);
}

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

int fd_check_memory(int fd, uint64_t min_bytes, const char **why)
{
	struct stat st;
	struct statfs fs;
	int flags;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return refuse(why, "fd cannot be examined");
	if (!S_ISREG(st.st_mode))
		return refuse(why, "memory fd is not a file");
	if (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC)
		return refuse(why, "memory file is neither memfd, tmpfs nor hugetlbfs");
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) != O_RDWR)
		return refuse(why, "memory file is not open for reading and writing");
	if (st.st_size < 0 || (uint64_t)st.st_size < min_bytes)
		return refuse(why, "memory file is shorter than claimed");
	return 0;
}

int fd_check_eventfd(int fd, const char **why)
{
	static const char kind[] = "anon_inode:[eventfd]";
	char path[64], link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link));
	if (n != (ssize_t)sizeof(kind) - 1 || memcmp(link, kind, sizeof(kind) - 1) != 0)
		return refuse(why, "fd is not an eventfd");
	return 0;
}

int fd_check_unix_stream(int fd, const char **why)
{
	int domain, type;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX)
		return refuse(why, "fd is not a UNIX socket");
	len = sizeof(type);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return refuse(why, "fd is not a stream socket");
	return 0;
}

int fd_eventfd_id(int fd, uint64_t *id)
{
	char path[64], text[512], *at;
	ssize_t n;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return -errno;
	n = read(info, text, sizeof(text) - 1);
	close(info);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	at = strstr(text, "eventfd-id:");
	if (!at)
		return -ENOTSUP;
	*id = strtoull(at + strlen("eventfd-id:"), NULL, 10);
	return 0;
}

bool fd_same_eventfd(int a, int b)
{
	uint64_t ida = 0;
	uint64_t idb = 0;

	if (fd_eventfd_id(a, &ida) < 0 || fd_eventfd_id(b, &idb) < 0)
		return false;
	return ida == idb;
}

uint64_t fd_page_size(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0)
		return (uint64_t)fs.f_bsize;
	return SMALL_PAGE;
}

uint64_t fd_raise_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return 0;
	if (lim.rlim_cur < lim.rlim_max) {
		rlim_t old = lim.rlim_cur;

		lim.rlim_cur = lim.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
			lim.rlim_cur = old;
	}
	return lim.rlim_cur;
}
