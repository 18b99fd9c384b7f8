// SPDX-License-Identifier: BSD-2-Clause
/*
 * The side that hands over (takeover.h). Nothing here changes what the proxy has, until the other one serves: if it
 * doesn't, all goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host-proxy/takeover.h"
#include "vmm/hostlib/block.h"
#include "vmm/hostlib/control.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/prog.h"

#define WHO "takeover"

struct handover {
	struct proxy *p;
	int sock;
	int pid; /* of the other one */
	unsigned int sessions;
	bool not_taken[REST_KINDS]; /* REST_LINKS, REST_CONTROL */
	uint8_t *ports_not_taken;   /* a bit for each of REST_PORT, REST_LISTENER */
	struct takeover_block b;
};

int handover_command(struct proxy *p, struct json_object *request, const char **error)
{
	static char why[160];
	struct json_object *version = NULL;
	int peer = control_peer(p->control);
	unsigned int uid;

	if (p->takeover >= 0) {
		*error = "another proxy is taking over";
		return -EBUSY;
	}
	if (prog_peer_uid(peer, &uid) < 0 || (uid && uid != geteuid())) {
		*error = "only the proxy's own user, or root, may take over";
		return -EPERM;
	}
	json_object_object_get_ex(request, "version", &version);
	if (json_object_get_int(version) != TAKEOVER_VERSION) {
		snprintf(why, sizeof(why),
			 "it hands over as version %d, this one takes version %d: end it with "
			 "SIGKILL and start this one without --takeover",
			 TAKEOVER_VERSION, json_object_get_int(version));
		*error = why;
		return -EPROTO;
	}
	p->takeover = control_take(p->control);
	if (p->takeover < 0) {
		*error = strerror(-p->takeover);
		p->takeover = -1;
		return -EMFILE;
	}
	return 0;
}

static int send_block(struct handover *h, enum takeover_kind kind, uint32_t index,
		      unsigned int num_fds)
{
	return takeover_send(h->sock, &h->b, kind, index, num_fds);
}

static void *clear(struct handover *h)
{
	memset(&h->b.body, 0, sizeof(h->b.body));
	return &h->b.body;
}

/* --- listening sockets --- */

static le32 listener_flags(const struct listener *l)
{
	return (l->sock >= 0 ? TAKEOVER_LISTENS : 0u) | (l->keep_file ? TAKEOVER_KEEP_FILE : 0u);
}

static int send_sockets(struct handover *h)
{
	const struct proxy *p = h->p;
	struct takeover_proxy *out = clear(h);
	int ret;

	out->num_ports = p->num_ports;
	out->last_session = p->last_session;
	out->pid = (le32)getpid();
	out->links = listener_flags(&p->links);
	out->control = TAKEOVER_LISTENS | (control_has_file(p->control) ? 0u : TAKEOVER_KEEP_FILE);
	snprintf(out->link_path, sizeof(out->link_path), "%s", p->conf->link);
	snprintf(out->control_path, sizeof(out->control_path), "%s", p->conf->control);
	h->b.fds[0] = p->links.sock;
	h->b.fds[1] = control_socket(p->control);
	ret = send_block(h, TAKEOVER_PROXY, TAKEOVER_NO_PORT, 2);
	for (unsigned int i = 0; i < p->num_ports && !ret; i++) {
		const struct port *port = &p->ports[i];
		struct takeover_port *to = clear(h);

		snprintf(to->name, sizeof(to->name), "%s", port->conf->name);
		snprintf(to->path, sizeof(to->path), "%s", port->conf->socket);
		snprintf(to->last_end, sizeof(to->last_end), "%s", port->last_end);
		to->flags = listener_flags(&port->listener);
		to->retry_ms = port->retry_ms;
		to->offers = port->offers;
		to->count = port->count;
		h->b.fds[0] = port->listener.sock;
		ret = send_block(h, TAKEOVER_PORT, i, port->listener.sock >= 0);
	}
	return ret ? ret : send_block(h, TAKEOVER_SOCKETS, TAKEOVER_NO_PORT, 0);
}

/* --- links --- */

