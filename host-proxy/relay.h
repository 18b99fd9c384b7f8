/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to each message: pass, translate, answer, refuse, as the table in abi/vhost_user.h
 * says.
 *
 * All functions may end the session (s->state is then SESSION_DEAD) or its link.
 */
#ifndef HOST_PROXY_RELAY_H
#define HOST_PROXY_RELAY_H

#include "abi/link.h"
#include "abi/virtio_config.h"
#include "host-proxy/session.h"

/*
 * Virtio features that the chain cannot carry: the log of dirty pages, and ring addresses that an
 * IOMMU of the front-end's guest translates.
 */
#define RELAY_FEATURES_CLEARED                                                                     \
	(BIT_ULL(VHOST_F_LOG_ALL_BIT) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM_BIT))

/* What the chain behind a session can carry. */
uint64_t relay_protocol_mask(const struct session *s);

/* A message of the front-end, whole. Its fds stay the caller's. */
void relay_front_end(struct session *s, struct wire_msg *in);
/* A header or a set of fds that broke a rule before the message was whole. */
void relay_front_end_broken(struct session *s, enum vu_rule rule);

/* A reply of the back-end, of request seq. */
void relay_reply(struct session *s, uint32_t seq, struct vhost_user_msg *msg);
/* The device could not carry out request seq (LINK_RESULT). */
void relay_failed(struct session *s, uint32_t seq, const char *why);
/* Sends the answers that are ready, as far as the socket takes them. */
void relay_flush_answers(struct session *s);
/* Enters a request that will be answered. detail: what the reply must agree with (session.h). */
void relay_expect_reply(struct session *s, const struct vu_msg_info *info, uint32_t seq,
			uint32_t detail);

/* The back-end channel. channel_open() takes sock. */
void channel_open(struct session *s, int sock);
void channel_close(struct session *s);
void channel_update_interest(struct session *s);
/* A request of the back-end. */
void channel_request(struct session *s, uint32_t seq, const struct vhost_user_msg *msg);

#endif
