// SPDX-License-Identifier: BSD-2-Clause
/*
 * A VVU device's connection to the proxy (abi/link.h).
 *
 * The proxy may come later, go and come back: the device tries again, after 10 ms at first, then at
 * growing intervals up to a second. A session goes on without it where it can (vvu_keep.c).
 *
 * Reading follows the driver: a message for which the driver has no buffer is held (one, with its
 * fds) and nothing more is taken from the socket, so that nothing queues here. But the end of the
 * session may stand behind messages that are not taken; therefore what comes in while one is held
 * is peeked at (SO_PEEK_OFF: each packet once). When the session has ended, its messages need no
 * buffers any more: they are read and dropped, and their fds closed. What a proxy that is gone has
 * sent is read to its end first, if the session is kept: the front-end believes that it was heard.
 *
 * What is owed to the proxy is state, not a queue: a failed request, the end of a session, whether
 * the back-end is up. All of it is sent by vvu_link_work(), in that order, as the socket takes it.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"
#include "vmm/vvu_priv.h"

/* Where no proxy is: whatever has died, frames may wait for the next one (abi-link.md, Replacement). */
#define RETRY_FIRST_MS 10
#define RETRY_MAX_MS   100
/* Where there is one that says no. */
#define REJECTED_MS 1000
#define READ_BUDGET 64 /* packets in one turn of the event loop */

static void retry_later(struct vvu_dev *d)
{
	struct vvu_link *l = &d->link;
	struct timeval tv = { .tv_sec = l->backoff_ms / 1000,
			      .tv_usec = (suseconds_t)(l->backoff_ms % 1000) * 1000 };

	evtimer_add(l->retry, &tv);
	l->backoff_ms *= 2;
	if (l->backoff_ms > RETRY_MAX_MS)
		l->backoff_ms = RETRY_MAX_MS;
}

static void drop_held(struct vvu_link *l)
{
	if (l->holding)
		fds_close(l->held.fds, l->held.num_fds);
	l->holding = false;
}

static void tell(struct vvu_dev *d, enum vvu_dev_event what)
{
	if (d->event)
		d->event(d->event_arg, what);
}

/* Something of the kept session goes with the link, and the next proxy could not know. */
static bool something_lost(const struct vvu_dev *d)
{
	const struct link_header *held = &d->link.held.pkt.hdr;

	return d->link.owe_result || (d->link.holding && held->kind == LINK_FRONTEND &&
				      held->session == d->session.number);
}

/* The connection is over; packets not read go with it. */
static void link_lost(struct vvu_dev *d, const char *why)
{
	struct vvu_link *l = &d->link;

	if (l->state == VVU_LINK_DOWN)
		return;
	if (l->state == VVU_LINK_UP)
		log_peer(LOG_L_WARN, d->who, "link to the proxy lost (%s)", why);
	l->state = VVU_LINK_DOWN;
	event_free(l->read);
	event_free(l->write);
	l->read = NULL;
	l->write = NULL;
	fd_close(&l->sock);
	vvu_keep_link_lost(d);
	if (!d->keep.away || something_lost(d))
		vvu_session_end(d, VVU_END_PROXY, "link to the proxy lost");
	drop_held(l);
	l->blocked = false;
	l->hung_up = false;
	l->told_up = false;
	l->owe_result = false;
	l->owe_session_down = false;
	d->session.pending = 0;
	if (!l->replaced)
		retry_later(d);
}

/*
 * The same after a packet that could not be understood: what it would have changed is lost to the session. One that
 * is only being given back has its proxy still to come.
 */
static void link_broken(struct vvu_dev *d, const char *why)
{
	if (!d->keep.offered)
		vvu_session_end(d, VVU_END_PROXY, "link to the proxy lost (%s)", why);
	link_lost(d, why);
}

/* The proxy has closed its end. */
static void hang_up(struct vvu_dev *d)
{
	d->link.hung_up = true;
	if (d->link.state == VVU_LINK_UP)
		vvu_keep_begin(d);
}

int vvu_link_send(struct vvu_dev *d, const struct link_packet *pkt, uint32_t body_bytes,
		  const int *fds, unsigned int num_fds)
{
	struct vvu_link *l = &d->link;
	int ret;

	if (l->state == VVU_LINK_DOWN)
		return -ENOTCONN;
	if (l->blocked)
		return -EAGAIN;
	ret = link_send(l->sock, pkt, body_bytes, fds, num_fds);
	if (ret == -EAGAIN) {
		l->blocked = true;
		event_add(l->write, NULL);
	}
	return ret; /* a broken connection shows itself to the reader */
}

void vvu_link_result(struct vvu_dev *d, uint32_t seq, const char *why)
{
	link_make_text(&d->link.result, LINK_RESULT, d->session.number, "%s", why);
	d->link.result.hdr.seq = seq;
	d->link.owe_result = true;
	vvu_link_wake(d);
}

