// SPDX-License-Identifier: BSD-2-Clause
/*
 * vvu replace: a new VMM takes the ports of an old one over (decision 31). The proxy does it, all ports at once;
 * this here starts the new one, and sees to it that the old one goes.
 *
 *   the new one starts, links, boots              the old one serves
 *   READY: all ports are its own                  it ends by itself, for it has none any more; else it is asked to
 *   SILENT: it does not get a port                it is killed, and the proxy goes on without it
 *
 * The new VMM is not our child for long: it goes on when we are done. If it dies first, or is not ready in
 * time, the old one stays.
 */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/cli.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

#define LEAVE_MS    1000 /* for the old VMM to end by itself when it has nothing left to do */
#define STOP_MS	    5000 /* for its clean stop */
#define TIMEOUT_S   60
#define TIMEOUT_MAX 86400

struct replace {
	struct event_base *base;
	const char *link;
	const char *pid_file;
	uint32_t timeout_s;
	char **argv;

	int lock;
	pid_t old_pid;
	int old_pidfd;
	bool old_gone;
	bool old_asked; /* SIGTERM was sent */
	pid_t new_pid;
	int new_pidfd;
	bool new_ready;
	int status;
	struct event *old_end, *new_end, *leave, *timeout, *signals[2];
	struct notify *notify;
};

static void over(struct replace *r, int status)
{
	r->status = status;
	event_base_loopbreak(r->base);
}

static void set_timer(struct event *timer, unsigned int ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000,
				    .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	evtimer_add(timer, &tv);
}

static void write_pid(const struct replace *r, pid_t pid)
{
	int ret = pidfile_write(r->lock, pid);

	if (ret)
		log_warn(NULL, "--pid-file %s: %s", r->pid_file, strerror(-ret));
}

static void go_on(struct replace *r)
{
	if (r->new_ready && r->old_gone) {
		log_info(NULL, "pid %d serves in place of pid %d", (int)r->new_pid,
			 (int)r->old_pid);
		over(r, 0);
	} else if (r->new_ready) {
		set_timer(r->leave, LEAVE_MS);
	}
}

/* The new one is not to be, if the old one still serves. */
static void give_up(struct replace *r, const char *why)
{
	if (r->old_gone) {
		log_error(NULL, "%s, and the old VMM is gone; leaving pid %d to itself", why,
			  (int)r->new_pid);
	} else {
		log_error(NULL, "%s; pid %d serves on", why, (int)r->old_pid);
		proc_signal(r->new_pidfd, SIGKILL);
		proc_end(r->new_pidfd);
		write_pid(r, r->old_pid);
	}
	over(r, 1);
}

static void on_notice(void *arg, const char *text)
{
	struct replace *r = arg;

	if (notify_has(text, "READY=1") && !r->new_ready) {
		r->new_ready = true;
		event_del(r->timeout);
		go_on(r);
	}
	if (notify_has(text, "X_VVU_SILENT=1") && !r->old_gone) {
		log_warn(NULL, "the old VMM, pid %d, does not stop serving; killing it",
			 (int)r->old_pid);
		proc_signal(r->old_pidfd, SIGKILL);
	}
}

static void on_leave(evutil_socket_t fd, short what, void *arg)
{
	struct replace *r = arg;

	if (r->old_asked)
		log_warn(NULL, "the old VMM, pid %d, does not end; killing it", (int)r->old_pid);
	proc_signal(r->old_pidfd, r->old_asked ? SIGKILL : SIGTERM);
	r->old_asked = true;
	set_timer(r->leave, STOP_MS);
}

static void on_old_end(evutil_socket_t fd, short what, void *arg)
{
	struct replace *r = arg;

	r->old_gone = true;
	event_del(r->leave);
	go_on(r);
}

static void on_new_end(evutil_socket_t fd, short what, void *arg)
{
	struct replace *r = arg;
	struct proc_end end = proc_end(r->new_pidfd);
	char text[64];

	proc_end_text(&end, text, sizeof(text));
	log_error(NULL, "the new VMM %s; %s", text,
		  r->old_gone ? "the old one is gone, too" : "the old one serves on");
	if (!r->old_gone)
		write_pid(r, r->old_pid);
	over(r, 1);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct replace *r = arg;
	char text[64];

	snprintf(text, sizeof(text), "the new VMM is not ready after %u s", r->timeout_s);
	give_up(r, text);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	give_up(arg, "asked to stop");
}

/* --- set-up --- */

static struct event *add(struct replace *r, int fd, short what, event_callback_fn fn)
{
	struct event *ev = event_new(r->base, fd, what, fn, r);

	if (!ev || ((what & (EV_READ | EV_SIGNAL)) && event_add(ev, NULL)))
		die("cannot set up the event loop: %m");
	return ev;
}

/* The new VM has a device for that port of the link. */
static bool new_has_port(const struct replace *r, const char *port, size_t len)
{
	const char *value;

	for (unsigned int at = 0; (value = vvu_option(r->argv, &at)); at++) {
		size_t bytes;
		const char *other = vvu_option_port(value, &bytes);

		if (other && bytes == len && !strncmp(other, port, len) &&
		    vvu_option_links(value, r->link))
			return true;
	}
	return false;
}

/* A port that is left is nobody's when the old VM ends. */
static void check_port(const struct replace *r, const char *value)
{
	size_t len;
	const char *port = vvu_option_port(value, &len);

	if (port && !new_has_port(r, port, len))
		die("port %.*s of the old VMM, pid %d, is not among the new one's: give it a --vvu "
		    "option, too",
		    (int)len, port, (int)r->old_pid);
}

