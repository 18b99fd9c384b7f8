// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/cli/cli.h"
#include "vmm/hostlib/fds.h"

/* Somebody may have removed the file, and another made a new one, between our opening and locking it. */
static bool still_there(const char *path, int fd)
{
	struct stat a, b;

	return !fstat(fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int pidfile_lock(const char *path, bool create, bool wait)
{
	for (;;) {
		int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | (create ? O_CREAT : 0), 0644);
		int ret;

		if (fd < 0)
			return -errno;
		do
			ret = flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) ? -errno : 0;
		while (ret == -EINTR);
		if (!ret && still_there(path, fd))
			return fd;
		fd_close(&fd);
		if (ret)
			return ret;
	}
}

pid_t pidfile_read(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	long pid;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	pid = strtol(text, NULL, 10);
	return pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

int pidfile_write(int fd, pid_t pid)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%d\n", (int)pid);

	if (pwrite(fd, text, (size_t)len, 0) != len || ftruncate(fd, len))
		return errno ? -errno : -EIO;
	return 0;
}
