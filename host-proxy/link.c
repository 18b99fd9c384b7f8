// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host-proxy/claim.h"
#include "host-proxy/port.h"
#include "host-proxy/recover.h"
#include "host-proxy/relay.h"
#include "host-proxy/session.h"
#include "host-proxy/together.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

#define LINKS_NEW_MAX	 64
#define PACKETS_PER_TURN 16 /* then other sockets have their turn */

static const struct timeval hello_time = { .tv_sec = 5 };
static const struct timeval session_down_time = { .tv_sec = 1 };

static const char *const state_names[] = {
	[LINK_NEW] = "new",
	[LINK_READY] = "ready",
	[LINK_UP] = "up",
	[LINK_DEAD] = "dead",
};

static const char *link_who(const struct link *l)
{
	return l->port ? l->port->who : "link";
}

/* False, and nothing changes, for a move that the states don't have. */
static bool link_set_state(struct link *l, enum link_state state)
{
	static const unsigned int from[] = {
		[LINK_NEW] = 0,
		[LINK_READY] = BIT_U32(LINK_NEW) | BIT_U32(LINK_UP),
		[LINK_UP] = BIT_U32(LINK_READY),
		[LINK_DEAD] = BIT_U32(LINK_NEW) | BIT_U32(LINK_READY) | BIT_U32(LINK_UP),
	};

	if (!(from[state] & BIT_U32(l->state))) {
		log_error(link_who(l), "link may not go from %s to %s", state_names[l->state],
			  state_names[state]);
		return false;
	}
	log_debug(link_who(l), "link %s -> %s", state_names[l->state], state_names[state]);
	l->state = state;
	return true;
}

static void drop_queue(struct link *l)
{
	for (unsigned int i = 0; i < l->queued; i++)
		fds_close(l->queue[i].fds, l->queue[i].num_fds);
	l->queued = 0;
}

void link_close(struct link *l)
{
	struct port *port = l->port;

	if (l->state == LINK_DEAD || !link_set_state(l, LINK_DEAD))
		return;
	if (!port) {
		l->proxy->num_new_links--;
		LIST_REMOVE(l, next);
	}
	LIST_INSERT_HEAD(&l->proxy->dead_links, l, next);
	watch_clear(&l->watch);
	event_del(&l->timer);
	drop_queue(l);
	fd_close(&l->sock);
	recovery_drop(l->recovery);
	l->recovery = NULL;
	replace_lost(l);
	if (port && port->next == l) {
		port->next = NULL;
		if (port->session)
			port->session->left = 0;
	}
	if (port && port->link == l) {
		port->link = NULL;
		if (port->session && (port->session->kept || session_announced(port->session)))
			together_lost(port->session, l->pid);
		if (port->session && port->session->kept)
			session_not_kept(port->session);
	}
}

void link_end(struct link *l, const char *fmt, ...)
{
	struct port *port = l->port;
	bool serves = port && port->link == l;
	char text[LINK_REASON_MAX];
	va_list ap;

	if (l->state == LINK_DEAD)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!port) {
		log_peer(LOG_L_WARN, "link", "uid %u pid %d: %s", l->uid, l->pid, text);
		link_close(l);
		return;
	}
	port_log(port, l->retired ? LOG_L_INFO : LOG_L_WARN, "link of %s (pid %d) ended: %s",
		 l->who, l->pid, text);
	link_close(l);
	if (serves && port->session && session_announced(port->session)) {
		char why[LINK_REASON_MAX + 32];

		snprintf(why, sizeof(why), "its VMM's link ended: %s", text);
		session_lost(port->session, why);
	} else {
		port_update(port);
	}
}

void link_free(struct link *l)
{
	free(l);
}

bool link_can_take(const struct link *l)
{
	return l->state == LINK_UP && !l->queued;
}

