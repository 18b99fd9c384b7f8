// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/conf.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

static const char help[] =
	"Usage: vvu-proxy --link PATH --port NAME=SOCKET[,OPTION...] [--port ...]\n"
	"\n"
	"Relays vhost-user control messages between front-ends (QEMU, DPDK, ...) and the\n"
	"virtio-vhost-user devices of back-end VMs. No frame passes through it.\n"
	"\n"
	"  --link PATH        socket that VMMs connect their devices to\n"
	"  --link-uid UID     accept links from this user too (and give it the socket)\n"
	"  --port NAME=SOCKET[,mode=server|client][,hold=SECONDS][,uid=UID][,gid=GID]\n"
	"                     a vhost-user endpoint; server: we listen (default), client: we\n"
	"                     connect. hold: how long a front-end may wait for its back-end\n"
	"                     (default 10). uid, gid: whose front-ends are served, as in\n"
	"                     uid=64055:1000 (default: whoever may open the socket)\n"
	"  --control PATH     socket for status requests, one JSON line each\n"
	"  --takeover PATH    take sockets, links and sessions over from the proxy whose "
	"--control\n"
	"                     this is; it ends when this one serves\n"
	"  --user USER        become USER (name or number) before any socket is made\n"
	"  --sandbox on|log|off\n"
	"                     give up what is not needed (default on; log: refuse no system call,\n"
	"                     have the kernel log it)\n"
	"  --log-level LEVEL  error, warn, info (default), debug, trace\n"
	"  --help, --version\n"
	"\n"
	"Example: one port for a QEMU started with\n"
	"  -chardev socket,id=c,path=/run/vvu/a.sock,reconnect=1\n"
	"and a VMM started with --vvu link=/run/vvu/link.sock,port=a:\n"
	"  vvu-proxy --link /run/vvu/link.sock --port a=/run/vvu/a.sock\n";

enum {
	OPT_LINK = 256,
	OPT_LINK_UID,
	OPT_PORT,
	OPT_CONTROL,
	OPT_TAKEOVER,
	OPT_USER,
	OPT_SANDBOX,
	OPT_LOG_LEVEL,
	OPT_HELP,
	OPT_VERSION
};

static const struct option options[] = {
	{ "link", required_argument, NULL, OPT_LINK },
	{ "link-uid", required_argument, NULL, OPT_LINK_UID },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "takeover", required_argument, NULL, OPT_TAKEOVER },
	{ "user", required_argument, NULL, OPT_USER },
	{ "sandbox", required_argument, NULL, OPT_SANDBOX },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static char *copy(const char *text)
{
	char *s = strdup(text);

	if (!s)
		die("out of memory");
	return s;
}

static char *socket_path(const char *option, const char *path)
{
	if (!*path)
		die_usage("%s: the path of the socket is empty", option);
	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		die_usage("%s: a socket's path has at most %zu bytes: %s", option,
			  sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, path);
	return copy(path);
}

static void access_option(const struct port_conf *port, struct access_list *list, const char *key,
			  const char *value)
{
	int ret = value ? access_add(list, value) : -EINVAL;

	if (ret == -ENOSPC)
		die_usage("--port %s: more than %d values of %s", port->name, ACCESS_IDS_MAX, key);
	if (ret)
		die_usage("--port %s: %s is a number, or several with ':' between them: %s",
			  port->name, key, value ? value : "");
}

static int port_option(void *arg, const char *key, const char *value)
{
	struct port_conf *port = arg;

	/* The first item is NAME=SOCKET. */
	if (!port->socket) {
		if (!value || !prog_valid_port_name(key))
			die_usage("--port: expected NAME=SOCKET, NAME of at most %d letters, "
				  "digits and _.-: %s",
				  LINK_PORT_NAME_MAX, key);
		memcpy(port->name, key, strlen(key) + 1);
		port->socket = socket_path("--port", value);
		return 0;
	}
	if (!strcmp(key, "mode") && value && !strcmp(value, "server"))
		port->mode = PORT_SERVER;
	else if (!strcmp(key, "mode") && value && !strcmp(value, "client"))
		port->mode = PORT_CLIENT;
	else if (!strcmp(key, "mode"))
		die_usage("--port %s: mode is server or client", port->name);
	else if (!strcmp(key, "uid"))
		access_option(port, &port->access.uids, key, value);
	else if (!strcmp(key, "gid"))
		access_option(port, &port->access.gids, key, value);
	else if (strcmp(key, "hold"))
		die_usage("--port %s: no such option: %s", port->name, key);
	else if (!value || prog_parse_u32(value, 0, CONF_HOLD_S_MAX, &port->hold_s) < 0)
		die_usage("--port %s: hold is a number of seconds, 0 to %d", port->name,
			  CONF_HOLD_S_MAX);
	return 0;
}

