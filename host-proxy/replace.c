// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/replace.h"

#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/relay.h"
#include "host-proxy/session.h"

/* The next ring from index on that runs at the old back-end. */
static uint32_t next_running(const struct session *s, uint32_t index)
{
	while (index < s->num_rings && !(s->rings[index].running && s->rings[index].served))
		index++;
	return index;
}

/* Asks as many as the link takes. False: the link is dead, or the session. */
static bool ask_rings(struct session *s)
{
	while (link_can_take(s->port->link)) {
		struct link_packet pkt = { .hdr = { .kind = LINK_FRONTEND, .session = s->id } };
		struct vhost_user_msg *msg = &pkt.body.msg;
		uint32_t index = next_running(s, s->stop.sent);

		if (index >= s->num_rings) {
			s->stop.sent = s->num_rings;
			return true;
		}
		s->stop.sent = index + 1;
		pkt.hdr.seq = ++s->seq;
		msg->hdr = (struct vhost_user_header){ .request = VHOST_USER_GET_VRING_BASE,
						       .flags = VHOST_USER_VERSION,
						       .size = sizeof(msg->payload.state) };
		msg->payload.state.index = index;
		if (!link_transmit(s->port->link, &pkt, vu_msg_bytes(msg), NULL, 0))
			return false;
	}
	return true;
}

void replace_reply(struct session *s, uint32_t seq, const struct vhost_user_msg *msg)
{
	uint32_t index = next_running(s, s->stop.answered);
	enum vu_rule rule = VU_RULE_REPLY;
	struct session_ring *ring;

	if (index < s->stop.sent)
		rule = vu_check_reply(msg, VHOST_USER_GET_VRING_BASE);
	if (!rule && msg->payload.state.index != index)
		rule = VU_RULE_INDEX;
	if (rule) {
		session_end(s, BY_BACK_END, true, "reply to %s: %s",
			    vu_frontend_name(msg->hdr.request), vu_rule_text(rule));
		return;
	}
	/* It still runs, from here on, at whichever back-end is told of it next. */
	ring = &s->rings[index];
	ring->base = msg->payload.state.num;
	ring->has_base = true;
	ring->served = false;
	s->stop.answered = index + 1;
}

static bool all_stopped(const struct session *s)
{
	return !s->num_pending && s->stop.sent >= s->num_rings &&
	       next_running(s, s->stop.answered) >= s->num_rings;
}

/* The links change places. */
static void swap(struct port *port)
{
	struct link *old = port->link;

	port->link = port->next;
	port->next = old;
	port->offers.limits = port->link->back_end;
	port->offers.protocol_is_current = false;
	if (old)
		old->retiring = true;
	port->link->retiring = false;
}

void replace_done(struct port *port)
{
	struct link *l = port->link, *old = port->next;

	if (l->replaces) {
		l->replaces = false;
		if (!link_notice(l, LINK_SERVING, 0))
			return;
		port_log(port, LOG_L_INFO, "%s has taken over", l->who);
	}
	if (old && old->retiring)
		link_retire(old);
}

void replace_timeout(struct session *s)
{
	struct port *port = s->port;

	if (s->stop.silent || !port->next)
		return;
	s->stop.silent = true;
	port_log(port, LOG_L_WARN, "%s does not stop its rings for %s", port->link->who,
		 port->next->who);
	link_notice(port->next, LINK_SILENT, 0);
}

/* What the session hinders. True: the port can change hands. */
static bool session_lets_go(struct port *port, bool next_is_up)
{
	struct session *s = port->session;

	if (!s || s->state == SESSION_HELD)
		return true;
	if (s->state == SESSION_UP && next_is_up)
		session_stop(s);
	if (s->state != SESSION_STOPPING)
		return s->state == SESSION_AWAY && !s->kept;
	if (!next_is_up) {
		session_stopped(s, "the VMM that was to take over is gone");
		return false;
	}
	if (!s->num_pending && !ask_rings(s))
		return false;
	if (s->state != SESSION_STOPPING || !all_stopped(s))
		return false;
	session_stopped(s, "another VMM takes over");
	return true;
}

void replace_update(struct port *port)
{
	struct link *next = port->next;
	bool up = next && !next->retiring && next->state == LINK_UP;

	if (!port->link && next && next->state != LINK_DEAD) {
		/* The old one is gone; or the new one, and the old one has it again. */
		port->link = next;
		port->next = NULL;
		next->retiring = false;
		if (next->state == LINK_UP) {
			port->offers.limits = next->back_end;
			port->offers.protocol_is_current = false;
		}
	} else if (up || (port->session && port->session->state == SESSION_STOPPING)) {
		if (!session_lets_go(port, up) || !up || port->next != next || !port->link)
			return;
		swap(port);
	}
	if (port->link && port->link->replaces && port->link->state == LINK_UP &&
	    (!port->session || port->session->state == SESSION_HELD))
		replace_done(port);
}