void vvu_link_session_down(struct vvu_dev *d, uint32_t session, const char *why)
{
	if (d->link.state != VVU_LINK_UP)
		return;
	link_make_text(&d->link.session_down, LINK_SESSION_DOWN, session, "%s", why);
	d->link.owe_session_down = true;
}

void vvu_link_went(struct vvu_dev *d, enum link_kind how)
{
	if (!d->link.went)
		d->link.went = how;
	vvu_link_wake(d);
}

void vvu_link_restart(struct vvu_dev *d)
{
	d->link.restart = true;
	vvu_link_wake(d);
}

static bool send_text(struct vvu_dev *d, const struct link_packet *pkt, bool *owed)
{
	if (*owed && vvu_link_send(d, pkt, sizeof(pkt->body.text), NULL, 0) == -EAGAIN)
		return false;
	*owed = false;
	return true;
}

static bool send_backend_up(struct vvu_dev *d)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_BACKEND_UP } };
	uint64_t features = VHOST_USER_PF_CARRIED | VHOST_USER_PF_INTERNAL;
	int ret;

	if (!vvu_explicit(d))
		features &= ~VHOST_USER_PF_EXPLICIT_ONLY;
	pkt.body.backend_up = (struct link_backend_up){
		.protocol_features = features,
		.max_queues = d->max_queues,
		.max_mem_slots = VHOST_USER_MEM_SLOTS_MAX,
	};
	ret = vvu_link_send(d, &pkt, sizeof(pkt.body.backend_up), NULL, 0);
	d->link.told_up = ret == 0;
	return ret != -EAGAIN;
}

static bool send_backend_went(struct vvu_dev *d)
{
	struct link_packet pkt = { .hdr = { .kind = (le16)d->link.went } };

	if (vvu_link_send(d, &pkt, 0, NULL, 0) == -EAGAIN)
		return false;
	d->link.told_up = false;
	d->session.pending = 0; /* whatever the proxy has opened is not ours any more */
	return true;
}

/* Sends what is owed. False: the socket is full. */
static bool flush_owed(struct vvu_dev *d)
{
	struct vvu_link *l = &d->link;

	if (l->hung_up && !l->owe_result)
		return true; /* nobody reads it */
	if (l->hung_up) {
		link_lost(d, "closed, a failure untold");
		return false;
	}
	if (!vvu_keep_give(d) || !send_text(d, &l->result, &l->owe_result) ||
	    !send_text(d, &l->session_down, &l->owe_session_down))
		return false;
	if (l->told_up && l->went && !send_backend_went(d))
		return false;
	l->went = 0;
	if (!l->told_up && vvu_is_up(d))
		return send_backend_up(d);
	return true;
}

static void send_hello(struct vvu_dev *d)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_HELLO } };
	struct link_hello *hello = &pkt.body.hello;

	hello->magic = LINK_MAGIC;
	hello->version = LINK_VERSION;
	if (d->link.replace)
		hello->flags |= LINK_HELLO_REPLACEMENT;
	if (d->keep.away) {
		hello->flags |= LINK_HELLO_KEPT;
		hello->session = d->session.number;
		d->keep.offered = true;
	}
	snprintf(hello->port, sizeof(hello->port), "%s", d->port);
	snprintf(hello->who, sizeof(hello->who), "vvu-vmm[%d]", (int)getpid());
	if (vvu_link_send(d, &pkt, sizeof(*hello), NULL, 0))
		link_lost(d, "no hello");
}

/* A packet that stands where it may not: the two sides disagree about the protocol. */
static void link_error(struct vvu_dev *d, const char *why)
{
	log_peer(LOG_L_WARN, d->who, "link: %s", why);
	link_broken(d, why);
}

static void welcome(struct vvu_dev *d)
{
	d->link.state = VVU_LINK_UP;
	d->link.backoff_ms = RETRY_FIRST_MS;
	log_peer(LOG_L_INFO, d->who, "linked to the proxy");
}

static void rejected(struct vvu_dev *d, struct wire_packet *p)
{
	p->pkt.body.text.text[LINK_REASON_MAX] = '\0';
	log_peer(LOG_L_WARN, d->who, "the proxy refuses the link: %s", p->pkt.body.text.text);
	d->link.backoff_ms = REJECTED_MS;
	/* Nobody else will come for it. */
	if (d->keep.away)
		vvu_session_end(d, VVU_END_PROXY, "the next proxy refuses its link");
	link_lost(d, "refused");
}

