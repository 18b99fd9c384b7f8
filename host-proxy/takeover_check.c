// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the bytes of a block must be before takeover.c makes links, ports and sessions of them: the sizes and numbers
 * that the rest of the program takes for granted. Pure: whether the parts of a session fit each other, and what its
 * fds are, is takeover.c's.
 */
#include <stddef.h>

#include "host-proxy/takeover.h"

/* Bytes of another process become bools only if they are 0 or 1: all else is undefined to read as one. */
static bool are_bools(const void *body, const size_t *at, size_t num)
{
	const unsigned char *bytes = body;

	for (size_t i = 0; i < num; i++) {
		if (bytes[at[i]] > 1)
			return false;
	}
	return true;
}

static bool port_valid(const struct takeover_port *port)
{
	static const size_t bools[] = {
		offsetof(struct takeover_port, offers.has_features),
		offsetof(struct takeover_port, offers.has_protocol),
		offsetof(struct takeover_port, offers.has_queues),
		offsetof(struct takeover_port, offers.has_slots),
		offsetof(struct takeover_port, offers.has_config),
		offsetof(struct takeover_port, offers.protocol_is_current),
	};
	const struct port_offers *offers = &port->offers;

	return are_bools(port, bools, ARRAY_LEN(bools)) && port->retry_ms >= PORT_RETRY_MIN_MS &&
	       port->retry_ms <= PORT_RETRY_MAX_MS &&
	       offers->config.size <= VHOST_USER_CONFIG_MAX &&
	       (!offers->limits.max_queues || link_limits_valid(&offers->limits));
}

static bool link_valid(const struct takeover_link *link)
{
	return link->state != LINK_UP || link_limits_valid(&link->back_end);
}

/* Nothing, or the beginning of a message. */
static bool reader_valid(const struct takeover_reader *r)
{
	if (r->num_fds > WIRE_FDS_MAX)
		return false;
	if (r->have < sizeof(r->msg.hdr))
		return true;
	return r->msg.hdr.size <= VHOST_USER_PAYLOAD_MAX && r->have < vu_msg_bytes(&r->msg);
}

static bool pending_valid(const struct takeover_pending *p)
{
	return vu_frontend_info(p->request) && p->state <= PENDING_DEFERRED &&
	       p->msg.hdr.size <= VHOST_USER_PAYLOAD_MAX;
}

static bool back_pending_valid(const struct session_back_pending *p)
{
	static const size_t bools[] = { offsetof(struct session_back_pending, lost) };

	return are_bools(p, bools, ARRAY_LEN(bools)) && vu_backend_info(p->request);
}

static bool requests_valid(const struct takeover_session *s)
{
	if (s->num_pending > ARRAY_LEN(s->pending) || s->num_back_pending > SESSION_CHANNEL ||
	    s->num_channel_out > SESSION_CHANNEL)
		return false;
	for (unsigned int i = 0; i < s->num_pending; i++) {
		if (!pending_valid(&s->pending[i]))
			return false;
	}
	for (unsigned int i = 0; i < s->num_back_pending; i++) {
		if (!back_pending_valid(&s->back_pending[i]))
			return false;
	}
	for (unsigned int i = 0; i < s->num_channel_out; i++) {
		if (s->channel_out[i].hdr.size > VHOST_USER_PAYLOAD_MAX)
			return false;
	}
	return true;
}

static const char *session_wrong(const struct takeover_session *s)
{
	static const size_t bools[] = {
		offsetof(struct takeover_session, dirty.session),
		offsetof(struct takeover_session, dirty.mark),
		offsetof(struct takeover_session, dirty.answer),
		offsetof(struct takeover_session, dirty.reading),
		offsetof(struct takeover_session, replay.prepared),
		offsetof(struct takeover_session, replay.at_end),
	};

	if (!are_bools(s, bools, ARRAY_LEN(bools)))
		return "a session's state";
	if (!reader_valid(&s->in) || !reader_valid(&s->channel_in))
		return "a session's message that is half read";
	if (s->before.num > VHOST_USER_MEM_SLOTS_MAX)
		return "a session's change of memory";
	if (!requests_valid(s) || s->out.hdr.size > VHOST_USER_PAYLOAD_MAX)
		return "a session's requests";
	return NULL;
}

const char *takeover_wrong(const struct takeover_block *b)
{
	switch (b->hdr.kind) {
	case TAKEOVER_PORT:
		return port_valid(&b->body.port) ? NULL : "what a port offers";
	case TAKEOVER_LINK:
		return link_valid(&b->body.link) ? NULL : "what a link's back-end offers";
	case TAKEOVER_SESSION:
		return session_wrong(&b->body.session);
	default:
		return NULL;
	}
}
