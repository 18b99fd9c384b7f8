// SPDX-License-Identifier: BSD-2-Clause
#include "vmm/hostlib/control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

#define CONTROL_CONNS_MAX 16
#define CONTROL_LINE_MAX  4096
#define CONTROL_OUTPUT_MAX                                                                         \
	(256u * 1024) /* a client that does not read its replies gets no further ones */

struct control_conn {
	struct control *control;
	struct bufferevent *bev;
	bool taken; /* control_take(): not ours any more */
	LIST_ENTRY(control_conn) next;
};

struct control {
	struct event_base *base;
	struct event *accept_ev;
	struct event *resume_ev;
	control_fn fn;
	void *arg;
	char *path;
	int sock;
	unsigned int num_conns;
	LIST_HEAD(, control_conn) conns;
	struct control_conn *asking; /* whose request is being handled */
};

static void conn_free(struct control_conn *conn)
{
	LIST_REMOVE(conn, next);
	conn->control->num_conns--;
	bufferevent_free(conn->bev);
	free(conn);
}

/* The reply to one line, as a new object. */
static struct json_object *answer(struct control *c, const char *line)
{
	struct json_object *reply = json_object_new_object();
	struct json_object *request = json_tokener_parse(line);
	struct json_object *cmd = NULL;
	const char *error = NULL;
	int ret = -EINVAL;

	if (!json_object_is_type(request, json_type_object) ||
	    !json_object_object_get_ex(request, "cmd", &cmd) ||
	    !json_object_is_type(cmd, json_type_string)) {
		error = "a request is one line: {\"cmd\":\"NAME\", ...}";
	} else {
		ret = c->fn(c->arg, json_object_get_string(cmd), request, reply, &error);
		if (ret == -ENOENT && !error)
			error = "unknown command";
		else if (ret && !error)
			error = strerror(-ret);
	}
	if (error || ret) {
		json_object_put(reply);
		reply = json_object_new_object();
		json_object_object_add(reply, "ok", json_object_new_boolean(false));
		json_object_object_add(reply, "error", json_object_new_string(error));
	} else {
		json_object_object_add(reply, "ok", json_object_new_boolean(true));
	}
	json_object_put(request);
	return reply;
}

static void on_line(struct bufferevent *bev, void *arg)
{
	struct control_conn *conn = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	struct evbuffer *out = bufferevent_get_output(bev);

	while (evbuffer_get_length(out) < CONTROL_OUTPUT_MAX) {
		char *line = evbuffer_readln(in, NULL, EVBUFFER_EOL_LF);
		struct json_object *reply;

		if (!line) {
			if (evbuffer_get_length(in) >= CONTROL_LINE_MAX) {
				log_peer(LOG_L_WARN, "control", "a request of more than %d bytes",
					 CONTROL_LINE_MAX);
				conn_free(conn);
			}
			return;
		}
		conn->control->asking = conn;
		reply = answer(conn->control, line);
		conn->control->asking = NULL;
		free(line);
		if (conn->taken) {
			json_object_put(reply);
			conn_free(conn);
			return;
		}
		evbuffer_add_printf(out, "%s\n",
				    json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN));
		json_object_put(reply);
	}
	/* on_written() goes on. */
	bufferevent_disable(bev, EV_READ);
}

static void on_written(struct bufferevent *bev, void *arg)
{
	if (bufferevent_get_enabled(bev) & EV_READ)
		return;
	bufferevent_enable(bev, EV_READ);
	on_line(bev, arg);
}

static void on_end(struct bufferevent *bev, short what, void *arg)
{
	conn_free(arg);
}

static void on_resume(evutil_socket_t sock, short what, void *arg)
{
	struct control *c = arg;

	event_add(c->accept_ev, NULL);
}

static void on_accept(evutil_socket_t sock, short what, void *arg)
{
	static const struct timeval pause = { .tv_usec = 100000 };
	struct control *c = arg;
	struct control_conn *conn;
	int fd = accept4((int)sock, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* Out of fds: the connection stays in the backlog, and must not turn the loop meanwhile. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			log_peer(LOG_L_WARN, "control", "accept: %s", strerror(errno));
			event_del(c->accept_ev);
			event_add(c->resume_ev, &pause);
		}
		return;
	}
	conn = c->num_conns < CONTROL_CONNS_MAX ? calloc(1, sizeof(*conn)) : NULL;
	if (conn)
		conn->bev = bufferevent_socket_new(c->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!conn || !conn->bev) {
		log_peer(LOG_L_WARN, "control", "connection refused: %d are open",
			 (int)c->num_conns);
		free(conn);
		close(fd);
		return;
	}
	conn->control = c;
	c->num_conns++;
	LIST_INSERT_HEAD(&c->conns, conn, next);
	bufferevent_setcb(conn->bev, on_line, on_written, on_end, conn);
	bufferevent_setwatermark(conn->bev, EV_READ, 0, CONTROL_LINE_MAX);
	bufferevent_enable(conn->bev, EV_READ);
}

struct control *control_serve(struct event_base *base, int sock, const char *path, control_fn fn,
			      void *arg)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c) {
		close(sock);
		return NULL;
	}
	*c = (struct control){ .base = base, .fn = fn, .arg = arg, .sock = sock };
	LIST_INIT(&c->conns);
	c->accept_ev = event_new(base, c->sock, EV_READ | EV_PERSIST, on_accept, c);
	c->resume_ev = event_new(base, -1, 0, on_resume, c);
	if (!control_set_file(c, path) || !c->accept_ev || !c->resume_ev ||
	    event_add(c->accept_ev, NULL) < 0) {
		control_close(c);
		return NULL;
	}
	return c;
}

struct control *control_open(struct event_base *base, const char *path, control_fn fn, void *arg)
{
	int sock = prog_listen_unix(path, SOCK_STREAM, 0600);
	struct control *c;

	if (sock < 0) {
		errno = -sock;
		return NULL;
	}
	c = control_serve(base, sock, path, fn, arg);
	if (!c) {
		unlink(path);
		errno = ENOMEM;
	}
	return c;
}

int control_socket(const struct control *c)
{
	return c->sock;
}

bool control_has_file(const struct control *c)
{
	return c->path != NULL;
}

bool control_set_file(struct control *c, const char *path)
{
	free(c->path);
	c->path = path ? strdup(path) : NULL;
	return !path || c->path;
}

int control_peer(const struct control *c)
{
	return (int)bufferevent_getfd(c->asking->bev);
}

int control_take(struct control *c)
{
	int fd = fcntl(control_peer(c), F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	c->asking->taken = true;
	return fd;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	while (!LIST_EMPTY(
		&c->conns)) /* conn_free() takes it off: NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		conn_free(LIST_FIRST(&c->conns));
	if (c->accept_ev)
		event_free(c->accept_ev);
	if (c->resume_ev)
		event_free(c->resume_ev);
	if (c->sock >= 0)
		close(c->sock);
	if (c->path)
		unlink(c->path);
	free(c->path);
	free(c);
}
