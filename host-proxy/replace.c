// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/replace.h"

#include "host-proxy/claim.h"
#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/relay.h"
#include "host-proxy/session.h"
#include "host-proxy/together.h"

/* --- one session's rings --- */

/*
 * The next ring from index on that is to be asked now: it runs at the old back-end, or a reset has stopped it there
 * and nobody has asked where.
 */
static uint32_t next_served(const struct session *s, uint32_t index)
{
	while (index < s->num_rings && (index % 2 != s->stop.parity || !s->rings[index].served))
		index++;
	return index;
}

/* Asks as many as the link takes. False: there is more to tell it; or the link is dead, or the session. */
static bool ask_rings(struct session *s)
{
	/* Its VMM keeps the session until the new one has it, and knows first that it is on its way. */
	if (!records_give(s))
		return false;
	while (link_can_take(s->port->link)) {
		struct link_packet pkt = { .hdr = { .kind = LINK_FRONTEND, .session = s->id } };
		struct vhost_user_msg *msg = &pkt.body.msg;
		uint32_t index = next_served(s, s->stop.sent);

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
	uint32_t index = next_served(s, s->stop.answered);
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
	/* If it runs it still does, from here on, at whichever back-end is told of it next. */
	ring = &s->rings[index];
	ring->base = msg->payload.state.num;
	ring->has_base = true;
	ring->served = false;
	records_ring(s, index);
	s->stop.answered = index + 1;
}

static bool all_stopped(const struct session *s)
{
	return s->stop.sent >= s->num_rings && next_served(s, s->stop.answered) >= s->num_rings;
}

void replace_timeout(struct session *s)
{
	struct port *port = s->port;

	if (s->stop.silent || !port->next || all_stopped(s))
		return;
	s->stop.silent = true;
	port_log(port, LOG_L_WARN, "%s does not stop its rings for %s", port->link->who,
		 port->next->who);
	link_notice(port->next, LINK_SILENT, 0);
}

/* --- one port --- */

/* The link that is to take the port over, or has it and has not been told; NULL: none. */
static struct link *heir(const struct port *port)
{
	if (port->next && port->next->replaces && !port->next->retiring)
		return port->next;
	return port->link && port->link->replaces ? port->link : NULL;
}

/* The links change places. */
static void swap(struct port *port)
{
	struct link *old = port->link;

	port->link = port->next;
	port->next = old;
	port->offers.limits = port->link->back_end;
	port->offers.protocol_is_current = false;
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

bool replace_busy(const struct proxy *p)
{
	for (unsigned int i = 0; i < p->num_ports; i++) {
		const struct port *port = &p->ports[i];

		if (port->move || (port->next && !port->link))
			return true;
	}
	return false;
}

void replace_wake(struct proxy *p)
{
	event_active(&p->replace_ev, EV_TIMEOUT, 0);
}

static void failed(struct port *port)
{
	port->move_failed = true;
	replace_wake(port->proxy);
}

void replace_lost(struct link *l)
{
	struct port *port = l->port;

	if (!port || !port->move || l != heir(port))
		return;
	if (port->session && l == port->next)
		session_not_next(port->session);
	failed(port);
}

void replace_refused(struct port *port, const char *why)
{
	if (!port->next || !port->move)
		return;
	port_log(port, LOG_L_WARN, "%s cannot take over: %s", port->next->who, why);
	port->next->refused = true;
	failed(port);
}

bool replace_gives_back(struct port *port, const char *why)
{
	const struct session *s = port->session;

	if (port->move != MOVE_START || !port->next || !s || s->state != SESSION_REPLAY)
		return false;
	if (!port->move_failed && port->link)
		port_log(port, LOG_L_WARN, "%s does not take over: %s", port->link->who, why);
	failed(port);
	return !session_position_lost(s);
}

void replace_update(struct port *port)
{
	struct link *next = port->next;

	if (!port->link && next && next->state != LINK_DEAD && !claim_waits(next)) {
		/* The old one is gone; or the new one, and the old one has it again. */
		if (!next->retiring) {
			port->move = MOVE_NONE;
			port->move_failed = false;
		}
		port->link = next;
		port->next = NULL;
		next->retiring = false;
		if (next->state == LINK_UP) {
			port->offers.limits = next->back_end;
			port->offers.protocol_is_current = false;
		}
	}
	if (port->link && port->link->replaces && port->link->state == LINK_UP && !port->move &&
	    !port->link->recovery && (!port->session || port->session->state == SESSION_HELD))
		replace_done(port);
	if (heir(port) || port->move)
		replace_wake(port->proxy);
}

/* --- all ports of the VMM that takes over --- */

static bool in_group(const struct port *port, int pid)
{
	return port->move && port->move_pid == pid;
}

/* Is to be in the next group of that VMM. */
static bool is_candidate(const struct port *port, int pid)
{
	const struct link *l = heir(port);

	return !port->move && l && l == port->next && l->pid == pid;
}

static bool can_begin(const struct port *port)
{
	const struct session *s = port->session;

	if (port->next->state != LINK_UP || port->next->refused || !port->link ||
	    port->link->recovery)
		return false;
	/* It has given a session back, and is the first to go on with it. */
	if (port->link->keeps && !port->link->up_ns)
		return false;
	return !s || s->state == SESSION_HELD || s->state == SESSION_UP ||
	       (s->state == SESSION_AWAY && !s->kept);
}

/* A port of the same old VMM that the new one leaves alone. */
static bool stays(const struct proxy *p, const struct port *port, int pid)
{
	for (unsigned int i = 0; i < p->num_ports && port->link && !port->next; i++) {
		const struct port *other = &p->ports[i];

		if (in_group(other, pid) && other->link && other->link->pid == port->link->pid)
			return true;
	}
	return false;
}

static void begin(struct proxy *p, int pid)
{
	bool any = false;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		if (!is_candidate(&p->ports[i], pid))
			continue;
		if (!can_begin(&p->ports[i]))
			return;
		any = true;
	}
	for (unsigned int i = 0; i < p->num_ports && any; i++) {
		struct port *port = &p->ports[i];

		if (!is_candidate(port, pid))
			continue;
		port->move = MOVE_PREPARE;
		port->move_pid = pid;
		port->move_failed = false;
	}
	for (unsigned int i = 0; i < p->num_ports && any; i++) {
		struct port *port = &p->ports[i];

		if (stays(p, port, pid))
			port_log(port, LOG_L_WARN, "stays with %s: pid %d takes over others",
				 port->link->who, pid);
		if (in_group(port, pid) && port->session && port->session->state == SESSION_UP)
			session_move(port->session);
		if (in_group(port, pid))
			port_update(port);
	}
}

/* The port has all that its part in the step takes. */
static bool is_done(struct port *port)
{
	struct session *s = port->session;

	if (!s || s->state == SESSION_HELD)
		return true;
	switch (port->move) {
	case MOVE_PREPARE:
		return s->state == SESSION_AWAY ||
		       (s->state == SESSION_MOVING && s->replay.prepared);
	case MOVE_STOP_ODD:
	case MOVE_STOP_EVEN:
		return s->state == SESSION_AWAY ||
		       (s->state == SESSION_STOPPING && ask_rings(s) && all_stopped(s));
	default:
		return s->state == SESSION_REPLAY && s->replay.at_end;
	}
}

static void stop_next(struct port *port)
{
	struct session *s = port->session;

	if (s && s->state == SESSION_MOVING)
		session_stop(s);
	if (!s || s->state != SESSION_STOPPING)
		return;
	s->stop = (struct stop){ .parity = port->move == MOVE_STOP_ODD, .silent = s->stop.silent };
	/* It may be over, if we were late ourselves. */
	session_resume(s);
}

/* Sessions that the old VMM's death has taken out of the group come back with it all the same. */
static void join(const struct proxy *p, int old, int pid)
{
	for (unsigned int i = 0; i < p->num_ports; i++) {
		const struct port *port = &p->ports[i];

		if (port->session && port->session->lost_with == old && port->link &&
		    port->link->pid == pid)
			port->session->lost_with = pid;
	}
}

static void change_hands(struct port *port)
{
	struct session *s = port->session;

	swap(port);
	if (port->next)
		port->next->retiring = true;
	if (!s || s->state != SESSION_STOPPING)
		return;
	if (port->next)
		join(port->proxy, port->next->pid, port->move_pid);
	together_over(s);
	together_lost(s, port->move_pid);
	session_moved(s);
}

/* All ports are done with their step. */
static void next_step(struct proxy *p, int pid)
{
	for (unsigned int i = 0; i < p->num_ports; i++) {
		struct port *port = &p->ports[i];

		if (!in_group(port, pid))
			continue;
		switch (++port->move) {
		case MOVE_STOP_ODD:
		case MOVE_STOP_EVEN:
			stop_next(port);
			break;
		case MOVE_START:
			change_hands(port);
			break;
		default:
			port->move = MOVE_NONE;
		}
	}
	for (unsigned int i = 0; i < p->num_ports; i++) {
		if (p->ports[i].move_pid == pid)
			port_update(&p->ports[i]);
	}
	replace_wake(p);
}

static void give_back(struct port *port)
{
	static const char why[] = "the VMM that was to take over will not";
	struct session *s = port->session;
	bool there = port->move == MOVE_START && port->link && port->link->replaces;
	bool had = there && port->next, unserved = false;

	/* Where there is no old one any more the port stays with the new one, unless that has failed it. */
	if (s && s->state == SESSION_MOVING)
		session_stay(s, why);
	else if (s && (s->state == SESSION_STOPPING || (s->state == SESSION_REPLAY && had)))
		session_give_back(s, why);
	else if (s && s->state == SESSION_REPLAY && there && port->move_failed)
		unserved = true;
	if (s && s->state == SESSION_AWAY)
		together_lost(s, port->move_pid);
	if (had) {
		swap(port);
		port->link->retiring = false;
	}
	/* Not once more with a part of its ports, or what it cannot have. */
	if (heir(port))
		heir(port)->refused = true;
	port->move = MOVE_NONE;
	port->move_failed = false;
	if (unserved)
		session_end(s, BY_BACK_END, port->link && port->link->state == LINK_UP,
			    "%s, and the old one is gone", why);
}

static void abort_all(struct proxy *p, int pid)
{
	log_warn("link", "pid %d takes nothing over: the old VMM serves on", pid);
	for (unsigned int i = 0; i < p->num_ports; i++) {
		if (in_group(&p->ports[i], pid))
			give_back(&p->ports[i]);
	}
	for (unsigned int i = 0; i < p->num_ports; i++) {
		if (p->ports[i].move_pid == pid)
			port_update(&p->ports[i]);
	}
}

static void run(struct proxy *p, int pid)
{
	bool any = false, done = true, gone = false;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		struct port *port = &p->ports[i];

		if (!in_group(port, pid))
			continue;
		any = true;
		done = is_done(port) && done;
		gone |= port->move_failed;
	}
	if (!any)
		begin(p, pid);
	else if (gone)
		abort_all(p, pid);
	else if (done)
		next_step(p, pid);
}

static int group_of(const struct port *port)
{
	const struct link *l = heir(port);

	return port->move ? port->move_pid : l ? l->pid : -1;
}

static void on_wake(evutil_socket_t sock, short what, void *arg)
{
	struct proxy *p = arg;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		int pid = group_of(&p->ports[i]);
		bool seen = pid < 0;

		for (unsigned int j = 0; j < i && !seen; j++)
			seen = group_of(&p->ports[j]) == pid;
		if (!seen)
			run(p, pid);
	}
}

void replace_open(struct proxy *p)
{
	evtimer_assign(&p->replace_ev, p->base, on_wake, p);
}

void replace_close(struct proxy *p)
{
	event_del(&p->replace_ev);
}
