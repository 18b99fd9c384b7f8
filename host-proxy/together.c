// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/together.h"

#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/session.h"

#define WAIT_NS UINT64_C(100000000)

/* Its receivers run, and it waits. */
static bool waits(const struct session *s)
{
	return s->state == SESSION_REPLAY && s->replay.waits_since_ns;
}

static bool same_group(const struct session *a, const struct session *b)
{
	return b && a->lost_with && a->lost_with == b->lost_with;
}

/* s is to wait for t: that one has still to come, or comes, to the same VMM. */
static bool is_missing(const struct session *s, const struct session *t)
{
	const struct link *l = t->port->link;

	if (t == s || waits(t) || t->kept)
		return false;
	return (t->state == SESSION_AWAY || t->state == SESSION_REPLAY) &&
	       (!l || l->pid == s->port->link->pid);
}

bool together_has_others(const struct session *s)
{
	struct proxy *p = s->port->proxy;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		const struct session *t = p->ports[i].session;

		if (t != s && same_group(s, t))
			return true;
	}
	return false;
}

/* When the group of s has waited for long enough. */
static uint64_t deadline(const struct session *s)
{
	struct proxy *p = s->port->proxy;
	uint64_t first = s->replay.waits_since_ns;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		const struct session *t = p->ports[i].session;

		if (same_group(s, t) && waits(t) && t->replay.waits_since_ns < first)
			first = t->replay.waits_since_ns;
	}
	return first + WAIT_NS;
}

/* All but the start of its rings has been told: what is left is a few messages. */
static bool is_prepared(const struct session *s)
{
	return s->state == SESSION_REPLAY && s->replay.prepared;
}

/* Of all that s is to wait for, or of those that are prepared. */
static bool anybody_missing(const struct session *s, bool prepared)
{
	struct proxy *p = s->port->proxy;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		const struct session *t = p->ports[i].session;

		if (same_group(s, t) && is_missing(s, t) && (!prepared || is_prepared(t)))
			return true;
	}
	return false;
}

/* Those that wait go on, and after the deadline nobody waits for the rest either. */
static void let_go(struct session *s, bool all)
{
	struct proxy *p = s->port->proxy;
	int group = s->lost_with;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		struct session *t = p->ports[i].session;

		if (t && t->lost_with == group && (all || waits(t)))
			t->lost_with = 0;
	}
	event_active(&p->together_ev, EV_TIMEOUT, 0);
}

static void set_timer(struct proxy *p, uint64_t at)
{
	uint64_t now = proxy_now_ns();
	uint64_t left = at > now ? (at - now) / 1000 + 1 : 1;
	struct timeval tv = { .tv_usec = (suseconds_t)left };

	event_add(&p->together_ev, &tv);
}

/* True: s goes on. Else the timer runs. */
static bool update(struct session *s)
{
	uint64_t end = deadline(s);
	bool late = proxy_now_ns() >= end;

	if (!anybody_missing(s, false)) {
		let_go(s, false);
		return true;
	}
	/* A replacement is over for all of them before one of these is too late (replace.h). */
	if (late && anybody_missing(s, true))
		return false;
	if (late) {
		port_log(s->port, LOG_L_WARN,
			 "session %u sends again, though other ports of its VM are not back",
			 s->id);
		let_go(s, true);
		return true;
	}
	if (!event_pending(&s->port->proxy->together_ev, EV_TIMEOUT, NULL))
		set_timer(s->port->proxy, end);
	return false;
}

static void on_update(evutil_socket_t sock, short what, void *arg)
{
	struct proxy *p = arg;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		struct session *s = p->ports[i].session;

		if (s && waits(s) && (!s->lost_with || update(s)))
			port_update(&p->ports[i]);
	}
}

void together_open(struct proxy *p)
{
	evtimer_assign(&p->together_ev, p->base, on_update, p);
}

void together_close(struct proxy *p)
{
	event_del(&p->together_ev);
}

void together_lost(struct session *s, int pid)
{
	/* One that is lost again before it was back still belongs to the first. */
	if (!s->lost_with)
		s->lost_with = pid;
}

void together_over(struct session *s)
{
	if (!s->lost_with)
		return;
	s->lost_with = 0;
	event_active(&s->port->proxy->together_ev, EV_TIMEOUT, 0);
}

bool together_may_send(struct session *s)
{
	if (!s->lost_with)
		return true;
	if (!s->replay.waits_since_ns)
		s->replay.waits_since_ns = proxy_now_ns();
	return update(s);
}
