// SPDX-License-Identifier: BSD-2-Clause
/*
 * The side that takes over (takeover.h). Until the commit all it has are duplicates: it sends nothing, and when it
 * fails it exits, which hangs up on nobody.
 */
#include "host-proxy/takeover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host-proxy/given.h"
#include "host-proxy/recover.h"
#include "host-proxy/relay.h"
#include "vmm/hostlib/block.h"
#include "vmm/hostlib/control.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/prog.h"

#define WHO	 "takeover"
#define LINE_MAX 512

struct takeover {
	int sock;
	const struct proxy_conf *conf;
	struct proxy *p; /* NULL: its sockets are not open yet */
	struct takeover_proxy old;
	struct takeover_port *old_ports;
	struct port **ports; /* by the old one's numbers; NULL: not ours */
	struct recovery *recovery;
	const struct port *records_of; /* that port */
	struct link *link;	       /* packets are for this one */
	unsigned int packets;
	unsigned int sessions;
	struct takeover_block b;
};

void takeover_fail(struct takeover *t, const char *fmt, ...)
{
	char text[LINK_REASON_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memset(&t->b.body, 0, sizeof(t->b.body));
	snprintf(t->b.body.text.text, sizeof(t->b.body.text.text), "%s", text);
	takeover_send(t->sock, &t->b, TAKEOVER_FAILED, TAKEOVER_NO_PORT, 0);
	log_error(WHO, "%s: %s; the proxy that runs goes on", t->conf->takeover, text);
	/* Only what is open in addition to the other proxy's has a file that is ours. */
	if (t->p && t->p->control)
		control_close(t->p->control);
	if (t->p)
		listener_close(&t->p->links, t->conf->link);
	for (unsigned int i = 0; t->p && i < t->p->num_ports; i++)
		listener_close(&t->p->ports[i].listener, t->conf->ports[i].socket);
	exit(1);
}

static const char *describe(int ret)
{
	return ret == -ECONNRESET || ret == -EPIPE ? "it has ended, or given up"
	       : ret == -ETIMEDOUT		   ? "it is silent"
	       : ret == -EPROTO			   ? "it does not speak as a proxy that hands over"
						   : strerror(-ret);
}

static void receive(struct takeover *t)
{
	int ret = takeover_recv(t->sock, &t->b);
	const char *why;

	if (ret)
		takeover_fail(t, "the proxy that runs: %s", describe(ret));
	why = takeover_wrong(&t->b);
	if (why)
		takeover_fail(t, "the proxy that runs makes no sense: %s", why);
}

static void tell(struct takeover *t, enum takeover_kind kind, uint32_t index)
{
	int ret = takeover_send(t->sock, &t->b, kind, index, 0);

	if (ret)
		takeover_fail(t, "the proxy that runs: %s", describe(ret));
}

/* --- asking for it --- */

static void read_line(int sock, char *line, const char *path)
{
	int fds[BLOCK_FDS_MAX];
	unsigned int num;
	size_t n = 0;

	do {
		int ret = n + 1 < LINE_MAX
				  ? block_recv(sock, &line[n], 1, fds, &num, TAKEOVER_GRANT_MS)
				  : -EPROTO;

		if (ret)
			die("--takeover %s: the proxy that runs: %s", path, describe(ret));
		fds_close(fds, num);
	} while (line[n++] != '\n');
	line[n - 1] = '\0';
}

static void ask(int sock, const char *path)
{
	struct json_object *reply, *ok = NULL, *error = NULL;
	char line[LINE_MAX], why[LINE_MAX];
	bool granted;
	int ret;

	snprintf(line, sizeof(line), "{\"cmd\":\"takeover\",\"version\":%d}\n", TAKEOVER_VERSION);
	ret = block_send(sock, line, strlen(line), NULL, 0, TAKEOVER_WAIT_MS);
	if (ret)
		die("--takeover %s: %s", path, strerror(-ret));
	read_line(sock, line, path);
	reply = json_tokener_parse(line);
	json_object_object_get_ex(reply, "ok", &ok);
	json_object_object_get_ex(reply, "error", &error);
	snprintf(why, sizeof(why), "%s",
		 !ok	 ? "this is no proxy's control socket"
		 : error ? json_object_get_string(error)
			 : "it does not say why");
	granted = ok && json_object_get_boolean(ok);
	json_object_put(reply);
	if (!granted)
		die("--takeover %s: the proxy that runs refuses: %s", path, why);
}

struct takeover *takeover_begin(const struct proxy_conf *conf)
{
	int sock = prog_connect_unix(conf->takeover, SOCK_STREAM);
	struct takeover *t;

	if (sock < 0)
		die("--takeover %s: no proxy to take over from: %s", conf->takeover,
		    strerror(-sock));
	ask(sock, conf->takeover);
	t = calloc(1, sizeof(*t));
	if (!t)
		die("out of memory");
	t->conf = conf;
	t->sock = sock;
	return t;
}

/* --- listening sockets --- */

static void not_taken(struct takeover *t, enum takeover_rest rest, uint32_t index)
{
	t->b.body.rest = rest;
	tell(t, TAKEOVER_NOT_TAKEN, index);
}

static int take_fd(struct takeover *t, unsigned int i)
{
	int fd = t->b.fds[i];

	t->b.fds[i] = -1;
	return fd;
}

static void give(struct takeover *t, struct given *given, enum given_kind kind, const char *name,
		 unsigned int fd)
{
	if (!given_add(given, kind, name, take_fd(t, fd)))
		takeover_fail(t, "out of memory");
}

/* A UNIX socket of that type, which listens or does not. */
static bool is_socket(int fd, int type, bool listens)
{
	static const int names[] = { SO_DOMAIN, SO_TYPE, SO_ACCEPTCONN };
	const int want[] = { AF_UNIX, type, listens };

	for (unsigned int i = 0; i < ARRAY_LEN(names); i++) {
		socklen_t len = sizeof(int);
		int have;

		if (getsockopt(fd, SOL_SOCKET, names[i], &have, &len) || have != want[i])
			return false;
	}
	return true;
}

static const struct port_conf *find_conf(const struct proxy_conf *conf, const char *name)
{
	for (unsigned int i = 0; i < conf->num_ports; i++) {
		if (!strcmp(conf->ports[i].name, name))
			return &conf->ports[i];
	}
	return NULL;
}

static bool ends(const char *text, size_t bytes)
{
	return memchr(text, '\0', bytes) != NULL;
}

static void on_port(struct takeover *t, struct given *given)
{
	struct takeover_port *port = &t->old_ports[t->b.hdr.index];
	bool listens = t->b.body.port.flags & TAKEOVER_LISTENS;
	const struct port_conf *conf;

	*port = t->b.body.port;
	if (!ends(port->name, sizeof(port->name)) || !ends(port->path, sizeof(port->path)) ||
	    !ends(port->last_end, sizeof(port->last_end)) || t->b.hdr.num_fds != listens ||
	    (listens && !is_socket(t->b.fds[0], SOCK_STREAM, true)))
		takeover_fail(t, "a port makes no sense");
	conf = find_conf(t->conf, port->name);
	if (conf && conf->mode == PORT_SERVER && listens && !strcmp(conf->socket, port->path))
		give(t, given, GIVEN_PORT, port->name, 0);
	takeover_close_fds(&t->b);
}

static void on_proxy(struct takeover *t, struct given *given)
{
	struct takeover_proxy *old = &t->old;

	*old = t->b.body.proxy;
	if (t->b.hdr.num_fds != 2 || !old->num_ports || old->num_ports > CONF_PORTS_MAX ||
	    !ends(old->link_path, sizeof(old->link_path)) ||
	    !ends(old->control_path, sizeof(old->control_path)) ||
	    !is_socket(t->b.fds[0], SOCK_SEQPACKET, true) ||
	    !is_socket(t->b.fds[1], SOCK_STREAM, true))
		takeover_fail(t, "the proxy that runs makes no sense");
	t->old_ports = calloc(old->num_ports, sizeof(*t->old_ports));
	t->ports = calloc(old->num_ports, sizeof(struct port *));
	if (!t->old_ports || !t->ports)
		takeover_fail(t, "out of memory");
	if (!strcmp(old->link_path, t->conf->link))
		give(t, given, GIVEN_LINK, "link", 0);
	if (t->conf->control && !strcmp(old->control_path, t->conf->control))
		give(t, given, GIVEN_CONTROL, "control", 1);
	takeover_close_fds(&t->b);
}

void takeover_sockets(struct takeover *t, struct given *given)
{
	uint32_t have = 0;

	receive(t);
	if (t->b.hdr.kind != TAKEOVER_PROXY)
		takeover_fail(t, "the proxy that runs: %s", describe(-EPROTO));
	on_proxy(t, given);
	for (receive(t); t->b.hdr.kind != TAKEOVER_SOCKETS; receive(t)) {
		if (t->b.hdr.kind != TAKEOVER_PORT || t->b.hdr.index != have ||
		    have == t->old.num_ports)
			takeover_fail(t, "the proxy that runs: %s", describe(-EPROTO));
		on_port(t, given);
		have++;
	}
	if (have != t->old.num_ports)
		takeover_fail(t, "ports are missing");
}

/* --- links --- */

/* The next fd of the block; -1: there is none. */
static int next_fd(struct takeover *t, unsigned int *at)
{
	return *at < t->b.hdr.num_fds ? take_fd(t, (*at)++) : -1;
}

static void on_link(struct takeover *t, struct port *port)
{
	const struct takeover_link *in = &t->b.body.link;
	struct link *l;
	bool next = in->flags & TAKEOVER_LINK_NEXT;

	if (t->packets || t->b.hdr.num_fds != 1 || !ends(in->who, sizeof(in->who)) ||
	    in->num_packets > LINK_QUEUE || !is_socket(t->b.fds[0], SOCK_SEQPACKET, false))
		takeover_fail(t, "a link makes no sense");
	if (in->state == LINK_NEW && !port) {
		link_new(t->p, take_fd(t, 0), in->uid, (int)in->pid);
		return;
	}
	if (!port || (in->state != LINK_READY && in->state != LINK_UP) ||
	    (next ? port->next : port->link))
		takeover_fail(t, "a link is in no state that there is");
	l = link_alloc(t->p, take_fd(t, 0), in->uid, (int)in->pid);
	if (!l)
		takeover_fail(t, "out of memory");
	l->port = port;
	l->state = in->state;
	memcpy(l->who, in->who, sizeof(l->who));
	l->back_end = in->back_end;
	l->replaces = in->flags & TAKEOVER_LINK_REPLACES;
	l->retired = in->flags & TAKEOVER_LINK_RETIRED;
	l->retiring = in->flags & TAKEOVER_LINK_RETIRING;
	l->keeps = in->flags & TAKEOVER_LINK_KEEPS;
	l->refused = in->flags & TAKEOVER_LINK_REFUSED;
	l->kept_session = in->kept_session;
	l->up_ns = in->up_ns;
	if (next)
		port->next = l;
	else
		port->link = l;
	link_resume(l, in->flags & TAKEOVER_LINK_TIMED);
	t->link = l;
	t->packets = in->num_packets;
}

static void on_packet(struct takeover *t)
{
	const struct wire_packet *in = &t->b.body.packet;
	struct wire_packet *q;

	if (!t->packets)
		takeover_fail(t, "a packet is of no link");
	if (in->num_fds != t->b.hdr.num_fds || in->num_fds > LINK_FDS_MAX ||
	    in->bytes > sizeof(in->pkt) - sizeof(in->pkt.hdr))
		takeover_fail(t, "a packet makes no sense");
	t->packets--;
	q = &t->link->queue[t->link->queued++];
	*q = *in;
	for (unsigned int i = 0; i < q->num_fds; i++)
		q->fds[i] = take_fd(t, i);
	link_update_interest(t->link);
}

/* --- sessions --- */

static void on_record(struct takeover *t, struct port *port)
{
	/* Its number comes last. */
	if (!t->recovery) {
		t->recovery = recovery_begin(port, 1, true);
		t->records_of = port;
	}
	if (!t->recovery)
		takeover_fail(t, "out of memory");
	if (t->records_of != port)
		takeover_fail(t, "port %s: a record, before %s has its session", port->conf->name,
			      t->records_of->conf->name);
	recovery_borrow(t->recovery);
	recovery_record(t->recovery, &t->b.body.record, t->b.fds, t->b.hdr.num_fds);
}

static bool get_reader(struct takeover *t, struct wire_reader *r, const struct takeover_reader *in,
		       unsigned int *at)
{
	r->have = in->have;
	memcpy(&r->in.msg, &in->msg, sizeof(in->msg));
	for (unsigned int i = 0; i < in->num_fds; i++) {
		r->in.fds[i] = next_fd(t, at);
		if (r->in.fds[i] < 0)
			return false;
		r->in.num_fds++;
	}
	return true;
}

static void get_pending(struct session *s, const struct takeover_session *in)
{
	for (unsigned int i = 0; i < in->num_pending; i++) {
		const struct takeover_pending *p = &in->pending[i];
		struct session_pending *to = &s->pending[i];

		*to = (struct session_pending){
			.info = vu_frontend_info(p->request),
			.seq = p->seq,
			.state = p->state,
			.failed = p->flags & TAKEOVER_PENDING_FAILED,
			.silent = p->flags & TAKEOVER_PENDING_SILENT,
			.internal = p->flags & TAKEOVER_PENDING_INTERNAL,
		};
		memcpy(&to->msg, &p->msg, sizeof(to->msg));
	}
	s->num_pending = in->num_pending;
	s->num_back_pending = in->num_back_pending;
	s->num_channel_out = in->num_channel_out;
	memcpy(s->back_pending, in->back_pending, sizeof(s->back_pending));
	memcpy(s->channel_out, in->channel_out, sizeof(s->channel_out));
}

/* Before a change that is not acknowledged yet. Its fds are duplicates of their own. */
static bool get_before(struct takeover *t, struct session *s, const struct vu_regions *before,
		       unsigned int *at)
{
	s->memory_before.regions = *before;
	for (unsigned int i = 0; i < before->num; i++) {
		s->memory_before.fds[i] = next_fd(t, at);
		if (s->memory_before.fds[i] < 0)
			return false;
	}
	s->memory_changes = true;
	return true;
}

static bool state_valid(const struct session *s)
{
	const struct link *l = s->port->link;

	switch (s->state) {
	case SESSION_UP:
	case SESSION_REPLAY:
		return l && l->state == LINK_UP && !s->kept && replay_valid(s);
	case SESSION_AWAY:
		return l || !s->kept;
	default:
		return false;
	}
}

/* NULL: s is whole. Else what makes no sense. */
static const char *fill(struct takeover *t, struct session *s)
{
	const struct takeover_session *in = &t->b.body.session;
	unsigned int at = 0;

	s->state = in->state;
	s->id = in->id;
	s->kept = in->flags & TAKEOVER_SESSION_KEPT;
	s->out_waits = in->flags & TAKEOVER_SESSION_OUT;
	memcpy(&s->out, &in->out, sizeof(s->out));
	s->seq = in->seq;
	s->wait_seq = in->wait_seq;
	s->away_ns = in->away_ns;
	s->defer_until_ns = in->defer_until_ns;
	s->dirty = in->dirty;
	s->replay = in->replay;
	s->lost_with = (int)in->lost_with;
	if (!get_reader(t, &s->in, &in->in, &at) ||
	    !get_reader(t, &s->channel_in, &in->channel_in, &at))
		return "a message that is half read";
	if ((in->flags & TAKEOVER_SESSION_CHANGES) && !get_before(t, s, &in->before, &at))
		return "a change of memory";
	get_pending(s, in);
	if (at != t->b.hdr.num_fds || !state_valid(s))
		return "its state";
	return NULL;
}

static void on_held(struct takeover *t, struct port *port)
{
	struct session *s = NULL;

	if (t->b.hdr.num_fds == 1 && is_socket(t->b.fds[0], SOCK_STREAM, false))
		s = session_new(port, take_fd(t, 0));
	if (!s)
		takeover_fail(t, "port %s: a front-end that waits makes no sense",
			      port->conf->name);
	s->since_ns = t->b.body.session.since_ns;
}

static void on_session(struct takeover *t, struct port *port)
{
	struct session *s;
	const char *why;

	if (port->session)
		takeover_fail(t, "port %s: two sessions", port->conf->name);
	t->sessions++;
	if (t->b.body.session.state == SESSION_HELD) {
		on_held(t, port);
		return;
	}
	if (!t->recovery || t->records_of != port)
		takeover_fail(t, "port %s: a session without records", port->conf->name);
	why = recovery_take(t->recovery, &s);
	t->recovery = NULL;
	if (!why)
		why = fill(t, s);
	if (why && s)
		session_discard(s);
	if (why)
		takeover_fail(t, "port %s: session %u: %s", port->conf->name, t->b.body.session.id,
			      why);
	session_attach(s);
}

/* --- all of it --- */

static void adopt_port(struct takeover *t, uint32_t index)
{
	const struct takeover_port *old = &t->old_ports[index];
	struct port *port = proxy_find_port(t->p, old->name);

	t->ports[index] = port;
	if (!port) {
		log_info(WHO, "port %s is ours no more", old->name);
		not_taken(t, REST_PORT, index);
		return;
	}
	/* Who has the port without having been given the socket listens elsewhere. */
	if ((old->flags & TAKEOVER_LISTENS) &&
	    (port->conf->mode != PORT_SERVER || strcmp(port->conf->socket, old->path)))
		not_taken(t, REST_LISTENER, index);
	port->retry_ms = old->retry_ms;
	port->offers = old->offers;
	port->count = old->count;
	memcpy(port->last_end, old->last_end, sizeof(port->last_end));
}

static void on_block(struct takeover *t)
{
	uint32_t index = t->b.hdr.index;
	struct port *port = index < t->old.num_ports ? t->ports[index] : NULL;

	/* Of a port that is not ours there is nothing to take. */
	if (!port && index != TAKEOVER_NO_PORT)
		return;
	if (t->b.hdr.kind == TAKEOVER_LINK)
		on_link(t, port);
	else if (t->b.hdr.kind == TAKEOVER_PACKET)
		on_packet(t);
	else if (t->b.hdr.kind == TAKEOVER_RECORD && port)
		on_record(t, port);
	else if (t->b.hdr.kind == TAKEOVER_SESSION && port)
		on_session(t, port);
	else
		takeover_fail(t, "the proxy that runs: %s", describe(-EPROTO));
}

void takeover_state(struct takeover *t, struct proxy *p)
{
	t->p = p;
	p->last_session = t->old.last_session;
	for (uint32_t i = 0; i < t->old.num_ports; i++)
		adopt_port(t, i);
	if (strcmp(t->old.link_path, t->conf->link))
		not_taken(t, REST_LINKS, TAKEOVER_NO_PORT);
	if (!t->conf->control || strcmp(t->old.control_path, t->conf->control))
		not_taken(t, REST_CONTROL, TAKEOVER_NO_PORT);
	for (receive(t); t->b.hdr.kind != TAKEOVER_END; receive(t)) {
		on_block(t);
		takeover_close_fds(&t->b);
	}
	if (t->recovery || t->packets)
		takeover_fail(t, "the proxy that runs has not told all");
}

/* Files of sockets that were given to the other proxy stay as they are; others are ours from now on. */
static void take_files(struct takeover *t)
{
	struct proxy *p = t->p;

	if (!(t->old.links & TAKEOVER_KEEP_FILE))
		p->links.keep_file = false;
	for (uint32_t i = 0; i < t->old.num_ports; i++) {
		if (t->ports[i] && !(t->old_ports[i].flags & TAKEOVER_KEEP_FILE))
			t->ports[i]->listener.keep_file = false;
	}
	if (p->control && !(t->old.control & TAKEOVER_KEEP_FILE) &&
	    !control_set_file(p->control, t->conf->control))
		log_warn(WHO, "%s will stay behind: out of memory", t->conf->control);
}

void takeover_commit(struct takeover *t)
{
	char text[32];

	tell(t, TAKEOVER_READY, TAKEOVER_NO_PORT);
	receive(t);
	if (t->b.hdr.kind != TAKEOVER_GO)
		takeover_fail(t, "the proxy that runs: %s", describe(-EPROTO));
	/* Before it ends: systemd must know by then whom to watch. */
	snprintf(text, sizeof(text), "MAINPID=%d", (int)getpid());
	prog_notify(text);
	/* If it is gone by now, all the more. */
	takeover_send(t->sock, &t->b, TAKEOVER_DONE, TAKEOVER_NO_PORT, 0);
	take_files(t);
	log_info(WHO, "took over from pid %u, with %u session%s", t->old.pid, t->sessions,
		 t->sessions == 1 ? "" : "s");
	for (unsigned int i = 0; i < t->p->num_ports; i++) {
		struct port *port = &t->p->ports[i];

		if (port->session)
			session_resume(port->session);
		port_update(port);
	}
	proxy_reap(t->p);
	fd_close(&t->sock);
	free(t->old_ports);
	free(t->ports);
	free(t);
}
