/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control sockets: every program's --control PATH. One JSON object per request line, one JSON line as reply:
 *
 *   {"cmd":"status"}  ->  {"ok":true, ...}        {"cmd":"nope"}  ->  {"ok":false,"error":"unknown command ..."}
 *
 * The socket is a UNIX stream, mode 0600. Clients are few and trusted (same user), but bounded: 16 connections, 4096
 * bytes a line.
 */
#ifndef VMM_HOSTLIB_CONTROL_H
#define VMM_HOSTLIB_CONTROL_H

#include <json-c/json.h>

struct event_base;
struct control;

/*
 * Handles one command; request is borrowed. Adds to reply, which has "ok":true set afterwards unless an error
 * is returned: then "error" is *error (static text). 0 or -errno; -ENOENT: unknown command.
 */
typedef int (*control_fn)(void *arg, const char *cmd, struct json_object *request,
			  struct json_object *reply, const char **error);

/* Listens at path, replacing a stale socket file. NULL and errno on failure. */
struct control *control_open(struct event_base *base, const char *path, control_fn fn, void *arg);
/* Closes every connection and removes the socket file. NULL is fine. */
void control_close(struct control *c);

#endif
