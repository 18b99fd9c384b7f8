// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host-proxy/away.h"
#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/relay.h"
#include "host-proxy/together.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/prog.h"

#define MESSAGES_PER_TURN 16 /* then other sockets have their turn */

/*
 * A front-end that waits for an answer may have stopped its whole guest (QEMU does). A back-end
 * that is alive but silent for so long is as good as dead.
 */
static const struct timeval answer_time = { .tv_sec = 30 };

/* For a VMM that is to take over to take the session: meanwhile the front-end is not read. */
static const struct timeval move_time = { .tv_sec = 10 };

/* For an old back-end to stop its rings (decision 31). */
static const struct timeval stop_time = { .tv_usec = 100000 };

static const char *const state_names[] = {
	[SESSION_HELD] = "held",     [SESSION_UP] = "up",	  [SESSION_AWAY] = "away",
	[SESSION_REPLAY] = "replay", [SESSION_MOVING] = "moving", [SESSION_STOPPING] = "stopping",
	[SESSION_DEAD] = "dead",
};

/* False, and nothing changes, for a move that the states don't have. */
static bool session_set_state(struct session *s, enum session_state state)
{
	static const unsigned int from[] = {
		[SESSION_HELD] = 0,
		[SESSION_UP] = BIT_U32(SESSION_HELD) | BIT_U32(SESSION_AWAY) |
			       BIT_U32(SESSION_REPLAY) | BIT_U32(SESSION_MOVING),
		[SESSION_AWAY] = BIT_U32(SESSION_HELD) | BIT_U32(SESSION_UP) |
				 BIT_U32(SESSION_REPLAY) | BIT_U32(SESSION_MOVING) |
				 BIT_U32(SESSION_STOPPING),
		[SESSION_MOVING] = BIT_U32(SESSION_UP),
		[SESSION_STOPPING] = BIT_U32(SESSION_MOVING),
		[SESSION_REPLAY] = BIT_U32(SESSION_AWAY) | BIT_U32(SESSION_STOPPING),
		[SESSION_DEAD] = BIT_U32(SESSION_HELD) | BIT_U32(SESSION_UP) |
				 BIT_U32(SESSION_AWAY) | BIT_U32(SESSION_REPLAY) |
				 BIT_U32(SESSION_MOVING) | BIT_U32(SESSION_STOPPING),
	};

	if (!(from[state] & BIT_U32(s->state))) {
		log_error(s->port->who, "session may not go from %s to %s", state_names[s->state],
			  state_names[state]);
		return false;
	}
	log_debug(s->port->who, "session %u %s -> %s", s->id, state_names[s->state],
		  state_names[state]);
	s->state = state;
	return true;
}

/* The VMM has a duplicate of the socket, for the next proxy, so closing ours alone tells nobody. */
static void close_fds(struct session *s)
{
	wire_reader_reset(&s->in);
	if (s->sock >= 0 && !s->borrowed)
		shutdown(s->sock, SHUT_RDWR);
	channel_close(s);
	for (uint32_t i = 0; i < s->rings_with_fds; i++)
		fds_close(s->rings[i].fds, RING_FDS);
	if (s->memory_changes)
		memory_commit(&s->memory, &s->memory_before);
	memory_clear(&s->memory);
	fd_close(&s->inflight);
	fd_close(&s->sock);
}

void session_not_next(struct session *s)
{
	s->heir.id = 0;
}

static void leave_next(struct session *s, const char *why)
{
	uint32_t id = s->heir.id ? s->heir.id : s->left;

	s->heir.id = 0;
	s->left = 0;
	if (id && s->port->next)
		link_session_down(s->port->next, id, why);
}