static void session_up(struct vvu_dev *d, uint32_t number)
{
	if (!number) {
		link_error(d, "session number 0");
		return;
	}
	if (number == d->session.number && d->keep.handed) {
		vvu_keep_adopted(d);
		return;
	}
	if (!d->link.told_up)
		return; /* opened before the proxy read that the back-end went down; it knows by now
			 */
	vvu_session_end(d, VVU_END_PROXY, "the proxy opened session %u", number);
	/*
	 * The end of the last session has cleared BACKEND_UP, and the proxy need not wait until the
	 * driver has set it again: the session begins then, and its messages stay in the socket
	 * until then.
	 */
	d->session.pending = number;
}

static void session_down(struct vvu_dev *d, uint32_t number, char *why)
{
	why[LINK_REASON_MAX] = '\0';
	if (number && number == d->session.pending)
		d->session.pending = 0;
	if (number && number == d->session.number)
		vvu_session_end(d, VVU_END_PROXY, "%s", why);
}

static void record(struct vvu_dev *d, struct wire_packet *p)
{
	const char *why;

	if (vvu_keep_record(d, p, &why))
		link_error(d, why);
}

/* What belongs to a session and has a place in its order: 1 done with; 0 has to wait. */
static int of_session(struct vvu_dev *d, struct wire_packet *p)
{
	uint32_t number = p->pkt.hdr.session;

	if (number && number == d->session.number && p->pkt.hdr.kind == LINK_FRONTEND)
		return vvu_session_frontend(d, p);
	if (number && number == d->session.number) {
		record(d, p);
		return 1;
	}
	if (number && number == d->session.pending)
		return 0;
	fds_close(p->fds, p->num_fds);
	return 1;
}

static void replaced(struct vvu_dev *d)
{
	d->link.replaced = true;
	vvu_session_end(d, VVU_END_PROXY, "another VMM has the port now");
	link_lost(d, "another VMM has the port");
	tell(d, VVU_DEV_REPLACED);
}

/* A notice for a VMM that is to replace another. */
static void replacement(struct vvu_dev *d, int kind)
{
	if (!d->link.replace) {
		link_error(d, "we replace nobody");
		return;
	}
	if (kind == LINK_SERVING)
		d->link.replace = false;
	tell(d, kind == LINK_SERVING ? VVU_DEV_SERVING : VVU_DEV_SILENT);
}

static void notice(struct vvu_dev *d, struct wire_packet *p)
{
	switch (p->pkt.hdr.kind) {
	case LINK_SESSION_UP:
		session_up(d, p->pkt.hdr.session);
		break;
	case LINK_SESSION_DOWN:
		session_down(d, p->pkt.hdr.session, p->pkt.body.text.text);
		break;
	case LINK_ANSWERED:
		if (d->session.number && p->pkt.hdr.session == d->session.number)
			vvu_keep_answered(d, p->pkt.hdr.seq);
		break;
	case LINK_SILENT:
	case LINK_SERVING:
		replacement(d, p->pkt.hdr.kind);
		break;
	case LINK_REPLACED:
		replaced(d);
		break;
	default:
		link_error(d, "unexpected packet");
	}
}

/* 1: done with; 0: the packet has to wait. */
static int handle_packet(struct vvu_dev *d, struct wire_packet *p)
{
	bool up = d->link.state == VVU_LINK_UP;
	int kind = p->pkt.hdr.kind;

	if (up && (kind == LINK_FRONTEND || kind == LINK_RECORD))
		return of_session(d, p);
	fds_close(p->fds, p->num_fds);
	p->num_fds = 0;
	if (!up && kind == LINK_WELCOME)
		welcome(d);
	else if (!up && kind == LINK_REJECT)
		rejected(d, p);
	else if (up)
		notice(d, p);
	else
		link_error(d, "unexpected packet");
	return 1;
}

static void begin_pending(struct vvu_dev *d)
{
	if (d->session.pending && !d->session.number && vvu_is_up(d) && d->link.told_up)
		vvu_session_begin(d, d->session.pending);
}

/* Looks at what waits behind the held message, each packet once. */
static void peek_on(struct vvu_dev *d)
{
	struct vvu_link *l = &d->link;
	struct link_packet pkt;
	ssize_t n;

	while (l->holding) {
		n = recv(l->sock, &pkt, sizeof(pkt), MSG_PEEK | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 && !l->hung_up) {
			hang_up(d);
			continue; /* with an error pending there may be more */
		}
		if (n <= 0) {
			if (!d->keep.away)
				link_lost(d, "closed");
			return;
		}
		if ((size_t)n == sizeof(pkt.hdr) + sizeof(pkt.body.text) &&
		    pkt.hdr.kind == LINK_SESSION_DOWN &&
		    pkt.hdr.session == l->held.pkt.hdr.session) {
			drop_held(l);
			session_down(d, pkt.hdr.session, pkt.body.text.text);
			vvu_link_wake(d); /* to read and drop what was peeked at */
		}
	}
}

