/* SPDX-License-Identifier: BSD-2-Clause */
/* What relay.c and translate.c share. */
#ifndef HOST_PROXY_RELAY_PRIV_H
#define HOST_PROXY_RELAY_PRIV_H

#include "host-proxy/relay.h"

/* A message on its way through. */
struct passage {
	struct link_packet pkt;
	const int *fds; /* borrowed from the message or from the record */
	unsigned int num_fds;
	bool expects_reply;
	bool changes_memory;
	bool stops_rings; /* that were running */
	const char *why;  /* detail of a broken rule, or NULL */
};

/* What is special about a message: the record, which may take fds of in, and the copy in p that is
 * sent. */
enum vu_rule relay_translate(struct session *s, struct wire_msg *in, struct passage *p);

#endif
