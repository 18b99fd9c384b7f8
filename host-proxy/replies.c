// SPDX-License-Identifier: BSD-2-Clause
/*
 * From the back-end to the front-end. The back-end guest is no more trusted than the front-end: a
 * reply must be of the oldest unanswered request, of its size, and about the ring or the bytes that
 * were asked for.
 */
#include "host-proxy/relay.h"

#include <string.h>

#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "vmm/hostlib/fds.h"

void relay_expect_reply(struct session *s, const struct vu_msg_info *info, uint32_t seq,
			uint32_t detail)
{
	/* session.c reads no message while the list is full. */
	s->pending[s->num_pending++] = (struct session_pending){
		.info = info,
		.seq = seq,
		.detail = detail,
	};
	if (s->num_pending == 1)
		session_restart_timer(s);
}

/* The oldest request is answered with value, or with failure where the value is not 0. */
static void answered(struct session *s, uint64_t value)
{
	const struct session_pending done = s->pending[0];

	if (done.seq == s->memory_seq) {
		s->memory_seq = 0;
		if (value)
			s->regions = s->regions_before;
	}
	s->port->count.to_front_end++;
	s->port->count.replies[done.info->id]++;
	s->num_pending--;
	memmove(s->pending, s->pending + 1, s->num_pending * sizeof(s->pending[0]));
	session_restart_timer(s);
}

void relay_flush_answers(struct session *s)
{
	while (s->num_pending && s->pending[0].ready && !s->out_waits) {
		struct vhost_user_msg reply;

		vu_make_u64_reply(&reply, s->pending[0].info->id, s->pending[0].value);
		answered(s, s->pending[0].value);
		if (!session_send(s, &reply))
			return;
	}
}

static uint64_t at_most(uint64_t value, uint64_t limit)
{
	return value < limit ? value : limit;
}

/* What the chain cannot carry is not offered; what the front-end is told is remembered. */
static void filter(struct session *s, struct vhost_user_msg *msg)
{
	const struct link_backend_up *back_end = &s->port->link->back_end;
	uint64_t value = msg->payload.u64;

	switch (msg->hdr.request) {
	case VHOST_USER_GET_FEATURES:
		value &= ~RELAY_FEATURES_CLEARED;
		s->features_offered = value;
		break;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		value &= relay_protocol_mask(s);
		s->protocol_offered = value;
		break;
	case VHOST_USER_GET_QUEUE_NUM:
		value = at_most(value, back_end->max_queues);
		break;
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		value = at_most(value, at_most(back_end->max_mem_slots, VHOST_USER_MEM_SLOTS_MAX));
		break;
	case VHOST_USER_GET_VRING_BASE:
		/* The ring is stopped: its kick has no effect, and no place, until the next
		 * SET_VRING_KICK. */
		fd_close(&s->rings[msg->payload.state.index].fds[RING_KICK]);
		return;
	default:
		return;
	}
	msg->payload.u64 = value;
}

static enum vu_rule check_reply(const struct session *s, uint32_t seq,
				const struct vhost_user_msg *msg)
{
	const struct session_pending *oldest = &s->pending[0];
	enum vu_rule rule;

	if (!s->num_pending || oldest->ready || oldest->seq != seq)
		return VU_RULE_REPLY;
	rule = vu_check_reply(msg, oldest->info->id);
	if (rule)
		return rule;
	if (oldest->info->id == VHOST_USER_GET_VRING_BASE &&
	    msg->payload.state.index != oldest->detail)
		return VU_RULE_INDEX;
	/* All that was asked for, or nothing (vhost-user §GET_CONFIG). */
	if (oldest->info->id == VHOST_USER_GET_CONFIG && msg->hdr.size &&
	    msg->hdr.size != oldest->detail)
		return VU_RULE_SIZE;
	return VU_RULE_NONE;
}

void relay_reply(struct session *s, uint32_t seq, struct vhost_user_msg *msg)
{
	enum vu_rule rule = check_reply(s, seq, msg);

	if (rule) {
		session_end(s, BY_BACK_END, true, "reply to %s: %s",
			    vu_frontend_name(msg->hdr.request), vu_rule_text(rule));
		return;
	}
	msg->hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
	filter(s, msg);
	answered(s, s->pending[0].info->reply == VU_REPLY_ACK ? msg->payload.u64 : 0);
	if (session_send(s, msg))
		relay_flush_answers(s);
}

void relay_failed(struct session *s, uint32_t seq, const char *why)
{
	for (unsigned int i = 0; i < s->num_pending; i++) {
		struct session_pending *p = &s->pending[i];

		if (p->seq != seq || p->ready || p->info->reply != VU_REPLY_ACK)
			continue;
		port_log(s->port, LOG_L_WARN, "session %u: %s failed: %s", s->id, p->info->name,
			 why);
		p->ready = true;
		p->value = 1;
		relay_flush_answers(s);
		return;
	}
	/* Nobody waits to hear of it, or waits for more than yes or no. */
	session_end(s, BY_BACK_END, true, "%s", why);
}
