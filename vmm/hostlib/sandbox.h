/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program gives up once it has all it needs, in this order:
 *
 *   sandbox_become_user()   --user: another user, before any socket or file is made
 *   sandbox_close_off()     everything is open: namespaces, a root directory with nothing but the places
 *                           given to sandbox_place(), empty capability sets, no_new_privs, limits.
 *                           No thread exists yet.
 *   sandbox_confine()       in each thread, when it is about to serve: the system calls of its kind, no others
 *
 * --sandbox on does all that, off nothing but --user, log everything but refuse system calls: the kernel logs
 * those that are not listed (dmesg, auditd). What the kernel does not permit (namespaces, as a rule, to
 * unprivileged users) is left out and told at level debug and in the status; the system calls are never left out.
 *
 * A system call that is not listed kills the process, by SIGSYS. Debug builds print a line before, with its
 * name and the kind of thread.
 *
 * All failures here are of our own set-up: they end the process with a line.
 */
#ifndef VMM_HOSTLIB_SANDBOX_H
#define VMM_HOSTLIB_SANDBOX_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

struct json_object;

enum sandbox_mode {
	SANDBOX_ON,
	SANDBOX_LOG,
	SANDBOX_OFF
};

/* The options --sandbox and --user. */
struct sandbox_conf {
	enum sandbox_mode mode;
	const char *user; /* name or number; NULL: stay who we are */
};

/* An argument of a system call: (argument & mask) == value. mask 0: no condition. */
struct sandbox_arg {
	unsigned int index;
	uint64_t mask;
	uint64_t value;
};
#define SANDBOX_ARGS_MAX 2

/* Stands for the number of our process as an argument's value. */
#define SANDBOX_SELF UINT64_MAX

/*
 * A system call that is allowed, and why. Several rules for one call are alternatives; the conditions of one rule must
 * all hold. A rule with `rare` is not used by any test, for that reason (tests/sandbox/ counts the others).
 */
struct sandbox_rule {
	int nr;
	const char *name;
	const char *why;
	const char *rare;
	struct sandbox_arg args[SANDBOX_ARGS_MAX];
};

#define SANDBOX_CALL(call, reason)                                                                 \
	{                                                                                          \
		.nr = SYS_##call, .name = #call, .why = (reason)                                   \
	}
#define SANDBOX_RARE(call, reason, seldom)                                                         \
	{                                                                                          \
		.nr = SYS_##call, .name = #call, .why = (reason), .rare = (seldom)                 \
	}
/* Only where (argument i & m) == v. */
#define SANDBOX_WHEN(call, i, m, v, reason)                                                        \
	{                                                                                          \
		.nr = SYS_##call, .name = #call, .why = (reason), .args = { { i, m, v } }          \
	}
#define SANDBOX_WHEN_RARE(call, i, m, v, reason, seldom)                                           \
	{                                                                                          \
		.nr = SYS_##call, .name = #call, .why = (reason), .rare = (seldom), .args = {      \
			{ i, m, v }                                                                \
		}                                                                                  \
	}
#define SANDBOX_WHEN2(call, i, m, v, j, n, w, reason)                                              \
	{                                                                                          \
		.nr = SYS_##call, .name = #call, .why = (reason), .args = {                        \
			{ i, m, v },                                                               \
			{ j, n, w }                                                                \
		}                                                                                  \
	}
#define SANDBOX_INT UINT32_MAX /* mask of arguments that the kernel takes as 32 bits */

/* What one kind of thread may call. */
struct sandbox_list {
	const char *kind;
	const struct sandbox_rule *rules;
	unsigned int num;
};

struct sandbox_plan {
	const struct sandbox_list *lists; /* [0] is that of the main thread */
	unsigned int num_lists;
	/*
	 * Unprivileged, namespaces take a user namespace, in which users other than our own have no number: SO_PEERCRED
	 * tells "nobody" for all of them. Not for programs that look at it.
	 */
	bool user_namespace;
	/*
	 * The kernel makes threads in our name later (KVM does, when a vCPU first runs): their number can't be
	 * limited.
	 */
	bool kernel_threads;
};

/* "on", "log" or "off". 0 or -EINVAL. Here, so that who reads options needs no sandbox. */
static inline int sandbox_parse_mode(const char *text, enum sandbox_mode *mode)
{
	if (!strcmp(text, "on"))
		*mode = SANDBOX_ON;
	else if (!strcmp(text, "log"))
		*mode = SANDBOX_LOG;
	else if (!strcmp(text, "off"))
		*mode = SANDBOX_OFF;
	else
		return -EINVAL;
	return 0;
}

/*
 * Becomes the user of --user, with its groups and that group, if the system has it (NULL: none). Only root can. A few
 * capabilities stay until sandbox_close_off().
 */
void sandbox_become_user(const struct sandbox_conf *conf, const char *group);

/* A path that will be used afterwards. Those that nobody gave are not there any more. */
enum sandbox_place {
	SANDBOX_DIR,	   /* the directory in which this path is, or will be */
	SANDBOX_DIR_WRITE, /* the same, and names in it are removed */
	SANDBOX_FILE,	   /* this very file */
};
/* path is copied; NULL: nothing. */
void sandbox_place(const char *path, enum sandbox_place what);

void sandbox_close_off(const struct sandbox_conf *conf, const struct sandbox_plan *plan);

/* This thread becomes one of plan->lists[list]. List 0, which is last, also sets the limit of processes to none. */
void sandbox_confine(unsigned int list);

/* Adds "sandbox": mode, what was given up, and how many system calls each kind of thread may make. */
void sandbox_status(struct json_object *reply);

/* How many different system calls a list allows. */
unsigned int sandbox_count_calls(const struct sandbox_list *list);

/* --- between the files of the sandbox --- */

/* sandbox_root.c: what sandbox_place() collected becomes all there is. Frees it. 0 or -errno, and *what failed. */
int sandbox_change_root(const char **what);
/* sandbox_filter.c */
void sandbox_compile(const struct sandbox_list *list, bool log_only, unsigned int slot);
void sandbox_load(const struct sandbox_list *list, unsigned int slot);
#define SANDBOX_LISTS_MAX 4

#endif
