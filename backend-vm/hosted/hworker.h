/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers of the hosted back-end. Worker 0 is the thread that runs libevent (main.c); each further one is a thread with
 * an epoll of its own for the kicks of its rings.
 */
#ifndef BACKEND_HOSTED_HWORKER_H
#define BACKEND_HOSTED_HWORKER_H

#include <event2/event_struct.h>
#include <pthread.h>

#include "core/poll.h"
#include "core/switch.h"

struct hworkers;

struct hworker {
	struct hworkers *all;
	struct worker *w;
	pthread_t thread;
	int epfd;
	int wake_fd; /* an eventfd, edge-triggered: written, never read */
	bool running;
};

struct hworkers {
	struct be_switch *sw;
	const struct be_options *options;
	unsigned int num;
	uint32_t stop;
	bool busy;	      /* worker 0: frames are being forwarded */
	bool polling;	      /* worker 0: it has looked for events since it slept */
	struct event wake_ev; /* of worker 0 */
	struct hworker workers[WORKERS_MAX];
};

/* Before ports are opened: everything but the threads. 0 or -errno. */
int hworkers_open(struct hworkers *hw, struct be_switch *sw, const struct be_options *options,
		  struct event_base *base);
/* The switch is set up: the threads begin. 0 or -errno. */
int hworkers_start(struct hworkers *hw);
/* Ends the threads. */
void hworkers_stop(struct hworkers *hw);
void hworkers_close(struct hworkers *hw);

/* Ends the sleep of a worker, or its next one. From any thread, and from signal handlers. */
void hworkers_wake(struct hworkers *hw, unsigned int worker);

/* Has a kick eventfd of a port wake a worker other than 0, or not any more. 0 or -errno. */
int hworkers_watch(struct hworkers *hw, unsigned int worker, int fd, unsigned int port);
void hworkers_unwatch(struct hworkers *hw, unsigned int worker, int fd);

/* CLOCK_MONOTONIC. */
uint64_t hworkers_now_ns(void);

#endif
