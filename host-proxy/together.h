/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sessions that were lost with one VM come back together.
 *
 * The next VM is told of each session on its own link, and one would have a sender before it has the
 * receiver: frames between the two had no port to go to. So a replay starts the rings that the
 * device writes to, and then waits until all others that were lost with it (the group) are as far;
 * only then come the rings that the device reads from. Nobody waits long: after 100 ms, counted from
 * the first that waits, the group is none any more. A session that is alone never waits.
 *
 * In a replacement (replace.h) all that is missing is the start of rings, and one that does not come ends
 * the replacement for all. So such a one is waited for until then, however late the machine makes it.
 */
#ifndef HOST_PROXY_TOGETHER_H
#define HOST_PROXY_TOGETHER_H

#include <stdbool.h>

struct proxy;
struct session;

/* Around all else of the proxy. */
void together_open(struct proxy *p);
void together_close(struct proxy *p);

/* The back-end of s has gone with the VMM of that pid (0: unknown, no group). */
void together_lost(struct session *s, int pid);
/* s is over: nobody is to wait for it. */
void together_over(struct session *s);

/* True when there is anybody to wait for. */
bool together_has_others(const struct session *s);
/* s is REPLAY, and its receivers run. False: not yet; port_update() is called when it may go on. */
bool together_may_send(struct session *s);

#endif
