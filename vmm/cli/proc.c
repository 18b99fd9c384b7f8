// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/cli/cli.h"
#include "vmm/hostlib/fds.h"

#define CMDLINE_MAX (1u << 20)

/* --- processes --- */

int proc_open(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : (int)fd; /* close-on-exec by itself */
}

int proc_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) ? -errno : 0;
}

_Noreturn static void child(const struct proc_start *s, int report)
{
	ssize_t n;
	int err;

	signal(SIGPIPE, SIG_DFL);
	if (s->own_session)
		setsid();
	if ((!s->notify || !setenv("NOTIFY_SOCKET", s->notify, 1)) && (!s->dir || !chdir(s->dir)))
		execvp(s->argv[0], s->argv);
	err = errno;
	do
		n = write(report, &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	_exit(127);
}

pid_t proc_start(const struct proc_start *s, int *pidfd)
{
	int report[2], err = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0)
		err = errno;
	if (pid == 0)
		child(s, report[1]);
	fd_close(&report[1]);
	if (pid > 0) {
		do
			n = read(report[0], &err, sizeof(err));
		while (n < 0 && errno == EINTR);
		*pidfd = n == 0 ? proc_open(pid) : -1;
		if (n == 0 && *pidfd < 0) {
			err = -*pidfd;
			kill(pid, SIGKILL);
		}
		if (err)
			waitpid(pid, NULL, 0);
	}
	fd_close(&report[0]);
	return err ? -err : pid;
}

struct proc_end proc_end(int pidfd)
{
	siginfo_t info = { 0 };

	if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED))
		return (struct proc_end){ .known = false };
	return (struct proc_end){ .known = true,
				  .signalled = info.si_code != CLD_EXITED,
				  .value = info.si_status };
}

const char *proc_end_text(const struct proc_end *end, char *buf, size_t size)
{
	if (!end->known)
		snprintf(buf, size, "ended");
	else if (end->signalled)
		snprintf(buf, size, "was killed by signal %d (%s)", end->value,
			 strsignal(end->value));
	else
		snprintf(buf, size, "exited with status %d", end->value);
	return buf;
}

/* --- what a process is --- */

void proc_free_argv(char **argv)
{
	for (char **a = argv; a && *a; a++)
		free(*a);
	free(argv);
}

char **proc_copy_argv(char *const *argv)
{
	unsigned int num = 0;
	char **copy;

	while (argv[num])
		num++;
	copy = calloc(num + 1, sizeof(*copy));
	for (unsigned int i = 0; copy && i < num; i++) {
		copy[i] = strdup(argv[i]);
		if (!copy[i]) {
			proc_free_argv(copy);
			return NULL;
		}
	}
	return copy;
}

/* All of a file of /proc, with a NUL behind it. */
static char *read_proc(pid_t pid, const char *name, size_t *bytes)
{
	char path[64], *text = malloc(CMDLINE_MAX + 1);
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	*bytes = 0;
	while (text && fd >= 0 && *bytes < CMDLINE_MAX) {
		n = read(fd, text + *bytes, CMDLINE_MAX - *bytes);
		if (n <= 0)
			break;
		*bytes += (size_t)n;
	}
	fd_close(&fd);
	if (n || !*bytes) {
		free(text);
		return NULL;
	}
	text[*bytes] = '\0';
	return text;
}

char **proc_argv(pid_t pid)
{
	size_t bytes;
	char *text = read_proc(pid, "cmdline", &bytes), **argv, **copy = NULL;
	unsigned int num = 0;

	if (!text)
		return NULL;
	for (size_t i = 0; i < bytes; i++)
		num += !text[i];
	argv = calloc(num + 2, sizeof(*argv));
	if (argv) {
		num = 0;
		for (char *at = text; at < text + bytes; at += strlen(at) + 1)
			argv[num++] = at;
		copy = proc_copy_argv(argv);
	}
	free(argv);
	free(text);
	return copy;
}

char *proc_dir(pid_t pid)
{
	char path[64], dir[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
	n = readlink(path, dir, sizeof(dir) - 1);
	if (n <= 0)
		return NULL;
	dir[n] = '\0';
	return strdup(dir);
}

/* --- the options of vvu-vmm that matter here --- */

const char *vvu_option(char *const *argv, unsigned int *at)
{
	for (; argv[*at]; (*at)++) {
		if (!strncmp(argv[*at], "--vvu=", 6))
			return argv[*at] + 6;
		if (*at && !strcmp(argv[*at - 1], "--vvu"))
			return argv[*at];
	}
	return NULL;
}

/* The item that begins with key; its length in *len. */
static const char *find_item(const char *value, const char *key, size_t *len)
{
	for (const char *at = value;; at += *len + 1) {
		*len = strcspn(at, ",");
		if (!strncmp(at, key, strlen(key)))
			return at;
		if (!at[*len])
			return NULL;
	}
}

bool vvu_option_links(const char *value, const char *link)
{
	size_t len;
	const char *item = find_item(value, "link=", &len);

	return item && len == 5 + strlen(link) && !strncmp(item + 5, link, len - 5);
}

const char *vvu_option_port(const char *value, size_t *len)
{
	const char *item = find_item(value, "port=", len);

	if (!item)
		return NULL;
	*len -= 5;
	return item + 5;
}

/* argument with its replace= item gone, and a new one if on. */
static char *with_replace(const char *argument, bool on)
{
	const char *add = on ? ",replace=on" : "", *rest = "";
	size_t len, keep = strlen(argument);
	const char *item = find_item(argument, "replace=", &len);
	char *text;

	if (item) {
		/* A comma goes with it: the one behind, else the one before. */
		keep = (size_t)(item - argument);
		rest = item + len;
		if (*rest == ',')
			rest++;
		else if (keep && argument[keep - 1] == ',')
			keep--;
	}
	return asprintf(&text, "%.*s%s%s", (int)keep, argument, rest, add) < 0 ? NULL : text;
}

int vvu_options_replace(char **argv, const char *link, bool on)
{
	const char *value;
	int changed = 0;

	for (unsigned int at = 0; (value = vvu_option(argv, &at)); at++) {
		char *text;

		if (link && !vvu_option_links(value, link))
			continue;
		text = with_replace(argv[at], on);
		if (!text)
			return -ENOMEM;
		free(argv[at]);
		argv[at] = text;
		changed++;
	}
	return changed;
}
