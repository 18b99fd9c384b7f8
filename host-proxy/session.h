/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connected front-end and what the relay knows about it: the record of the vhost-user session.
 *
 * Answers leave in the order of the requests. Each request that will be answered has an entry in
 * `pending`; the entry waits for the back-end, or is `ready` because the answer is our own (a
 * failure that we or the device acknowledge). A front-end with SESSION_PENDING unanswered requests
 * is not read.
 */
#ifndef HOST_PROXY_SESSION_H
#define HOST_PROXY_SESSION_H

#include "host-proxy/proxy.h"
#include "proto/vu_check.h"
#include "vmm/hostlib/wire.h"

#define SESSION_PENDING 32
#define SESSION_CHANNEL 16

enum session_state {
	/* The front-end waits for the back-end. Its socket is watched for hang-up only; the hold
	 * timer runs. No link knows it. */
	SESSION_HELD,
	/* Announced to port->link, which is LINK_UP as long as this state lasts. Messages are
	 * relayed. rings is allocated. */
	SESSION_UP,
	/* Over: fds closed, events deleted, on proxy->dead_sessions until the turn of the loop is
	 * over. */
	SESSION_DEAD,
};

/* A request that will be answered. */
struct session_pending {
	const struct vu_msg_info *info;
	uint32_t seq;
	uint32_t detail; /* GET_VRING_BASE: ring index; GET_CONFIG: bytes of the payload */
	bool ready;	 /* answered by us */
	uint64_t value;	 /* the answer */
};

/* A request of the back-end that the front-end will answer. */
struct session_back_pending {
	uint32_t request;
	uint32_t seq;
};

enum ring_fd {
	RING_KICK,
	RING_CALL,
	RING_ERR,
	RING_FDS
};

struct session_ring {
	bool has_addr;
	bool enabled;
	/* Duplicates, held so that the kernel does not give the number of an eventfd in use to
	 * another one. -1: none. */
	int fds[RING_FDS];
	uint64_t ids[RING_FDS];
};

struct session {
	LIST_ENTRY(session) next;
	struct port *port;
	enum session_state state;
	uint32_t id;
	int sock;
	struct watch watch;
	struct event timer; /* HELD: hold; UP: a request unanswered for too long */
	unsigned int uid;
	int pid;
	uint64_t since_ns;
	struct wire_reader in;
	/* A message that the socket did not take. While it waits, neither side is read. */
	struct vhost_user_msg out;
	bool out_waits;

	/* The record. */
	uint64_t features_offered, features;
	uint64_t protocol_offered, protocol;
	struct vu_regions regions;
	struct session_ring *rings;
	uint32_t num_rings;
	uint32_t rings_with_fds; /* no ring from this index on has had one */

	uint32_t seq; /* of the last request */
	struct session_pending pending[SESSION_PENDING];
	unsigned int num_pending;
	/*
	 * A change of memory that will be acknowledged: nothing further is read until then, so that
	 * a failure can be undone. 0: none.
	 */
	uint32_t memory_seq;
	struct vu_regions regions_before;

	/* Back-end channel (SET_BACKEND_REQ_FD). -1: none. */
	int channel;
	bool had_channel;
	struct watch channel_watch;
	struct wire_reader channel_in;
	struct session_back_pending back_pending[SESSION_CHANNEL];
	unsigned int num_back_pending;
	struct vhost_user_msg channel_out[SESSION_CHANNEL];
	unsigned int num_channel_out;
};

/* Who ends a session, for its line. */
enum session_end_by {
	BY_FRONT_END,
	BY_BACK_END,
	BY_PROXY
};

/*
 * A front-end is there: the session is HELD. Takes sock in any case. NULL: out of memory, sock is
 * closed. port->session is set.
 */
struct session *session_new(struct port *port, int sock);
/* The back-end is up: tells it and starts to relay. */
void session_start(struct session *s);
/*
 * Ends it: tells the link (unless the link told us: tell_link false), closes every fd, logs one
 * line. port_update() is called. The memory is freed by proxy_reap().
 */
void session_end(struct session *s, enum session_end_by by, bool tell_link, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void session_free(struct session *s);

/* Recomputes what the session's sockets and its link wait for. Safe for a dead one. */
void session_update_interest(struct session *s);

/* Sends to the front-end, or keeps it in out. Only while !out_waits. Fails by ending the session
 * (false). */
bool session_send(struct session *s, const struct vhost_user_msg *msg);
/* Starts or stops the clock for the oldest unanswered request. */
void session_restart_timer(struct session *s);

#endif
