// SPDX-License-Identifier: BSD-2-Clause
/*
 * vvu run: keeps one VMM running (decision 31).
 *
 *   RUNNING -> the VMM ends -> LOCKING (the pid file; cli.h) -> another pid is there: RUNNING, that one is watched
 *                                                            -> it is to be restarted: PAUSING -> LOCKING -> RUNNING
 *                                                            -> else the end
 *
 * The first restart is at once, for front-ends wait; a VMM that keeps dying young is restarted at growing
 * intervals. A VMM that vvu replace has put in place is no child of ours: how it ended is not known, and counts
 * as death. It is restarted as it was started, but for replace=on.
 *
 * Waiting for the lock would block, so a thread does it when the lock is taken. Nothing else happens meanwhile
 * but signals.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <getopt.h>
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/cli/cli.h"
#include "vmm/hostlib/control.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

#define NS_PER_S       UINT64_C(1000000000)
#define YOUNG_S	       10 /* dying before that counts against it */
#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS   5000
#define STOP_MS	       10000 /* for the VMM's clean stop, then it is killed */
#define STATUS_USAGE   2     /* vvu-vmm's exit status: no other try would do better */

enum run_state {
	RUN_RUNNING,
	RUN_LOCKING,
	RUN_PAUSING,
	RUN_OVER
};

struct run {
	struct event_base *base;
	const char *pid_file;
	const char *control_path;
	uint32_t max_restarts; /* in a row */
	bool limited;
	uint32_t young_s;
	char **argv;
	char *dir; /* of a VMM that was put in place; NULL: ours */

	enum run_state state;
	bool stopping;
	bool asked;  /* the VMM that runs was, to stop */
	bool killed; /* it did not stop in time, or not fast enough for whoever waits */
	int status;  /* ours, in the end */
	pid_t pid;   /* the VMM, also after its end */
	int pidfd;
	uint64_t since_ns; /* it was started, or found */
	uint64_t ended_ns; /* the end of the last one was noticed */
	bool ended;	   /* there has been one, and last_end says how it ended */
	struct proc_end last_end;
	bool due;	    /* the pause is over */
	unsigned int young; /* in a row */
	unsigned int pause_ms;
	uint32_t restarts;