static int send_link(struct handover *h, const struct link *l, uint32_t index)
{
	struct takeover_link *out = clear(h);
	int ret;

	/* One that is giving records back begins anew with the other proxy: its VMM still has them. */
	if (l->recovery)
		return 0;
	*out = (struct takeover_link){
		.state = l->state,
		.flags = (l->port && l->port->next == l ? TAKEOVER_LINK_NEXT : 0u) |
			 (l->replaces ? TAKEOVER_LINK_REPLACES : 0u) |
			 (l->retired ? TAKEOVER_LINK_RETIRED : 0u) |
			 (l->retiring ? TAKEOVER_LINK_RETIRING : 0u) |
			 (l->keeps ? TAKEOVER_LINK_KEEPS : 0u) |
			 (l->refused ? TAKEOVER_LINK_REFUSED : 0u) |
			 (evtimer_pending(&l->timer, NULL) ? TAKEOVER_LINK_TIMED : 0u),
		.uid = l->uid,
		.pid = (le32)l->pid,
		.kept_session = l->kept_session,
		.num_packets = l->queued,
		.up_ns = l->up_ns,
		.back_end = l->back_end,
	};
	memcpy(out->who, l->who, sizeof(out->who));
	h->b.fds[0] = l->sock;
	ret = send_block(h, TAKEOVER_LINK, index, 1);
	for (unsigned int i = 0; i < l->queued && !ret; i++) {
		struct wire_packet *to = clear(h);

		*to = l->queue[i];
		memcpy(h->b.fds, to->fds, to->num_fds * sizeof(to->fds[0]));
		ret = send_block(h, TAKEOVER_PACKET, index, to->num_fds);
	}
	return ret;
}

/* --- sessions --- */

static int send_record(struct handover *h, const struct session *s, enum record_kind kind,
		       uint32_t item, uint32_t index)
{
	unsigned int num = record_make(s, kind, item, clear(h), h->b.fds);

	return send_block(h, TAKEOVER_RECORD, index, num);
}

static int send_records(struct handover *h, const struct session *s, uint32_t index)
{
	int ret = send_record(h, s, RECORD_SESSION, 0, index);

	for (uint32_t i = 0; i < s->memory.regions.num && !ret; i++)
		ret = send_record(h, s, RECORD_REGION, i, index);
	for (uint32_t i = 0; i < s->num_rings && !ret; i++) {
		if (record_has_ring(s, i))
			ret = send_record(h, s, RECORD_RING, i, index);
	}
	return ret;
}

static unsigned int put_reader(struct takeover_reader *out, const struct wire_reader *r, int *fds)
{
	out->have = r->have;
	out->num_fds = r->in.num_fds;
	memcpy(&out->msg, &r->in.msg, sizeof(out->msg));
	memcpy(fds, r->in.fds, r->in.num_fds * sizeof(fds[0]));
	return r->in.num_fds;
}

static void put_pending(struct takeover_session *out, const struct session *s)
{
	for (unsigned int i = 0; i < s->num_pending; i++) {
		const struct session_pending *p = &s->pending[i];

		out->pending[i] = (struct takeover_pending){
			.request = p->info->id,
			.seq = p->seq,
			.state = p->state,
			.flags = (p->failed ? TAKEOVER_PENDING_FAILED : 0u) |
				 (p->silent ? TAKEOVER_PENDING_SILENT : 0u) |
				 (p->internal ? TAKEOVER_PENDING_INTERNAL : 0u),
		};
		memcpy(&out->pending[i].msg, &p->msg, sizeof(p->msg));
	}
	out->num_pending = s->num_pending;
	out->num_back_pending = s->num_back_pending;
	out->num_channel_out = s->num_channel_out;
	memcpy(out->back_pending, s->back_pending, sizeof(out->back_pending));
	memcpy(out->channel_out, s->channel_out, sizeof(out->channel_out));
}

static int send_rest(struct handover *h, const struct session *s, uint32_t index)
{
	struct takeover_session *out = clear(h);
	unsigned int num = 0;

	out->state = s->state;
	out->id = s->id;
	out->flags = (s->kept ? TAKEOVER_SESSION_KEPT : 0u) |
		     (s->out_waits ? TAKEOVER_SESSION_OUT : 0u) |
		     (s->memory_changes ? TAKEOVER_SESSION_CHANGES : 0u);
	out->seq = s->seq;
	out->wait_seq = s->wait_seq;
	out->since_ns = s->since_ns;
	out->away_ns = s->away_ns;
	out->defer_until_ns = s->defer_until_ns;
	out->dirty = s->dirty;
	out->replay = s->replay;
	out->lost_with = (le32)s->lost_with;
	if (s->out_waits)
		memcpy(&out->out, &s->out, sizeof(out->out));
	put_pending(out, s);
	if (s->state == SESSION_HELD)
		h->b.fds[num++] = s->sock;
	num += put_reader(&out->in, &s->in, h->b.fds + num);
	num += put_reader(&out->channel_in, &s->channel_in, h->b.fds + num);
	if (s->memory_changes) {
		out->before = s->memory_before.regions;
		memcpy(h->b.fds + num, s->memory_before.fds, out->before.num * sizeof(int));
		num += out->before.num;
	}
	h->sessions++;
	return send_block(h, TAKEOVER_SESSION, index, num);
}

