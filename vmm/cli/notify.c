// SPDX-License-Identifier: BSD-2-Clause
/*
 * The receiving end of sd_notify(3). The socket has an abstract name, which anybody may send to: the kernel says whose
 * process it was, and only our own user's count.
 */
#include <errno.h>
#include <event2/event.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/cli/cli.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"

struct notify {
	int sock;
	struct event *read;
	char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	notify_fn fn;
	void *arg;
};

static bool from_us(struct msghdr *mh)
{
	struct ucred cred = { .uid = (uid_t)-1 };

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
	}
	return cred.uid == geteuid();
}

static void on_read(evutil_socket_t sock, short what, void *arg)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct notify *n = arg;
	char text[4096];
	struct iovec iov = { .iov_base = text, .iov_len = sizeof(text) - 1 };
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control) };
	/* Room for credentials only: descriptors (FDSTORE=1) are dropped by the kernel. */
	ssize_t got = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got <= 0)
		return;
	text[got] = '\0';
	if (from_us(&mh))
		n->fn(n->arg, text);
	else
		log_peer(LOG_L_WARN, NULL, "a notice that is not of our user's process: ignored");
}

struct notify *notify_open(struct event_base *base, notify_fn fn, void *arg)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sa_family_t);
	struct notify *n = calloc(1, sizeof(*n));
	int on = 1, err;

	if (!n)
		return NULL;
	n->fn = fn;
	n->arg = arg;
	n->sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* No name given: the kernel chooses an abstract one. */
	if (n->sock < 0 || bind(n->sock, (struct sockaddr *)&addr, len) ||
	    setsockopt(n->sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)))
		goto fail;
	len = sizeof(addr);
	if (getsockname(n->sock, (struct sockaddr *)&addr, &len))
		goto fail;
	snprintf(n->name, sizeof(n->name), "@%.*s",
		 (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), addr.sun_path + 1);
	n->read = event_new(base, n->sock, EV_READ | EV_PERSIST, on_read, n);
	errno = ENOMEM;
	if (n->read && !event_add(n->read, NULL))
		return n;
fail:
	err = errno;
	notify_close(n);
	errno = err;
	return NULL;
}

const char *notify_name(const struct notify *n)
{
	return n->name;
}

void notify_close(struct notify *n)
{
	if (!n)
		return;
	if (n->read)
		event_free(n->read);
	fd_close(&n->sock);
	free(n);
}

bool notify_has(const char *text, const char *line)
{
	size_t len = strlen(line);

	for (const char *at = text; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
		if (!strncmp(at, line, len) && (!at[len] || at[len] == '\n'))
			return true;
	}
	return false;
}
