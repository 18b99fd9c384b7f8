/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connected front-end and what the relay knows about it: the record of the vhost-user session.
 *
 * The session is the front-end's, and outlives back-ends: the record holds all that the next one
 * must be told (replay.c), and enough to answer while there is none (away.c).
 *
 * Answers leave in the order of the requests. Each request that will be answered has an entry in
 * `pending`: sent to the back-end; or ready, because the answer is our own; or deferred, because
 * only the next back-end can answer. A front-end with SESSION_PENDING unanswered requests, or a
 * deferred one, is not read.
 */
#ifndef HOST_PROXY_SESSION_H
#define HOST_PROXY_SESSION_H

#include "host-proxy/memory.h"
#include "host-proxy/port.h"
#include "host-proxy/proxy.h"
#include "host-proxy/record.h"
#include "host-proxy/replace.h"
#include "host-proxy/replay.h"
#include "proto/vu_check.h"
#include "vmm/hostlib/wire.h"

#define SESSION_PENDING 32
#define SESSION_CHANNEL 16

enum session_state {
	/* The front-end waits for the port's first back-end. Its socket is watched for hang-up only;
	 * the hold timer runs. No link knows it. */
	SESSION_HELD,
	/* Announced to port->link, which is LINK_UP as long as this state lasts. Messages are
	 * relayed. From here on rings is allocated. */
	SESSION_UP,
	/* There is no back-end, but there was one: messages are answered from the record. No link
	 * knows it. */
	SESSION_AWAY,
	/* Announced to port->link, which is LINK_UP; the back-end is told the record. The front-end
	 * is watched for hang-up only. */
	SESSION_REPLAY,
	/* UP, but that port->next is told the record, to take over (replace.h). The front-end is watched
	 * for hang-up only. */
	SESSION_MOVING,
	/* Announced to port->link, which is LINK_UP: its rings are being stopped, since another VMM
	 * takes over. The front-end is watched for hang-up only. */
	SESSION_STOPPING,
	/* Over: fds closed, events deleted, on proxy->dead_sessions until the turn of the loop is
	 * over. */
	SESSION_DEAD,
};

enum pending_state {
	PENDING_SENT,
	PENDING_READY,	  /* msg is the answer */
	PENDING_DEFERRED, /* for the next back-end, after the replay */
};

/* A request that will be answered; or is still to be sent. */
struct session_pending {
	const struct vu_msg_info *info;
	uint32_t seq;
	enum pending_state state;
	bool failed; /* READY: the answer is a failure */
	/* Nobody waits for an answer: deferred, it is forgotten once it is sent. */
	bool silent;
	/* Our own request: its answer goes no further. */
	bool internal;
	struct vhost_user_msg msg; /* the request, as it is sent; READY: the answer */
};

/* A request of the back-end that the front-end will answer. */
struct session_back_pending {
	uint32_t request;
	uint32_t seq;
	bool lost; /* the back-end that asked has gone */
};

enum ring_fd {
	RING_KICK,
	RING_CALL,
	RING_ERR,
	RING_FDS
};

struct session_ring {
	bool has_num, has_base, has_addr, has_enable;
	bool enabled;
	/* SET_VRING_KICK came, and nothing since that stops the ring. */
	bool running;
	/*
	 * A back-end was told so: it may have gone on from base. tracked: it notes how far. After a reset this
	 * outlasts running, until it is known where the ring has stopped, or does not matter any more.
	 */
	bool served, tracked;
	bool told[RING_FDS]; /* a message came, with an eventfd or for none */
	uint32_t num, base;
	struct vhost_user_vring_addr addr; /* as it came: user addresses */
	/* Duplicates, held so that the kernel does not give the number of an eventfd in use to
	 * another one. -1: none. */
	int fds[RING_FDS];
	uint64_t ids[RING_FDS];
};

/* A session at port->next. */
struct session_heir {
	uint32_t id; /* 0: it is not announced there */
	uint32_t seq, answered;
	bool inflight_told;
	struct port_offers offers;
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
	bool borrowed; /* another proxy has its sockets, too: to close them is not to hang up */
	struct wire_reader in;
	/* A message that the socket did not take. While it waits, neither side is read. */
	struct vhost_user_msg out;
	bool out_waits;

	/* The record. */
	bool has_features, has_protocol, has_owner, has_mtu, has_status;
	uint64_t features_offered, features;
	uint64_t protocol_offered, protocol;
	uint64_t queues_offered; /* 0: not asked */
	uint64_t mtu, status;
	struct memory memory;
	struct session_ring *rings;
	uint32_t num_rings;
	uint32_t rings_with_fds; /* no ring from this index on has had one */
	int inflight;		 /* -1: none */
	uint32_t inflight_rings;
	bool inflight_told; /* this back-end has it */

