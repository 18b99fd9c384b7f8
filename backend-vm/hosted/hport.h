/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port of the hosted back-end: core/be.h over a UNIX socket, mmap() and eventfds.
 *
 * In server mode the port listens and serves one front-end at a time; in client mode it connects, and connects
 * again with growing pauses. All of it but calling front-ends is done by worker 0, the others standing where they might
 * see it; libevent brings messages and, while the data path sleeps, kicks.
 */
#ifndef BACKEND_HOSTED_HPORT_H
#define BACKEND_HOSTED_HPORT_H

#include <event2/event_struct.h>

#include "core/budget.h"
#include "core/switch.h"
#include "hosted/hworker.h"
#include "vmm/hostlib/wire.h"

#define HPORT_WINDOWS_MAX (VHOST_USER_MEM_SLOTS_MAX + VHOST_USER_TABLE_REGIONS_MAX)

/* Watched by libevent in worker 0's thread, else by the epoll of its worker. */
struct hport_kick {
	struct hport *hp;
	int fd;
	unsigned int worker;
	bool event; /* libevent watches it */
	struct event ev;
};

struct hport_window {
	void *ptr; /* what the core knows; NULL: free */
	void *map; /* what was mapped */
	size_t bytes;
};

struct hport {
	struct port port;
	struct be_switch *sw;
	struct hworkers *workers;
	struct event_base *base;
	char *path;
	bool client;
	unsigned int retry_ms;
	int listen_fd;
	int sock;
	int backend_req_fd;
	struct event listen_ev;
	struct event sock_ev;
	struct event retry_ev;	/* client: connect; server: accept again after a refusal */
	struct event budget_ev; /* read sock again */
	struct budget budget;
	struct wire_reader reader;
	struct hport_kick kicks[PORT_VRINGS];
	int call_fd[PORT_VRINGS];
	int err_fd[PORT_VRINGS];
	struct hport_window windows[HPORT_WINDOWS_MAX];
	const char *
		dead; /* set, by any worker, where the session cannot be ended at once: why it must */
};

/* Opens the port's socket (server) or starts connecting (client). name and path are copied. NULL: a line was logged. */
struct hport_conf {
	const char *name;
	const char *path;
	bool client;
	unsigned int index;
	const struct be_options *options;
	struct be_switch *sw;
	struct hworkers *workers;
	struct event_base *base;
};
struct hport *hport_open(const struct hport_conf *conf);
void hport_close(struct hport *hp);

/* Has the session ended, from any thread or signal handler; why: constant text. */
void hport_dead(struct hport *hp, const char *why);

/* Ends sessions that the data path or the SIGBUS handler found dead. Called between rounds. */
void hport_reap(struct hport *hp);

/* Before a worker blocks: stops the timer that bounds its writes to peers' eventfds. */
void hport_calls_idle(void);

/* Catches SIGBUS for windows whose file a front-end cut short; SIGALRM for eventfds that block. 0 or -errno. */
int hport_signals(void);

#endif
