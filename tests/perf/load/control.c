// SPDX-License-Identifier: BSD-2-Clause
/*
 * Commands: lines of JSON on a UNIX socket, one answer per line, one client at a time (others wait in the
 * backlog). Between runs this thread sleeps in poll(); during one it looks at the socket once per tick.
 */
#include "report.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hist.h"

#define LINE_BYTES 4096

struct control {
	int listener, client;
	char line[LINE_BYTES];
	size_t fill;
	bool stop_wanted, quit;
	struct result result;
	struct hist hist;
};

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 8)) {
		fprintf(stderr, "vvu-load: control socket %s: %s\n", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static void hang_up(struct control *c)
{
	if (c->client >= 0)
		close(c->client);
	c->client = -1;
	c->fill = 0;
}

/* Sends an answer and puts it. */
static void answer(struct control *c, struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	size_t len = strlen(text);

	while (len && c->client >= 0) {
		ssize_t n = send(c->client, text, len, MSG_NOSIGNAL);
		struct pollfd p = { .fd = c->client, .events = POLLOUT };

		if (n > 0) {
			text += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN || poll(&p, 1, 1000) <= 0) {
			hang_up(c);
		}
	}
	if (c->client >= 0 && send(c->client, "\n", 1, MSG_NOSIGNAL) != 1)
		hang_up(c);
	json_object_put(o);
}

static void answer_error(struct control *c, const char *text)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "error", json_object_new_string(text));
	answer(c, o);
}

static void answer_ok(struct control *c)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "ok", json_object_new_boolean(true));
	answer(c, o);
}

/*
 * The next line, or NULL when there is none yet. Accepts a client when there is none; never blocks. Valid until
 * the next call.
 */
static const char *next_line(struct control *c, char *line)
{
	char *end;
	ssize_t n;

	if (c->client < 0)
		c->client = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (c->client < 0)
		return NULL;
	if (!memchr(c->line, '\n', c->fill)) {
		n = recv(c->client, c->line + c->fill, LINE_BYTES - c->fill, 0);
		if (n <= 0 && (n == 0 || errno != EAGAIN)) {
			hang_up(c);
			return NULL;
		}
		c->fill += n > 0 ? (size_t)n : 0;
	}
	end = memchr(c->line, '\n', c->fill);
	if (!end) {
		if (c->fill == LINE_BYTES)
			hang_up(c);
		return NULL;
	}
	*end++ = '\0';
	strcpy(line, c->line);
	c->fill -= (size_t)(end - c->line);
	memmove(c->line, end, c->fill);
	return line;
}

static const char *command_of(struct json_object *o)
{
	struct json_object *cmd;

	return json_object_object_get_ex(o, "cmd", &cmd) ? json_object_get_string(cmd) : "";
}

/* During a run: counters, gaps and stop; anything else has to wait. */
static bool tick(struct load *l, void *arg, const struct snapshot *begin, uint64_t busy)
{
	struct control *c = arg;
	static char line[LINE_BYTES];
	static struct snapshot now;
	const char *text = next_line(c, line), *cmd;
	struct json_object *o;

	if (!text)
		return false;
	o = json_tokener_parse(text);
	cmd = o ? command_of(o) : "";
	if (!strcmp(cmd, "counters")) {
		snapshot_take(l, busy, &now);
		answer(c, report_window(l, begin, &now));
	} else if (!strcmp(cmd, "gaps")) {
		answer(c, report_gaps(l));
	} else if (!strcmp(cmd, "stop") || !strcmp(cmd, "quit")) {
		c->stop_wanted = true;
		c->quit = !strcmp(cmd, "quit");
	} else {
		answer_error(c, "a run is on: counters, gaps, stop or quit");
	}
	json_object_put(o);
	return c->stop_wanted;
}

/* Options of a command into l->now. */
static bool configure(struct control *c, struct load *l, struct json_object *o)
{
	char error[160];
	bool good = true;

	l->now = l->conf;
	json_object_object_foreach(o, key, value)
	{
		if (!strcmp(key, "cmd"))
			continue;
		if (good &&
		    conf_set(&l->now, key, json_object_get_string(value), error, sizeof(error)))
			good = false;
	}
	if (good && conf_check(&l->now, l, error, sizeof(error)))
		good = false;
	if (!good)
		answer_error(c, error);
	return good;
}

static void run(struct control *c, struct load *l, bool open_ended)
{
	int r;

	c->result.hist = &c->hist;
	c->stop_wanted = false;
	if (open_ended) {
		l->now.seconds = l->now.mode == MODE_RTT ? 86400 : 0;
		answer_ok(c);
	}
	r = (l->now.mode == MODE_RTT ? rtt_run : flood_run)(l, tick, c, &c->result);
	if (r)
		answer_error(c, "the run did not begin or was cut short; see the log");
	else
		answer(c, report_run(l, &c->result));
}

static void obey(struct control *c, struct load *l, const char *text)
{
	struct json_object *o = json_tokener_parse(text);
	const char *cmd;

	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		answer_error(c, "not a JSON object");
		return;
	}
	cmd = command_of(o);
	if (!strcmp(cmd, "window") || !strcmp(cmd, "start")) {
		if (configure(c, l, o))
			run(c, l, !strcmp(cmd, "start"));
	} else if (!strcmp(cmd, "info")) {
		answer(c, report_info(l));
	} else if (!strcmp(cmd, "quit")) {
		c->quit = true;
		answer_ok(c);
	} else {
		answer_error(c, "commands: window, start, info, quit");
	}
	json_object_put(o);
}

int control_serve(struct load *l)
{
	static struct control c;
	static char line[LINE_BYTES];

	c.client = -1;
	c.listener = listen_at(l->conf.control);
	if (c.listener < 0)
		return -1;
	printf("ready\n");
	fflush(stdout);
	while (!c.quit && !load_ending) {
		const char *text = next_line(&c, line);
		struct pollfd p = { .fd = c.client >= 0 ? c.client : c.listener, .events = POLLIN };

		if (text)
			obey(&c, l, text);
		else
			poll(&p, 1, 1000);
	}
	hang_up(&c);
	close(c.listener);
	unlink(l->conf.control);
	return 0;
}
