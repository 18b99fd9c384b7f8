// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/given.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

#define FIRST_FD 3    /* SD_LISTEN_FDS_START */
#define FDS_MAX	 1026 /* ports, link, control */

static const char *const variables[] = { "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES" };

bool given_add(struct given *g, enum given_kind kind, const char *name, int fd)
{
	struct given_socket *sockets = reallocarray(g->sockets, g->num + 1, sizeof(*g->sockets));

	if (!sockets) {
		fd_close(&fd);
		return false;
	}
	g->sockets = sockets;
	sockets[g->num] = (struct given_socket){ .kind = kind, .fd = fd };
	snprintf(sockets[g->num].name, sizeof(sockets[g->num].name), "%s", name);
	g->num++;
	return true;
}

int given_take(struct given *g, enum given_kind kind, const char *name)
{
	for (unsigned int i = 0; g && i < g->num; i++) {
		struct given_socket *s = &g->sockets[i];
		int fd = s->fd;

		if (fd < 0 || s->kind != kind || (kind == GIVEN_PORT && strcmp(s->name, name)))
			continue;
		s->fd = -1;
		return fd;
	}
	return -1;
}

const char *given_unused(const struct given *g)
{
	for (unsigned int i = 0; i < g->num; i++) {
		if (g->sockets[i].fd >= 0)
			return g->sockets[i].name;
	}
	return NULL;
}

void given_free(struct given *g)
{
	for (unsigned int i = 0; i < g->num; i++)
		fd_close(&g->sockets[i].fd);
	free(g->sockets);
	*g = (struct given){ 0 };
}

/* --- systemd --- */

static bool option_is(int fd, int option, int value)
{
	socklen_t len = sizeof(int);
	int have = 0;

	return getsockopt(fd, SOL_SOCKET, option, &have, &len) == 0 && have == value;
}

/* NULL, or what is wrong with it. */
static const char *check(const struct given *g, const char *name, int type, int fd)
{
	if (fcntl(fd, F_GETFD) < 0)
		return "is not open";
	if (!option_is(fd, SO_DOMAIN, AF_UNIX))
		return "is no UNIX socket: ListenStream= takes a path";
	if (type == SOCK_SEQPACKET && !option_is(fd, SO_TYPE, type))
		return "is of the wrong type: the link takes ListenSequentialPacket=";
	if (!option_is(fd, SO_TYPE, type))
		return "is of the wrong type: a port and the control socket take ListenStream=";
	if (!option_is(fd, SO_ACCEPTCONN, 1))
		return "does not listen: the socket unit takes Accept=no";
	for (unsigned int i = 0; i < g->num; i++) {
		if (!strcmp(g->sockets[i].name, name))
			return "is there twice: each has a socket unit of its own, with its own "
			       "FileDescriptorName=";
	}
	return NULL;
}

static void add_one(struct given *g, const char *name, int fd)
{
	enum given_kind kind = !strcmp(name, "link")	  ? GIVEN_LINK
			       : !strcmp(name, "control") ? GIVEN_CONTROL
							  : GIVEN_PORT;
	const char *wrong = check(g, name, kind == GIVEN_LINK ? SOCK_SEQPACKET : SOCK_STREAM, fd);
	int flags;

	if (wrong)
		die("socket activation: fd %d, called \"%s\", %s", fd, name, wrong);
	if (!prog_valid_port_name(name))
		die("socket activation: fd %d, called \"%s\", has no name of ours: see "
		    "FileDescriptorName= in systemd.socket(5)",
		    fd, name);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		die("socket activation: fd %d, called \"%s\": %s", fd, name, strerror(errno));
	if (!given_add(g, kind, name, fd))
		die("out of memory");
}

void given_from_systemd(struct given *g)
{
	const char *pid = getenv("LISTEN_PID"), *num = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	uint32_t fds = 0, ours = 0;

	if (pid && num && !prog_parse_u32(pid, 1, INT32_MAX, &ours) && ours == (uint32_t)getpid() &&
	    prog_parse_u32(num, 0, FDS_MAX, &fds) < 0)
		die("socket activation: LISTEN_FDS is 0 to %d, not %s", FDS_MAX, num);
	for (uint32_t i = 0; i < fds; i++) {
		size_t len = names ? strcspn(names, ":") : 0;
		char name[256];

		snprintf(name, sizeof(name), "%.*s", (int)(len < 255 ? len : 255),
			 names ? names : "");
		add_one(g, name, FIRST_FD + (int)i);
		if (names)
			names += len + (names[len] == ':');
	}
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
}
