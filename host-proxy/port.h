/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port: one named vhost-user endpoint, bound to one VVU device of a back-end VM. It brings its
 * two sides together: a link whose back-end is up and a front-end that is connected make a session.
 *
 * Server mode: the socket listens from the start. A front-end that comes before the port's first
 * back-end is held (not read) for at most hold seconds; one that comes while the back-end is away is
 * answered with what it offered last. A second front-end is accepted and closed at once.
 *
 * Client mode: we connect when the back-end is up, so that a front-end never waits for one that is
 * not. A connection that fails or a session that ends is followed by another attempt after 100,
 * 200, 400, ... 3200 ms; a front-end that sent a message sets the delay back to 100 ms. Without
 * jitter: a port has one front-end, nobody else retries in step with us.
 */
#ifndef HOST_PROXY_PORT_H
#define HOST_PROXY_PORT_H

#include "abi/vhost_user.h"
#include "host-proxy/proxy.h"
#include "host-proxy/replace.h"
#include "vmm/hostlib/log.h"

#define PORT_RETRY_MIN_MS 100
#define PORT_RETRY_MAX_MS 3200

/* Messages relayed, by request number. */
struct port_counters {
	uint64_t to_back_end;
	uint64_t to_front_end;
	uint64_t requests[VHOST_USER_REQUEST_END];
	uint64_t replies[VHOST_USER_REQUEST_END];
	uint64_t back_requests[VHOST_USER_BACKEND_REQUEST_END];
	uint64_t back_replies[VHOST_USER_BACKEND_REQUEST_END];
	uint64_t sessions;     /* front-ends that met a back-end, or were answered for one */
	uint64_t lost;	       /* back-ends that went away under a session */
	uint64_t replays;      /* sessions given to the next back-end */
	uint64_t held_in_vain; /* front-ends closed because no back-end came */
	uint64_t refused;      /* front-ends that found the port busy */
	uint64_t denied;       /* peers that --port's uid= or gid= does not name */
	uint64_t links;	       /* links accepted for the port */
	uint64_t dropped;      /* link packets of sessions that were over */
};

/*
 * What the port's back-end offered last: the answers while there is none (away.c). As the back-end
 * sent them, less what the chain cannot carry.
 */
struct port_offers {
	bool has_features, has_protocol, has_queues, has_slots, has_config;
	bool protocol_is_current; /* the back-end that is up said so */
	uint64_t features;
	uint64_t protocol; /* with VHOST_USER_PF_INTERNAL */
	uint64_t queues, slots;
	struct vhost_user_config config;
	struct link_backend_up limits; /* max_queues 0: no back-end has been up */
};

struct port {
	struct proxy *proxy;
	const struct port_conf *conf;
	char who[16 + LINK_PORT_NAME_MAX]; /* for log lines */
	struct link *link;		   /* NULL: no VMM */
	struct link *next;	 /* is to replace link, or was replaced by it (replace.h) */
	struct session *session; /* NULL: no front-end */
	enum move move;		 /* to next; from START on to link */
	int move_pid;		 /* the VMM that takes over */
	bool move_failed;	 /* it will not */
	bool settling;		 /* in claims_settle() */
	struct port_offers offers;
	struct listener listener; /* server mode */
	struct event retry_ev;	  /* client mode */
	unsigned int retry_ms;
	struct port_counters count;
	struct log_limit log_limit; /* of the lines about ends of sessions and links */
	char last_end[256];
};

/* 0 or -errno: the socket cannot be listened on. The conf stays the caller's and must outlive the
 * port. */
int port_open(struct port *port, struct proxy *p, const struct port_conf *conf);
void port_close(struct port *port);

/* The link came up or went away, a session ended: starts, holds or connects as the state now asks
 * for. */
void port_update(struct port *port);

/* True when there was a back-end whose offers can answer for the next one. */
bool port_can_answer(const struct port *port);

/* A line about the port that peers can provoke, limited to 10 a second and port. */
void port_log(struct port *port, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