static bool enqueue(struct link *l, const struct link_packet *pkt, uint32_t body_bytes,
		    const int *fds, unsigned int num_fds)
{
	struct wire_packet *q;

	if (l->queued == LINK_QUEUE) {
		link_end(l, "it takes no packets");
		return false;
	}
	q = &l->queue[l->queued];
	memcpy(&q->pkt, pkt, sizeof(pkt->hdr) + body_bytes);
	q->bytes = body_bytes;
	for (q->num_fds = 0; q->num_fds < num_fds; q->num_fds++) {
		q->fds[q->num_fds] = fcntl(fds[q->num_fds], F_DUPFD_CLOEXEC, 0);
		if (q->fds[q->num_fds] < 0) {
			fds_close(q->fds, q->num_fds);
			link_end(l, "cannot keep its fds: %s", strerror(errno));
			return false;
		}
	}
	l->queued++;
	link_update_interest(l);
	return true;
}

bool link_transmit(struct link *l, const struct link_packet *pkt, uint32_t body_bytes,
		   const int *fds, unsigned int num_fds)
{
	int ret = -EAGAIN;

	if (!l->queued)
		ret = link_send(l->sock, pkt, body_bytes, fds, num_fds);
	if (ret == -EAGAIN)
		return enqueue(l, pkt, body_bytes, fds, num_fds);
	if (ret) {
		link_end(l, "send: %s", strerror(-ret));
		return false;
	}
	return true;
}

bool link_notice(struct link *l, enum link_kind kind, uint32_t session)
{
	struct link_packet pkt = { .hdr = { .kind = (le16)kind, .session = session } };

	return link_transmit(l, &pkt, 0, NULL, 0);
}

void link_session_down(struct link *l, uint32_t session, const char *reason)
{
	struct link_packet pkt;
	unsigned int kept = 0;

	/* Memory and notifications of the session go now, not when the socket drains. Its
	 * SESSION_UP must still arrive. */
	for (unsigned int i = 0; i < l->queued; i++) {
		struct wire_packet *q = &l->queue[i];

		if (q->pkt.hdr.kind == LINK_FRONTEND && q->pkt.hdr.session == session)
			fds_close(q->fds, q->num_fds);
		else
			l->queue[kept++] = *q;
	}
	l->queued = kept;
	link_make_text(&pkt, LINK_SESSION_DOWN, session, "%s", reason);
	if (link_transmit(l, &pkt, sizeof(pkt.body.text), NULL, 0))
		event_add(&l->timer, &session_down_time);
}

void link_retire(struct link *l)
{
	l->retired = true;
	if (link_notice(l, LINK_REPLACED, 0))
		event_add(&l->timer, &session_down_time);
}

static void flush_queue(struct link *l)
{
	unsigned int sent = 0;
	int ret = 0;

	while (sent < l->queued) {
		struct wire_packet *q = &l->queue[sent];

		ret = link_send(l->sock, &q->pkt, q->bytes, q->fds, q->num_fds);
		if (ret)
			break;
		fds_close(q->fds, q->num_fds);
		sent++;
	}
	l->queued -= sent;
	memmove(l->queue, l->queue + sent, l->queued * sizeof(l->queue[0]));
	if (ret && ret != -EAGAIN)
		link_end(l, "send: %s", strerror(-ret));
}

/* The first packet's checks. True: the link belongs to *port. Else why. */
static bool check_hello(struct link *l, const struct wire_packet *in, char *why, size_t bytes)
{
	const struct link_hello *hello = &in->pkt.body.hello;
	bool replaces = hello->flags & LINK_HELLO_REPLACEMENT;
	bool keeps = hello->flags & LINK_HELLO_KEPT;
	struct port *port;

	if (in->pkt.hdr.kind != LINK_HELLO || hello->magic != LINK_MAGIC) {
		snprintf(why, bytes, "the first packet is no hello of a vvu link");
		return false;
	}
	snprintf(l->who, sizeof(l->who), "%s", hello->who);
	if (hello->version != LINK_VERSION) {
		snprintf(why, bytes, "link version %u, this proxy speaks %d", hello->version,
			 LINK_VERSION);
		return false;
	}
	if (hello->flags & ~LINK_HELLO_KNOWN) {
		snprintf(why, bytes, "unknown flags %#x in the hello", hello->flags);
		return false;
	}
	port = proxy_find_port(l->proxy, hello->port);
	if (!port) {
		snprintf(why, bytes, "no port is named \"%s\" (see --port)", hello->port);
		return false;
	}
	/* A VMM that was killed and started again may be here before its old link's hang-up had its
	 * turn. */
	if (port->link && watch_hung_up(port->link->sock))
		link_end(port->link, "the VMM is gone");
	if (port->next && watch_hung_up(port->next->sock))
		link_end(port->next, "the VMM is gone");
	if (port->next && (port->link || (replaces && !keeps))) {
		snprintf(why, bytes, "port %s has a replacement already: %s (pid %d)",
			 port->conf->name, port->next->who, port->next->pid);
		return false;
	}
	/* Two VMMs may come with what was one proxy's session (claim.h). */
	if (port->link && !replaces && !(keeps && port->link->recovery)) {
		snprintf(why, bytes, "port %s is taken by %s (pid %d)", port->conf->name,
			 port->link->who, port->link->pid);
		return false;
	}
	l->port = port;
	l->replaces = replaces;
	l->keeps = keeps;
	l->kept_session = hello->session;
	return true;
}

