// SPDX-License-Identifier: BSD-2-Clause
#include "hosted/hport.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "hosted/hwindow.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

#define RETRY_FIRST_MS	100
#define RETRY_MAX_MS	3000
#define REFUSE_PAUSE_MS 100
#define CALL_LIMIT_NS	10000000

/* ---- notifying peers ---- */

/* The signal must interrupt the thread that writes, so each has a timer of its own. */
static _Thread_local timer_t guard;
static _Thread_local bool guard_on;

static void guard_set(bool on)
{
	struct sigevent to = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	struct itimerspec every = {
		.it_value.tv_nsec = CALL_LIMIT_NS,
		.it_interval.tv_nsec = CALL_LIMIT_NS,
	};

	if (on == guard_on)
		return;
	guard_on = on;
	if (!on) {
		timer_delete(guard);
		return;
	}
	to._sigev_un._tid = gettid();
	if (timer_create(CLOCK_MONOTONIC, &to, &guard))
		guard_on = false;
	else
		timer_settime(guard, 0, &every, NULL);
}

void hport_calls_idle(void)
{
	guard_set(false);
}

void hport_dead(struct hport *hp, const char *why)
{
	__atomic_store_n(&hp->dead, why, __ATOMIC_RELEASE);
	switch_ask_attention(hp->sw);
	hworkers_wake(hp->workers, 0);
}

static void on_alarm(int sig)
{
	/* Interrupts a blocked write, no more. */
}

int hport_signals(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };

	if (sigaction(SIGALRM, &sa, NULL))
		return -errno;
	return hwindow_catch_sigbus();
}

/*
 * Adds 1 to a peer's eventfd. The peer can make that block (clear O_NONBLOCK, fill the counter): a periodic
 * signal bounds the wait, and the session then ends.
 */
