/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VMM that takes ports over from the one that serves them (HELLO REPLACEMENT): port->next, beside
 * port->link. All its ports change hands together:
 *
 *   PREPARE   all its back-ends are up: each session is told to its port's new one, but for the start
 *             of rings that run, while the old one serves on. The front-ends are read no more.
 *   STOP_ODD  all know all: the rings of odd index are stopped at the old ones (GET_VRING_BASE, all at
 *   STOP_EVEN once), and when all have answered those of even index. Where rings come in pairs the odd
 *             ones are those that the device reads from: nothing is read that has no receiver any more,
 *             and no ring ever has two owners
 *   START     all have answered: the links change places, the new VMM is given the records, the rings start where
 *             they stopped, the even ones of all ports first (together.h)
 *   -         all run: SERVING to the new VMM, REPLACED to the old one
 *
 * The old VMM has its sessions, with stopped rings, until REPLACED. So whenever we are killed one of the two
 * has a session with its records, or both have (claim.h).
 *
 * If a link of the new VMM is lost before that, or it cannot have a session, all ports stay with the old
 * VMM, or go back to it (by a replay).
 *
 * An old back-end that does not answer in 100 ms, in either of the two steps: SILENT to the new VMM, and
 * we wait for the old link to end. Its session is then one that is lost as any other, and so goes to the
 * new VMM, too. Ports that the new VMM has no link for stay with the old one. Without a session in the way
 * a port is ready for each step.
 */
#ifndef HOST_PROXY_REPLACE_H
#define HOST_PROXY_REPLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/vhost_user.h"

struct link;
struct port;
struct proxy;
struct session;

enum move {
	MOVE_NONE,
	MOVE_PREPARE,
	MOVE_STOP_ODD,
	MOVE_STOP_EVEN,
	MOVE_START
};

/* Where the stop of the rings stands, while the session is STOPPING. */
struct stop {
	uint32_t parity;   /* of the rings to stop */
	uint32_t sent;	   /* rings below this index have been asked */
	uint32_t answered; /* those below this one have answered */
	bool silent;	   /* SILENT has been said */
};

void replace_open(struct proxy *p);
void replace_close(struct proxy *p);

/* Ports are on their way from one VMM to another: what is known of them can't be handed over. */
bool replace_busy(const struct proxy *p);
/* Whatever of the port's links or session has changed. */
void replace_update(struct port *port);
/* Something that a replacement may wait for has happened: it goes on in the loop's next turn. */
void replace_wake(struct proxy *p);
/* The link is about to end, or its back-end has gone. */
void replace_lost(struct link *l);
/* port->next cannot have the port's session: it is left out from now on. */
void replace_refused(struct port *port, const char *why);
/* The new VMM is at fault, and the session is REPLAY there. True: it goes back. Else it has to end, and only
 * its port goes back. */
bool replace_gives_back(struct port *port, const char *why);
/* The session is STOPPING, and no request of the front-end is unanswered: the old back-end answers. */
void replace_reply(struct session *s, uint32_t seq, const struct vhost_user_msg *msg);
/* 100 ms are over. */
void replace_timeout(struct session *s);
/* The session is up at port->link. */
void replace_done(struct port *port);

#endif