static void on_hello(struct link *l, const struct wire_packet *in)
{
	struct link_packet pkt;
	char why[LINK_REASON_MAX];

	if (!check_hello(l, in, why, sizeof(why))) {
		link_make_text(&pkt, LINK_REJECT, 0, "%s", why);
		link_send(l->sock, &pkt, sizeof(pkt.body.text), NULL, 0);
		link_end(l, "refused: %s", why);
		return;
	}
	LIST_REMOVE(l, next);
	l->proxy->num_new_links--;
	event_del(&l->timer);
	if (!link_set_state(l, LINK_READY))
		return;
	if (l->port->link || (!l->keeps && claim_waits(l)))
		l->port->next = l;
	else
		l->port->link = l;
	l->port->count.links++;
	if (l->keeps) {
		l->recovery = recovery_begin(l->port, l->kept_session,
					     l->port->link == l || l->port->link->recovery);
		if (!l->recovery) {
			link_end(l, "out of memory");
			return;
		}
		event_add(&l->timer, &hello_time); /* for its records */
	}
	if (link_notice(l, LINK_WELCOME, 0))
		port_log(l->port, LOG_L_INFO, "linked by %s (pid %d)", l->who, l->pid);
}

bool link_limits_valid(const struct link_backend_up *up)
{
	return up->max_queues && up->max_queues <= VHOST_USER_VRING_INDEX_MASK + 1u &&
	       up->max_mem_slots;
}

static void on_back_end_up(struct link *l, const struct link_backend_up *up)
{
	if (l->recovery && !l->claims) {
		link_end(l, "BACKEND_UP before KEPT");
		return;
	}
	if (l->state == LINK_UP) {
		link_end(l, "BACKEND_UP while the back-end is up");
		return;
	}
	if (!link_limits_valid(up)) {
		link_end(l, "BACKEND_UP with %u queues and %u memory slots", up->max_queues,
			 up->max_mem_slots);
		return;
	}
	l->back_end = *up;
	if (l == l->port->link)
		l->port->offers.limits = *up;
	/* A session that was kept is still that back-end's. */
	if (l == l->port->link && (!l->port->session || !l->port->session->kept))
		l->port->offers.protocol_is_current = false;
	l->up_ns = proxy_now_ns();
	if (!link_set_state(l, LINK_UP))
		return;
	port_log(l->port, LOG_L_INFO, "back-end up (%u queues)", up->max_queues);
	port_update(l->port);
}

static void on_back_end_down(struct link *l)
{
	struct session *s = l->port->session;

	if (l->state != LINK_UP || !link_set_state(l, LINK_READY))
		return;
	replace_lost(l);
	/* The device has ended the session on its side. */
	if (s && session_announced(s) && l == l->port->link)
		session_end(s, BY_BACK_END, false, "the back-end went down");
	else
		port_log(l->port, LOG_L_INFO, "back-end down");
}