static void signal_peer(struct hport *hp, int fd)
{
	static const uint64_t one = 1;

	if (fd < 0)
		return;
	guard_set(true);
	/* EAGAIN: plenty of calls are pending already. */
	if (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		hport_dead(hp, "writing its call eventfd blocks");
}

/* ---- core/be.h ---- */

static int op_send(void *ctx, const struct vhost_user_msg *msg)
{
	struct hport *hp = ctx;
	int ret = wire_send(hp->sock, msg, NULL, 0);

	/* It has hung up: what it sent before is handled first, then reading finds out. */
	if (ret == -EPIPE || ret == -ECONNRESET)
		return 0;
	/* A front-end that leaves so many replies unread that the socket is full will never read them. */
	return ret == -EAGAIN ? -EMSGSIZE : ret;
}

static void *op_window_begin(void *ctx, const struct vhost_user_region *region, unsigned int index,
			     const char **why)
{
	struct hport *hp = ctx;

	return hwindow_map(hp, hp->reader.in.fds[index], region, why);
}

static int op_window_step(void *ctx, void *window)
{
	return 1;
}

static void op_window_end(void *ctx, void *window, uint64_t size)
{
	hwindow_unmap(ctx, window);
}

/* Takes the fd of the message in hand into *slot. */
static int take_eventfd(struct hport *hp, int *slot, bool present, const char **why)
{
	fd_close(slot);
	if (!present)
		return 0;
	if (fd_check_eventfd(hp->reader.in.fds[0], why))
		return -EINVAL;
	*slot = hp->reader.in.fds[0];
	hp->reader.in.fds[0] = -1;
	return 0;
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	/* Its only purpose is to end a wait; edge-triggered, so that nothing needs to be read. */
	struct hport_kick *k = arg;
	struct hport *hp = k->hp;

	if (k->worker)
		hworkers_wake(hp->workers, k->worker);
	else
		worker_kicked(&hp->sw->workers[0], &hp->port, hp->workers->polling);
}

static void kick_unwatch(struct hport_kick *k)
{
	if (k->fd < 0)
		return;
	if (k->event)
		event_del(&k->ev);
	else
		hworkers_unwatch(k->hp->workers, k->worker, k->fd);
	k->event = false;
}

static void kick_drop(struct hport *hp, unsigned int queue)
{
	kick_unwatch(&hp->kicks[queue]);
	fd_close(&hp->kicks[queue].fd);
}

/* Watched in worker 0's thread, whichever worker it is for. */
static int kick_watch(struct hport_kick *k, unsigned int worker)
{
	k->worker = worker;
	event_assign(&k->ev, k->hp->base, k->fd, EV_READ | EV_ET | EV_PERSIST, on_kick, k);
	k->event = !event_add(&k->ev, NULL);
	return k->event ? 0 : -EINVAL;
}

static int op_bind_kick(void *ctx, unsigned int queue, bool present, const char **why)
{
	struct hport *hp = ctx;
	struct hport_kick *k = &hp->kicks[queue];
	int ret;

	kick_drop(hp, queue);
	ret = take_eventfd(hp, &k->fd, present, why);
	/* Nobody waits for receive rings: their kicks say that there are more buffers. */
	if (ret || !present || !vring_is_tx(queue))
		return ret;
	ret = kick_watch(k, 0);
	if (ret) {
		*why = "the kick eventfd cannot be watched";
		fd_close(&k->fd);
	}
	return ret;
}

/* What cannot be watched by its worker is passed on by worker 0, which costs a wake-up more. */
static void op_route_kick(void *ctx, unsigned int queue, unsigned int worker)
{
	struct hport *hp = ctx;
	struct hport_kick *k = &hp->kicks[queue];

	if (k->fd < 0 || k->worker == worker)
		return;
	kick_unwatch(k);
	k->worker = worker;
	if (!worker || hworkers_watch(hp->workers, worker, k->fd, hp->port.index))
		kick_watch(k, worker);
}

static void op_hold_kick(void *ctx, unsigned int queue, bool hold, unsigned int worker)
{
	struct hport *hp = ctx;
	struct hport_kick *k = &hp->kicks[queue];

	if (k->fd < 0)
		return;
	kick_unwatch(k);
	k->worker = worker;
	if (!hold && (!worker || hworkers_watch(hp->workers, worker, k->fd, hp->port.index)))
		kick_watch(k, worker);
}

static int op_bind_call(void *ctx, unsigned int queue, bool present, const char **why)
{
	struct hport *hp = ctx;

	return take_eventfd(hp, &hp->call_fd[queue], present, why);
}

static int op_bind_err(void *ctx, unsigned int queue, bool present, const char **why)
{
	struct hport *hp = ctx;

	return take_eventfd(hp, &hp->err_fd[queue], present, why);
}

static int op_bind_backend_req(void *ctx, const char **why)
{
	struct hport *hp = ctx;

	if (hp->backend_req_fd >= 0) {
		*why = vu_rule_text(VU_RULE_DUPLICATE);
		return -EINVAL;
	}
	if (fd_check_unix_stream(hp->reader.in.fds[0], why))
		return -EINVAL;
	hp->backend_req_fd = hp->reader.in.fds[0];
	hp->reader.in.fds[0] = -1;
	return 0;
}

static void op_call(void *ctx, unsigned int queue)
{
	struct hport *hp = ctx;

	signal_peer(hp, hp->call_fd[queue]);
}

static void op_err(void *ctx, unsigned int queue)
{
	struct hport *hp = ctx;

	signal_peer(hp, hp->err_fd[queue]);
}

static void op_log(void *ctx, enum be_log_level level, const char *port, const char *text)
{
	static const enum log_level levels[] = { LOG_L_ERROR, LOG_L_WARN, LOG_L_INFO, LOG_L_DEBUG };

	if (level == BE_LOG_DEBUG)
		log_debug(port, "%s", text);
	else
		log_peer(levels[level], port, "%s", text);
}

static const struct be_ops hosted_ops = {
	.send = op_send,
	.window_begin = op_window_begin,
	.window_step = op_window_step,
	.window_end = op_window_end,
	.bind_kick = op_bind_kick,
	.route_kick = op_route_kick,
	.hold_kick = op_hold_kick,
	.bind_call = op_bind_call,
	.bind_err = op_bind_err,
	.bind_backend_req = op_bind_backend_req,
	.call = op_call,
	.err = op_err,
	.log = op_log,
};

/* ---- sessions ---- */

static void set_timer(struct event *ev, unsigned int ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(ev, &tv);
}

/* why NULL: the front-end hung up, or we are stopping. */
static void session_end(struct hport *hp, const char *why)
{
	if (why)
		log_peer(LOG_L_WARN, hp->port.name, "session ended: %s", why);
	else
		log_peer(LOG_L_INFO, hp->port.name, "front-end disconnected");
	event_del(&hp->sock_ev);
	event_del(&hp->budget_ev);
	budget_pay(&hp->budget, hworkers_now_ns(), 0, false, BUDGET_SESSION_NS);
	/* Until the fds are closed, too: other workers may be about to write them. */
	switch_pause(hp->sw);
	port_disconnect(&hp->port);
	switch_port_down(hp->sw, &hp->port);
	wire_reader_reset(&hp->reader);
	fd_close(&hp->sock);
	fd_close(&hp->backend_req_fd);
	for (unsigned int i = 0; i < PORT_VRINGS; i++) {
		kick_drop(hp, i);
		fd_close(&hp->call_fd[i]);
		fd_close(&hp->err_fd[i]);
	}
	hp->dead = NULL;
	switch_resume(hp->sw);
	if (hp->client)
		set_timer(&hp->retry_ev, hp->retry_ms);
}

/* One whole message is in the reader. 0, or the session must end. */
static int session_message(struct hport *hp)
{
	struct wire_msg *in = &hp->reader.in;
	uint64_t start = hworkers_now_ns(), least_ns = budget_message_ns(&in->msg);
	int ret;

	log_debug(hp->port.name, "%s, %u bytes, %u fds", vu_frontend_name(in->msg.hdr.request),
		  in->msg.hdr.size, in->num_fds);
	ret = port_message(&hp->port, &in->msg, in->num_fds);
	while (!ret && port_busy(&hp->port))
		ret = port_step(&hp->port);
	fds_close(in->fds, in->num_fds);
	wire_reader_next(&hp->reader);
	budget_pay(&hp->budget, start, hworkers_now_ns() - start, hp->workers->busy, least_ns);
	return ret;
}

static void on_budget(evutil_socket_t fd, short what, void *arg)
{
	struct hport *hp = arg;

	event_add(&hp->sock_ev, NULL);
}

/* A port that has used up its budget is not read until it has one again; its socket fills up. */
static void session_wait(struct hport *hp)
{
	uint64_t now = hworkers_now_ns(), at = budget_ok_at(&hp->budget);

	if (budget_ok(&hp->budget, now))
		return;
	hp->port.counters[CTR_CONTROL_WAITS]++;
	event_del(&hp->sock_ev);
	set_timer(&hp->budget_ev, at > now ? (unsigned int)((at - now) / 1000000) + 1 : 0);
}

static void on_sock(evutil_socket_t fd, short what, void *arg)
{
	struct hport *hp = arg;
	enum vu_rule rule;
	int ret;

	/* One message at a time: the data path and other ports go on in between. */
	ret = wire_read(&hp->reader, hp->sock, &rule);
	if (ret == 0)
		return;
	if (ret == 1) {
		if (session_message(hp))
			session_end(hp, hp->port.reason.s);
		else
			session_wait(hp);
	} else if (ret == -EPROTO) {
		session_end(hp, vu_rule_text(rule));
	} else {
		session_end(hp, ret == -ECONNRESET ? NULL : strerror(-ret));
	}
}

static void session_begin(struct hport *hp, int sock)
{
	hp->sock = sock;
	hp->retry_ms = RETRY_FIRST_MS;
	wire_reader_init(&hp->reader);
	event_assign(&hp->sock_ev, hp->base, sock, EV_READ | EV_PERSIST, on_sock, hp);
	event_add(&hp->sock_ev, NULL);
	port_connect(&hp->port);
	log_peer(LOG_L_INFO, hp->port.name, "front-end connected");
}

/* Makes room when the front-end has hung up but its turn in the loop, or its budget, has not come. */
static bool is_busy(struct hport *hp)
{
	struct pollfd p = { .fd = hp->sock, .events = POLLRDHUP };

	if (hp->sock >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)))
		session_end(hp, NULL);
	return hp->sock >= 0;
}

