// SPDX-License-Identifier: BSD-2-Clause
/*
 * A timer on the processor time of the process. The kernel looks at it in its own tick, and only while a thread of ours
 * runs: nothing is armed, and nobody woken, for a VM whose vCPUs sleep.
 *
 * System calls: timer_create, timer_settime, timer_delete.
 */
#include "vmm/pulse.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>

#define BEAT_NS	     100000000L
#define PULSE_SIGNAL SIGVTALRM

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
	struct pulse *pulse = arg;

	pulse->beat(pulse->arg);
}

int pulse_init(struct pulse *pulse, struct event_base *base, void (*beat)(void *arg), void *arg)
{
	struct sigevent how = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = PULSE_SIGNAL };
	int ret;

	*pulse = (struct pulse){ .beat = beat, .arg = arg };
	pulse->event = evsignal_new(base, PULSE_SIGNAL, on_beat, pulse);
	if (!pulse->event)
		return -ENOMEM;
	if (evsignal_add(pulse->event, NULL) < 0) {
		ret = -EIO;
		goto out_event;
	}
	if (timer_create(CLOCK_PROCESS_CPUTIME_ID, &how, &pulse->timer) < 0) {
		ret = -errno;
		goto out_event;
	}
	pulse->there = true;
	return 0;

out_event:
	event_free(pulse->event);
	pulse->event = NULL;
	return ret;
}

void pulse_free(struct pulse *pulse)
{
	if (!pulse->there)
		return;
	timer_delete(pulse->timer);
	event_free(pulse->event);
	pulse->there = false;
}

static void set(struct pulse *pulse, long ns)
{
	const struct itimerspec every = { .it_value.tv_nsec = ns, .it_interval.tv_nsec = ns };

	if (pulse->there)
		timer_settime(pulse->timer, 0, &every, NULL);
}

void pulse_hold(struct pulse *pulse)
{
	if (pulse->users++ == 0)
		set(pulse, BEAT_NS);
}

void pulse_release(struct pulse *pulse)
{
	if (--pulse->users == 0)
		set(pulse, 0);
}
