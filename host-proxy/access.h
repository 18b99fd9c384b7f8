/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may be a port's front-end: the rule of --port's uid= and gid=.
 *
 * The peer is the process that connected, or with mode=client the one that listens; the kernel noted its user and
 * effective group at that moment (SO_PEERCRED). Each of the two lists that is there must name it. Without lists the
 * socket's permissions alone decide.
 */
#ifndef HOST_PROXY_ACCESS_H
#define HOST_PROXY_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACCESS_IDS_MAX 16

struct access_list {
	unsigned int num; /* 0: anybody */
	uint32_t ids[ACCESS_IDS_MAX];
};

struct access_rule {
	struct access_list uids;
	struct access_list gids;
};

/* Adds the numbers of "7" or "7:8:9". 0; -EINVAL: not such a list; -ENOSPC: more than ACCESS_IDS_MAX in all. */
int access_add(struct access_list *list, const char *text);

/*
 * True when the peer of this UNIX socket passes. Else `why` tells, for the line: the peer's pid, uid and gid, and the
 * rule that it breaks.
 */
bool access_check(const struct access_rule *rule, int sock, char *why, size_t bytes);

#endif
