// SPDX-License-Identifier: BSD-2-Clause
/*
 * From the front-end to the back-end: check, translate (translate.c), send, or answer while there is
 * no back-end (away.c). (replies.c has the other direction.)
 *
 * A message is checked as a whole before anything of the record changes. What then can still fail
 * ends the session, so the record needs no undoing; the one exception is a change of memory that the
 * device or the back-end acknowledges (session.h, wait_seq).
 */
#include "host-proxy/relay_priv.h"

#include <string.h>

#include "host-proxy/away.h"
#include "host-proxy/inflight.h"
#include "host-proxy/link.h"
#include "host-proxy/port.h"

uint64_t relay_protocol_mask(const struct session *s)
{
	return VHOST_USER_PF_CARRIED & s->port->offers.limits.protocol_features;
}

/* One answer, if the front-end waits for one and nothing is before it; the session ends next. */
static void acknowledge_failure(struct session *s, const struct vhost_user_msg *msg,
				const struct vu_msg_info *info)
{
	struct vhost_user_msg reply;

	if (!info || info->reply != VU_REPLY_ACK || !vu_expects_reply(msg, s->protocol) ||
	    s->num_pending || s->out_waits)
		return;
	vu_make_u64_reply(&reply, info->id, 1);
	wire_send(s->sock, &reply, NULL, 0);
}

static void refuse(struct session *s, const struct vhost_user_msg *msg, enum vu_rule rule,
		   const char *why)
{
	const struct vu_msg_info *info = vu_frontend_info(msg->hdr.request);

	acknowledge_failure(s, msg, info);
	if (!info)
		session_end(s, BY_FRONT_END, true, "request %u: %s", msg->hdr.request,
			    vu_rule_text(rule));
	else
		session_end(s, BY_FRONT_END, true, "%s: %s%s%s%s", info->name, vu_rule_text(rule),
			    why ? " (" : "", why ? why : "", why ? ")" : "");
}

void relay_front_end_broken(struct session *s, enum vu_rule rule)
{
	if (s->in.have >= sizeof(s->in.in.msg.hdr))
		refuse(s, &s->in.in.msg, rule, NULL);
	else
		session_end(s, BY_FRONT_END, true, "message: %s", vu_rule_text(rule));
}

static enum vu_rule check_order(const struct session *s, const struct vu_msg_info *info,
				const struct vhost_user_msg *msg)
{
	uint32_t index;

	switch (info->needs) {
	case VU_NEEDS_MEMORY:
		return s->memory.regions.num ? VU_RULE_NONE : VU_RULE_ORDER;
	case VU_NEEDS_VRING_ADDR:
		index = (uint32_t)(msg->payload.u64 & VHOST_USER_VRING_INDEX_MASK);
		return s->rings[index].has_addr ? VU_RULE_NONE : VU_RULE_ORDER;
	default:
		return VU_RULE_NONE;
	}
}

static enum vu_rule check(const struct session *s, const struct vu_msg_info *info,
			  const struct wire_msg *in)
{
	const struct vu_limits limits = {
		.protocol_features = s->protocol,
		.max_queues = s->num_rings,
	};
	enum vu_rule rule = vu_check_frontend(&in->msg, in->num_fds, &limits);

	if (!rule && info->relay == VU_RELAY_REFUSE)
		rule = VU_RULE_REFUSED;
	if (!rule)
		rule = check_order(s, info, &in->msg);
	return rule;
}

/* A region added once more, or removed while it has been added more than once: nobody else need hear of it. */
static bool repeated(struct session *s, const struct vhost_user_msg *msg)
{
	const struct vhost_user_region *region = &msg->payload.mem_reg.region;

	switch (msg->hdr.request) {
	case VHOST_USER_ADD_MEM_REG:
		return vu_regions_repeat(&s->memory.regions, region);
	case VHOST_USER_REM_MEM_REG:
		return vu_regions_unrepeat(&s->memory.regions, region);
	default:
		return false;
	}
}

/* Acknowledged here, in its turn. */
static void answer_here(struct session *s, const struct vu_msg_info *info,
			const struct vhost_user_msg *msg, bool expects_reply)
{
	struct session_pending *p;

	s->port->count.requests[info->id]++;
	records_memory(s);
	if (!expects_reply)
		return;
	p = relay_expect_reply(s, info, msg);
	p->state = PENDING_READY;
	vu_make_u64_reply(&p->msg, info->id, 0);
	relay_flush_answers(s);
}

/*
 * A back-end that dies after a reset may have carried it out or not. So nothing that sets the rings
 * up again is read before it has answered something that was asked later.
 */
