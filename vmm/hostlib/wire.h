/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages with fds over UNIX sockets: framed vhost-user messages on a stream, link packets on a SOCK_SEQPACKET. All
 * non-blocking; every received fd is either handed over or closed.
 */
#ifndef VMM_HOSTLIB_WIRE_H
#define VMM_HOSTLIB_WIRE_H

#include <stdbool.h>

#include "abi/link.h"
#include "abi/vhost_user.h"
#include "proto/vu_check.h"

#define WIRE_FDS_MAX VHOST_USER_TABLE_REGIONS_MAX

/* A message and its fds, in memory. fds belong to the holder of the struct. */
struct wire_msg {
	struct vhost_user_msg msg;
	unsigned int num_fds;
	int fds[WIRE_FDS_MAX];
};

/*
 * Reader of one stream: collects a message over as many reads as it takes. The header is checked as soon as it
 * is complete, so that a wrong size never makes us wait for bytes that don't come. Fds may ride on any byte of
 * the message.
 */
struct wire_reader {
	struct wire_msg in;
	uint32_t have; /* bytes of in.msg */
	bool replies;  /* this stream carries replies (header check) */
};

/* r->replies, set by the caller before, is kept. */
void wire_reader_init(struct wire_reader *r);
/* Closes fds of a half-read message. */
void wire_reader_reset(struct wire_reader *r);

/*
 * Reads until a message is whole or the socket is empty. 1: r->in is a whole message; the caller takes its fds
 * (sets num_fds to 0) and calls wire_reader_next(). 0: not whole yet, would block. -ECONNRESET: the peer
 * closed. -EPROTO: *rule says what the header broke, or VU_RULE_FDS (too many fds, or control data cut off).
 * Another -errno: of recvmsg().
 */
int wire_read(struct wire_reader *r, int sock, enum vu_rule *rule);
void wire_reader_next(struct wire_reader *r);

/*
 * Sends one message whole. 0; -EAGAIN when nothing was sent (try again when writable); -EPIPE and others: the
 * connection is broken (also after a partial send that would block: a peer that does not read its replies).
 * The fds stay the caller's.
 */
int wire_send(int sock, const struct vhost_user_msg *msg, const int *fds, unsigned int num_fds);

/* A link packet and its fds. */
struct wire_packet {
	struct link_packet pkt;
	uint32_t bytes; /* header and body */
	unsigned int num_fds;
	int fds[LINK_FDS_MAX];
};

/* 1: one packet; 0: would block; -ECONNRESET: closed; -EPROTO: too short, truncated, too many fds, fds on a
 * kind that has none, bad kind, flags or size. Texts and names are NUL-terminated and printable on return; fds are
 * the caller's. */
int link_recv(int sock, struct wire_packet *out);
/* 0, -EAGAIN, or the connection is broken. The fds stay the caller's. body_bytes: of pkt->body. */
int link_send(int sock, const struct link_packet *pkt, uint32_t body_bytes, const int *fds,
	      unsigned int num_fds);
/* A packet whose body is a link_text. */
void link_make_text(struct link_packet *pkt, enum link_kind kind, uint32_t session, const char *fmt,
		    ...) __attribute__((format(printf, 4, 5)));

#endif
