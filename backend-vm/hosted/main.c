// SPDX-License-Identifier: BSD-2-Clause
/*
 * vvu-backend: the appliance's device logic as a host process.
 *
 * The first thread is worker 0: rounds of the data path, events every now and then, and when there is nothing to do a
 * wait for events in which kicks are events too (core/poll.h). More workers (--cpus) are threads of hworker.c.
 */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/poll.h"
#include "core/stats.h"
#include "hosted/hconfine.h"
#include "hosted/hport.h"
#include "vmm/hostlib/control.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

/* Rounds between two looks at the clock, and the time between two looks for events while polling. */
#define ROUNDS_PER_CLOCK 16
#define EVENTS_EVERY_NS	 UINT64_C(200000)

struct backend {
	struct event_base *base;
	struct event *timeout;
	struct be_switch *sw;
	struct hworkers workers;
	struct be_options options;
	unsigned int cpus;
	struct poller poller;
	unsigned int num_ports;
	struct hport *ports[BE_PORTS_MAX];
	struct hport_conf confs[BE_PORTS_MAX];
	const char *control_path;
	struct control *control;
	struct sandbox_conf sandbox;
	uint64_t started_ns;
};

/* ---- command line ---- */

static const char usage[] =
	"Usage: vvu-backend --port NAME=SOCKET[,mode=server|client] [--port ...]\n"
	"                   [--cpus N] [--control PATH] [--log-level LEVEL]\n"
	"                   [--user USER] [--sandbox on|log|off]\n"
	"                   [APPLICATION [KEY=VALUE ...]]\n"
	"\n"
	"Serves vhost-user network front-ends with the device logic of the appliance.\n"
	"\n"
	"  --port NAME=SOCKET   a port and its UNIX socket; mode=client connects instead of "
	"listening\n"
	"  --cpus N             threads that move frames, 1 (default) to 8\n"
	"  --control PATH       socket that answers {\"cmd\":\"status\"} with one line of JSON\n"
	"  --user USER          become USER (name or number) before any socket is made\n"
	"  --sandbox on|log|off give up what is not needed (default on; log: refuse no system "
	"call,\n"
	"                       have the kernel log it)\n"
	"  --log-level LEVEL    error, warn, info (default), debug\n"
	"  --version, --help\n"
	"\n"
	"APPLICATION: switch (default) or echo. Keys: poll=always|adaptive[:US]|never, "
	"offload=on|off,\n"
	"mtu=BYTES, age=SECONDS, port.NAME.mac=ADDRESS, port.NAME.rate=BITS, "
	"port.NAME.pps=PACKETS.\n";

static int port_option(void *arg, const char *key, const char *value)
{
	struct hport_conf *conf = arg;

	if (!conf->name) {
		if (!value || !prog_valid_port_name(key))
			die_usage("--port %s: a port is NAME=SOCKET, NAME of letters, digits, '_', "
				  "'.', '-'",
				  key);
		conf->name = strdup(key);
		conf->path = strdup(value);
		if (!*value || !conf->name || !conf->path)
			die_usage("--port %s=: the socket's path is missing", key);
		return 0;
	}
	if (strcmp(key, "mode") || !value || (strcmp(value, "server") && strcmp(value, "client")))
		die_usage("--port %s: unknown option '%s'; mode=server or mode=client", conf->name,
			  key);
	conf->client = !strcmp(value, "client");
	return 0;
}

static void add_port(struct backend *b, const char *arg)
{
	struct hport_conf *conf = &b->confs[b->num_ports];

	if (b->num_ports == BE_PORTS_MAX)
		die_usage("--port %s: at most %d ports", arg, BE_PORTS_MAX);
	if (prog_each_option(arg, port_option, conf) || !conf->name)
		die_usage("--port '%s': a port is NAME=SOCKET[,mode=server|client]", arg);
	for (unsigned int i = 0; i < b->num_ports; i++) {
		if (!strcmp(b->confs[i].name, conf->name) || !strcmp(b->confs[i].path, conf->path))
			die_usage("--port %s: the same name or socket is given twice", arg);
	}
	conf->index = b->num_ports++;
	conf->options = &b->options;
}

