// SPDX-License-Identifier: BSD-2-Clause
/*
 * vvu-proxy: the control plane of a host. It relays vhost-user messages between front-ends and the
 * virtio-vhost-user devices of back-end VMs, and never sees a frame.
 *
 * Start-up: 1 command line, 2 limits, user and signals, 3 sockets (ports, then links, then control), as far as
 * they are not given (given.h), and with --takeover what is connected to another proxy's (takeover.h), 4
 * what is not needed any more is given up (confine.h), 5 ready, 6 the loop. Whatever fails before 5 ends
 * the program with a line; after it, nothing that a peer does.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host-proxy/conf.h"
#include "host-proxy/confine.h"
#include "host-proxy/given.h"
#include "host-proxy/port.h"
#include "host-proxy/proxy.h"
#include "host-proxy/status.h"
#include "host-proxy/takeover.h"
#include "vmm/hostlib/control.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

/*
 * What a port needs with eight queues in use: listening socket, front-end, link, a second one
 * while VMMs change places, channel, ring positions, three eventfds a queue, eight regions of
 * memory, and the eight fds of a message under way.
 */
#define FDS_PER_PORT 46
#define FDS_OF_OURS  32

static void check_fd_limit(const struct proxy_conf *conf)
{
	uint64_t limit = fd_raise_limit();
	uint64_t ports = limit > FDS_OF_OURS ? (limit - FDS_OF_OURS) / FDS_PER_PORT : 0;

	if (ports < conf->num_ports)
		log_warn(NULL,
			 "%llu open files carry about %llu ports, not %u: raise the hard limit "
			 "(ulimit -Hn, systemd LimitNOFILE=)",
			 (unsigned long long)limit, (unsigned long long)ports, conf->num_ports);
}

static const char *remedy(int err)
{
	switch (err) {
	case EADDRINUSE:
		return " (another program listens there)";
	case ENOTSOCK:
		return " (a file that is no socket is in the way)";
	case ENOENT:
		return " (does its directory exist?)";
	case EACCES:
	case EPERM:
		return " (may this user write its directory?)";
	default:
		return "";
	}
}

/* True: another proxy has taken over. */
static bool run(struct proxy *p)
{
	/* One turn at a time: what ended during the turn is freed after it. */
	while (!event_base_got_exit(p->base)) {
		if (event_base_loop(p->base, EVLOOP_ONCE) < 0) {
			log_error(NULL, "the event loop failed: %s", strerror(errno));
			return false;
		}
		proxy_reap(p);
		if (p->takeover >= 0 && !replace_busy(p) && handover(p))
			return true;
	}
	return false;
}

static struct event_base *new_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	/* EV_CLOSED is what tells that a peer we don't read has gone. */
	if (config && event_config_require_features(config, EV_FEATURE_EARLY_CLOSE) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	return base;
}

static int on_command(void *arg, const char *cmd, struct json_object *request,
		      struct json_object *reply, const char **error)
{
	int ret;

	if (!strcmp(cmd, "takeover"))
		return handover_command(arg, request, error);
	ret = status_command(arg, cmd, request, reply, error);
	if (!ret)
		sandbox_status(reply);
	return ret;
}

static int open_control(struct proxy *p)
{
	const char *path = p->conf->control;
	int sock = path ? given_take(p->given, GIVEN_CONTROL, NULL) : -1;

	if (!path)
		return 0;
	errno = ENOMEM;
	if (sock >= 0)
		p->control = control_serve(p->base, sock, NULL, on_command, p);
	else
		p->control = control_open(p->base, path, on_command, p);
	return p->control ? 0 : -errno;
}

/* All sockets. False: what is missing was logged. */
static bool open_all(struct proxy *p, struct event_base *base, const struct proxy_conf *conf,
		     struct given *given)
{
	const char *what;
	int ret = proxy_open(p, base, conf, given, &what);

	if (!ret) {
		what = conf->control;
		ret = open_control(p);
	}
	if (ret) {
		log_error(NULL, "%s: %s%s", what, strerror(-ret), remedy(-ret));
		return false;
	}
	what = given_unused(given);
	if (what)
		log_error(NULL,
			  "socket activation: nothing uses \"%s\": FileDescriptorName= is the name "
			  "of a --port in server mode, \"link\", or, with --control, \"control\"",
			  what);
	given_free(given);
	return !what;
}

int main(int argc, char **argv)
{
	struct takeover *takeover = NULL;
	struct given given = { 0 };
	struct event_base *base;
	struct proxy_conf conf;
	struct proxy proxy;
	bool ok;

	log_open("vvu-proxy");
	conf_parse(&conf, argc, argv);
	check_fd_limit(&conf);
	if (!conf.takeover)
		given_from_systemd(&given);
	sandbox_become_user(&conf.sandbox, NULL);
	base = new_base();
	if (!base || prog_stop_on_signals(base) < 0)
		die("libevent gives no event loop with epoll");
	if (conf.takeover) {
		takeover = takeover_begin(&conf);
		takeover_sockets(takeover, &given);
	}
	ok = open_all(&proxy, base, &conf, &given);
	if (takeover && !ok) {
		control_close(proxy.control);
		proxy_close(&proxy);
		takeover_fail(takeover, "not all sockets can be opened");
	}
	if (takeover)
		takeover_state(takeover, &proxy);
	if (ok) {
		log_info(NULL, "%u port%s, links at %s", conf.num_ports,
			 conf.num_ports == 1 ? "" : "s", conf.link);
		prog_open_notify();
		confine_self(&conf);
		if (takeover)
			takeover_commit(takeover);
		prog_ready();
		if (run(&proxy))
			exit(0); /* nothing of it is ours any more */
	}
	control_close(proxy.control);
	proxy_close(&proxy);
	event_base_free(base);
	conf_free(&conf);
	return ok ? 0 : 1;
}
