/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VMM that takes a port over from the one that serves it (HELLO REPLACEMENT): port->next, beside
 * port->link.
 *
 *   1 the new back-end is up: the front-end is read no more; every running ring is stopped at the old
 *     one (GET_VRING_BASE, all at once), so that no ring ever has two owners
 *   2 all have answered: the links change places, and the session is replayed to the new back-end,
 *     whose rings start where the old one's stopped
 *   3 it knows all: SERVING to the new VMM, REPLACED to the old
 *
 * Without a session in the way, 3 follows at once. An old back-end that does not answer in 100 ms:
 * SILENT to the new VMM, and we wait for the old link to end. The old link stays until 3: if the new
 * one is lost before, the session is replayed to the old.
 */
#ifndef HOST_PROXY_REPLACE_H
#define HOST_PROXY_REPLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/vhost_user.h"

struct link;
struct port;
struct session;

/* Where the stop of the rings stands, while the session is STOPPING. */
struct stop {
	uint32_t sent;	   /* rings below this index have been asked */
	uint32_t answered; /* those below this one have answered */
	bool silent;	   /* SILENT has been said */
};

/* Whatever of the port's links or session has changed: goes on as far as can be. */
void replace_update(struct port *port);
/* The session is STOPPING, and no request of the front-end is unanswered: the old back-end answers. */
void replace_reply(struct session *s, uint32_t seq, const struct vhost_user_msg *msg);
/* 100 ms are over. */
void replace_timeout(struct session *s);
/* The session is up at port->link. */
void replace_done(struct port *port);

#endif
