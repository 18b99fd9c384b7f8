// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/port.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host-proxy/claim.h"
#include "host-proxy/given.h"
#include "host-proxy/link.h"
#include "host-proxy/session.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/prog.h"

void port_log(struct port *port, enum log_level level, const char *fmt, ...)
{
	char text[512];
	unsigned int left_out;
	va_list ap;

	if (!log_limit_pass(&port->log_limit, &left_out))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (left_out)
		log_at(level, port->who, "%s (%u lines left out)", text, left_out);
	else
		log_at(level, port->who, "%s", text);
}

/* Makes room when the session's front-end has hung up but its turn in the loop has not come yet. */
static bool port_is_busy(struct port *port)
{
	struct session *s = port->session;

	if (s && watch_hung_up(s->sock))
		session_end(s, BY_FRONT_END, true, "closed its connection");
	return port->session != NULL;
}

/* False: the peer of fd is not whom the port is for; fd is closed. */
static bool port_admits(struct port *port, int fd)
{
	char why[256];

	if (access_check(&port->conf->access, fd, why, sizeof(why)))
		return true;
	close(fd);
	port->count.denied++;
	port_log(port, LOG_L_WARN, "front-end refused: %s", why);
	return false;
}

static void on_accept(evutil_socket_t sock, short what, void *arg)
{
	struct port *port = arg;
	int fd = listener_accept(&port->listener, port->who), pid = 0;

	if (fd < 0)
		return;
	if (!port_admits(port, fd)) {
		listener_pause(&port->listener);
		return;
	}
	if (port_is_busy(port)) {
		prog_peer_pid(fd, &pid);
		close(fd);
		port->count.refused++;
		port_log(port, LOG_L_WARN, "second front-end (pid %d) refused: pid %d is connected",
			 pid, port->session->pid);
		listener_pause(&port->listener);
		return;
	}
	if (!session_new(port, fd)) {
		port_log(port, LOG_L_ERROR, "front-end refused: out of memory");
		listener_pause(&port->listener);
		return;
	}
	port_update(port);
}

static void port_retry(struct port *port)
{
	struct timeval delay = { .tv_sec = port->retry_ms / 1000,
				 .tv_usec = (port->retry_ms % 1000) * 1000 };

	port->retry_ms *= 2;
	if (port->retry_ms > PORT_RETRY_MAX_MS)
		port->retry_ms = PORT_RETRY_MAX_MS;
	event_add(&port->retry_ev, &delay);
}

static void on_retry(evutil_socket_t sock, short what, void *arg)
{
	struct port *port = arg;
	int fd;

	/* port_update() tries again when the back-end is up. */
	if (port->session || !port->link || port->link->state != LINK_UP)
		return;
	fd = prog_connect_unix(port->conf->socket, SOCK_STREAM);
	if (fd < 0) {
		port_log(port, LOG_L_INFO, "no front-end listens at %s: %s; next attempt in %u ms",
			 port->conf->socket, strerror(-fd), port->retry_ms);
		port_retry(port);
		return;
	}
	if (!port_admits(port, fd)) {
		port_retry(port);
		return;
	}
	if (!session_new(port, fd)) {
		port_log(port, LOG_L_ERROR, "out of memory");
		port_retry(port);
		return;
	}
	port_update(port);
}

int port_open(struct port *port, struct proxy *p, const struct port_conf *conf)
{
	mode_t mask;
	int sock;

	*port = (struct port){ .proxy = p, .conf = conf, .listener = { .sock = -1 } };
	port->retry_ms = PORT_RETRY_MIN_MS;
	snprintf(port->who, sizeof(port->who), "port %s", conf->name);
	evtimer_assign(&port->retry_ev, p->base, on_retry, port);
	if (conf->mode == PORT_CLIENT)
		return 0;
	sock = given_take(p->given, GIVEN_PORT, conf->name);
	if (sock >= 0)
		return listener_serve(&port->listener, p->base, sock, on_accept, port);
	/* Who may connect is for the umask and the directory to say. */
	mask = umask(0);
	umask(mask);
	return listener_open(&port->listener, p->base, conf->socket, SOCK_STREAM, 0666u & ~mask,
			     on_accept, port);
}

void port_close(struct port *port)
{
	/* The session first: its link is told. */
	if (port->session)
		session_end(port->session, BY_PROXY, true, "the proxy stops");
	if (port->link)
		link_close(port->link);
	if (port->next)
		link_close(port->next);
	event_del(&port->retry_ev);
	listener_close(&port->listener, port->conf->socket);
}

bool port_can_answer(const struct port *port)
{
	return port->offers.limits.max_queues && port->offers.has_features;
}

/* can_take: the back-end is up, and its link takes a packet. */
static void update_session(struct port *port, bool can_take)
{
	struct session *s = port->session;

	if (s->state == SESSION_HELD && can_take && !port->move)
		session_start(s);
	else if (s->kept && can_take)
		session_go_on(s);
	else if (s->state == SESSION_MOVING) {
		records_flush(s);
		replay_advance(s);
	} else if (s->state == SESSION_AWAY && can_take &&
		   (!port->move || port->move == MOVE_START))
		session_replay(s);
	else if (s->state == SESSION_REPLAY && can_take)
		replay_advance(s);
	else if (s->state == SESSION_UP && can_take)
		records_flush(s);
	else if (s->state == SESSION_HELD && port_can_answer(port) && !port->move &&
		 (!port->link || port->link->state != LINK_UP))
		session_start_away(s);
}

void port_update(struct port *port)
{
	bool up, claimed;

	claims_settle(port);
	replace_update(port);
	/* Whoever waits is not the front-end's who may come with a session. */
	claimed = port->link && port->link->recovery;
	up = port->link && port->link->state == LINK_UP && !claimed;
	if (port->session) {
		if (!claimed)
			update_session(port, up && link_can_take(port->link));
		if (port->session)
			session_update_interest(port->session);
	} else if (port->conf->mode == PORT_CLIENT && up &&
		   !evtimer_pending(&port->retry_ev, NULL)) {
		/* The first attempt is for the loop to make: we may be deep in the end of a
		 * session. */
		if (port->count.sessions || port->retry_ms != PORT_RETRY_MIN_MS)
			port_retry(port);
		else
			event_active(&port->retry_ev, EV_TIMEOUT, 0);
	}
	if (port->link)
		link_update_interest(port->link);
	if (port->next)
		link_update_interest(port->next);
}
