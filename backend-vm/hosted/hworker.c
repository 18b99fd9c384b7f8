// SPDX-License-Identifier: BSD-2-Clause
#include "hosted/hworker.h"

#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "hosted/hconfine.h"
#include "hosted/hport.h"
#include "vmm/hostlib/fds.h"

#define ROUNDS_PER_CLOCK 16
#define EVENTS_MAX	 32
#define NO_PORT		 BE_PORTS_MAX /* of the eventfd that workers wake each other with */

uint64_t hworkers_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- waking ---- */

void hworkers_wake(struct hworkers *hw, unsigned int worker)
{
	static const uint64_t one = 1;

	/* The count never gets full: a wake-up per nanosecond would take centuries. */
	if (write(hw->workers[worker].wake_fd, &one, sizeof(one)) < 0)
		return;
}

static void op_wake(void *ctx, unsigned int worker)
{
	hworkers_wake(ctx, worker);
}

/* Another worker's thread may be waiting for this CPU. */
static void op_relax(void *ctx)
{
	sched_yield();
}

int hworkers_watch(struct hworkers *hw, unsigned int worker, int fd, unsigned int port)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u32 = port };

	return epoll_ctl(hw->workers[worker].epfd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

void hworkers_unwatch(struct hworkers *hw, unsigned int worker, int fd)
{
	epoll_ctl(hw->workers[worker].epfd, EPOLL_CTL_DEL, fd, NULL);
}

/* ---- the loop ---- */

/* Until a kick, hworkers_wake(), or the deadline. Nothing is read: events are edges. Returns the ports that kicked. */
static uint32_t hworker_wait(const struct hworker *h, uint64_t now, uint64_t deadline)
{
	struct epoll_event events[EVENTS_MAX];
	uint32_t ports = 0;
	int ms = -1, num;

	if (deadline != UINT64_MAX)
		ms = (int)((deadline - now + 999999) / 1000000);
	hport_calls_idle();
	num = epoll_wait(h->epfd, events, EVENTS_MAX, ms);
	for (int i = 0; i < num; i++) {
		if (events[i].data.u32 < NO_PORT)
			ports |= BIT_U32(events[i].data.u32);
	}
	return ports;
}

/* Sleeps if it is time to. */
static void hworker_sleep(struct hworker *h, struct poller *p, uint64_t now)
{
	struct worker *w = h->w;
	uint32_t kicked = 0;
	uint64_t deadline;

	if (!poller_sleep(p, w, now, &deadline))
		return;
	if (worker_fall_asleep(w)) {
		kicked = hworker_wait(h, now, deadline);
		worker_rise(w);
	}
	for (; kicked; kicked &= kicked - 1)
		worker_kicked(w, w->sw->ports[__builtin_ctz(kicked)], false);
	worker_disarm(w);
	poller_work(p, hworkers_now_ns());
}

static void *hworker_main(void *arg)
{
	struct hworker *h = arg;
	struct hworkers *hw = h->all;
	struct poller poller;
	unsigned int rounds = 0;
	bool worked = false;
	uint64_t now = hworkers_now_ns();

	sandbox_confine(HCONFINE_WORKER);
	worker_rise(h->w);
	poller_init(&poller, hw->options, now);
	while (!__atomic_load_n(&hw->stop, __ATOMIC_ACQUIRE)) {
		bool work = worker_round(h->w) > 0;

		worked |= work;
		if (++rounds < ROUNDS_PER_CLOCK && (work || poller_spins(&poller)))
			continue;
		rounds = 0;
		now = hworkers_now_ns();
		worker_set_time(h->w, now);
		if (worked)
			poller_work(&poller, now);
		else
			hworker_sleep(h, &poller, now);
		worked = false;
	}
	/* Nobody waits for it any more. */
	worker_leave(h->w);
	hport_calls_idle();
	return NULL;
}

/* ---- life ---- */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	/* Ends a wait. */
}

int hworkers_open(struct hworkers *hw, struct be_switch *sw, const struct be_options *options,
		  struct event_base *base)
{
	struct switch_ops ops = { .wake = op_wake, .relax = op_relax, .ctx = hw };

	hw->sw = sw;
	hw->options = options;
	hw->num = sw->num_workers;
	for (unsigned int i = 0; i < hw->num; i++) {
		struct hworker *h = &hw->workers[i];

		h->all = hw;
		h->w = &sw->workers[i];
		h->epfd = -1;
		h->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (h->wake_fd < 0)
			return -errno;
		if (i == 0)
			continue;
		h->epfd = epoll_create1(EPOLL_CLOEXEC);
		if (h->epfd < 0 || hworkers_watch(hw, i, h->wake_fd, NO_PORT))
			return -errno;
	}
	event_assign(&hw->wake_ev, base, hw->workers[0].wake_fd, EV_READ | EV_ET | EV_PERSIST,
		     on_wake, hw);
	if (event_add(&hw->wake_ev, NULL))
		return -ENOMEM;
	switch_set_ops(sw, &ops);
	return 0;
}

int hworkers_start(struct hworkers *hw)
{
	sigset_t all, old;
	int ret = 0;

	/* Signals that stop the program are worker 0's; SIGALRM and SIGBUS go to the thread they are for. */
	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned int i = 1; i < hw->num && !ret; i++) {
		struct hworker *h = &hw->workers[i];

		ret = -pthread_create(&h->thread, NULL, hworker_main, h);
		h->running = !ret;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

void hworkers_stop(struct hworkers *hw)
{
	__atomic_store_n(&hw->stop, 1, __ATOMIC_RELEASE);
	for (unsigned int i = 1; i < hw->num; i++) {
		if (!hw->workers[i].running)
			continue;
		hworkers_wake(hw, i);
		pthread_join(hw->workers[i].thread, NULL);
		hw->workers[i].running = false;
	}
}

void hworkers_close(struct hworkers *hw)
{
	event_del(&hw->wake_ev);
	for (unsigned int i = 0; i < hw->num; i++) {
		fd_close(&hw->workers[i].wake_fd);
		fd_close(&hw->workers[i].epfd);
	}
}
