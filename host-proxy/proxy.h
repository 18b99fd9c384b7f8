/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole proxy. Three kinds of objects, each with its own states and one function that moves
 * them:
 *
 *   struct port     lives as long as the process; has at most one link and at most one session
 * (port.h) struct link     a connection from a VMM, one per VVU device (link.h) struct session  a
 * connected front-end (session.h)
 *
 * Callbacks of the event loop only decode what happened and call plain functions. An object that
 * ends gives up its fds and events at once, so that no peer's memory or notification outlives its
 * session, and is parked on a list of the dead; the memory is freed when the turn of the loop is
 * over (proxy_reap()), since callers up the stack still hold pointers.
 */
#ifndef HOST_PROXY_PROXY_H
#define HOST_PROXY_PROXY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "host-proxy/conf.h"
#include "host-proxy/watch.h"

struct control;
struct given;
struct link;
struct port;
struct session;

LIST_HEAD(link_list, link);
LIST_HEAD(session_list, session);

/* A listening socket that can pause: after a refusal, or when we are out of fds. */
struct listener {
	int sock;	/* -1: none */
	bool keep_file; /* the socket file is not ours to remove */
	struct event accept_ev;
	struct event resume_ev;
	uint64_t paid_ns; /* until when the connections accepted so far are paid for (proxy.c) */
};

struct proxy {
	struct event_base *base;
	const struct proxy_conf *conf;
	struct port *ports;
	unsigned int num_ports;
	struct listener links;
	struct link_list new_links; /* accepted, no HELLO yet */
	unsigned int num_new_links;
	struct link_list dead_links;
	struct session_list dead_sessions;
	struct event together_ev; /* together.h */
	struct event replace_ev;  /* replace.h */
	bool young; /* VMMs that were linked to the proxy before us may still come (claim.h) */
	struct event young_ev;
	uint32_t last_session; /* number of the last session, on whichever port */
	uint64_t started_ns;
	struct given *given;	 /* sockets to use in place of those that we would open */
	struct control *control; /* NULL: none */
	int takeover;		 /* a connection of a proxy that wants to take over; -1: none */
};

/* CLOCK_MONOTONIC. */
uint64_t proxy_now_ns(void);

struct port *proxy_find_port(struct proxy *p, const char *name);

/*
 * Opens the sockets of all ports and of the links, but for those that are given. 0; or -errno, and
 * *what names the socket that failed. proxy_close() closes every session and link and removes the
 * socket files; it may be called after a failure.
 */
int proxy_open(struct proxy *p, struct event_base *base, const struct proxy_conf *conf,
	       struct given *given, const char **what);
void proxy_close(struct proxy *p);

/* Frees what has ended; called after each turn of the loop. */
void proxy_reap(struct proxy *p);

/*
 * The port that uses this eventfd already, as anything but `kind` (enum ring_fd) of ring `index` of
 * `self`; NULL: none. KVM allows one irqfd per eventfd in the whole host, so an eventfd has one
 * place only.
 */
const struct port *proxy_find_eventfd(const struct proxy *p, uint64_t id, const struct port *self,
				      uint32_t index, unsigned int kind);

/*
 * Listening sockets. 0 or -errno; fn is called for each connection to accept. listener_serve() takes a socket that
 * listens already, in any case; its file stays.
 */
int listener_open(struct listener *l, struct event_base *base, const char *path, int type,
		  unsigned int mode, event_callback_fn fn, void *arg);
int listener_serve(struct listener *l, struct event_base *base, int sock, event_callback_fn fn,
		   void *arg);
/* Accepts one. The fd, or -errno: -EAGAIN, or it was logged and the listener pauses. */
int listener_accept(struct listener *l, const char *who);
/* No further connection for 100 ms: a peer that connects in a loop costs next to nothing. */
void listener_pause(struct listener *l);
/* Closes it and removes the socket file. Fine when it was never opened. */
void listener_close(struct listener *l, const char *path);

#endif
