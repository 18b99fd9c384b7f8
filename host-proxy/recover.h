/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Going on with a session that another proxy began: its VMM kept the records. They are a peer's
 * bytes, and checked as such; a session that they don't describe whole, and beyond doubt, ends.
 */
#ifndef HOST_PROXY_RECOVER_H
#define HOST_PROXY_RECOVER_H

#include "host-proxy/link.h"
#include "host-proxy/record.h"

struct recovery;

/* The VMM of port kept a session of this number; serves: it has the port. NULL: out of memory. */
struct recovery *recovery_begin(struct port *port, uint32_t session, bool serves);
/* The VMM is the old one in a replacement: the session may be the new one's by now (record.h). */
bool recovery_leaves(const struct recovery *r);
/* It was on its way, to or from: the VMM can't just go on with it. */
bool recovery_moves(const struct recovery *r);
/* One record. Fds that it takes are set to -1. */
void recovery_record(struct recovery *r, const struct link_record *record, int *fds,
		     unsigned int num_fds);
/*
 * That was all. NULL: the session is port->session, AWAY, and kept. Else why it cannot go on; its
 * fds are closed. Frees r in any case.
 */
const char *recovery_end(struct recovery *r, const struct link_kept *kept);
/* Another VMM may go on with it, or the proxy that hands it over: if it ends here that is not to hang up. */
void recovery_borrow(struct recovery *r);
/*
 * That was all of a session that a proxy hands over itself, so that no doubt is left. NULL: *out is the session, that
 * no port knows. Else why it makes no sense. Frees r in any case.
 */
const char *recovery_take(struct recovery *r, struct session **out);
/* The link ended. NULL is fine. */
void recovery_drop(struct recovery *r);

#endif