	uint32_t seq;					     /* of the last request */
	struct session_pending pending[SESSION_PENDING + 1]; /* one of our own */
	unsigned int num_pending;
	uint64_t defer_until_ns; /* when deferred requests have waited for too long; 0: none */
	/*
	 * A request after which nothing is read until it is answered, so that the record and the
	 * back-end can't disagree: a change of memory (a failure is undone with memory_before), the
	 * stop of a ring. 0: none.
	 */
	uint32_t wait_seq;
	bool memory_changes;
	struct memory memory_before;

	struct records_dirty dirty;
	/* AWAY, and port->link's VMM kept it under this number: it goes on there without a replay when
	 * the back-end is up. Until then the front-end is not read. */
	bool kept;

	struct replay replay;
	int lost_with; /* the pid of a VMM: sessions with the same come back together; 0: alone */
	struct stop stop;
	struct session_heir heir;
	uint32_t
		left; /* its number at port->next, which had it before and keeps its records; 0: none */
	uint32_t replays;
	uint64_t away_ns; /* since when it has been away; 0: it is not */

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
/* A session that no port knows yet, without a socket; it has room for all rings there can be. For
 * recover.c, that fills it in. NULL: out of memory. */
struct session *session_alloc_kept(struct port *port);
/* It is whole, in a state that another proxy has brought it to: port->session. */
void session_attach(struct session *s);
/* Starts the clocks of that state. */
void session_resume(struct session *s);
/* Closes and frees it. */
void session_discard(struct session *s);
/* It is whole: AWAY, and port->session. kept as above. */
void session_attach_kept(struct session *s);
/* Its VMM has a back-end that is up: UP. */
void session_go_on(struct session *s);
/* Its VMM has lost it: AWAY as any other. Ends it if no other back-end could go on. */
void session_not_kept(struct session *s);
/* HELD, and the back-end is up: tells it and starts to relay. */
void session_start(struct session *s);
/* HELD, and the back-end is away: answers for it. */
void session_start_away(struct session *s);
/* UP or REPLAY, and its back-end is gone: AWAY. Ends it if no other back-end could go on. */
void session_lost(struct session *s, const char *why);
/* AWAY, and a back-end is up: REPLAY. */
void session_replay(struct session *s);
/* UP: MOVING. */
void session_move(struct session *s);
/* MOVING, and port->next is not to have it: UP. Tells that one, if it is there. */
void session_stay(struct session *s, const char *why);
/* MOVING: STOPPING. */
void session_stop(struct session *s);
/* STOPPING, and the links have changed places: REPLAY, with the rings still to start. */
void session_moved(struct session *s);
/* STOPPING or REPLAY: the links that know of it are told that it is over; AWAY. Ends it if no other
 * back-end could go on. */
void session_give_back(struct session *s, const char *why);
/* port->next is no more, or has ended it there. */
void session_not_next(struct session *s);
/* REPLAY, and the back-end knows all: UP. */
void session_replayed(struct session *s);
static inline void session_ring_served(const struct session *s, struct session_ring *ring)
{
	if (!ring->served)
		ring->tracked = s->inflight_told;
	ring->served = true;
}
/* A ring runs, or has stopped, somewhere that nobody has noted: no other back-end could go on. */
bool session_position_lost(const struct session *s);
/* True while a link knows of it. */
static inline bool session_announced(const struct session *s)
{
	return s->state == SESSION_UP || s->state == SESSION_REPLAY || s->state == SESSION_MOVING ||
	       s->state == SESSION_STOPPING;
}
/*
 * Ends it: tells the link (unless the link told us: tell_link false), closes every fd, logs one
 * line. port_update() is called. The memory is freed by proxy_reap(). If a new VMM is at fault, and the
 * old one can still have it back (replace.h), it does not end.
 */
void session_end(struct session *s, enum session_end_by by, bool tell_link, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void session_free(struct session *s);

/* Recomputes what the session's sockets and its link wait for. Safe for a dead one. */
void session_update_interest(struct session *s);

/* Sends to the front-end, or keeps it in out. Only while !out_waits. Fails by ending the session
 * (false). */
bool session_send(struct session *s, const struct vhost_user_msg *msg);
/* Starts or stops the clock for what is waited for: a back-end's answer, or the next back-end. */
void session_restart_timer(struct session *s);
bool session_has_deferred(const struct session *s);

#endif
