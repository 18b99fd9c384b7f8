/* SPDX-License-Identifier: BSD-2-Clause */
/* What all hosted programs do alike: option values, listening sockets, being ready, stopping. */
#ifndef VMM_HOSTLIB_PROG_H
#define VMM_HOSTLIB_PROG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;

/* "64M", "2G", "4096": with K, M, G, T suffixes of 1024. 0 or -EINVAL (empty, not a number, overflow). */
int prog_parse_size(const char *text, uint64_t *out);
int prog_parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *out);

/*
 * Walks "a=1,b=2,c": calls fn for each key and value (value NULL when there is no '='). Stops at the first
 * non-zero return and returns it. Keys and values are copies valid during the call. -EINVAL: a key or value
 * longer than 4095 bytes.
 */
int prog_each_option(const char *list, int (*fn)(void *arg, const char *key, const char *value),
		     void *arg);

/* [A-Za-z0-9_.-], 1..63 characters, first one alphanumeric. */
bool prog_valid_port_name(const char *name);

/*
 * A listening AF_UNIX socket at path, non-blocking, close-on-exec; type SOCK_STREAM or SOCK_SEQPACKET; mode as
 * given. A stale socket file (nobody listens) is replaced; a live one gives -EADDRINUSE. Returns the fd or -errno.
 */
int prog_listen_unix(const char *path, int type, unsigned int mode);
/* Connects, non-blocking. The fd (connected), or -errno (-ECONNREFUSED, -ENOENT: nobody there yet). */
int prog_connect_unix(const char *path, int type);
/* uid of the peer of a UNIX socket. */
int prog_peer_uid(int sock, unsigned int *uid);
/* pid of the peer of a UNIX socket, for log lines (it may have ended since). */
int prog_peer_pid(int sock, int *pid);

/*
 * Tells whoever started us, by $NOTIFY_SOCKET as sd_notify(3) does; nothing when that is not set. prog_open_notify()
 * connects, which takes what the sandbox takes away; it says so itself when it fails, which is no reason to end.
 */
int prog_open_notify(void);
void prog_notify(const char *text);

/* Prints "ready" on standard error and tells systemd (sd_notify READY=1 through $NOTIFY_SOCKET), once. */
void prog_ready(void);

/* Ends base's loop on SIGTERM and SIGINT (a second signal ends the process), ignores SIGPIPE. */
int prog_stop_on_signals(struct event_base *base);

/* Handles --version and --help text printing. */
void prog_print_version(const char *program);

#endif
