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
#include <stdbool.h>

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
/*
 * Serves a socket that listens already, and is taken in any case. path: the file to remove at the end; NULL: none.
 * NULL: out of memory.
 */
struct control *control_serve(struct event_base *base, int sock, const char *path, control_fn fn,
			      void *arg);
/* Closes every connection and removes the socket file. NULL is fine. */
void control_close(struct control *c);

/* The listening socket, which stays c's. */
int control_socket(const struct control *c);
/* Whether there is a file to remove. */
bool control_has_file(const struct control *c);
/* Which file to remove at the end; NULL: none. False: out of memory. */
bool control_set_file(struct control *c, const char *path);

/* Within a control_fn: the connection that the request came on, which stays c's. */
int control_peer(const struct control *c);
/*
 * Within a control_fn: a duplicate of that connection, which is the caller's, or -errno. The reply is not sent, and c
 * lets the connection go.
 */
int control_take(struct control *c);

#endif
