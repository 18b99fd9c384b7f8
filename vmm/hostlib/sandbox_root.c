// SPDX-License-Identifier: BSD-2-Clause
/*
 * A root directory with nothing in it but what will be used: sockets that are connected to or removed later are
 * names, and a directory that is only held open would lead, by "..", to all the rest.
 *
 * The new root is a small tmpfs. Each place is bound into it at the path by which the program will ask for it,
 * and, if that leads through symbolic links, at the path without them, too. /proc has our own directory and no
 * other.
 *
 * A directory that does not exist yet stands for the nearest one above it that does.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/sandbox.h"

struct place {
	char *path; /* absolute */
	bool write;
	bool file;
	int fd; /* O_PATH, in the new mount namespace; -1: not opened */
};

static struct place *places;
static unsigned int num_places;

/* The place where the tmpfs lies until it is the root. */
static const char *const stages[] = { "/tmp", "/run", "/mnt", "/var" };

static char *absolute(const char *path)
{
	char cwd[PATH_MAX], *out;

	if (*path == '/')
		return strdup(path);
	if (!getcwd(cwd, sizeof(cwd)) || asprintf(&out, "%s/%s", cwd, path) < 0)
		return NULL;
	return out;
}

static void add_place(char *path, bool write, bool file)
{
	for (unsigned int i = 0; i < num_places; i++) {
		if (!strcmp(places[i].path, path)) {
			places[i].write |= write;
			free(path);
			return;
		}
	}
	places = reallocarray(places, num_places + 1, sizeof(*places));
	if (!places)
		die("out of memory");
	places[num_places++] =
		(struct place){ .path = path, .write = write, .file = file, .fd = -1 };
}

void sandbox_place(const char *path, enum sandbox_place what)
{
	bool file = what == SANDBOX_FILE, write = what == SANDBOX_DIR_WRITE;
	char *text, *real, *dir;

	if (!path)
		return;
	text = absolute(path);
	if (!text)
		die("out of memory");
	dir = file ? text : dirname(text);
	while (access(dir, F_OK) < 0 && strcmp(dir, "/") != 0)
		dir = dirname(dir);
	if (!file && !strcmp(dir, "/"))
		log_debug("sandbox", "%s: its directory makes the whole file system visible", path);
	real = realpath(dir, NULL);
	if (real)
		add_place(real, write, file);
	add_place(strdup(dir), write, file);
	free(text);
}

static int by_length(const void *a, const void *b)
{
	size_t x = strlen(((const struct place *)a)->path);
	size_t y = strlen(((const struct place *)b)->path);

	return x < y ? -1 : x > y;
}

/* Makes the directories of path under root; for a file, that too, empty. What is there stays as it is. */
static int make_path(int root, const char *path, bool file)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (file && i == len) {
			if (mknodat(root, part + 1, S_IFREG | 0444, 0) < 0 && errno != EEXIST)
				return -errno;
		} else if (part[1] && mkdirat(root, part + 1, 0755) < 0 && errno != EEXIST) {
			return -errno;
		}
	}
	return 0;
}

/* Binds the open directory or file at this path of the new root. */
static int bind_at(const char *stage, const char *path, int fd, bool write)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
			    (write ? 0 : MOUNT_ATTR_RDONLY),
	};
	char from[64], to[PATH_MAX];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	if (snprintf(to, sizeof(to), "%s%s", stage, path) >= (int)sizeof(to))
		return -ENAMETOOLONG;
	/* With a user namespace, mounts below must come along. */
	if (mount(from, to, NULL, MS_BIND, NULL) < 0 &&
	    mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	/* An older kernel, or mounts that may not be changed: what matters is what can be reached. */
	mount_setattr(AT_FDCWD, to, AT_RECURSIVE, &attr, sizeof(attr));
	return 0;
}

static int bind_places(const char *stage, int root)
{
	for (unsigned int i = 0; i < num_places; i++) {
		const struct place *p = &places[i];
		int ret;

		if (p->fd < 0)
			continue;
		ret = make_path(root, p->path, p->file);
		if (!ret)
			ret = bind_at(stage, p->path, p->fd, p->write);
		if (ret) {
			log_debug("sandbox", "%s: %s", p->path, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

/* /proc/self and what it leads to. Without it, fds could not be examined. */
static int bind_proc(const char *stage, int root, int proc)
{
	char pid[32], path[64];
	ssize_t n = readlink("/proc/self", pid, sizeof(pid) - 1);
	int ret;

	if (n <= 0)
		return -errno;
	pid[n] = '\0';
	snprintf(path, sizeof(path), "/proc/%s", pid);
	ret = make_path(root, path, false);
	if (!ret)
		ret = bind_at(stage, path, proc, true); /* threads get names */
	if (!ret && symlinkat(pid, root, "proc/self") < 0 && errno != EEXIST)
		ret = -errno;
	return ret;
}

/* True when dir is path, or contains it. */
static bool contains(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	return !strncmp(dir, path, len) && (len == 1 || path[len] == '/' || path[len] == '\0');
}

/* Not in a place: it would show up there. */
static const char *find_stage(void)
{
	for (unsigned int i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		struct stat st;
		bool inside = false;

		for (unsigned int j = 0; j < num_places; j++)
			inside |= contains(places[j].path, stages[i]);
		if (!inside && !stat(stages[i], &st) && S_ISDIR(st.st_mode))
			return stages[i];
	}
	return NULL;
}

/* From here on, "/" is the tmpfs at stage, and what was there before is gone. */
static int pivot(const char *stage, const char *cwd)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	if (chdir(stage) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0)
		return -errno;
	mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof(attr));
	return chdir(cwd) < 0 && chdir("/") < 0 ? -errno : 0;
}

static int build_root(const char *stage, const char *cwd, const char **what)
{
	int proc, root, ret;

	for (unsigned int i = 0; i < num_places; i++)
		places[i].fd = open(places[i].path, O_PATH | O_CLOEXEC);
	proc = open("/proc/self", O_PATH | O_CLOEXEC);

	*what = "tmpfs";
	if (mount("vvu", stage, "tmpfs", MS_NODEV | MS_NOEXEC | MS_NOSUID, "mode=0755,size=1m") <
	    0) {
		ret = -errno;
		fd_close(&proc);
		return ret;
	}
	root = open(stage, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ret = root < 0 ? -errno : 0;
	*what = "bind mounts";
	if (!ret)
		ret = make_path(root, cwd, false);
	if (!ret)
		ret = bind_places(stage, root);
	if (!ret)
		ret = bind_proc(stage, root, proc);
	fd_close(&root);
	fd_close(&proc);
	*what = "pivot_root";
	if (!ret)
		ret = pivot(stage, cwd);
	if (ret) {
		umount2(stage, MNT_DETACH);
		if (chdir(cwd) < 0)
			log_debug("sandbox", "%s: %s", cwd, strerror(errno));
	}
	return ret;
}

int sandbox_change_root(const char **what)
{
	const char *stage = find_stage();
	char cwd[PATH_MAX];
	int ret;

	*what = "working directory";
	if (!getcwd(cwd, sizeof(cwd)) || *cwd != '/')
		return -ENOENT;
	*what = "a place to mount at";
	if (!stage)
		return -ENOENT;
	*what = "mount propagation";
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return -errno;
	/* Outer directories first, so that none covers what was bound inside it. */
	qsort(places, num_places, sizeof(*places), by_length);
	ret = build_root(stage, cwd, what);
	for (unsigned int i = 0; i < num_places; i++) {
		fd_close(&places[i].fd);
		free(places[i].path);
	}
	free(places);
	places = NULL;
	num_places = 0;
	return ret;
}