void session_end(struct session *s, enum session_end_by by, bool tell_link, const char *fmt, ...)
{
	static const char *const names[] = {
		[BY_FRONT_END] = "front-end", [BY_BACK_END] = "back-end", [BY_PROXY] = "proxy"
	};
	struct port *port = s->port;
	bool was_held = s->state == SESSION_HELD;
	bool was_announced = session_announced(s) || s->kept;
	char reason[LINK_REASON_MAX - 32];
	va_list ap;

	if (s->state == SESSION_DEAD)
		return;
	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	if (by == BY_BACK_END && replace_gives_back(port, reason))
		return;
	if (!session_set_state(s, SESSION_DEAD))
		return;
	watch_clear(&s->watch);
	event_del(&s->timer);
	close_fds(s);
	port->session = NULL;
	LIST_INSERT_HEAD(&port->proxy->dead_sessions, s, next);
	together_over(s);
	snprintf(port->last_end, sizeof(port->last_end), "%s: %s", names[by], reason);
	if (!was_held)
		port_log(port, LOG_L_INFO, "session %u of pid %d ended: %s", s->id, s->pid,
			 port->last_end);
	else
		port_log(port, LOG_L_INFO, "waiting pid %d: %s", s->pid, port->last_end);
	if (was_announced && tell_link && port->link)
		link_session_down(port->link, s->id, port->last_end);
	leave_next(s, port->last_end);
	port_update(port);
}

void session_free(struct session *s)
{
	free(s->rings);
	free(s);
}

static void held_in_vain(struct session *s)
{
	struct port *port = s->port;

	port->count.held_in_vain++;
	if (!port->link)
		session_end(s, BY_PROXY, false,
			    "no back-end within %u s: no VMM is linked (vvu-vmm --vvu "
			    "link=%s,port=%s)",
			    port->conf->hold_s, port->proxy->conf->link, port->conf->name);
	else
		session_end(s, BY_PROXY, false,
			    "no back-end within %u s: %s is linked, but its guest has not set "
			    "back-end-up",
			    port->conf->hold_s, port->link->who);
}

static const char *unanswered_name(const struct session *s)
{
	if (s->state == SESSION_REPLAY && s->replay.num_asks)
		return vu_frontend_name(s->replay.asks[0].request);
	return s->num_pending ? s->pending[0].info->name : "request";
}

static void on_session_timer(evutil_socket_t sock, short what, void *arg)
{
	struct session *s = arg;

	if (s->state == SESSION_HELD)
		held_in_vain(s);
	else if (s->state == SESSION_MOVING)
		replace_refused(s->port, "its ports are not all ready after 10 s");
	else if (s->state == SESSION_STOPPING)
		replace_timeout(s);
	else if (s->kept)
		link_end(s->port->link, "no back-end for the session that it kept");
	else if (s->state == SESSION_AWAY)
		session_end(s, BY_PROXY, false, "%s: no back-end within %u s", unanswered_name(s),
			    s->port->conf->hold_s);
	else
		session_end(s, BY_BACK_END, true, "%s: no answer for %d s", unanswered_name(s),
			    (int)answer_time.tv_sec);
}

bool session_has_deferred(const struct session *s)
{
	for (unsigned int i = 0; i < s->num_pending; i++) {
		if (s->pending[i].state == PENDING_DEFERRED)
			return true;
	}
	return false;
}

static void start_timer(struct session *s, uint64_t until_ns)
{
	uint64_t now = proxy_now_ns();
	uint64_t left = until_ns > now ? (until_ns - now) / 1000 : 0;
	struct timeval tv = { .tv_sec = (time_t)(left / 1000000),
			      .tv_usec = (suseconds_t)(left % 1000000) };

	event_add(&s->timer, &tv);
}

void session_restart_timer(struct session *s)
{
	if (s->kept || s->state == SESSION_MOVING || s->state == SESSION_STOPPING)
		return; /* another time runs */
	if (s->state != SESSION_AWAY && !s->num_pending)
		s->defer_until_ns = 0;
	if (s->state == SESSION_AWAY && session_has_deferred(s)) /* what is left of the hold time */
		start_timer(s, s->defer_until_ns);
	else if (s->state == SESSION_REPLAY && s->port->move)
		event_add(&s->timer, &move_time);
	else if (s->state == SESSION_REPLAY || (s->state == SESSION_UP && s->num_pending))
		event_add(&s->timer, &answer_time);
	else
		event_del(&s->timer);
}

