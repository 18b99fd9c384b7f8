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

struct session_pending *relay_expect_reply(struct session *s, const struct vu_msg_info *info,
					   const struct vhost_user_msg *msg)
{
	/* session.c reads no message while the list is full, but for the one place that our own
	 * requests need. */
	struct session_pending *p = &s->pending[s->num_pending++];

	p->info = info;
	p->seq = s->seq;
	p->state = PENDING_SENT;
	p->failed = p->silent = p->internal = false;
	memcpy(&p->msg, msg, vu_msg_bytes(msg));
	if (s->num_pending == 1)
		session_restart_timer(s);
	return p;
}

/* The oldest request is answered, or has failed. True: the front-end is to be told. */
static bool answered(struct session *s, bool failed)
{
	struct session_pending *done = &s->pending[0];
	bool tell = !done->internal;

	if (done->seq == s->wait_seq) {
		s->wait_seq = 0;
		if (s->memory_changes && failed)
			memory_rollback(&s->memory, &s->memory_before);
		else if (s->memory_changes)
			memory_commit(&s->memory, &s->memory_before);
		if (s->memory_changes)
			records_memory(s);
		s->memory_changes = false;
	}
	records_answered(s, done->seq);
	if (tell) {
		s->port->count.to_front_end++;
		s->port->count.replies[done->info->id]++;
	}
	s->num_pending--;
	memmove(s->pending, s->pending + 1, s->num_pending * sizeof(s->pending[0]));
	session_restart_timer(s);
	return tell;
}

void relay_flush_answers(struct session *s)
{
	while (s->num_pending && s->pending[0].state == PENDING_READY && !s->out_waits) {
		const struct session_pending *p = &s->pending[0];
		struct vhost_user_msg reply;

		memcpy(&reply, &p->msg, vu_msg_bytes(&p->msg));
		if (answered(s, p->failed) && !session_send(s, &reply))
			return;
	}
}

static uint64_t at_most(uint64_t value, uint64_t limit)
{
	return value < limit ? value : limit;
}

void relay_ring_stopped(struct session *s, uint32_t index, uint32_t base)
{
	struct session_ring *ring = &s->rings[index];

	ring->base = base;
	ring->has_base = true;
	ring->running = false;
	ring->served = false;
	/* Its kick has no effect, and no place, until the next SET_VRING_KICK. */
	ring->told[RING_KICK] = false;
	records_ring(s, index);
	fd_close(&ring->fds[RING_KICK]);
}

/* For a front-end that comes, or asks, while the back-end is away. */
static void remember_config(struct port_offers *offers, const struct vhost_user_msg *msg)
{
	offers->has_config = msg->hdr.size > 0;
	memcpy(&offers->config, &msg->payload.config, msg->hdr.size);
}

void relay_filter(struct session *s, struct port_offers *offers, struct vhost_user_msg *msg)
{
	uint64_t value = msg->payload.u64;

	s->dirty.session = true;
	switch (msg->hdr.request) {
	case VHOST_USER_GET_FEATURES:
		value &= ~RELAY_FEATURES_CLEARED;
		offers->features = value;
		offers->has_features = true;
		break;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		offers->protocol = value & offers->limits.protocol_features &
				   (VHOST_USER_PF_CARRIED | VHOST_USER_PF_INTERNAL);
		offers->has_protocol = offers->protocol_is_current = true;
		value = offers->protocol & VHOST_USER_PF_CARRIED;
		break;
	case VHOST_USER_GET_QUEUE_NUM:
		value = at_most(value, offers->limits.max_queues);
		offers->queues = value;
		offers->has_queues = true;
		break;
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		value = at_most(value,
				at_most(offers->limits.max_mem_slots, VHOST_USER_MEM_SLOTS_MAX));
		offers->slots = value;
		offers->has_slots = true;
		break;
	case VHOST_USER_GET_CONFIG:
		remember_config(offers, msg);
		return;
	case VHOST_USER_GET_VRING_BASE:
		relay_ring_stopped(s, msg->payload.state.index, msg->payload.state.num);
		return;
	default:
		return;
	}
	msg->payload.u64 = value;
}

void relay_offered(struct session *s, const struct vhost_user_msg *msg)
{
	switch (msg->hdr.request) {
	case VHOST_USER_GET_FEATURES:
		s->features_offered = msg->payload.u64;
		break;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		s->protocol_offered = msg->payload.u64;
		break;
	case VHOST_USER_GET_QUEUE_NUM:
		s->queues_offered = msg->payload.u64;
		break;
	default:
		break;
	}
}

static enum vu_rule check_reply(const struct session *s, uint32_t seq,
				const struct vhost_user_msg *msg)
{
	const struct session_pending *oldest = &s->pending[0];
	enum vu_rule rule;

	if (!s->num_pending || oldest->state != PENDING_SENT || oldest->seq != seq)
		return VU_RULE_REPLY;
	rule = vu_check_reply(msg, oldest->info->id);
	if (rule)
		return rule;
	if (oldest->info->id == VHOST_USER_GET_VRING_BASE &&
	    msg->payload.state.index != oldest->msg.payload.state.index)
		return VU_RULE_INDEX;
	/* All that was asked for, or nothing (vhost-user §GET_CONFIG). */
	if (oldest->info->id == VHOST_USER_GET_CONFIG && msg->hdr.size &&
	    msg->hdr.size != oldest->msg.hdr.size)
		return VU_RULE_SIZE;
	return VU_RULE_NONE;
}

void relay_reply(struct session *s, uint32_t seq, struct vhost_user_msg *msg)
{
	enum vu_rule rule;
	bool failed;

	if (s->state == SESSION_REPLAY && s->replay.num_asks) {
		replay_reply(s, seq, msg);
		return;
	}
	if (s->state == SESSION_STOPPING && !s->num_pending) {
		replace_reply(s, seq, msg);
		return;
	}
	rule = check_reply(s, seq, msg);
	if (rule) {
		session_end(s, BY_BACK_END, true, "reply to %s: %s",
			    vu_frontend_name(msg->hdr.request), vu_rule_text(rule));
		return;
	}
	msg->hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
	relay_filter(s, &s->port->offers, msg);
	failed = s->pending[0].info->reply == VU_REPLY_ACK && msg->payload.u64;
	if (answered(s, failed)) {
		relay_offered(s, msg);
		if (!session_send(s, msg))
			return;
	}
	relay_flush_answers(s);
}

void relay_failed(struct session *s, uint32_t seq, const char *why)
{
	for (unsigned int i = 0; i < s->num_pending; i++) {
		struct session_pending *p = &s->pending[i];

		if (p->seq != seq || p->state != PENDING_SENT || p->info->reply != VU_REPLY_ACK)
			continue;
		port_log(s->port, LOG_L_WARN, "session %u: %s failed: %s", s->id, p->info->name,
			 why);
		p->state = PENDING_READY;
		p->failed = true;
		vu_make_u64_reply(&p->msg, p->info->id, 1);
		relay_flush_answers(s);
		return;
	}
	/* Nobody waits to hear of it, or waits for more than yes or no. */
	session_end(s, BY_BACK_END, true, "%s", why);
}
