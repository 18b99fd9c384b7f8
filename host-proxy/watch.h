/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One socket and what we want to know about it. The event is embedded in the object that owns the
 * socket, and all changes of interest go through watch_set().
 *
 * A hang-up is always told, also while nothing is read: a peer that is gone must not keep its
 * session, and its fds, because its counterpart is slow. libevent's EV_CLOSED alone does not do: a
 * socket with a pending error (the peer closed it with our data unread) reports readable and
 * writable instead, and a watch for EV_CLOSED only would then turn the loop for ever. So the idle
 * watch asks, edge-triggered, for EV_WRITE as well.
 */
#ifndef HOST_PROXY_WATCH_H
#define HOST_PROXY_WATCH_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <stdbool.h>

struct watch {
	struct event ev;
	short events; /* what is asked for; 0: not added */
	int fd;
	struct event_base *base;
	event_callback_fn fn;
	void *arg;
};

static inline void watch_init(struct watch *w, struct event_base *base, int fd,
			      event_callback_fn fn, void *arg)
{
	w->events = 0;
	w->fd = fd;
	w->base = base;
	w->fn = fn;
	w->arg = arg;
}

/* Before the fd is closed. Fine when nothing was asked for. */
static inline void watch_clear(struct watch *w)
{
	if (w->events)
		event_del(&w->ev);
	w->events = 0;
}

/* 0, or -1 when the event cannot be added (out of memory). */
static inline int watch_set(struct watch *w, bool read, bool write)
{
	short events = EV_PERSIST;

	if (read)
		events |= EV_READ;
	if (write)
		events |= EV_WRITE;
	if (!read)
		events |= EV_CLOSED;
	if (!read && !write)
		events |= EV_WRITE | EV_ET;
	if (events == w->events)
		return 0;
	watch_clear(w);
	if (event_assign(&w->ev, w->base, w->fd, events, w->fn, w->arg) < 0 ||
	    event_add(&w->ev, NULL) < 0)
		return -1;
	w->events = events;
	return 0;
}

/* True when the peer of fd has gone. */
static inline bool watch_hung_up(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

#endif