static bool send_barrier(struct session *s)
{
	struct link_packet pkt = {
		.hdr = { .kind = LINK_FRONTEND, .seq = ++s->seq, .session = s->id },
		.body.msg.hdr = { .request = VHOST_USER_GET_FEATURES, .flags = VHOST_USER_VERSION },
	};

	relay_expect_reply(s, vu_frontend_info(VHOST_USER_GET_FEATURES), &pkt.body.msg)->internal =
		true;
	s->wait_seq = s->seq;
	return link_transmit(s->port->link, &pkt, vu_msg_bytes(&pkt.body.msg), NULL, 0);
}

bool relay_send_inflight(struct session *s)
{
	struct link_packet pkt = {
		.hdr = { .kind = LINK_FRONTEND, .seq = ++s->seq, .session = s->id },
	};

	s->inflight_told = true;
	s->dirty.session = true;
	inflight_message(&pkt.body.msg, s->inflight_rings);
	return link_transmit(s->port->link, &pkt, vu_msg_bytes(&pkt.body.msg), &s->inflight, 1);
}

/* Sends it, and what the proxy itself has to say after it. */
static void send_on(struct session *s, const struct vu_msg_info *info, struct passage *p)
{
	struct vhost_user_msg *msg = &p->pkt.body.msg;

	p->pkt.hdr.seq = ++s->seq;
	if (p->expects_reply)
		relay_expect_reply(s, info, msg);
	if (p->expects_reply &&
	    (p->changes_memory || p->stops_rings || info->id == VHOST_USER_GET_VRING_BASE))
		s->wait_seq = s->seq;
	s->port->count.to_back_end++;
	if (!link_transmit(s->port->link, &p->pkt, vu_msg_bytes(msg), p->fds, p->num_fds))
		return;
	if (info->id == VHOST_USER_SET_PROTOCOL_FEATURES && !s->inflight_told &&
	    (msg->payload.u64 & VHOST_USER_PF_INTERNAL))
		relay_send_inflight(s);
	else if (p->stops_rings && s->inflight_told && !s->wait_seq)
		send_barrier(s);
}

/* What the next proxy must know of it. */
static void note_change(struct session *s, const struct vhost_user_msg *msg)
{
	switch (msg->hdr.request) {
	case VHOST_USER_SET_VRING_NUM:
	case VHOST_USER_SET_VRING_BASE:
	case VHOST_USER_SET_VRING_ENABLE:
		records_ring(s, msg->payload.state.index);
		break;
	case VHOST_USER_SET_VRING_ADDR:
		records_ring(s, msg->payload.addr.index);
		break;
	case VHOST_USER_SET_VRING_KICK:
	case VHOST_USER_SET_VRING_CALL:
	case VHOST_USER_SET_VRING_ERR:
		records_ring(s, (uint32_t)(msg->payload.u64 & VHOST_USER_VRING_INDEX_MASK));
		break;
	case VHOST_USER_SET_MEM_TABLE:
	case VHOST_USER_REM_MEM_REG:
		records_memory(s);
		break;
	case VHOST_USER_ADD_MEM_REG:
		records_region_added(s);
		break;
	default:
		if (vu_frontend_info(msg->hdr.request)->reply == VU_REPLY_ACK)
			s->dirty.session = true;
	}
}

void relay_front_end(struct session *s, struct wire_msg *in)
{
	const struct vu_msg_info *info = vu_frontend_info(in->msg.hdr.request);
	struct passage p = { .pkt.hdr = { .kind = LINK_FRONTEND, .session = s->id } };
	struct memory before = s->memory;
	enum vu_rule rule = check(s, info, in);

	p.expects_reply = !rule && vu_expects_reply(&in->msg, s->protocol);
	if (!rule && repeated(s, &in->msg)) {
		answer_here(s, info, &in->msg, p.expects_reply);
		return;
	}
	memcpy(&p.pkt.body.msg, &in->msg, vu_msg_bytes(&in->msg));
	if (!p.expects_reply) /* whoever reads it next need not know what was negotiated */
		p.pkt.body.msg.hdr.flags &= ~(uint32_t)VHOST_USER_NEED_REPLY_MASK;
	if (!rule)
		rule = relay_translate(s, in, &p);
	if (rule) {
		refuse(s, &in->msg, rule, p.why);
		return;
	}
	s->port->retry_ms = PORT_RETRY_MIN_MS;
	s->port->count.requests[info->id]++;
	note_change(s, &in->msg);
	if (p.changes_memory && p.expects_reply && s->state == SESSION_UP) {
		s->memory_changes = true;
		s->memory_before = before;
	} else if (p.changes_memory) {
		memory_commit(&s->memory, &before);
	}
	if (s->state == SESSION_UP)
		send_on(s, info, &p);
	else
		away_request(s, info, &p.pkt.body.msg, p.expects_reply);
}
