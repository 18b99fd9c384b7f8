/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection from a VMM (abi/link.h has the protocol). The VMM is a peer like any other: whatever
 * breaks the protocol ends the link with a line, and with it the session.
 *
 * Back-pressure: what the socket does not take is kept in a queue of LINK_QUEUE packets, and while
 * anything is in it no message of the front-end is read and no session starts. So at most one
 * message, one reply on the back-end channel and the notices of one session can ever be waiting.
 * The socket's send buffer is the smallest that the kernel gives, so that only a handful of packets
 * are under way: the device can read ahead that far to see a session end that a stalled guest would
 * otherwise hide. A link that has not taken the end of a session within a second is closed, which
 * no one can miss.
 */
#ifndef HOST_PROXY_LINK_H
#define HOST_PROXY_LINK_H

#include <stdarg.h>

#include "abi/link.h"
#include "host-proxy/proxy.h"
#include "vmm/hostlib/wire.h"

#define LINK_QUEUE 8

enum link_state {
	/* Accepted; on proxy->new_links. HELLO must come within 5 s. port is NULL. */
	LINK_NEW,
	/* Welcomed; is port->link. The driver of the back-end guest has not set back-end-up. */
	LINK_READY,
	/* The back-end is up: back_end is valid, sessions may start. */
	LINK_UP,
	/* Over: fds closed, events deleted, on proxy->dead_links until the turn of the loop is
	 * over. */
	LINK_DEAD,
};

struct link {
	LIST_ENTRY(link) next;
	struct proxy *proxy;
	struct port *port;
	enum link_state state;
	int sock;
	struct watch watch;
	struct event timer; /* LINK_NEW: for HELLO; later: for the end of a session to be taken */
	unsigned int uid;
	int pid;
	char who[LINK_PORT_NAME_MAX + 1]; /* as the VMM calls itself */
	struct link_backend_up back_end;
	bool replaces; /* HELLO said REPLACEMENT, and SERVING has not been said */
	bool refused;  /* cannot take over what it is to replace */
	bool retired;  /* REPLACED has been said */
	bool retiring; /* is port->next, and was replaced by port->link */
	struct recovery *
		recovery; /* HELLO said KEPT, and whose the session is has not been decided; else NULL */
	bool claims;	  /* KEPT has come: kept (claim.h) */
	struct link_kept kept;
	bool keeps; /* HELLO said KEPT */
	uint32_t kept_session;
	uint64_t up_ns; /* when the back-end came up last; CLOCK_MONOTONIC */
	/* Packets that the socket did not take, oldest first; their fds are duplicates of our own.
	 */
	struct wire_packet queue[LINK_QUEUE];
	unsigned int queued;
};

/* A connection waits on the socket for links. */
void link_on_accept(evutil_socket_t sock, short what, void *arg);

/*
 * A connected socket becomes a link that waits for its hello. Takes fd in any case; false: refused
 * (too many wait, or no memory).
 */
bool link_new(struct proxy *p, int fd, unsigned int uid, int pid);

/* One that another proxy had: the caller fills it in. Takes fd unless it returns NULL: out of memory. */
struct link *link_alloc(struct proxy *p, int fd, unsigned int uid, int pid);
/* It is whole; timed: it was expected to take the end of a session, or to hang up. */
void link_resume(struct link *l, bool timed);

/* Ends it with a line and what it carried; port_update() is called. The memory is freed by
 * proxy_reap(). */
void link_end(struct link *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Without a line: the proxy is stopping. */
void link_close(struct link *l);
void link_free(struct link *l);

/* What the back-end of a link that is LINK_UP has is within what the rest allocates for. */
bool link_limits_valid(const struct link_backend_up *up);

/* True when a message of the front-end may be read: it would go out at once, or nearly. */
bool link_can_take(const struct link *l);

/*
 * Sends or queues. The fds stay the caller's. Fails only by ending the link: when it returns false
 * the link and its session are dead.
 */
bool link_transmit(struct link *l, const struct link_packet *pkt, uint32_t body_bytes,
		   const int *fds, unsigned int num_fds);
bool link_notice(struct link *l, enum link_kind kind, uint32_t session);
/* REPLACED; the VMM has a second to hang up. */
void link_retire(struct link *l);
/* SESSION_DOWN; drops what is queued for the session before. */
void link_session_down(struct link *l, uint32_t session, const char *reason);

/* Recomputes what the link waits for. */
void link_update_interest(struct link *l);

#endif
