/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose a session is when the last proxy was killed while one VMM took over from another (replace.h): both may
 * come with it, in any order, or one without it. The marks say who may have started which ring (record.h):
 *
 *   the old VMM's    the new one's
 *   -                no session        it is the old one's, and the replacement begins anew
 *   LEAVING          no session, or    some rings are stopped at the old one, none is started at the new one: it is the
 *                    not all records   old one's, by a replay
 *   LEAVING          COMING            all are stopped, some may be started: it is the new one's, by a replay
 *   LEAVING, none    -                 it is the new one's, and goes on
 *
 * So the old VMM has to wait for what the new one has to say, and no ring ever has two owners. A new one that
 * comes first, and without a session, waits for the old one: who has a session is never refused because of who
 * has none. Nobody waits for longer than the proxy is young.
 */
#ifndef HOST_PROXY_CLAIM_H
#define HOST_PROXY_CLAIM_H

#include <stdbool.h>

struct link;
struct link_kept;
struct port;
struct proxy;

/* Around all else of the proxy. */
void claims_open(struct proxy *p);
void claims_close(struct proxy *p);

/* The link is to replace a VMM that may still come with a session, and is port->next until then. */
bool claim_waits(const struct link *l);
/* All records of the session that the VMM kept are there. */
void claim_made(struct link *l, const struct link_kept *kept);
/* Decides what can be decided; for port_update(). */
void claims_settle(struct port *port);

#endif
