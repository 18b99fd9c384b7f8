/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A proxy takes over from the one that runs (vvu-proxy --takeover CONTROL): the upgrade that no front-end notices.
 *
 *   new: {"cmd":"takeover","version":2} on the control socket        (takeover.c)
 *   old: {"ok":true}, then blocks: its listening sockets             (handover.c)
 *   new: opens those that it has more; the old one's others are NOT_TAKEN
 *   old: links, sessions, messages half read and requests unanswered, fds and all; END
 *   new: checks and confines itself. READY: it could serve now
 *   old: GO
 *   new: tells systemd. DONE: it serves
 *   old: ends what is NOT_TAKEN, and exits. It hangs up on nobody and removes no socket.
 *
 * From {"ok":true} on the old proxy does nothing else, so there is nothing to wait for: whatever is on its way is
 * handed over as it is, or waits in a socket. What does not arrive within TAKEOVER_WAIT_MS has failed. Until READY and
 * GO the new one only holds duplicates: if it fails it says why and ends, and the old one goes on. When it is gone
 * after GO without DONE the old one goes on too; if it is silent then, the old one ends, as two must not serve.
 *
 * While a VMM is being replaced (replace.h, some ms) who wants to take over waits, TAKEOVER_GRANT_MS at most.
 *
 * The two are programs of one user, or root's; nobody else may take over. The blocks are checked against mistakes and
 * other versions; there is no defence against who may as well trace the process.
 */
#ifndef HOST_PROXY_TAKEOVER_H
#define HOST_PROXY_TAKEOVER_H

#include <json-c/json.h>

#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/session.h"

/* Of all that follows. Raised when any of it changes. */
#define TAKEOVER_VERSION  2
#define TAKEOVER_WAIT_MS  10000
#define TAKEOVER_GRANT_MS 30000 /* for {"ok":true} */
#define TAKEOVER_NO_PORT  UINT32_MAX

enum takeover_kind {
	TAKEOVER_PROXY = 1, /* struct takeover_proxy; fds: listening for links, for control */
	TAKEOVER_PORT =
		2, /* struct takeover_port; index counts from 0; fd: listening, if it does */
	TAKEOVER_SOCKETS = 3, /* that were all of these. No body */
	/* From here on index says which port it is about. */
	TAKEOVER_LINK = 4,    /* struct takeover_link; fd. No port: it has not said hello */
	TAKEOVER_PACKET = 5,  /* struct wire_packet of that link, fds; they are not in its array */
	TAKEOVER_RECORD = 6,  /* struct link_record of the session, fds (record.h) */
	TAKEOVER_SESSION = 7, /* struct takeover_session; the rest of it, fds */
	TAKEOVER_END = 8,     /* No body */
	/* new to old */
	TAKEOVER_NOT_TAKEN = 9, /* le32: enum takeover_rest; index of the port */
	TAKEOVER_READY = 10,	/* No body */
	TAKEOVER_FAILED = 11,	/* struct link_text */
	TAKEOVER_GO = 12,	/* old to new. No body */
	TAKEOVER_DONE = 13,	/* new to old. No body */
};

enum takeover_rest {
	REST_PORT,     /* there is no such port any more */
	REST_LISTENER, /* it listens elsewhere, or not at all */
	REST_LINKS,
	REST_CONTROL,
	REST_KINDS
};

struct takeover_header {
	le32 kind;
	le32 index;
	le32 bytes;
	le32 num_fds;
};
ABI_SIZE(struct takeover_header, 16);

#define TAKEOVER_PATH_MAX 108

#define TAKEOVER_LISTENS   0x1
#define TAKEOVER_KEEP_FILE 0x2 /* the file of the socket is systemd's */

struct takeover_proxy {
	le32 num_ports;
	le32 last_session;
	le32 links, control; /* flags */
	char link_path[TAKEOVER_PATH_MAX];
	char control_path[TAKEOVER_PATH_MAX];
	le32 pid;
	le32 reserved;
};
ABI_SIZE(struct takeover_proxy, 240);

struct takeover_port {
	char name[LINK_PORT_NAME_MAX + 1];
	char path[TAKEOVER_PATH_MAX];
	le32 flags;
	le32 retry_ms;
	le32 reserved;
	char last_end[256];
	struct port_offers offers;
	struct port_counters count;
};

#define TAKEOVER_LINK_NEXT     0x1 /* is port->next */
#define TAKEOVER_LINK_REPLACES 0x2
#define TAKEOVER_LINK_RETIRED  0x4
#define TAKEOVER_LINK_RETIRING 0x8
#define TAKEOVER_LINK_KEEPS    0x10
#define TAKEOVER_LINK_TIMED    0x20
#define TAKEOVER_LINK_REFUSED  0x40