static void on_listen(evutil_socket_t fd, short what, void *arg)
{
	struct hport *hp = arg;
	int sock = accept4(hp->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (sock < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		log_peer(LOG_L_WARN, hp->port.name, "accept: %s", strerror(errno));
	} else if (!is_busy(hp)) {
		session_begin(hp, sock);
		if (budget_ok(&hp->budget, hworkers_now_ns()))
			return;
		/* Front-ends that come and go all the time. */
	} else {
		log_peer(LOG_L_WARN, hp->port.name,
			 "has a front-end already, a second one was refused");
		close(sock);
	}
	/* Not again at once: a client that retries in a loop, or no fds, must not keep us busy. */
	event_del(&hp->listen_ev);
	set_timer(&hp->retry_ev, REFUSE_PAUSE_MS);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct hport *hp = arg;
	int sock;

	if (!hp->client) {
		event_add(&hp->listen_ev, NULL);
		return;
	}
	sock = prog_connect_unix(hp->path, SOCK_STREAM);
	if (sock >= 0) {
		session_begin(hp, sock);
		return;
	}
	log_debug(hp->port.name, "connecting to %s: %s", hp->path, strerror(-sock));
	hp->retry_ms = hp->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : hp->retry_ms * 2;
	set_timer(&hp->retry_ev, hp->retry_ms);
}

void hport_reap(struct hport *hp)
{
	const char *why = __atomic_load_n(&hp->dead, __ATOMIC_ACQUIRE);

	if (!why)
		return;
	if (hp->sock >= 0)
		session_end(hp, why);
	hp->dead = NULL;
}

/* ---- life ---- */

static int hport_start(struct hport *hp)
{
	event_assign(&hp->retry_ev, hp->base, -1, 0, on_retry, hp);
	event_assign(&hp->budget_ev, hp->base, -1, 0, on_budget, hp);
	if (hp->client) {
		set_timer(&hp->retry_ev, 0);
		return 0;
	}
	hp->listen_fd = prog_listen_unix(hp->path, SOCK_STREAM, 0600);
	if (hp->listen_fd < 0) {
		int err = -hp->listen_fd;

		hp->listen_fd = -1;
		log_error(hp->port.name, "cannot listen at %s: %s%s", hp->path, strerror(err),
			  err == EADDRINUSE ? "; another program serves this socket" : "");
		return -err;
	}
	event_assign(&hp->listen_ev, hp->base, hp->listen_fd, EV_READ | EV_PERSIST, on_listen, hp);
	return event_add(&hp->listen_ev, NULL);
}

struct hport *hport_open(const struct hport_conf *conf)
{
	/* Zeroed pages that are touched only where used: a port is mostly ring state. */
	struct hport *hp = calloc(1, sizeof(*hp));
	struct port_conf pc = {
		.name = conf->name,
		.index = conf->index,
		.ops = &hosted_ops,
		.ctx = hp,
		.mem_slots = true,
		.options = conf->options,
	};

	if (!hp) {
		log_error(conf->name, "out of memory");
		return NULL;
	}
	port_init(&hp->port, &pc);
	hp->sw = conf->sw;
	hp->workers = conf->workers;
	hp->base = conf->base;
	hp->client = conf->client;
	hp->retry_ms = RETRY_FIRST_MS;
	hp->listen_fd = hp->sock = hp->backend_req_fd = -1;
	for (unsigned int i = 0; i < PORT_VRINGS; i++) {
		hp->kicks[i].hp = hp;
		hp->kicks[i].fd = hp->call_fd[i] = hp->err_fd[i] = -1;
	}
	hp->path = strdup(conf->path);
	if (!hp->path || hport_start(hp)) {
		free(hp->path);
		free(hp);
		return NULL;
	}
	return hp;
}

void hport_close(struct hport *hp)
{
	if (!hp)
		return;
	if (hp->sock >= 0)
		session_end(hp, NULL);
	event_del(&hp->retry_ev);
	event_del(&hp->budget_ev);
	if (hp->listen_fd >= 0) {
		event_del(&hp->listen_ev);
		fd_close(&hp->listen_fd);
		unlink(hp->path);
	}
	free(hp->path);
	free(hp);
}
