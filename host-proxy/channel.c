// SPDX-License-Identifier: BSD-2-Clause
/*
 * The back-end channel: requests of the back-end to the front-end, on the socket of
 * SET_BACKEND_REQ_FD.
 *
 * It shares nothing with the main socket: a front-end may be waiting for a reply there and look at
 * the channel only afterwards. So the channel never stops the link; a front-end that leaves
 * SESSION_CHANNEL requests unread or unanswered loses its session. One that closes the channel goes
 * on without: requests fail (if they ask) or are dropped.
 */
#include "host-proxy/relay.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "vmm/hostlib/fds.h"

static void reply_to_back_end(struct session *s, uint32_t seq, uint32_t request, uint64_t value)
{
	struct link_packet pkt = {
		.hdr = { .kind = LINK_FRONTEND, .seq = seq, .session = s->id },
	};

	vu_make_u64_reply(&pkt.body.msg, request, value);
	link_transmit(s->port->link, &pkt, vu_msg_bytes(&pkt.body.msg), NULL, 0);
}

void channel_close(struct session *s)
{
	if (s->channel < 0)
		return;
	watch_clear(&s->channel_watch);
	wire_reader_reset(&s->channel_in);
	if (!s->borrowed)
		shutdown(s->channel, SHUT_RDWR); /* the VMM has a duplicate */
	fd_close(&s->channel);
	s->num_channel_out = 0;
}

/* The front-end closed the channel alone. */
static void hung_up(struct session *s)
{
	channel_close(s);
	s->dirty.session = true;
	port_log(s->port, LOG_L_INFO, "session %u: the front-end closed its back-end channel",
		 s->id);
	while (s->num_back_pending && s->state != SESSION_DEAD) {
		const struct session_back_pending p = s->back_pending[--s->num_back_pending];

		if (!p.lost)
			reply_to_back_end(s, p.seq, p.request, 1);
	}
}

/* A reply of the front-end, whole. */
static void on_reply(struct session *s, const struct wire_msg *in)
{
	const struct session_back_pending p = s->back_pending[0];

	if (!s->num_back_pending || in->num_fds || in->msg.hdr.request != p.request ||
	    in->msg.hdr.size != sizeof(le64)) {
		session_end(s, BY_FRONT_END, true, "back-end channel: %s: %s",
			    vu_backend_name(in->msg.hdr.request), vu_rule_text(VU_RULE_REPLY));
		return;
	}
	s->num_back_pending--;
	memmove(s->back_pending, s->back_pending + 1,
		s->num_back_pending * sizeof(s->back_pending[0]));
	if (p.lost)
		return;
	s->port->count.to_back_end++;
	s->port->count.back_replies[p.request]++;
	reply_to_back_end(s, p.seq, p.request, in->msg.payload.u64);
}

static void read_replies(struct session *s)
{
	while (s->state == SESSION_UP && s->channel >= 0 && link_can_take(s->port->link)) {
		enum vu_rule rule;
		int ret = wire_read(&s->channel_in, s->channel, &rule);

		if (ret == 0)
			return;
		if (ret == 1) {
			on_reply(s, &s->channel_in.in);
			if (s->state == SESSION_UP)
				wire_reader_reset(&s->channel_in);
		} else if (ret == -EPROTO) {
			session_end(s, BY_FRONT_END, true, "back-end channel: %s",
				    vu_rule_text(rule));
		} else {
			hung_up(s);
		}
	}
}

static void flush(struct session *s)
{
	while (s->channel >= 0 && s->num_channel_out) {
		int ret = wire_send(s->channel, &s->channel_out[0], NULL, 0);

		if (ret == -EAGAIN)
			return;
		if (ret) {
			hung_up(s);
			return;
		}
		s->num_channel_out--;
		memmove(s->channel_out, s->channel_out + 1,
			s->num_channel_out * sizeof(s->channel_out[0]));
	}
}

static void on_channel_event(evutil_socket_t sock, short what, void *arg)
{
	struct session *s = arg;

	if (what & EV_WRITE)
		flush(s);
	if (s->channel >= 0 && (what & EV_READ))
		read_replies(s);
	else if (s->channel >= 0 && !(s->channel_watch.events & EV_READ) &&
		 watch_hung_up(s->channel))
		hung_up(s);
	if (s->state != SESSION_DEAD)
		session_update_interest(s);
}

void channel_lost(struct session *s)
{
	for (unsigned int i = 0; i < s->num_back_pending; i++)
		s->back_pending[i].lost = true;
}

void channel_open(struct session *s, int sock)
{
	s->channel = sock;
	s->had_channel = true;
	s->channel_in.replies = true;
	wire_reader_init(&s->channel_in);
	watch_init(&s->channel_watch, s->port->proxy->base, sock, on_channel_event, s);
}

void channel_update_interest(struct session *s)
{
	bool read = s->state == SESSION_UP && link_can_take(s->port->link);

	if (s->state == SESSION_DEAD || s->channel < 0)
		return;
	if (watch_set(&s->channel_watch, read, s->num_channel_out > 0) < 0)
		session_end(s, BY_PROXY, true, "out of memory");
}

static enum vu_rule check(const struct session *s, const struct vhost_user_msg *msg)
{
	const struct vu_limits limits = {
		.protocol_features = s->protocol,
		.max_queues = s->num_rings,
	};
	enum vu_rule rule = vu_check_backend(msg, 0, &limits);

	if (!rule && vu_backend_info(msg->hdr.request)->relay == VU_RELAY_REFUSE)
		rule = VU_RULE_REFUSED;
	if (!rule && !s->had_channel)
		rule = VU_RULE_ORDER;
	return rule;
}

void channel_request(struct session *s, uint32_t seq, const struct vhost_user_msg *msg)
{
	uint32_t request = msg->hdr.request;
	enum vu_rule rule = check(s, msg);
	struct vhost_user_msg *out;
	bool expects;

	if (rule) {
		session_end(s, BY_BACK_END, true, "request %s: %s", vu_backend_name(request),
			    vu_rule_text(rule));
		return;
	}
	expects = (msg->hdr.flags & VHOST_USER_NEED_REPLY_MASK) &&
		  (s->protocol & VHOST_USER_PF_MASK(REPLY_ACK));
	if (s->channel < 0) {
		if (expects)
			reply_to_back_end(s, seq, request, 1);
		return;
	}
	if (s->num_channel_out == SESSION_CHANNEL || s->num_back_pending == SESSION_CHANNEL) {
		session_end(s, BY_FRONT_END, true, "leaves %d requests on its back-end channel",
			    SESSION_CHANNEL);
		return;
	}
	out = &s->channel_out[s->num_channel_out++];
	memcpy(out, msg, vu_msg_bytes(msg));
	out->hdr.flags = VHOST_USER_VERSION | (expects ? VHOST_USER_NEED_REPLY_MASK : 0);
	if (expects)
		s->back_pending[s->num_back_pending++] =
			(struct session_back_pending){ .request = request, .seq = seq };
	s->port->count.to_front_end++;
	s->port->count.back_requests[request]++;
	flush(s);
}
