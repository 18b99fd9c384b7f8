/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listening sockets that we did not open: from systemd (socket activation, sd_listen_fds(3)) or from the proxy that we
 * take over from. Each is used in place of one that we would open.
 */
#ifndef HOST_PROXY_GIVEN_H
#define HOST_PROXY_GIVEN_H

#include <stdbool.h>

#include "abi/link.h"

enum given_kind {
	GIVEN_PORT,
	GIVEN_LINK,
	GIVEN_CONTROL
};

struct given_socket {
	enum given_kind kind;
	char name[LINK_PORT_NAME_MAX + 1]; /* of the port */
	int fd;				   /* -1: it is in use */
};

struct given {
	struct given_socket *sockets;
	unsigned int num;
};

/*
 * What systemd has passed to us, named by FileDescriptorName=: the name of a port, "link" or "control". Ends the
 * process with a line if one of them makes no sense. The variables are removed from the environment.
 */
void given_from_systemd(struct given *g);
/* Takes fd in any case. False: out of memory. */
bool given_add(struct given *g, enum given_kind kind, const char *name, int fd);

/* That socket (name: of a port), which is the caller's from now on; -1: there is none. g may
 * be NULL. */
int given_take(struct given *g, enum given_kind kind, const char *name);
/* The name of one that nobody has taken; NULL: there is none. */
const char *given_unused(const struct given *g);
/* Closes those that nobody has taken. */
void given_free(struct given *g);

#endif
