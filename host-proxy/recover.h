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
/* One record. Fds that it takes are set to -1. */
void recovery_record(struct recovery *r, const struct link_record *record, int *fds,
		     unsigned int num_fds);
/*
 * That was all. NULL: the session is port->session, AWAY, and kept. Else why it cannot go on; its
 * fds are closed. Frees r in any case.
 */
const char *recovery_end(struct recovery *r, const struct link_kept *kept);
/* A proxy hands the session over itself, and has it until it is taken. */
void recovery_borrow(struct recovery *r);
/*
 * That was all of a session that a proxy hands over itself, so that no doubt is left. NULL: *out is the session, that
 * no port knows. Else why it makes no sense. Frees r in any case.
 */
const char *recovery_take(struct recovery *r, struct session **out);
/* The link ended. NULL is fine. */
void recovery_drop(struct recovery *r);

#endif
