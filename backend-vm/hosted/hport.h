/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port of the hosted back-end: core/be.h over a UNIX socket, mmap() and eventfds.
 *
 * In server mode the port listens and serves one front-end at a time; in client mode it connects, and connects
 * again with growing pauses. Everything runs in one thread; libevent brings messages and, while the data path
 * sleeps, kicks.
 */
#ifndef BACKEND_HOSTED_HPORT_H
#define BACKEND_HOSTED_HPORT_H

#include <event2/event_struct.h>

#include "core/switch.h"
#include "vmm/hostlib/wire.h"

#define HPORT_WINDOWS_MAX (VHOST_USER_MEM_SLOTS_MAX + VHOST_USER_TABLE_REGIONS_MAX)

struct hport_window {
	void *ptr; /* what the core knows; NULL: free */
	void *map; /* what was mapped */
	size_t bytes;
};

struct hport {
	struct port port;
	struct be_switch *sw;
	struct event_base *base;
	char *path;
	bool client;
	unsigned int retry_ms;
	int listen_fd;
	int sock;
	int backend_req_fd;
	struct event listen_ev;
	struct event sock_ev;
	struct event retry_ev; /* client: connect; server: accept again after a refusal */
	struct wire_reader reader;
	int kick_fd[PORT_VRINGS];
	int call_fd[PORT_VRINGS];
	int err_fd[PORT_VRINGS];
	struct event kick_ev[PORT_VRINGS];
	struct hport_window windows[HPORT_WINDOWS_MAX];
	const char *dead; /* set where the session cannot be ended at once: why it must */
};

/* Opens the port's socket (server) or starts connecting (client). name and path are copied. NULL: a line was logged. */
struct hport_conf {
	const char *name;
	const char *path;
	bool client;
	unsigned int index;
	const struct be_options *options;
	struct be_switch *sw;
	struct event_base *base;
};
struct hport *hport_open(const struct hport_conf *conf);
void hport_close(struct hport *hp);

/* Ends sessions that the data path or the SIGBUS handler found dead. Called between rounds. */
void hport_reap(struct hport *hp);

/* Before the thread blocks for events: stops the timer that bounds writes to peers' eventfds. */
void hport_calls_idle(void);

/* Catches SIGBUS for windows whose file a front-end cut short; SIGALRM for eventfds that block. 0 or -errno. */
int hport_signals(void);

#endif