struct takeover_link {
	le32 state; /* enum link_state */
	le32 flags;
	le32 uid, pid;
	le32 kept_session;
	le32 num_packets; /* that follow */
	le64 up_ns;
	struct link_backend_up back_end;
	char who[LINK_PORT_NAME_MAX + 1];
};
ABI_SIZE(struct takeover_link, 112);

struct takeover_pending {
	le32 request;
	le32 seq;
	le32 state; /* enum pending_state */
	le32 flags;
	struct vhost_user_msg msg;
};
#define TAKEOVER_PENDING_FAILED	  0x1
#define TAKEOVER_PENDING_SILENT	  0x2
#define TAKEOVER_PENDING_INTERNAL 0x4

/* A message of which the first bytes have been read. */
struct takeover_reader {
	le32 have;
	le32 num_fds;
	struct vhost_user_msg msg;
};

#define TAKEOVER_SESSION_KEPT	 0x1
#define TAKEOVER_SESSION_OUT	 0x2 /* out is waiting */
#define TAKEOVER_SESSION_CHANGES 0x4 /* before is what memory was */

/*
 * What records don't have. Fds: of in, of channel_in, of before. A front-end that is held has no records: the first fd
 * is its socket.
 */
struct takeover_session {
	le32 state; /* enum session_state */
	le32 id;
	le32 flags;
	le32 seq, wait_seq;
	le32 num_pending, num_back_pending, num_channel_out;
	le32 lost_with;
	le32 reserved;
	le64 since_ns, away_ns, defer_until_ns;
	struct records_dirty dirty;
	struct replay replay;
	struct vu_regions before;
	struct takeover_reader in, channel_in;
	struct vhost_user_msg out;
	struct takeover_pending pending[SESSION_PENDING + 1];
	struct session_back_pending back_pending[SESSION_CHANNEL];
	struct vhost_user_msg channel_out[SESSION_CHANNEL];
};

/* Structs of the program that are handed over as they are: who changes one raises the version. */
ABI_SIZE(struct records_dirty, 48);
ABI_SIZE(struct replay, 48);
ABI_SIZE(struct session_back_pending, 12);
ABI_SIZE(struct port_offers, 328);
ABI_SIZE(struct port_counters, 992);

#define TAKEOVER_FDS_MAX (2 * WIRE_FDS_MAX + VHOST_USER_MEM_SLOTS_MAX)

struct takeover_block {
	struct takeover_header hdr;
	union {
		struct takeover_proxy proxy;
		struct takeover_port port;
		struct takeover_link link;
		struct wire_packet packet;
		struct link_record record;
		struct takeover_session session;
		struct link_text text;
		le32 rest;
	} body;
	int fds[TAKEOVER_FDS_MAX];
};

/* --- takeover_wire.c --- */

/* How long the body of a block of that kind is. False: there is no such kind, and bytes is left alone. */
bool takeover_body_bytes(uint32_t kind, size_t *bytes);
/* Sends a block of that kind, with num_fds of b->fds, which stay the caller's. 0 or -errno. */
int takeover_send(int sock, struct takeover_block *b, enum takeover_kind kind, uint32_t index,
		  unsigned int num_fds);
/*
 * Receives one. The fds (b->hdr.num_fds) are the caller's. 0; or -errno as block_recv(), -EPROTO: it is no block that
 * there is.
 */
int takeover_recv(int sock, struct takeover_block *b);
/* Closes those that nobody has taken (-1). */
void takeover_close_fds(struct takeover_block *b);

/* --- takeover_check.c --- */

/* NULL: the body, which is as long as its kind says, is one that the rest can live with. Else what of it is wrong. */
const char *takeover_wrong(const struct takeover_block *b);

/* --- handover.c: the proxy that runs --- */

/* A control_fn for "takeover" alone: notes in p->takeover who asks. */
int handover_command(struct proxy *p, struct json_object *request, const char **error);
/*
 * Between two turns of the loop: hands over to p->takeover. True: all is the other's now, and this process is to exit
 * without touching anything. False: nothing has changed.
 */
bool handover(struct proxy *p);

/* --- takeover.c: the next one --- */

struct takeover;

/*
 * In this order; each ends the process with a line, and the other proxy goes on, if it fails. takeover_sockets() gives
 * the listening sockets that conf has, too; takeover_state() fills in the ports, which are open; takeover_commit(): all
 * is ours now, and events may be handled.
 */
struct takeover *takeover_begin(const struct proxy_conf *conf);
void takeover_sockets(struct takeover *t, struct given *given);
void takeover_state(struct takeover *t, struct proxy *p);
void takeover_commit(struct takeover *t);
/* Says why to the other proxy, removes the sockets that p has opened itself, and ends the process. p may be NULL. */
_Noreturn void takeover_fail(struct takeover *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
