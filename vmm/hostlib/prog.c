// SPDX-License-Identifier: BSD-2-Clause
#include "vmm/hostlib/prog.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"

#define OPTION_MAX     4096
#define LISTEN_BACKLOG 64

int prog_parse_size(const char *text, uint64_t *out)
{
	unsigned int shift = 0;
	uint64_t value = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++) {
		if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return -EINVAL;
	}
	switch (*text) {
	case 'T':
	case 't':
		shift += 10;
		__attribute__((fallthrough));
	case 'G':
	case 'g':
		shift += 10;
		__attribute__((fallthrough));
	case 'M':
	case 'm':
		shift += 10;
		__attribute__((fallthrough));
	case 'K':
	case 'k':
		shift += 10;
		text++;
		break;
	default:
		break;
	}
	if (*text || (shift && value > (UINT64_MAX >> shift)))
		return -EINVAL;
	*out = value << shift;
	return 0;
}

int prog_parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
	uint64_t value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (uint64_t)(*text - '0');
		if (value > UINT32_MAX)
			return -EINVAL;
	}
	if (value < min || value > max)
		return -EINVAL;
	*out = (uint32_t)value;
	return 0;
}

int prog_each_option(const char *list, int (*fn)(void *arg, const char *key, const char *value),
		     void *arg)
{
	char item[2 * OPTION_MAX];

	for (;;) {
		size_t len = strcspn(list, ",");
		char *value;
		int ret;

		if (len >= sizeof(item))
			return -EINVAL;
		memcpy(item, list, len);
		item[len] = '\0';
		value = strchr(item, '=');
		if (value)
			*value++ = '\0';
		if (strlen(item) >= OPTION_MAX || (value && strlen(value) >= OPTION_MAX))
			return -EINVAL;
		ret = fn(arg, item, value);
		if (ret || !list[len])
			return ret;
		list += len + 1;
	}
}

bool prog_valid_port_name(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > 63)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];
		bool alnum =
			(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (!alnum && (!i || !strchr("_.-", c)))
			return false;
	}
	return true;
}

static int unix_address(const char *path, struct sockaddr_un *addr)
{
	size_t len = strlen(path);

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (!len)
		return -ENOENT;
	if (len >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	memcpy(addr->sun_path, path, len);
	return 0;
}

/* Removes the socket file of a listener that is no more. 0, -EADDRINUSE: it lives, -ENOTSOCK: not a
 * socket. */
static int remove_stale(const char *path, int type)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = prog_connect_unix(path, type);
	if (fd >= 0)
		close(fd);
	if (fd != -ECONNREFUSED)
		return fd == -EACCES ? -EACCES : -EADDRINUSE;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int prog_listen_unix(const char *path, int type, unsigned int mode)
{
	struct sockaddr_un addr;
	int fd, ret;

	ret = unix_address(path, &addr);
	if (!ret)
		ret = remove_stale(path, type);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* Linux gives the socket file the inode's mode, less the umask: it is never wider than
	 * asked for, then as asked. */
	if (fchmod(fd, mode) < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    chmod(path, mode) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
		ret = -errno;
		fd_close(&fd);
		return ret;
	}
	return fd;
}

int prog_connect_unix(const char *path, int type)
{
	struct sockaddr_un addr;
	int fd, ret;

	ret = unix_address(path, &addr);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A UNIX socket connects at once or fails: -EAGAIN tells a full backlog. */
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		ret = -errno;
		fd_close(&fd);
		return ret;
	}
	return fd;
}

static int peer_cred(int sock, struct ucred *cred)
{
	socklen_t len = sizeof(*cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, cred, &len) < 0)
		return -errno;
	return len == sizeof(*cred) ? 0 : -EIO;
}

int prog_peer_uid(int sock, unsigned int *uid)
{
	struct ucred cred;
	int ret = peer_cred(sock, &cred);

	if (!ret)
		*uid = cred.uid;
	return ret;
}

int prog_peer_pid(int sock, int *pid)
{
	struct ucred cred;
	int ret = peer_cred(sock, &cred);

	if (!ret)
		*pid = cred.pid;
	return ret;
}

/* Connected as long as we live: the sandbox has neither this path nor, for "@...", this network namespace. */
static int notify_sock = -1;

int prog_open_notify(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr;
	socklen_t len;
	int ret;

	if (!path || notify_sock >= 0)
		return 0;
	ret = unix_address(path, &addr);
	if (ret)
		return ret;
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (addr.sun_path[0] == '@')
		addr.sun_path[0] = '\0';
	notify_sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (notify_sock < 0 || connect(notify_sock, (struct sockaddr *)&addr, len) < 0) {
		ret = -errno;
		fd_close(&notify_sock);
		log_warn(NULL, "cannot reach systemd (%s): %s", path, strerror(-ret));
	}
	return ret;
}

void prog_notify(const char *text)
{
	if (prog_open_notify() || notify_sock < 0)
		return;
	if (send(notify_sock, text, strlen(text), MSG_NOSIGNAL) < 0)
		log_warn(NULL, "cannot tell NOTIFY_SOCKET %s: %s", text, strerror(errno));
}

void prog_ready(void)
{
	static bool told;
	static const char line[] = "ready\n";

	if (told)
		return;
	told = true;
	if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
		return; /* nobody reads our lines: not a reason to stop serving */
	prog_notify("READY=1");
}

static const int stop_signals[] = { SIGTERM, SIGINT };
static struct event stop_events[sizeof(stop_signals) / sizeof(stop_signals[0])];

static void on_stop(evutil_socket_t sig, short what, void *arg)
{
	struct event_base *base = arg;

	log_debug(NULL, "stopping on signal %d", (int)sig);
	/* Deleting restores the default action, so that a second signal ends a process that hangs
	 * on its way out. */
	for (size_t i = 0; i < sizeof(stop_signals) / sizeof(stop_signals[0]); i++)
		event_del(&stop_events[i]);
	event_base_loopexit(base, NULL);
}

int prog_stop_on_signals(struct event_base *base)
{
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	for (size_t i = 0; i < sizeof(stop_signals) / sizeof(stop_signals[0]); i++) {
		if (evsignal_assign(&stop_events[i], base, stop_signals[i], on_stop, base) < 0 ||
		    evsignal_add(&stop_events[i], NULL) < 0)
			return -EIO;
	}
	return 0;
}

void prog_print_version(const char *program)
{
	printf("%s %s\n", program, VVU_VERSION);
}
