// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "host-proxy/claim.h"
#include "host-proxy/given.h"
#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/replace.h"
#include "host-proxy/session.h"
#include "host-proxy/together.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/prog.h"

#define LISTENER_PAUSE_US 100000

/* A connection costs a socket 5 ms; 200 ms may be unpaid. So a peer that connects in a loop is not all we do. */
#define ACCEPT_NS	UINT64_C(5000000)
#define ACCEPT_BURST_NS UINT64_C(200000000)

uint64_t proxy_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static void listener_resume(evutil_socket_t sock, short what, void *arg)
{
	struct listener *l = arg;

	event_add(&l->accept_ev, NULL);
}

int listener_open(struct listener *l, struct event_base *base, const char *path, int type,
		  unsigned int mode, event_callback_fn fn, void *arg)
{
	int sock = prog_listen_unix(path, type, mode);
	int ret = sock;

	if (sock >= 0)
		ret = listener_serve(l, base, sock, fn, arg);
	if (sock >= 0 && !ret)
		l->keep_file = false;
	return ret;
}

int listener_serve(struct listener *l, struct event_base *base, int sock, event_callback_fn fn,
		   void *arg)
{
	l->sock = sock;
	l->keep_file = true;
	if (event_assign(&l->accept_ev, base, sock, EV_READ | EV_PERSIST, fn, arg) < 0 ||
	    evtimer_assign(&l->resume_ev, base, listener_resume, l) < 0 ||
	    event_add(&l->accept_ev, NULL) < 0) {
		fd_close(&l->sock);
		return -ENOMEM;
	}
	return 0;
}

void listener_pause(struct listener *l)
{
	static const struct timeval pause = { .tv_usec = LISTENER_PAUSE_US };

	event_del(&l->accept_ev);
	event_add(&l->resume_ev, &pause);
}

static void listener_pay(struct listener *l)
{
	uint64_t now = proxy_now_ns();

	if (l->paid_ns < now)
		l->paid_ns = now;
	l->paid_ns += ACCEPT_NS;
	if (l->paid_ns > now + ACCEPT_BURST_NS)
		listener_pause(l);
}

int listener_accept(struct listener *l, const char *who)
{
	int fd = accept4(l->sock, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int err = errno;

	if (fd >= 0) {
		listener_pay(l);
		return fd;
	}
	if (err == EAGAIN || err == ECONNABORTED || err == EINTR)
		return -EAGAIN;
	log_peer(LOG_L_ERROR, who, "accept: %s; no connection for 100 ms%s", strerror(err),
		 err == EMFILE || err == ENFILE ? " (raise the limit of open files)" : "");
	listener_pause(l);
	return -err;
}

void listener_close(struct listener *l, const char *path)
{
	if (l->sock < 0)
		return;
	event_del(&l->accept_ev);
	event_del(&l->resume_ev);
	fd_close(&l->sock);
	if (!l->keep_file)
		unlink(path);
}

struct port *proxy_find_port(struct proxy *p, const char *name)
{
	for (unsigned int i = 0; i < p->num_ports; i++) {
		if (!strcmp(p->ports[i].conf->name, name))
			return &p->ports[i];
	}
	return NULL;
}

const struct port *proxy_find_eventfd(const struct proxy *p, uint64_t id, const struct port *self,
				      uint32_t index, unsigned int kind)
{
	for (unsigned int i = 0; i < p->num_ports; i++) {
		const struct port *port = &p->ports[i];
		const struct session *s = port->session;

		for (uint32_t r = 0; s && r < s->rings_with_fds; r++) {
			for (unsigned int k = 0; k < RING_FDS; k++) {
				if (port == self && r == index && k == kind)
					continue;
				if (s->rings[r].fds[k] >= 0 && s->rings[r].ids[k] == id)
					return port;
			}
		}
	}
	return NULL;
}

/* The user of --link-uid must be able to connect to a socket that only its owner may use. */
static int open_links(struct proxy *p)
{
	const struct proxy_conf *conf = p->conf;
	int sock = given_take(p->given, GIVEN_LINK, NULL);
	int ret;

	if (sock >= 0)
		return listener_serve(&p->links, p->base, sock, link_on_accept, p);
	ret = listener_open(&p->links, p->base, conf->link, SOCK_SEQPACKET, 0600, link_on_accept,
			    p);
	if (ret)
		return ret;
	if (conf->has_link_uid && conf->link_uid != geteuid() &&
	    chown(conf->link, conf->link_uid, (gid_t)-1) < 0) {
		ret = -errno;
		log_error(NULL, "%s: cannot give the socket to user %u, as --link-uid needs: %s",
			  conf->link, conf->link_uid, strerror(errno));
	}
	return ret;
}

int proxy_open(struct proxy *p, struct event_base *base, const struct proxy_conf *conf,
	       struct given *given, const char **what)
{
	int ret;

	*p = (struct proxy){
		.base = base,
		.conf = conf,
		.links = { .sock = -1 },
		.given = given,
		.takeover = -1,
	};
	LIST_INIT(&p->new_links);
	LIST_INIT(&p->dead_links);
	LIST_INIT(&p->dead_sessions);
	p->started_ns = proxy_now_ns();
	together_open(p);
	replace_open(p);
	claims_open(p);
	*what = "memory";
	p->ports = calloc(conf->num_ports, sizeof(*p->ports));
	if (!p->ports)
		return -ENOMEM;
	/* All ports are there before the first link may ask for one. */
	for (unsigned int i = 0; i < conf->num_ports; i++) {
		*what = conf->ports[i].socket;
		p->num_ports = i + 1;
		ret = port_open(&p->ports[i], p, &conf->ports[i]);
		if (ret)
			return ret;
	}
	*what = conf->link;
	return open_links(p);
}

void proxy_close(struct proxy *p)
{
	listener_close(&p->links, p->conf->link);
	while (!LIST_EMPTY(&p->new_links))
		link_close(LIST_FIRST(&p->new_links));
	for (unsigned int i = 0; i < p->num_ports; i++)
		port_close(&p->ports[i]);
	together_close(p);
	replace_close(p);
	claims_close(p);
	proxy_reap(p);
	free(p->ports);
	p->ports = NULL;
	p->num_ports = 0;
}

void proxy_reap(struct proxy *p)
{
	while (!LIST_EMPTY(&p->dead_sessions)) {
		struct session *s = LIST_FIRST(&p->dead_sessions);

		LIST_REMOVE(s, next);
		session_free(s);
	}
	while (!LIST_EMPTY(&p->dead_links)) {
		struct link *l = LIST_FIRST(&p->dead_links);

		LIST_REMOVE(l, next);
		link_free(l);
	}
}
