/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of vvu-proxy, as one struct. */
#ifndef HOST_PROXY_CONF_H
#define HOST_PROXY_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/link.h"
#include "host-proxy/access.h"
#include "vmm/hostlib/sandbox.h"

#define CONF_PORTS_MAX	1024
#define CONF_HOLD_S	10
#define CONF_HOLD_S_MAX 3600

enum port_mode {
	PORT_SERVER, /* we listen, front-ends connect */
	PORT_CLIENT, /* front-ends listen, we connect */
};

struct port_conf {
	char name[LINK_PORT_NAME_MAX + 1];
	char *socket;
	enum port_mode mode;
	uint32_t hold_s; /* how long a front-end waits for its back-end */
	struct access_rule access;
};

struct proxy_conf {
	char *link;
	char *control;	/* or NULL */
	char *takeover; /* control socket of the proxy to take over from, or NULL */
	uint32_t link_uid;
	bool has_link_uid;
	unsigned int num_ports;
	struct port_conf *ports;
	struct sandbox_conf sandbox; /* the user is a word of the command line */
};

/*
 * Reads the command line. Exits with a line for --help and --version (0) and for whatever makes no
 * sense (2). What it allocates is freed by conf_free().
 */
void conf_parse(struct proxy_conf *conf, int argc, char **argv);
void conf_free(struct proxy_conf *conf);

#endif