static void read_messages(struct session *s)
{
	for (unsigned int n = 0; n < MESSAGES_PER_TURN; n++) {
		enum vu_rule rule;
		int ret;

		if ((s->state != SESSION_UP && s->state != SESSION_AWAY) ||
		    !(s->watch.events & EV_READ))
			return;
		ret = wire_read(&s->in, s->sock, &rule);
		if (ret == 0)
			return;
		if (ret == 1) {
			relay_front_end(s, &s->in.in);
			if (s->state == SESSION_DEAD)
				return; /* its fds are closed */
			wire_reader_reset(&s->in);
			records_flush(s);
			session_update_interest(s);
		} else if (ret == -EPROTO) {
			relay_front_end_broken(s, rule);
		} else if (s->in.have) {
			session_end(s, BY_FRONT_END, true,
				    "closed its connection inside a message");
		} else {
			session_end(s, BY_FRONT_END, true, "closed its connection");
		}
	}
}

static void on_session_event(evutil_socket_t sock, short what, void *arg)
{
	struct session *s = arg;

	if ((what & EV_WRITE) && s->out_waits) {
		s->out_waits = false;
		if (session_send(s, &s->out) && !s->out_waits)
			relay_flush_answers(s);
	}
	if (s->state == SESSION_DEAD)
		return;
	if (what & EV_READ) {
		if (records_begin_reading(s))
			read_messages(s);
		if (s->state != SESSION_DEAD)
			records_end_reading(s);
	} else if (!(s->watch.events & EV_READ) && watch_hung_up(s->sock)) {
		session_end(s, BY_FRONT_END, true, "closed its connection");
	}
	if (s->state != SESSION_DEAD)
		port_update(s->port);
}

static struct session *session_alloc(struct port *port)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->port = port;
	s->state = SESSION_HELD;
	s->sock = -1;
	s->channel = -1;
	s->inflight = -1;
	wire_reader_init(&s->in);
	return s;
}

void session_attach(struct session *s)
{
	struct port *port = s->port;

	s->borrowed = false;
	prog_peer_uid(s->sock, &s->uid);
	prog_peer_pid(s->sock, &s->pid);
	watch_init(&s->watch, port->proxy->base, s->sock, on_session_event, s);
	evtimer_assign(&s->timer, port->proxy->base, on_session_timer, s);
	port->session = s;
}

static void start_hold_time(struct session *s)
{
	struct timeval hold = { .tv_sec = s->port->conf->hold_s };

	event_add(&s->timer, &hold);
}

struct session *session_new(struct port *port, int sock)
{
	struct session *s = session_alloc(port);

	if (!s) {
		fd_close(&sock);
		return NULL;
	}
	s->sock = sock;
	s->since_ns = proxy_now_ns();
	session_attach(s);
	start_hold_time(s);
	if ((!port->link || port->link->state != LINK_UP) && !port_can_answer(port))
		port_log(port, LOG_L_INFO, "front-end (pid %d, uid %u) waits for the back-end",
			 s->pid, s->uid);
	return s;
}

static bool alloc_rings(struct session *s, uint32_t num)
{
	s->rings = calloc(num, sizeof(*s->rings));
	if (!s->rings)
		return false;
	s->num_rings = num;
	for (uint32_t i = 0; i < num; i++) {
		for (unsigned int k = 0; k < RING_FDS; k++)
			s->rings[i].fds[k] = -1;
	}
	return true;
}

/* --- kept by a VMM while no proxy was there --- */

struct session *session_alloc_kept(struct port *port)
{
	struct session *s = session_alloc(port);

	if (s && !alloc_rings(s, VHOST_USER_VRING_INDEX_MASK + 1)) {
		free(s);
		s = NULL;
	}
	return s;
}

void session_discard(struct session *s)
{
	close_fds(s);
	session_free(s);
}