static void parse_application(struct backend *b, char **words, int num)
{
	const char *names[BE_PORTS_MAX];
	struct text error;

	be_options_init(&b->options);
	for (int i = 0; i < num; i++) {
		if (be_options_word(&b->options, words[i], i == 0, &error))
			die_usage("%s", error.s);
	}
	if (b->options.num_names)
		die_usage("names= is for the appliance; here --port names the ports");
	for (unsigned int i = 0; i < b->num_ports; i++)
		names[i] = b->confs[i].name;
	if (be_options_check(&b->options, names, b->num_ports, &error))
		die_usage("%s", error.s);
}

static unsigned int cpus_option(const char *arg)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (*arg < '0' || *arg > '9' || *end || !n || n > WORKERS_MAX)
		die_usage("--cpus %s: 1 to %d", arg, WORKERS_MAX);
	return (unsigned int)n;
}

static void parse_command_line(struct backend *b, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "cpus", required_argument, NULL, 'n' },
		{ "control", required_argument, NULL, 'c' },
		{ "user", required_argument, NULL, 'u' },
		{ "sandbox", required_argument, NULL, 's' },
		{ "log-level", required_argument, NULL, 'l' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "+", longs, NULL)) >= 0) {
		switch (c) {
		case 'p':
			add_port(b, optarg);
			break;
		case 'n':
			b->cpus = cpus_option(optarg);
			break;
		case 'c':
			b->control_path = optarg;
			break;
		case 'u':
			b->sandbox.user = optarg;
			break;
		case 's':
			if (sandbox_parse_mode(optarg, &b->sandbox.mode))
				die_usage("--sandbox %s: on, log or off", optarg);
			break;
		case 'l':
			if (log_set_level(optarg))
				die_usage("--log-level %s: error, warn, info, debug or trace",
					  optarg);
			break;
		case 'v':
			prog_print_version("vvu-backend");
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			die_usage("try --help");
		}
	}
	if (!b->num_ports)
		die_usage("no --port given; try --help");
	parse_application(b, argv + optind, argc - optind);
}

/* ---- control ---- */

static int on_control(void *arg, const char *cmd, struct json_object *request,
		      struct json_object *reply, const char **error)
{
	struct backend *b = arg;
	struct json_object *ports, *counters;

	if (strcmp(cmd, "status")) {
		*error = "unknown command; there is only status";
		return -ENOENT;
	}
	json_object_object_add(reply, "application",
			       json_object_new_string(b->options.app == BE_APP_ECHO ? "echo"
										    : "switch"));
	json_object_object_add(
		reply, "uptime_ms",
		json_object_new_int64((int64_t)((hworkers_now_ns() - b->started_ns) / 1000000)));
	ports = json_object_new_array();
	for (unsigned int i = 0; i < b->num_ports; i++) {
		struct json_object *p = json_object_new_object();
		struct hport *hp = b->ports[i];

		json_object_object_add(p, "name", json_object_new_string(hp->port.name));
		json_object_object_add(p, "socket", json_object_new_string(hp->path));
		json_object_object_add(p, "connected", json_object_new_boolean(hp->sock >= 0));
		json_object_object_add(p, "rx_rings", json_object_new_int((int)hp->port.num_rx));
		json_object_object_add(p, "tx_rings", json_object_new_int((int)hp->port.num_tx));
		json_object_array_add(ports, p);
	}
	json_object_object_add(reply, "ports", ports);
	counters = json_object_new_object();
	for (unsigned int i = 0; i < stats_count(b->num_ports, b->cpus); i++) {
		char name[STATS_NAME_MAX + 1];

		stats_name(b->sw, i, name);
		json_object_object_add(counters, name,
				       json_object_new_int64((int64_t)stats_value(b->sw, i)));
	}
	json_object_object_add(reply, "counters", counters);
	sandbox_status(reply);
	return 0;
}

/* ---- life ---- */

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	/* Ends a wait. */
}

static void wait_events(struct backend *b, uint64_t now, uint64_t deadline)
{
	if (deadline != UINT64_MAX) {
		uint64_t us = (deadline - now) / 1000;
		struct timeval tv = { .tv_sec = (time_t)(us / 1000000),
				      .tv_usec = (suseconds_t)(us % 1000000) };

		event_add(b->timeout, &tv);
	}
	hport_calls_idle();
	event_base_loop(b->base, EVLOOP_ONCE);
	event_del(b->timeout);
}

static bool stopped(const struct backend *b)
{
	return event_base_got_exit(b->base) || event_base_got_break(b->base);
}