/* The pid in the file must be a VMM of that link: the file may be old, and the number another process's by now. */
static void find_old(struct replace *r)
{
	char **argv;
	const char *value;
	bool links = false;

	r->lock = pidfile_lock(r->pid_file, false, false);
	if (r->lock == -EWOULDBLOCK)
		die("--pid-file %s: another vvu has it; try again later", r->pid_file);
	if (r->lock < 0)
		die("--pid-file %s: %s; is there a VMM to replace?", r->pid_file,
		    strerror(-r->lock));
	r->old_pid = pidfile_read(r->lock);
	if (!r->old_pid)
		die("--pid-file %s: no process ID in it", r->pid_file);
	r->old_pidfd = proc_open(r->old_pid);
	if (r->old_pidfd < 0)
		die("--pid-file %s: pid %d: %s; nothing to replace", r->pid_file, (int)r->old_pid,
		    strerror(-r->old_pidfd));
	argv = proc_argv(r->old_pid);
	for (unsigned int at = 0; argv && (value = vvu_option(argv, &at)); at++) {
		if (!vvu_option_links(value, r->link))
			continue;
		links = true;
		check_port(r, value);
	}
	proc_free_argv(argv);
	if (!links)
		die("--pid-file %s: pid %d is no VMM with --vvu link=%s", r->pid_file,
		    (int)r->old_pid, r->link);
}

static void start_new(struct replace *r)
{
	const struct proc_start s = { .argv = r->argv,
				      .notify = notify_name(r->notify),
				      .own_session = true };

	r->new_pid = proc_start(&s, &r->new_pidfd);
	if (r->new_pid < 0)
		die("cannot start %s: %s", r->argv[0], strerror(-r->new_pid));
	write_pid(r, r->new_pid);
}

static int replace(struct replace *r)
{
	find_old(r);
	r->base = event_base_new();
	if (!r->base || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		die("cannot set up the event loop: %m");
	r->notify = notify_open(r->base, on_notice, r);
	if (!r->notify)
		die("cannot set up the event loop: %m");
	r->signals[0] = add(r, SIGTERM, EV_SIGNAL | EV_PERSIST, on_signal);
	r->signals[1] = add(r, SIGINT, EV_SIGNAL | EV_PERSIST, on_signal);
	r->leave = add(r, -1, 0, on_leave);
	r->timeout = add(r, -1, 0, on_timeout);
	start_new(r);
	r->old_end = add(r, r->old_pidfd, EV_READ, on_old_end);
	r->new_end = add(r, r->new_pidfd, EV_READ, on_new_end);
	set_timer(r->timeout, r->timeout_s * 1000);
	event_base_dispatch(r->base);

	event_free(r->old_end);
	event_free(r->new_end);
	event_free(r->leave);
	event_free(r->timeout);
	event_free(r->signals[0]);
	event_free(r->signals[1]);
	notify_close(r->notify);
	event_base_free(r->base);
	fd_close(&r->old_pidfd);
	fd_close(&r->new_pidfd);
	fd_close(&r->lock);
	return r->status;
}

static const char usage_text[] =
	"usage: vvu replace --link PATH --pid-file PATH [OPTION ...] -- vvu-vmm ARGUMENT ...\n"
	"Starts a back-end VM in place of the one that runs, without ending the front-ends' "
	"sessions.\n"
	"\n"
	"  --link PATH          the proxy's link socket, as in the --vvu options of both VMs; "
	"their\n"
	"                       ports there are taken over\n"
	"  --pid-file PATH      has the process ID of the VMM that is replaced, then of the new "
	"one\n"
	"  --timeout SECONDS    for the new VM to serve, else the old one stays (default 60)\n"
	"  --log-level LEVEL    error, warn, info, debug or trace (default info)\n"
	"  --help\n";

/* False: --help was asked for. Bad usage ends the process. */
static bool parse(struct replace *r, int argc, char *argv[])
{
	static const struct option options[] = { { "link", required_argument, NULL, 'L' },
						 { "pid-file", required_argument, NULL, 'p' },
						 { "timeout", required_argument, NULL, 't' },
						 { "log-level", required_argument, NULL, 'l' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (opt) {
		case 'L':
			r->link = optarg;
			break;
		case 'p':
			r->pid_file = optarg;
			break;
		case 't':
			if (prog_parse_u32(optarg, 1, TIMEOUT_MAX, &r->timeout_s))
				die_usage("--timeout %s: give seconds", optarg);
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
	if (!r->link)
		die_usage("--link is missing; name the proxy's link socket");
	if (!r->pid_file)
		die_usage("--pid-file is missing; name that of the VMM to replace");
	if (optind == argc)
		die_usage("with what? vvu replace ... -- vvu-vmm ARGUMENT ...");
	return true;
}

int cmd_replace(int argc, char *argv[])
{
	struct replace r = { .lock = -1, .old_pidfd = -1, .new_pidfd = -1, .timeout_s = TIMEOUT_S };
	int ret;

	if (!parse(&r, argc, argv))
		return 0;
	r.argv = proc_copy_argv(argv + optind);
	ret = r.argv ? vvu_options_replace(r.argv, r.link, true) : -ENOMEM;
	if (ret < 0)
		die("out of memory");
	if (!ret)
		die_usage("none of the new VMM's --vvu options has link=%s", r.link);
	ret = replace(&r);
	proc_free_argv(r.argv);
	return ret;
}