void session_attach_kept(struct session *s)
{
	struct port *port = s->port;

	session_attach(s);
	if (!session_set_state(s, SESSION_AWAY))
		return;
	s->kept = true;
	s->away_ns = proxy_now_ns();
	start_hold_time(s);
	port->count.sessions++;
}

void session_go_on(struct session *s)
{
	struct port *port = s->port;

	if (!session_set_state(s, SESSION_UP))
		return;
	s->kept = false;
	s->away_ns = 0;
	session_restart_timer(s);
	port_log(port, LOG_L_INFO, "session %u: pid %d goes on, as its VMM kept it", s->id, s->pid);
	if (link_notice(port->link, LINK_SESSION_UP, s->id))
		replace_done(port);
}

bool session_position_lost(const struct session *s)
{
	for (uint32_t i = 0; i < s->num_rings; i++) {
		const struct session_ring *ring = &s->rings[i];

		if (ring->served && !ring->tracked)
			return true;
	}
	return false;
}

void session_not_kept(struct session *s)
{
	s->kept = false;
	session_restart_timer(s);
	if (session_position_lost(s))
		session_end(s, BY_BACK_END, false, "no ring positions for the next back-end");
}

void session_resume(struct session *s)
{
	uint64_t hold = s->port->conf->hold_s * UINT64_C(1000000000);

	if (s->state == SESSION_HELD)
		start_timer(s, s->since_ns + hold);
	else if (s->kept)
		start_timer(s, s->away_ns + hold);
	else if (s->state == SESSION_STOPPING)
		event_add(&s->timer, &stop_time);
	else
		session_restart_timer(s);
}

/* --- its way --- */

/* With as many rings as the back-end has that is up, or was last. */
static bool begin(struct session *s)
{
	if (!alloc_rings(s, s->port->offers.limits.max_queues)) {
		session_end(s, BY_PROXY, false, "out of memory");
		return false;
	}
	event_del(&s->timer);
	s->port->count.sessions++;
	return true;
}

static uint32_t new_number(const struct session *s)
{
	uint32_t *last = &s->port->proxy->last_session;

	if (!++*last) /* 0 is "none" */
		++*last;
	return *last;
}

void session_start(struct session *s)
{
	struct port *port = s->port;

	if (!begin(s))
		return;
	s->id = new_number(s);
	if (!session_set_state(s, SESSION_UP))
		return;
	port_log(port, LOG_L_INFO, "session %u: front-end (pid %d, uid %u) connected", s->id,
		 s->pid, s->uid);
	records_all(s);
	if (link_notice(port->link, LINK_SESSION_UP, s->id))
		records_flush(s);
}

void session_start_away(struct session *s)
{
	if (!begin(s))
		return;
	s->id = new_number(s);
	if (!session_set_state(s, SESSION_AWAY))
		return;
	s->away_ns = proxy_now_ns();
	port_log(s->port, LOG_L_INFO,
		 "session %u: front-end (pid %d, uid %u) connected; the back-end is away", s->id,
		 s->pid, s->uid);
}

void session_lost(struct session *s, const char *why)
{
	if (session_position_lost(s)) {
		session_end(s, BY_BACK_END, false,
			    "%s, and it kept no ring positions for the next one", why);
		return;
	}
	if (!session_set_state(s, SESSION_AWAY))
		return;
	s->port->count.lost++;
	if (!s->away_ns)
		s->away_ns = proxy_now_ns();
	port_log(s->port, LOG_L_WARN, "session %u of pid %d waits for the next back-end: %s", s->id,
		 s->pid, why);
	channel_lost(s);
	away_take_over(s);
	leave_next(s, why);
	port_update(s->port);
}

void session_move(struct session *s)
{
	struct port *port = s->port;

	if (!session_set_state(s, SESSION_MOVING))
		return;
	s->heir = (struct session_heir){ .id = new_number(s), .offers = port->offers };
	s->heir.offers.limits = port->next->back_end;
	s->heir.offers.protocol_is_current = false;
	event_add(&s->timer, &move_time);
	replay_begin(s);
	if (link_notice(port->next, LINK_SESSION_UP, s->heir.id))
		replay_advance(s);
}