static void run(struct backend *b)
{
	struct worker *w = &b->sw->workers[0];
	uint64_t now = hworkers_now_ns(), last_events = 0, deadline;
	unsigned int rounds = 0;

	for (;;) {
		unsigned int frames = switch_poll(b->sw);

		b->workers.busy |= frames > 0;
		if (frames)
			poller_work(&b->poller, now);
		if (++rounds < ROUNDS_PER_CLOCK && (frames || poller_spins(&b->poller)))
			continue;
		rounds = 0;
		now = hworkers_now_ns();
		switch_set_time(b->sw, now);
		for (unsigned int i = 0; i < b->num_ports; i++)
			hport_reap(b->ports[i]);
		if (now - last_events >= EVENTS_EVERY_NS) {
			last_events = now;
			event_base_loop(b->base, EVLOOP_NONBLOCK);
			b->workers.polling = true;
			if (stopped(b))
				return;
		}
		b->workers.busy = frames > 0;
		if (frames || !poller_sleep(&b->poller, w, now, &deadline))
			continue;
		if (worker_fall_asleep(w)) {
			b->workers.polling = false;
			wait_events(b, now, deadline);
			worker_rise(w);
		}
		if (stopped(b))
			return;
		worker_disarm(w);
		now = hworkers_now_ns();
		last_events = now;
		switch_set_time(b->sw, now);
		poller_work(&b->poller, now);
	}
}

static void make_switch(struct backend *b)
{
	void *mem = aligned_alloc(64, ALIGN_UP(switch_bytes(b->cpus), (size_t)64));
	int ret;

	if (!mem)
		die("out of memory");
	b->sw = switch_make(mem, b->cpus);
	ret = hworkers_open(&b->workers, b->sw, &b->options, b->base);
	if (ret)
		die("cannot set up workers: %s", strerror(-ret));
}

/* Everything is open, no thread has been started. */
static void close_off(const struct backend *b)
{
	for (unsigned int i = 0; i < b->num_ports; i++)
		sandbox_place(b->confs[i].path, SANDBOX_DIR_WRITE);
	sandbox_place(b->control_path, SANDBOX_DIR_WRITE);
	sandbox_close_off(&b->sandbox, &hconfine_plan);
}

static void start(struct backend *b)
{
	struct text error;
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		die("getrandom: %s", strerror(errno));
	if (prog_stop_on_signals(b->base) || hport_signals())
		die("cannot set up signals: %s", strerror(errno));
	make_switch(b);
	b->timeout = event_new(b->base, -1, 0, on_timeout, NULL);
	if (!b->timeout)
		die("libevent: out of memory");
	for (unsigned int i = 0; i < b->num_ports; i++) {
		b->confs[i].sw = b->sw;
		b->confs[i].workers = &b->workers;
		b->confs[i].base = b->base;
		b->ports[i] = hport_open(&b->confs[i]);
		if (!b->ports[i])
			die("port %s cannot be opened; see the line above", b->confs[i].name);
		switch_add_port(b->sw, &b->ports[i]->port);
	}
	if (switch_init(b->sw, &b->options, seed, &error))
		die("%s", error.s);
	if (b->control_path) {
		b->control = control_open(b->base, b->control_path, on_control, b);
		if (!b->control)
			die("cannot open the control socket %s: %s", b->control_path,
			    strerror(errno));
	}
	prog_open_notify();
	close_off(b);
	if (hworkers_start(&b->workers))
		die("cannot start %u threads; see --cpus", b->cpus);
	b->started_ns = hworkers_now_ns();
	poller_init(&b->poller, &b->options, b->started_ns);
}

int main(int argc, char **argv)
{
	static struct backend b;

	log_open("vvu-backend");
	fd_raise_limit();
	b.base = event_base_new();
	if (!b.base)
		die("out of memory");
	b.cpus = 1;
	parse_command_line(&b, argc, argv);
	sandbox_become_user(&b.sandbox, NULL);
	start(&b);
	sandbox_confine(HCONFINE_MAIN);
	prog_ready();
	run(&b);

	hworkers_stop(&b.workers);
	control_close(b.control);
	for (unsigned int i = 0; i < b.num_ports; i++) {
		hport_close(b.ports[i]);
		free((void *)(uintptr_t)b.confs[i].name);
		free((void *)(uintptr_t)b.confs[i].path);
	}
	event_free(b.timeout);
	hworkers_close(&b.workers);
	event_base_free(b.base);
	libevent_global_shutdown();
	free(b.sw);
	return 0;
}
