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

/* A message of the front-end, whole. Fds that it leaves in `in` are the caller's. */
void relay_front_end(struct session *s, struct wire_msg *in);
/* A header or a set of fds that broke a rule before the message was whole. */
void relay_front_end_broken(struct session *s, enum vu_rule rule);

/* A reply of the back-end, of request seq. */
void relay_reply(struct session *s, uint32_t seq, struct vhost_user_msg *msg);
/* The device could not carry out request seq (LINK_RESULT). */
void relay_failed(struct session *s, uint32_t seq, const char *why);
/* Sends the answers that are ready, as far as the socket takes them. */
void relay_flush_answers(struct session *s);
/* Enters the request s->seq, that will be answered. */
struct session_pending *relay_expect_reply(struct session *s, const struct vu_msg_info *info,
					   const struct vhost_user_msg *msg);
/* Notes what a reply of the back-end says about itself in *offers, and clears what the chain cannot
 * carry. */
void relay_filter(struct session *s, struct port_offers *offers, struct vhost_user_msg *msg);
/* The front-end is told so: what it may acknowledge. */
void relay_offered(struct session *s, const struct vhost_user_msg *msg);
/* The ring is stopped, at base: GET_VRING_BASE has been answered. */
void relay_ring_stopped(struct session *s, uint32_t index, uint32_t base);

/* The copy of SET_VRING_ADDR that goes on. */
void relay_ring_addresses(const struct session *s, struct vhost_user_vring_addr *addr);
/* What SET_PROTOCOL_FEATURES sets beyond the front-end's at a back-end with these offers, with what it
 * takes; false: no memory. */
bool relay_internal_features(struct session *s, const struct port_offers *offers,
			     uint64_t *features);
/* SET_INFLIGHT_FD. False: the link is dead. */
bool relay_send_inflight(struct session *s);

/* The back-end channel. channel_open() takes sock. */
void channel_open(struct session *s, int sock);
void channel_close(struct session *s);
void channel_update_interest(struct session *s);
/* The back-end is gone: nobody hears the answers to its requests. */
void channel_lost(struct session *s);
/* A request of the back-end. */
void channel_request(struct session *s, uint32_t seq, const struct vhost_user_msg *msg);

#endif