void session_stay(struct session *s, const char *why)
{
	if (!session_set_state(s, SESSION_UP))
		return;
	session_restart_timer(s);
	leave_next(s, why);
}

void session_stop(struct session *s)
{
	if (!session_set_state(s, SESSION_STOPPING))
		return;
	s->stop = (struct stop){ 0 };
	s->dirty.mark = true;
	s->away_ns = proxy_now_ns();
	event_add(&s->timer, &stop_time);
}

void session_moved(struct session *s)
{
	if (!session_set_state(s, SESSION_REPLAY))
		return;
	channel_lost(s);
	s->left = s->port->next ? s->id : 0;
	s->id = s->heir.id;
	s->seq = s->heir.seq;
	s->inflight_told = s->heir.inflight_told;
	s->dirty.answered = s->heir.answered;
	s->dirty.answer = true;
	s->port->offers = s->heir.offers;
	s->heir.id = 0;
	session_restart_timer(s);
}

void session_give_back(struct session *s, const char *why)
{
	uint32_t id = s->id;

	if (session_position_lost(s)) {
		session_end(s, BY_BACK_END, true,
			    "%s, and it kept no ring positions for the old one", why);
		return;
	}
	if (!session_set_state(s, SESSION_AWAY))
		return;
	if (!s->away_ns)
		s->away_ns = proxy_now_ns();
	channel_lost(s);
	away_take_over(s);
	if (s->state == SESSION_AWAY && s->port->link)
		link_session_down(s->port->link, id, why);
	leave_next(s, why);
}

void session_replay(struct session *s)
{
	if (!session_set_state(s, SESSION_REPLAY))
		return;
	s->id = new_number(s);
	session_restart_timer(s);
	replay_begin(s);
	if (link_notice(s->port->link, LINK_SESSION_UP, s->id))
		replay_advance(s);
}

void session_replayed(struct session *s)
{
	uint64_t away = proxy_now_ns() - s->away_ns;

	if (!session_set_state(s, SESSION_UP))
		return;
	s->lost_with = 0;
	s->left = 0; /* REPLACED ends it there */
	s->replays++;
	s->port->count.replays++;
	s->away_ns = 0;
	session_restart_timer(s);
	records_replayed(s);
	if (s->state != SESSION_UP)
		return;
	port_log(s->port, LOG_L_INFO,
		 "session %u: pid %d goes on with the new back-end after %llu ms", s->id, s->pid,
		 (unsigned long long)(away / 1000000));
	relay_flush_answers(s);
	if (s->state == SESSION_UP)
		replace_done(s->port);
	if (s->state == SESSION_UP)
		records_flush(s);
}

bool session_send(struct session *s, const struct vhost_user_msg *msg)
{
	int ret = wire_send(s->sock, msg, NULL, 0);

	if (ret == -EAGAIN) {
		if (msg != &s->out)
			memcpy(&s->out, msg, vu_msg_bytes(msg));
		s->out_waits = true;
		return true;
	}
	if (ret) {
		session_end(s, BY_FRONT_END, true,
			    ret == -EPIPE || ret == -ECONNRESET ? "closed its connection"
								: "cannot be written to");
		return false;
	}
	return true;
}

/* Read the front-end only while what it may send has a place to go. */
static bool may_read(const struct session *s)
{
	if (s->out_waits || s->num_pending >= SESSION_PENDING)
		return false;
	if (s->state == SESSION_AWAY)
		return !s->kept && !session_has_deferred(s);
	return s->state == SESSION_UP && !s->wait_seq && records_told(s) &&
	       link_can_take(s->port->link);
}

void session_update_interest(struct session *s)
{
	if (s->state == SESSION_DEAD)
		return;
	if (watch_set(&s->watch, may_read(s), s->out_waits) < 0) {
		session_end(s, BY_PROXY, true, "out of memory");
		return;
	}
	channel_update_interest(s);
}