/* Not by its driver's will: the session waits for it, or for another. */
static void on_back_end_lost(struct link *l)
{
	struct session *s = l->port->session;

	if (l->state != LINK_UP || !link_set_state(l, LINK_READY))
		return;
	replace_lost(l);
	if (s && session_announced(s) && l == l->port->link) {
		together_lost(s, l->pid);
		session_lost(s, "its device was reset");
	} else {
		port_log(l->port, LOG_L_INFO, "back-end lost");
	}
}

/* Packets that belong to the session that is up. */
static void on_session_packet(struct link *l, struct session *s, struct wire_packet *in)
{
	switch (in->pkt.hdr.kind) {
	case LINK_SESSION_DOWN:
		session_end(s, BY_BACK_END, false, "%s", in->pkt.body.text.text);
		return;
	case LINK_RESULT:
		relay_failed(s, in->pkt.hdr.seq, in->pkt.body.text.text);
		return;
	default:
		if (in->pkt.body.msg.hdr.flags & VHOST_USER_REPLY_MASK)
			relay_reply(s, in->pkt.hdr.seq, &in->pkt.body.msg);
		else
			channel_request(s, in->pkt.hdr.seq, &in->pkt.body.msg);
	}
}

/* From a VMM that is to take over, and is told of the session. */
static void on_next_packet(struct link *l, struct session *s, struct wire_packet *in)
{
	switch (in->pkt.hdr.kind) {
	case LINK_SESSION_DOWN:
		session_not_next(s);
		/* fallthrough */
	case LINK_RESULT:
		replace_refused(l->port, in->pkt.body.text.text);
		return;
	default:
		if (in->pkt.body.msg.hdr.flags & VHOST_USER_REPLY_MASK)
			replay_reply(s, in->pkt.hdr.seq, &in->pkt.body.msg);
		else
			l->port->count.dropped++; /* not the back-end yet */
	}
}

static void on_packet(struct link *l, struct wire_packet *in)
{
	struct session *s;

	if (l->state == LINK_NEW) {
		on_hello(l, in);
		return;
	}
	switch (in->pkt.hdr.kind) {
	case LINK_BACKEND_UP:
		on_back_end_up(l, &in->pkt.body.backend_up);
		return;
	case LINK_BACKEND_DOWN:
		on_back_end_down(l);
		return;
	case LINK_BACKEND_LOST:
		on_back_end_lost(l);
		return;
	case LINK_RECORD:
	case LINK_KEPT:
		if (!l->recovery || l->claims)
			link_end(l, "records that nobody asked for");
		else if (in->pkt.hdr.kind == LINK_KEPT)
			claim_made(l, &in->pkt.body.kept);
		else
			recovery_record(l->recovery, &in->pkt.body.record, in->fds, in->num_fds);
		return;
	case LINK_SESSION_DOWN:
		s = l->port->session;
		if (s && s->kept && l == l->port->link && s->id == in->pkt.hdr.session) {
			session_end(s, BY_BACK_END, false, "%s", in->pkt.body.text.text);
			return;
		}
		/* fallthrough */
	case LINK_RESULT:
	case LINK_BACKEND:
		s = l->port->session;
		if (s && session_announced(s) && l == l->port->link && s->id == in->pkt.hdr.session)
			on_session_packet(l, s, in);
		else if (s && s->heir.id && l == l->port->next && s->heir.id == in->pkt.hdr.session)
			on_next_packet(l, s, in);
		else
			l->port->count.dropped++; /* it was sent before the end was read */
		return;
	default:
		link_end(l, "a packet of kind %u is not a VMM's to send", in->pkt.hdr.kind);
	}
}

/* A front-end that does not read its replies stops its own link only. */
static bool may_read(const struct link *l)
{
	const struct session *s = l->port && l->port->link == l ? l->port->session : NULL;

	return !s || !s->out_waits;
}

static void read_packets(struct link *l)
{
	for (unsigned int n = 0; n < PACKETS_PER_TURN && may_read(l); n++) {
		struct wire_packet in;
		int ret = link_recv(l->sock, &in);

		if (ret == 0)
			return;
		if (ret == 1) {
			on_packet(l, &in);
			fds_close(in.fds, in.num_fds);
		} else if (ret == -EPROTO) {
			link_end(l, "a packet of wrong kind, size, flags or fds");
		} else {
			link_end(l, "the VMM is gone%s%s", ret == -ECONNRESET ? "" : ": ",
				 ret == -ECONNRESET ? "" : strerror(-ret));
		}
		if (l->state == LINK_DEAD)
			return;
	}
}

