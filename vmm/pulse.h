/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A beat for every 100 ms of processor time that this process uses: a vCPU that runs, or hangs in the kernel, is looked
 * after ten times a second, and a VM that sleeps costs nothing.
 */
#ifndef VMM_PULSE_H
#define VMM_PULSE_H

#include <stdbool.h>
#include <time.h>

struct event;
struct event_base;

struct pulse {
	timer_t timer;
	bool there;
	unsigned int users;
	struct event *event;
	void (*beat)(void *arg);
	void *arg;
};

/*
 * beat(arg) will be called on the main loop; not before somebody holds the pulse. One per process, since it takes a
 * signal (SIGVTALRM). 0 or -errno.
 */
int pulse_init(struct pulse *pulse, struct event_base *base, void (*beat)(void *arg), void *arg);
void pulse_free(struct pulse *pulse);
/* One user more or less, from any thread; the caller keeps users apart by a lock. */
void pulse_hold(struct pulse *pulse);
void pulse_release(struct pulse *pulse);

#endif
