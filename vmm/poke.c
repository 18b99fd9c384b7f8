// SPDX-License-Identifier: BSD-2-Clause
#include "vmm/poke.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define POKE_LIMIT_NS 10000000L

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void on_alarm(int sig)
{
	(void)sig; /* it is there to interrupt a write() */
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void install_handler(void)
{
	struct sigaction sa = { .sa_handler = on_alarm }; /* no SA_RESTART */

	sigaction(SIGALRM, &sa, NULL);
}

/* The timer repeats, so that it does not matter whether it fires before the write begins. */
static int arm(timer_t *timer)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	struct itimerspec when = { .it_value = { .tv_nsec = POKE_LIMIT_NS },
				   .it_interval = { .tv_nsec = POKE_LIMIT_NS } };

	event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, timer))
		return -1;
	if (timer_settime(*timer, 0, &when, NULL)) {
		timer_delete(*timer);
		return -1;
	}
	return 0;
}

void poke_eventfd(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	sigset_t alarm_set, old;
	timer_t timer;
	int flags;

	/* Not writable: the counter is full, which is as signalled as can be. */
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return;
	flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	pthread_once(&once, install_handler);
	sigemptyset(&alarm_set);
	sigaddset(&alarm_set, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &alarm_set, &old);
	if (!arm(&timer)) {
		eventfd_write(fd, 1);
		timer_delete(timer);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}
