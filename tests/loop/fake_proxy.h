/* SPDX-License-Identifier: BSD-2-Clause */
/* The proxy's end of a link, as a test plays it: a listening socket, one connection, packets by
 * hand. */
#ifndef TESTS_LOOP_FAKE_PROXY_H
#define TESTS_LOOP_FAKE_PROXY_H

#include "vmm/hostlib/wire.h"

struct fake_proxy {
	char path[64];
	int listener;
	int link;
	struct wire_packet in; /* the last one received */
};

/* Listens in a new directory under /tmp. Aborts on failure. */
void fake_proxy_init(struct fake_proxy *p);
void fake_proxy_free(struct fake_proxy *p);
/* Closes the connection; takes one that waits: true when there was one. */
void fake_proxy_hang_up(struct fake_proxy *p);
bool fake_proxy_accept(struct fake_proxy *p);
/* Takes the next packet into p->in: its kind, 0 when there is none, -1 when the connection is over.
 */
int fake_proxy_recv(struct fake_proxy *p);
/* A packet without body, and one with a text. */
void fake_proxy_notice(struct fake_proxy *p, enum link_kind kind, uint32_t session);
void fake_proxy_text(struct fake_proxy *p, enum link_kind kind, uint32_t session, const char *text);
/* A record to keep. The fds stay the caller's. */
void fake_proxy_record(struct fake_proxy *p, uint32_t session, unsigned int kind,
		       unsigned int index, const char *data, const int *fds, unsigned int num_fds);
/* A message of the front-end. The fds stay the caller's. */
void fake_proxy_message(struct fake_proxy *p, uint32_t session, uint32_t seq,
			const struct vhost_user_msg *msg, const int *fds, unsigned int num_fds);

/* Messages. */
struct vhost_user_msg msg_empty(uint32_t request);
struct vhost_user_msg msg_u64(uint32_t request, uint64_t value);
struct vhost_user_msg msg_state(uint32_t request, uint32_t index, uint32_t num);

/* A memfd of bytes, each 8-byte word saying where it is, plus tag. Aborts on failure. */
int make_memory(uint64_t bytes, uint64_t tag);
uint64_t memory_word(uint64_t offset, uint64_t tag);

#endif
