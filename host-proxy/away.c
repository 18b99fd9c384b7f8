// SPDX-License-Identifier: BSD-2-Clause
/*
 * While the back-end is away.
 *
 * A running QEMU blocks its whole guest on an unanswered request, so requests are answered at once:
 * what was offered last, the positions of rings that stand still, and "done" for what the record now
 * holds. Only what nobody but a back-end can know or do is deferred until there is one: where a ring
 * that ran has got to (also if a reset has stopped it since, as QEMU does before it asks), device
 * configuration never seen, announcements. The port's hold time bounds how long that may take;
 * meanwhile the front-end is not read, so that its messages stay in order.
 */
#include "host-proxy/away.h"

#include <string.h>

#include "abi/virtio_config.h"
#include "host-proxy/port.h"
#include "host-proxy/relay.h"

/* A packed ring that was never moved: both positions 0, both wrap counters 1. */
#define PACKED_START 0x80008000u

static bool u64_reply(struct vhost_user_msg *reply, uint32_t request, bool known, uint64_t value)
{
	if (known)
		vu_make_u64_reply(reply, request, value);
	return known;
}

/* What GET_CONFIG brought last covers the bytes asked for. */
static bool config_reply(const struct port_offers *offers, const struct vhost_user_msg *request,
			 struct vhost_user_msg *reply)
{
	const struct vhost_user_config *have = &offers->config;
	struct vhost_user_config want = request->payload.config;
	uint64_t from = want.offset, end = from + want.size;

	if (!offers->has_config || from < have->offset || end > (uint64_t)have->offset + have->size)
		return false;
	memcpy(want.region, have->region + (from - have->offset), want.size);
	reply->hdr = request->hdr;
	reply->hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
	reply->payload.config = want;
	return true;
}

static bool base_reply(struct session *s, const struct vhost_user_msg *request,
		       struct vhost_user_msg *reply)
{
	uint32_t index = request->payload.state.index;
	struct session_ring *ring = &s->rings[index];
	bool packed = s->features & BIT_ULL(VIRTIO_F_RING_PACKED_BIT);

	if (ring->served)
		return false; /* the back-end left a position, which is for a back-end to read */
	if (!ring->has_base)
		ring->base = packed ? PACKED_START : 0;
	relay_ring_stopped(s, index, ring->base);
	reply->hdr = request->hdr;
	reply->hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
	reply->payload.state = (struct vhost_user_vring_state){ index, ring->base };
	return true;
}

bool away_answer(struct session *s, const struct vu_msg_info *info,
		 const struct vhost_user_msg *request, struct vhost_user_msg *reply)
{
	const struct port_offers *offers = &s->port->offers;

	switch (info->id) {
	case VHOST_USER_GET_FEATURES:
		return u64_reply(reply, info->id, offers->has_features, offers->features);
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		return u64_reply(reply, info->id, offers->has_protocol,
				 offers->protocol & VHOST_USER_PF_CARRIED);
	case VHOST_USER_GET_QUEUE_NUM:
		return u64_reply(reply, info->id, offers->has_queues, offers->queues);
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		return u64_reply(reply, info->id, offers->has_slots, offers->slots);
	case VHOST_USER_GET_STATUS:
		return u64_reply(reply, info->id, true, s->status);
	case VHOST_USER_GET_CONFIG:
		return config_reply(offers, request, reply);
	case VHOST_USER_GET_VRING_BASE:
		return base_reply(s, request, reply);
	case VHOST_USER_SEND_RARP:
	case VHOST_USER_SET_CONFIG:
		return false;
	default:
		return u64_reply(reply, info->id, info->reply == VU_REPLY_ACK, 0);
	}
}

static void defer(struct session *s, struct session_pending *p)
{
	p->state = PENDING_DEFERRED;
	if (!s->defer_until_ns)
		s->defer_until_ns =
			proxy_now_ns() + s->port->conf->hold_s * UINT64_C(1000000000) + 1;
	session_restart_timer(s);
}

void away_request(struct session *s, const struct vu_msg_info *info,
		  const struct vhost_user_msg *msg, bool expects_reply)
{
	struct vhost_user_msg reply;
	bool known = away_answer(s, info, msg, &reply);
	struct session_pending *p;

	if (known && !expects_reply)
		return;
	s->seq++;
	p = relay_expect_reply(s, info, msg);
	p->silent = !expects_reply;
	if (!known) {
		defer(s, p);
		return;
	}
	p->state = PENDING_READY;
	memcpy(&p->msg, &reply, vu_msg_bytes(&reply));
	relay_offered(s, &reply);
	relay_flush_answers(s);
}

void away_take_over(struct session *s)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < s->num_pending; i++) {
		struct session_pending *p = &s->pending[i];

		if (p->internal)
			continue;
		if (p->state == PENDING_SENT) {
			if (away_answer(s, p->info, &p->msg, &p->msg)) {
				p->state = PENDING_READY;
				relay_offered(s, &p->msg);
			} else {
				defer(s, p);
			}
		}
		if (kept != i)
			s->pending[kept] = *p;
		kept++;
	}
	s->num_pending = kept;
	if (s->memory_changes)
		memory_commit(&s->memory, &s->memory_before);
	s->memory_changes = false;
	s->wait_seq = 0;
	session_restart_timer(s);
	relay_flush_answers(s);
}