	struct event *end;
	struct event *pause;
	struct event *stop;
	struct event *locked;
	pthread_t locker;
	int lock; /* the pid file, locked; -1 */
	struct notify *notify;
	struct control *control;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void set_timer(struct event *timer, unsigned int ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000,
				    .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	evtimer_add(timer, &tv);
}

static void over(struct run *r, int status)
{
	r->state = RUN_OVER;
	r->status = status;
	event_base_loopbreak(r->base);
}

/* --- the VMM --- */

static void on_end(evutil_socket_t fd, short what, void *arg);

static void watch(struct run *r, pid_t pid, int pidfd)
{
	r->pid = pid;
	r->pidfd = pidfd;
	r->since_ns = now_ns();
	r->asked = false;
	r->state = RUN_RUNNING;
	r->end = event_new(r->base, pidfd, EV_READ, on_end, r);
	if (!r->end || event_add(r->end, NULL))
		die("out of memory");
}

/* Passes a signal on; nothing when there is no VMM at the moment. */
static void pass_on(struct run *r, int sig)
{
	if (r->state == RUN_RUNNING && proc_signal(r->pidfd, sig) == -EPERM)
		log_warn(NULL, "may not send signal %d to the VMM, pid %d", sig, (int)r->pid);
}

static void stop_vmm(struct run *r)
{
	if (r->state != RUN_RUNNING)
		return;
	r->asked = true;
	pass_on(r, r->killed ? SIGKILL : SIGTERM);
	set_timer(r->stop, STOP_MS);
}

static bool same(char *const *a, char *const *b)
{
	while (*a && *b && !strcmp(*a, *b)) {
		a++;
		b++;
	}
	return !*a && !*b;
}

/*
 * The lock is ours. True: the pid file names a VMM that we do not know, which is ours to watch now. Before there was
 * one of ours the file may be old: then it is one that runs our very command, left by a vvu run that was killed.
 */
static bool adopt(struct run *r)
{
	pid_t pid = r->lock < 0 ? 0 : pidfile_read(r->lock);
	char **argv, *dir;
	int pidfd;

	if (!pid || pid == r->pid)
		return false;
	pidfd = proc_open(pid);
	argv = pidfd < 0 ? NULL : proc_argv(pid);
	dir = pidfd < 0 ? NULL : proc_dir(pid);
	if (!argv || !dir || vvu_options_replace(argv, NULL, false) < 0 ||
	    (!r->ended && !same(argv, r->argv))) {
		/* It was put in place, and has ended already: as if it had been watched. */
		r->last_end.known &= !r->ended;
		proc_free_argv(argv);
		free(dir);
		fd_close(&pidfd);
		return false;
	}
	proc_free_argv(r->argv);
	free(r->dir);
	r->argv = argv;
	r->dir = dir;
	r->young = 0;
	watch(r, pid, pidfd);
	log_info(NULL, "pid %d has taken over; watching it", (int)pid);
	return true;
}

static void restart_later(struct run *r);

static void start(struct run *r)
{
	const struct proc_start s = { .argv = r->argv,
				      .notify = notify_name(r->notify),
				      .dir = r->dir };
	int pidfd = -1, ret;
	pid_t pid = proc_start(&s, &pidfd);

	if (pid < 0) {
		log_error(NULL, "cannot start %s: %s", r->argv[0], strerror(-pid));
		if (!r->ended) {
			over(r, 1);
			return;
		}
		r->since_ns = now_ns();
		restart_later(r);
		return;
	}
	r->restarts += r->ended;
	watch(r, pid, pidfd);
	ret = r->lock < 0 ? 0 : pidfile_write(r->lock, pid);
	if (ret)
		log_warn(NULL, "--pid-file %s: %s", r->pid_file, strerror(-ret));
	log_debug(NULL, "started %s, pid %d", r->argv[0], (int)pid);
}

/* The VMM has died: when will it be started again? */
static void restart_later(struct run *r)
{
	bool young = now_ns() - r->since_ns < NS_PER_S * r->young_s;

	if (!young)
		r->young = 0;
	if (r->limited && r->young == r->max_restarts) {
		log_error(NULL, "started %u times in a row; giving up (--max-restarts)",
			  r->young + 1);
		over(r, 1);
		return;
	}
	r->pause_ms = 0;
	for (unsigned int i = 0; i < r->young && r->pause_ms < PAUSE_MAX_MS; i++)
		r->pause_ms = r->pause_ms ? 2 * r->pause_ms : PAUSE_FIRST_MS;
	if (r->pause_ms > PAUSE_MAX_MS)
		r->pause_ms = PAUSE_MAX_MS;
	r->young++;
	r->state = RUN_PAUSING;
	log_info(NULL, "restarting it in %u ms", r->pause_ms);
	set_timer(r->pause, r->pause_ms);
}

/* What follows from the end of the VMM; the lock is ours. */
static void after_end(struct run *r)
{
	const struct proc_end *e = &r->last_end;
	bool exited = e->known && !e->signalled;

	if (r->stopping)
		over(r, r->asked && e->known && (e->signalled || e->value) ? 1 : 0);
	else if (exited && (e->value == 0 || e->value == STATUS_USAGE))
		over(r, e->value);
	else
		restart_later(r);
}

static void unlock(struct run *r)
{
	if (r->state == RUN_OVER && r->lock >= 0 && pidfile_read(r->lock) == r->pid)
		unlink(r->pid_file);
	fd_close(&r->lock);
}

static void on_locked(evutil_socket_t fd, short what, void *arg)
{
	struct run *r = arg;

	if (what & EV_TIMEOUT) /* by the thread */
		pthread_join(r->locker, NULL);
	if (r->pid_file && r->lock < 0 && !r->ended)
		die("--pid-file %s: %s", r->pid_file, strerror(-r->lock));
	if (r->pid_file && r->lock < 0)
		log_warn(NULL, "--pid-file %s: %s", r->pid_file, strerror(-r->lock));
	if (adopt(r)) {
		if (r->stopping)
			stop_vmm(r);
	} else if (r->stopping && !r->ended) {
		over(r, 0);
	} else if (r->due && !r->stopping) {
		start(r);
	} else {
		after_end(r);
	}
	unlock(r);
}

static void *wait_for_lock(void *arg)
{
	struct run *r = arg;

	r->lock = pidfile_lock(r->pid_file, true, true);
	event_active(r->locked, EV_TIMEOUT, 0);
	return NULL;
}

/* Goes on in on_locked(); due: with a new VMM, unless another one is there. */
static void lock_then_go_on(struct run *r, bool due)
{
	sigset_t all, old;

	r->state = RUN_LOCKING;
	r->due = due;
	r->lock = r->pid_file ? pidfile_lock(r->pid_file, true, false) : -1;
	if (!r->pid_file || r->lock != -EWOULDBLOCK) {
		if (!r->pid_file)
			r->lock = -1;
		on_locked(-1, 0, r);
		return;
	}
	log_debug(NULL, "waiting: somebody replaces the VMM");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&r->locker, NULL, wait_for_lock, r))
		die("cannot start a thread: %m");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
	struct run *r = arg;
	char text[64];

	event_free(r->end);
	r->end = NULL;
	r->last_end = proc_end(r->pidfd);
	r->ended_ns = now_ns();
	r->ended = true;
	fd_close(&r->pidfd);
	event_del(r->stop);
	log_at(r->stopping ? LOG_L_DEBUG : LOG_L_INFO, NULL, "the VMM, pid %d, %s after %.1f s",
	       (int)r->pid, proc_end_text(&r->last_end, text, sizeof(text)),
	       (double)(r->ended_ns - r->since_ns) / (double)NS_PER_S);
	lock_then_go_on(r, false);
}

