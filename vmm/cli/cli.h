/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command `vvu`: what a person or a service manager types to keep back-end VMs running.
 *
 *   main.c     the verbs
 *   run.c      vvu run: starts a VMM, starts it again when it dies
 *   replace.c  vvu replace: one VMM in place of another, under traffic
 *   proc.c     processes, ours and others'
 *   notify.c   what VMMs tell by sd_notify(3)
 *   pidfile.c  who the VMM is
 *
 * How run and replace go together: the pid file names the VMM. vvu replace holds its lock from before the new
 * VMM starts until it is done, and writes the new pid there. vvu run, when its VMM has ended, waits for the
 * lock and reads the file: a pid that it did not write is the VMM to watch from now on.
 */
#ifndef VMM_CLI_CLI_H
#define VMM_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct event_base;

/* The verbs. argv[0] is the verb. Exit status. */
int cmd_run(int argc, char *argv[]);
int cmd_replace(int argc, char *argv[]);

/* --- proc.c --- */
struct proc_start {
	char *const *argv;
	const char *notify; /* NOTIFY_SOCKET of the process; NULL: as ours */
	const char *dir;    /* where it runs; NULL: where we do */
	bool own_session;   /* it goes on when our terminal closes */
};

/* How a process ended. */
struct proc_end {
	bool known; /* false: it was not our child */
	bool signalled;
	int value; /* exit status or signal */
};

/* Starts a process: its pid and *pidfd, or -errno (also of the exec). */
pid_t proc_start(const struct proc_start *s, int *pidfd);
/* A descriptor of the process (readable when it has ended), or -errno. */
int proc_open(pid_t pid);
int proc_signal(int pidfd, int sig);
/* Of a process that has ended; takes it off the kernel's table if it is our child. */
struct proc_end proc_end(int pidfd);
/* "exited with status 1" and the like, in buf. */
const char *proc_end_text(const struct proc_end *end, char *buf, size_t size);
/* Argument vector and working directory of a process; free with proc_free_argv(), free(). NULL: it is gone. */
char **proc_argv(pid_t pid);
char *proc_dir(pid_t pid);
void proc_free_argv(char **argv);
/* A copy; NULL: no memory. */
char **proc_copy_argv(char *const *argv);

/* The value of a --vvu option in argv from *at on, *at at the argument that has it; NULL: no more. */
const char *vvu_option(char *const *argv, unsigned int *at);
/* The option names that link. */
bool vvu_option_links(const char *value, const char *link);
/* The port that it names, not terminated, its length in *len; NULL: none. */
const char *vvu_option_port(const char *value, size_t *len);
/*
 * Sets replace= of all --vvu options that name link (of all: link NULL) to on, or takes it away. The number of options
 * changed, or -ENOMEM.
 */
int vvu_options_replace(char **argv, const char *link, bool on);

/* --- notify.c --- */
struct notify;
typedef void (*notify_fn)(void *arg, const char *text);
/* A socket for NOTIFY_SOCKET; fn gets each message of a process of our user. NULL and errno. */
struct notify *notify_open(struct event_base *base, notify_fn fn, void *arg);
const char *notify_name(const struct notify *n);
void notify_close(struct notify *n);
/* The message has that line. */
bool notify_has(const char *text, const char *line);

/* --- pidfile.c --- */
/* Opens and locks it; wait false: -EWOULDBLOCK when another has the lock. The fd, whose closing unlocks, or -errno. */
int pidfile_lock(const char *path, bool create, bool wait);
/* 0: there is none. */
pid_t pidfile_read(int fd);
int pidfile_write(int fd, pid_t pid);

#endif
