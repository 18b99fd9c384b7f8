/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Telling the next back-end what the last one knew: a cursor over the record, that sends one message
 * whenever the link can take one. First it asks what the back-end offers, since one that offers less
 * than the front-end has acknowledged cannot go on; then come the messages that a front-end would
 * have sent, the starts of rings last; then the requests that no back-end has answered. The front-end
 * hears nothing of it.
 */
#ifndef HOST_PROXY_REPLAY_H
#define HOST_PROXY_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/vhost_user.h"

struct session;

#define REPLAY_ASKS 2

struct replay_ask {
	uint32_t request;
	uint32_t seq;
};

struct replay {
	unsigned int step; /* in replay.c's table */
	uint32_t index;	   /* of the region, ring, request */
	uint32_t part;	   /* of the ring */
	/* Answers that are waited for, oldest first. */
	struct replay_ask asks[REPLAY_ASKS];
	unsigned int num_asks;
	bool prepared;		 /* told all but where rings start, which run elsewhere */
	bool at_end;		 /* the rest is for the whole VMM (replace.h) */
	uint64_t waits_since_ns; /* for others (together.h); 0: not so far yet */
};

/* False: what another proxy says of s->replay makes no sense. */
bool replay_valid(const struct session *s);
/* The session is REPLAY, or MOVING to port->next; the link is LINK_UP. */
void replay_begin(struct session *s);
/* Sends as far as the link takes; at the end the session is UP. May end session or link. */
void replay_advance(struct session *s);
/* An answer of the link that is told. */
void replay_reply(struct session *s, uint32_t seq, struct vhost_user_msg *msg);

#endif