static void on_pause(evutil_socket_t fd, short what, void *arg)
{
	lock_then_go_on(arg, true);
}

/* --- from outside --- */

static void on_stop_signal(evutil_socket_t sig, short what, void *arg)
{
	struct run *r = arg;

	r->killed = r->stopping;
	r->stopping = true;
	if (r->state == RUN_PAUSING) {
		event_del(r->pause);
		lock_then_go_on(r, false);
	} else {
		stop_vmm(r);
	}
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
	struct run *r = arg;

	log_warn(NULL, "the VMM, pid %d, does not stop; killing it", (int)r->pid);
	r->killed = true;
	stop_vmm(r);
}

static void on_other_signal(evutil_socket_t sig, short what, void *arg)
{
	pass_on(arg, (int)sig);
}

static void on_notice(void *arg, const char *text)
{
	prog_notify(text);
}

static const char *state_name(const struct run *r)
{
	static const char *const names[] = { "running", "waiting", "pausing", "over" };

	return r->stopping ? "stopping" : names[r->state];
}

static int on_control(void *arg, const char *cmd, struct json_object *request,
		      struct json_object *reply, const char **error)
{
	const struct run *r = arg;
	struct json_object *command;
	char text[64];

	if (strcmp(cmd, "status"))
		return -ENOENT;
	command = json_object_new_array();
	for (char **a = r->argv; *a; a++)
		json_object_array_add(command, json_object_new_string(*a));
	json_object_object_add(reply, "state", json_object_new_string(state_name(r)));
	json_object_object_add(reply, "pid",
			       json_object_new_int(r->state == RUN_RUNNING ? r->pid : 0));
	json_object_object_add(reply, "restarts", json_object_new_int64(r->restarts));
	json_object_object_add(reply, "since_ns", json_object_new_int64((int64_t)r->since_ns));
	json_object_object_add(reply, "command", command);
	if (r->ended) {
		json_object_object_add(
			reply, "last_end",
			json_object_new_string(proc_end_text(&r->last_end, text, sizeof(text))));
		json_object_object_add(reply, "ended_ns",
				       json_object_new_int64((int64_t)r->ended_ns));
	}
	return 0;
}

/* --- set-up --- */

static struct event *add_signal(struct run *r, int sig, event_callback_fn fn)
{
	struct event *ev = evsignal_new(r->base, sig, fn, r);

	if (!ev || event_add(ev, NULL))
		die("cannot handle signal %d", sig);
	return ev;
}

