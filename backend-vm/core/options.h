/* SPDX-License-Identifier: BSD-2-Clause */
/* Command line of the appliance and of vvu-backend: APPLICATION [KEY=VALUE ...] (docs/man/vvu-appliance.7). */
#ifndef VVU_CORE_OPTIONS_H
#define VVU_CORE_OPTIONS_H

#include <stdbool.h>

#include "core/text.h"

#define BE_PORTS_MAX	 32
#define BE_PORT_NAME_MAX 63
#define BE_POLL_US_MAX	 1000000
#define BE_OPTION_MACS	 64
#define BE_RATE_MIN	 1000 /* bits a second */

enum be_application {
	BE_APP_SWITCH,
	BE_APP_ECHO
};
enum be_poll {
	BE_POLL_ADAPTIVE,
	BE_POLL_ALWAYS,
	BE_POLL_NEVER
};

struct be_options {
	enum be_application app;
	enum be_poll poll;
	uint32_t poll_us; /* adaptive: how long to look for work before sleeping */
	bool offload;
	uint16_t mtu; /* 0: not set */
	uint32_t age; /* seconds, 0: never */
	unsigned int num_names;
	char names[BE_PORTS_MAX][BE_PORT_NAME_MAX + 1];
	unsigned int num_macs;
	struct be_option_mac {
		char port[BE_PORT_NAME_MAX + 1];
		uint64_t mac; /* fdb_mac() */
	} macs[BE_OPTION_MACS];
	unsigned int num_limits;
	struct be_option_limit {
		char port[BE_PORT_NAME_MAX + 1];
		uint64_t bits; /* a second, 0: not given */
		uint64_t packets;
	} limits[BE_PORTS_MAX];
};

void be_options_init(struct be_options *o);

/* Takes one word. first: it may be the application. 0, or -EINVAL with one line in *error. */
int be_options_word(struct be_options *o, const char *word, bool first, struct text *error);

/* Takes a whole command line, words separated by blanks. */
int be_options_line(struct be_options *o, const char *line, struct text *error);

/* The limits of a port, or NULL. */
const struct be_option_limit *be_options_limit(const struct be_options *o, const char *port);

/* Checks what can be checked only when the ports are known. */
int be_options_check(const struct be_options *o, const char *const *ports, unsigned int num,
		     struct text *error);

#endif