/* Takes the held message up again, if the driver has room now. */
static void retry_held(struct vvu_dev *d)
{
	struct vvu_link *l = &d->link;

	if (l->holding && of_session(d, &l->held))
		l->holding = false;
}

static void read_packets(struct vvu_dev *d)
{
	struct vvu_link *l = &d->link;
	int ret;

	for (unsigned int i = 0; l->state != VVU_LINK_DOWN && !l->holding; i++) {
		if (i == READ_BUDGET) {
			vvu_link_wake(d);
			return;
		}
		ret = link_recv(l->sock, &l->held);
		if (ret == 0)
			return;
		if (ret == -ECONNRESET && !l->hung_up) {
			hang_up(d);
			continue;
		}
		if (ret == -ECONNRESET)
			link_lost(d, "closed");
		else if (ret < 0)
			link_broken(d, strerror(-ret));
		if (ret < 0)
			return;
		l->holding = true;
		if (handle_packet(d, &l->held))
			l->holding = false;
		begin_pending(d);
	}
}

void vvu_link_work(struct vvu_dev *d)
{
	struct vvu_link *l = &d->link;

	if (l->restart)
		link_lost(d, "it begins anew");
	l->restart = false;
	if (l->state == VVU_LINK_DOWN) {
		if (d->keep.away)
			vvu_session_tx(d);
		return;
	}
	if (l->state == VVU_LINK_UP && !flush_owed(d))
		return; /* not before what is owed; the write event comes */
	begin_pending(d);
	vvu_session_tx(d);
	retry_held(d);
	read_packets(d);
	peek_on(d);
	if (l->state == VVU_LINK_UP)
		flush_owed(d);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct vvu_dev *d = arg;

	pthread_mutex_lock(&d->machine->lock);
	if (what & EV_WRITE)
		d->link.blocked = false;
	vvu_link_work(d);
	pthread_mutex_unlock(&d->machine->lock);
}

void vvu_link_wake(struct vvu_dev *d)
{
	if (d->link.wake)
		event_active(d->link.wake, EV_TIMEOUT, 0);
}

static int link_open(struct vvu_dev *d)
{
	struct vvu_link *l = &d->link;
	int peek_from = 0;
	int ret;

	l->sock = prog_connect_unix(d->link_path, SOCK_SEQPACKET);
	if (l->sock < 0) {
		ret = l->sock;
		l->sock = -1;
		return ret;
	}
	if (setsockopt(l->sock, SOL_SOCKET, SO_PEEK_OFF, &peek_from, sizeof(peek_from))) {
		ret = -errno;
		goto out_close;
	}
	/* Edge-triggered: a message that has to wait must not make the loop spin. */
	l->read = event_new(d->machine->base, l->sock, EV_READ | EV_PERSIST | EV_ET, on_event, d);
	l->write = event_new(d->machine->base, l->sock, EV_WRITE, on_event, d);
	ret = -ENOMEM;
	if (!l->read || !l->write || event_add(l->read, NULL))
		goto out_events;
	l->state = VVU_LINK_HELLO;
	return 0;

out_events:
	if (l->read)
		event_free(l->read);
	if (l->write)
		event_free(l->write);
	l->read = NULL;
	l->write = NULL;
out_close:
	fd_close(&l->sock);
	return ret;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct vvu_dev *d = arg;
	int ret;

	pthread_mutex_lock(&d->machine->lock);
	ret = link_open(d);
	if (ret) {
		if (ret != -ENOENT && ret != -ECONNREFUSED && ret != -EAGAIN)
			log_peer(LOG_L_WARN, d->who, "link %s: %s", d->link_path, strerror(-ret));
		retry_later(d);
	} else {
		send_hello(d);
		vvu_link_work(d);
	}
	pthread_mutex_unlock(&d->machine->lock);
}

int vvu_link_init(struct vvu_dev *d)
{
	struct vvu_link *l = &d->link;

	l->sock = -1;
	l->backoff_ms = RETRY_FIRST_MS;
	l->retry = evtimer_new(d->machine->base, on_retry, d);
	l->wake = event_new(d->machine->base, -1, EV_PERSIST, on_event, d);
	return l->retry && l->wake ? 0 : -ENOMEM;
}

void vvu_link_free(struct vvu_dev *d)
{
	struct vvu_link *l = &d->link;

	drop_held(l);
	if (l->read)
		event_free(l->read);
	if (l->write)
		event_free(l->write);
	if (l->retry)
		event_free(l->retry);
	if (l->wake)
		event_free(l->wake);
	l->wake = NULL;
	fd_close(&l->sock);
}

void vvu_dev_start(struct vvu_dev *d)
{
	event_active(d->link.retry, EV_TIMEOUT, 0);
}