static void add_port(struct proxy_conf *conf, const char *spec)
{
	struct port_conf *port;

	if (conf->num_ports == CONF_PORTS_MAX)
		die_usage("more than %d ports", CONF_PORTS_MAX);
	conf->ports = realloc(conf->ports, (conf->num_ports + 1) * sizeof(*conf->ports));
	if (!conf->ports)
		die("out of memory");
	port = &conf->ports[conf->num_ports++];
	*port = (struct port_conf){ .hold_s = CONF_HOLD_S };
	if (prog_each_option(spec, port_option, port) < 0)
		die_usage("--port: too long");
}

static void check_paths(const struct proxy_conf *conf)
{
	if (conf->control && !strcmp(conf->control, conf->link))
		die_usage("--control and --link name the same socket: %s", conf->link);
	for (unsigned int i = 0; i < conf->num_ports; i++) {
		const struct port_conf *port = &conf->ports[i];

		if (!strcmp(port->socket, conf->link) ||
		    (conf->control && !strcmp(port->socket, conf->control)))
			die_usage("--port %s: its socket is that of --link or --control: %s",
				  port->name, port->socket);
		for (unsigned int j = 0; j < i; j++) {
			if (!strcmp(port->name, conf->ports[j].name))
				die_usage("--port %s is given twice", port->name);
			if (!strcmp(port->socket, conf->ports[j].socket))
				die_usage("ports %s and %s have the same socket: %s",
					  conf->ports[j].name, port->name, port->socket);
		}
	}
}

static void apply(struct proxy_conf *conf, int option, const char *value)
{
	switch (option) {
	case OPT_LINK:
		free(conf->link);
		conf->link = socket_path("--link", value);
		return;
	case OPT_LINK_UID:
		/* (uid_t)-1 means "nobody" to the kernel. */
		if (prog_parse_u32(value, 0, UINT32_MAX - 1, &conf->link_uid) < 0)
			die_usage("--link-uid: not a user ID: %s", value);
		conf->has_link_uid = true;
		return;
	case OPT_PORT:
		add_port(conf, value);
		return;
	case OPT_CONTROL:
		free(conf->control);
		conf->control = socket_path("--control", value);
		return;
	case OPT_TAKEOVER:
		free(conf->takeover);
		conf->takeover = socket_path("--takeover", value);
		return;
	case OPT_USER:
		if (!*value)
			die_usage("--user: the name of the user is empty");
		conf->sandbox.user = value;
		return;
	case OPT_SANDBOX:
		if (sandbox_parse_mode(value, &conf->sandbox.mode) < 0)
			die_usage("--sandbox is on, log or off, not %s", value);
		return;
	case OPT_LOG_LEVEL:
		if (log_set_level(value) < 0)
			die_usage("--log-level is error, warn, info, debug or trace, not %s",
				  value);
		return;
	case OPT_HELP:
		fputs(help, stdout);
		exit(0);
	case OPT_VERSION:
		prog_print_version("vvu-proxy");
		exit(0);
	default:
		die_usage("cannot make sense of the command line");
	}
}

void conf_parse(struct proxy_conf *conf, int argc, char **argv)
{
	*conf = (struct proxy_conf){ 0 };
	opterr = 0; /* one line, in our own form */
	for (;;) {
		int option = getopt_long(argc, argv, ":", options, NULL);

		if (option == -1)
			break;
		if (option == ':')
			die_usage("%s needs a value", argv[optind - 1]);
		if (option == '?')
			die_usage("no such option: %s", argv[optind - 1]);
		apply(conf, option, optarg);
	}
	if (optind < argc)
		die_usage("unexpected argument: %s", argv[optind]);
	if (!conf->link)
		die_usage("--link PATH is missing: where back-end VMs connect");
	if (!conf->num_ports)
		die_usage("--port NAME=SOCKET is missing: at least one");
	check_paths(conf);
}

void conf_free(struct proxy_conf *conf)
{
	for (unsigned int i = 0; i < conf->num_ports; i++)
		free(conf->ports[i].socket);
	free(conf->ports);
	free(conf->link);
	free(conf->control);
	free(conf->takeover);
	*conf = (struct proxy_conf){ 0 };
}
