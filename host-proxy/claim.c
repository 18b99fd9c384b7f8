// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/claim.h"

#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/recover.h"
#include "host-proxy/session.h"
#include "host-proxy/together.h"

/* VMMs try to link every second at least; those that were stopped, or wait for a processor, are later. */
static const struct timeval young_time = { .tv_sec = 5 };

static struct link *other_of(const struct link *l)
{
	return l->port->link == l ? l->port->next : l->port->link;
}

static bool is_open(const struct link *l)
{
	return l && l->recovery && l->claims;
}

bool claim_waits(const struct link *l)
{
	const struct session *s = l->port->session;

	return l->replaces && !l->retiring && l->proxy->young && (!s || s->state == SESSION_HELD);
}

/* The new VMM may have it by now, and has still to come, or to say so. */
static bool has_to_wait(const struct link *l)
{
	const struct link *other = other_of(l);

	if (!recovery_leaves(l->recovery))
		return false;
	if (!other)
		return l->proxy->young;
	return other->recovery && !(other->claims && recovery_leaves(other->recovery));
}

static struct link *next_claim(const struct port *port)
{
	if (is_open(port->link) && !has_to_wait(port->link))
		return port->link;
	return is_open(port->next) && !has_to_wait(port->next) ? port->next : NULL;
}

static void change_places(struct port *port)
{
	struct link *l = port->link;

	port->link = port->next;
	port->next = l;
	if (port->link && port->link->state == LINK_UP)
		port->offers.limits = port->link->back_end;
}

/* One that has no session after all lets the old VMM go first, which may have it. */
static void without(struct link *l, const char *why)
{
	struct port *port = l->port;

	port_log(port, LOG_L_WARN, "session %u, that %s kept, ends: %s", l->kept_session, l->who,
		 why);
	if (port->link == l && (port->next ? port->next->recovery != NULL : claim_waits(l)))
		change_places(port);
	link_session_down(l, l->kept_session, why);
}

/* The other one of the two is still there, and has not got the session. */
static void other_loses(struct link *l)
{
	struct link *other = other_of(l);

	if (l->port->next == l)
		change_places(l->port);
	if (!other || !other->recovery)
		return;
	other->retiring = true;
	recovery_drop(other->recovery);
	other->recovery = NULL;
	link_session_down(other, other->kept_session, "the VMM that takes over has it");
}

static void decide(struct link *l)
{
	const struct link *other = other_of(l);
	struct recovery *r = l->recovery;
	bool moves = recovery_moves(r);
	struct session *s;
	const char *why;

	if (l->replaces || (other && other->recovery))
		recovery_borrow(r);
	l->recovery = NULL;
	why = recovery_end(r, &l->kept);
	if (why) {
		without(l, why);
		return;
	}
	other_loses(l);
	s = l->port->session;
	if (!moves || !s || !s->kept)
		return;
	together_lost(s, l->pid);
	session_not_kept(s);
	link_session_down(l, l->kept_session, "the last proxy died over its replacement");
}

void claims_settle(struct port *port)
{
	struct link *l;

	if (port->settling)
		return;
	port->settling = true;
	while ((l = next_claim(port)))
		decide(l);
	port->settling = false;
}

void claim_made(struct link *l, const struct link_kept *kept)
{
	event_del(&l->timer); /* that its records had */
	l->kept = *kept;
	l->claims = true;
	claims_settle(l->port);
}

static void on_grown(evutil_socket_t sock, short what, void *arg)
{
	struct proxy *p = arg;

	p->young = false;
	for (unsigned int i = 0; i < p->num_ports; i++)
		port_update(&p->ports[i]);
}

void claims_open(struct proxy *p)
{
	p->young = true;
	evtimer_assign(&p->young_ev, p->base, on_grown, p);
	event_add(&p->young_ev, &young_time);
}

void claims_close(struct proxy *p)
{
	event_del(&p->young_ev);
}