static void on_link_event(evutil_socket_t sock, short what, void *arg)
{
	struct link *l = arg;

	if ((what & EV_WRITE) && l->queued)
		flush_queue(l);
	if (l->state != LINK_DEAD && (what & EV_READ))
		read_packets(l);
	else if (l->state != LINK_DEAD && !may_read(l) && watch_hung_up(l->sock))
		link_end(l, "the VMM is gone");
	if (l->state == LINK_DEAD)
		return;
	if (l->port)
		port_update(l->port);
	else
		link_update_interest(l);
}

void link_update_interest(struct link *l)
{
	if (l->state == LINK_DEAD)
		return;
	if (watch_set(&l->watch, may_read(l), l->queued > 0) < 0)
		link_end(l, "out of memory");
}

static void on_link_timer(evutil_socket_t sock, short what, void *arg)
{
	struct link *l = arg;
	int unread = 0;

	if (l->state == LINK_NEW) {
		link_end(l, "no hello within %d s", (int)hello_time.tv_sec);
		return;
	}
	if (l->recovery) {
		link_end(l, "no end of its records within %d s", (int)hello_time.tv_sec);
		return;
	}
	if (l->retired) {
		link_end(l, "replaced");
		return;
	}
	/* With a session up, what is unread or queued is younger than the end that we wait for. */
	if (ioctl(l->sock, SIOCOUTQ, &unread) < 0 ||
	    (l->port->link == l && l->port->session && session_announced(l->port->session)))
		return;
	if (unread || l->queued)
		link_end(l, "it did not take the end of a session within %d s",
			 (int)session_down_time.tv_sec);
}

/* True when the peer may link: our own user, or that of --link-uid. */
static bool peer_allowed(const struct proxy *p, int fd, unsigned int *uid, int *pid)
{
	if (prog_peer_uid(fd, uid) < 0 || prog_peer_pid(fd, pid) < 0)
		return false;
	return *uid == geteuid() || (p->conf->has_link_uid && *uid == p->conf->link_uid);
}

struct link *link_alloc(struct proxy *p, int fd, unsigned int uid, int pid)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	*l = (struct link){ .proxy = p, .state = LINK_NEW, .sock = fd, .uid = uid, .pid = pid };
	watch_init(&l->watch, p->base, fd, on_link_event, l);
	evtimer_assign(&l->timer, p->base, on_link_timer, l);
	return l;
}

void link_resume(struct link *l, bool timed)
{
	if (timed)
		event_add(&l->timer, &session_down_time);
	link_update_interest(l);
}

bool link_new(struct proxy *p, int fd, unsigned int uid, int pid)
{
	struct link *l = p->num_new_links < LINKS_NEW_MAX ? link_alloc(p, fd, uid, pid) : NULL;
	int smallest = 1;

	if (!l) {
		log_peer(LOG_L_WARN, "link", "uid %u pid %d refused: %u links wait for their hello",
			 uid, pid, p->num_new_links);
		close(fd);
		return false;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest));
	event_add(&l->timer, &hello_time);
	LIST_INSERT_HEAD(&p->new_links, l, next);
	p->num_new_links++;
	link_update_interest(l);
	return true;
}

void link_on_accept(evutil_socket_t sock, short what, void *arg)
{
	struct proxy *p = arg;
	int fd = listener_accept(&p->links, "link"), pid = 0;
	unsigned int uid = 0;

	if (fd < 0)
		return;
	if (!peer_allowed(p, fd, &uid, &pid)) {
		log_peer(LOG_L_WARN, "link",
			 "uid %u pid %d refused: links are for uid %u (see --link-uid)", uid, pid,
			 geteuid());
		close(fd);
		listener_pause(&p->links);
		return;
	}
	if (!link_new(p, fd, uid, pid))
		listener_pause(&p->links);
}