static int send_port(struct handover *h, uint32_t index)
{
	const struct port *port = &h->p->ports[index];
	const struct session *s = port->session;
	int ret = 0;

	if (port->link)
		ret = send_link(h, port->link, index);
	if (!ret && port->next)
		ret = send_link(h, port->next, index);
	if (!ret && s && s->state != SESSION_HELD)
		ret = send_records(h, s, index);
	return ret || !s ? ret : send_rest(h, s, index);
}

static int send_all(struct handover *h)
{
	static const char ok[] = "{\"ok\":true}\n";
	int ret = block_send(h->sock, ok, sizeof(ok) - 1, NULL, 0, TAKEOVER_WAIT_MS);
	const struct link *l;

	if (!ret)
		ret = send_sockets(h);
	for (uint32_t i = 0; i < h->p->num_ports && !ret; i++)
		ret = send_port(h, i);
	for (l = LIST_FIRST(&h->p->new_links); l && !ret; l = LIST_NEXT(l, next))
		ret = send_link(h, l, TAKEOVER_NO_PORT);
	return ret ? ret : send_block(h, TAKEOVER_END, TAKEOVER_NO_PORT, 0);
}

/* --- what the other one says --- */

static bool note_not_taken(struct handover *h)
{
	uint32_t index = h->b.hdr.index, rest = h->b.body.rest;

	if (rest == REST_LINKS || rest == REST_CONTROL) {
		h->not_taken[rest] = true;
		return true;
	}
	if (rest >= REST_KINDS || index >= h->p->num_ports)
		return false;
	h->ports_not_taken[index] |= (uint8_t)(1u << rest);
	return true;
}

/* 0: READY. Else -errno, or 1 and the text is in h->b. */
static int hear(struct handover *h)
{
	int ret = takeover_recv(h->sock, &h->b);

	while (!ret) {
		takeover_close_fds(&h->b); /* none are due */
		switch (h->b.hdr.kind) {
		case TAKEOVER_READY:
			return 0;
		case TAKEOVER_FAILED:
			h->b.body.text.text[LINK_REASON_MAX] = '\0';
			return 1;
		case TAKEOVER_NOT_TAKEN:
			if (note_not_taken(h))
				break;
			/* fallthrough */
		default:
			return -EPROTO;
		}
		ret = takeover_recv(h->sock, &h->b);
	}
	return ret;
}

/* After GO. True: it serves; or nobody knows, which it must not do as well. */
static bool serves(struct handover *h)
{
	int ret = takeover_recv(h->sock, &h->b);

	if (!ret)
		takeover_close_fds(&h->b);
	if (!ret && h->b.hdr.kind == TAKEOVER_DONE)
		return true;
	if (ret == -ETIMEDOUT)
		log_warn(WHO, "pid %d does not say that it serves", h->pid);
	return ret == -ETIMEDOUT;
}

/* What nobody has taken ends here. */
static void end_rest(struct handover *h)
{
	struct proxy *p = h->p;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		struct port *port = &p->ports[i];

		if (h->ports_not_taken[i] & 1u << REST_PORT) {
			log_info(port->who, "is no port of the next proxy");
			port_close(port);
		} else if (h->ports_not_taken[i] & 1u << REST_LISTENER) {
			listener_close(&port->listener, port->conf->socket);
		}
	}
	if (h->not_taken[REST_LINKS])
		listener_close(&p->links, p->conf->link);
	if (h->not_taken[REST_CONTROL])
		control_close(p->control);
}

static bool commit(struct handover *h, const char **why)
{
	int ret = send_all(h);

	if (!ret)
		ret = hear(h);
	if (!ret)
		ret = send_block(h, TAKEOVER_GO, TAKEOVER_NO_PORT, 0);
	if (!ret && serves(h))
		return true;
	*why = ret == 1		   ? h->b.body.text.text
	       : ret == -EPROTO	   ? "it does not speak as a proxy that takes over"
	       : ret == -ETIMEDOUT ? "it is silent"
				   : "it is gone";
	return false;
}

bool handover(struct proxy *p)
{
	struct handover *h = calloc(1, sizeof(*h));
	const char *why = "out of memory";
	bool done = false;

	if (h)
		h->ports_not_taken = calloc(p->num_ports, sizeof(*h->ports_not_taken));
	if (h && h->ports_not_taken) {
		h->p = p;
		h->sock = p->takeover;
		prog_peer_pid(h->sock, &h->pid);
		done = commit(h, &why);
	}
	if (done) {
		log_info(WHO, "pid %d has taken over, with %u session%s", h->pid, h->sessions,
			 h->sessions == 1 ? "" : "s");
		end_rest(h);
	} else {
		log_warn(WHO, "pid %d does not take over: %s; this proxy goes on", h ? h->pid : 0,
			 why);
	}
	fd_close(&p->takeover);
	if (h)
		free(h->ports_not_taken);
	free(h);
	return done;
}