static void set_up(struct run *r)
{
	if (!evthread_use_pthreads())
		r->base = event_base_new();
	if (!r->base || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		die("cannot set up the event loop: %m");
	r->pause = evtimer_new(r->base, on_pause, r);
	r->stop = evtimer_new(r->base, on_stop_timer, r);
	r->locked = event_new(r->base, -1, EV_PERSIST, on_locked, r);
	r->notify = notify_open(r->base, on_notice, r);
	if (!r->pause || !r->stop || !r->locked || !r->notify)
		die("cannot set up the event loop: %m");
	if (r->control_path) {
		r->control = control_open(r->base, r->control_path, on_control, r);
		if (!r->control)
			die("--control %s: %m", r->control_path);
	}
}

static int run(struct run *r)
{
	static const int stop[] = { SIGTERM, SIGINT }, other[] = { SIGHUP, SIGUSR1, SIGUSR2 };
	struct event *signals[5];
	unsigned int num = 0;

	set_up(r);
	for (unsigned int i = 0; i < 2; i++)
		signals[num++] = add_signal(r, stop[i], on_stop_signal);
	for (unsigned int i = 0; i < 3; i++)
		signals[num++] = add_signal(r, other[i], on_other_signal);
	lock_then_go_on(r, true);
	while (r->state != RUN_OVER)
		event_base_dispatch(r->base);

	while (num)
		event_free(signals[--num]);
	control_close(r->control);
	notify_close(r->notify);
	event_free(r->pause);
	event_free(r->stop);
	event_free(r->locked);
	event_base_free(r->base);
	return r->status;
}

static const char usage_text[] =
	"usage: vvu run [OPTION ...] -- vvu-vmm ARGUMENT ...\n"
	"Runs a back-end VM and starts it again when it dies.\n"
	"\n"
	"  --pid-file PATH      write the process ID of the VMM there\n"
	"  --control PATH       socket for status requests, one JSON object per line\n"
	"  --min-uptime SECONDS a VM that dies earlier is restarted after a pause (default 10)\n"
	"  --max-restarts N     give up after N such restarts in a row (default: never)\n"
	"  --log-level LEVEL    error, warn, info, debug or trace (default info)\n"
	"  --help\n";

/* False: --help was asked for. Bad usage ends the process. */
static bool parse(struct run *r, int argc, char *argv[])
{
	static const struct option options[] = { { "pid-file", required_argument, NULL, 'p' },
						 { "control", required_argument, NULL, 'c' },
						 { "max-restarts", required_argument, NULL, 'm' },
						 { "min-uptime", required_argument, NULL, 'u' },
						 { "log-level", required_argument, NULL, 'l' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (opt) {
		case 'p':
			r->pid_file = optarg;
			break;
		case 'c':
			r->control_path = optarg;
			break;
		case 'm':
			r->limited = true;
			if (prog_parse_u32(optarg, 0, 1000000, &r->max_restarts))
				die_usage("--max-restarts %s: give a number", optarg);
			break;
		case 'u':
			if (prog_parse_u32(optarg, 0, 1000000, &r->young_s))
				die_usage("--min-uptime %s: give seconds", optarg);
			break;
		case 'l':
			if (log_set_level(optarg))
				die_usage("--log-level %s: give error, warn, info, debug or trace",
					  optarg);
			break;
		case 'h':
			fputs(usage_text, stdout);
			return false;
		default:
			die_usage(opt == ':' ? "%s needs a value" : "unknown option %s",
				  argv[optind - 1]);
		}
	}
	if (optind == argc)
		die_usage("which VMM? vvu run [OPTION ...] -- vvu-vmm ARGUMENT ...");
	return true;
}

int cmd_run(int argc, char *argv[])
{
	struct run r = { .young_s = YOUNG_S, .pidfd = -1, .lock = -1 };
	int status = 0;

	if (parse(&r, argc, argv)) {
		r.argv = proc_copy_argv(argv + optind);
		if (!r.argv)
			die("out of memory");
		status = run(&r);
		proc_free_argv(r.argv);
		free(r.dir);
	}
	return status;
}
