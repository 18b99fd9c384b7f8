// SPDX-License-Identifier: BSD-2-Clause
/*
 * Lists of system calls as filters of the kernel. They are compiled once, before there are threads, so that a
 * thread that confines itself makes one system call and no more.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/hostlib/log.h"
#include "vmm/hostlib/sandbox.h"

#ifndef SECCOMP_FILTER_FLAG_SPEC_ALLOW
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW (1UL << 2)
#endif

#define CALLS_MAX 512 /* of the names in debug builds; x86-64 ends below */

static struct sock_fprog programs[SANDBOX_LISTS_MAX];

/*
 * Builds for tests: the run-time libraries of sanitizers and of coverage do all kinds of things on their own,
 * above all at the end. Filters are made and installed there, but refuse nothing.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(VVU_COVERAGE)
#define INSTRUMENTED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUMENTED true
#endif
#endif
#ifndef INSTRUMENTED
#define INSTRUMENTED false
#endif

#ifdef VVU_DEBUG
static char *call_names[CALLS_MAX];
static _Thread_local const char *thread_kind = "unknown";

/* Not async-signal-safe work was done before: names were looked up when the lists were compiled. */
static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	unsigned int nr = (unsigned int)info->si_syscall;
	char line[256];
	int n;

	/* snprintf of strings and numbers takes no lock and no memory. */
	n = snprintf(line, sizeof(line),
		     "sandbox: %s thread: system call %s (%u) is not on its list; killed "
		     "(--sandbox log lets it pass)\n",
		     thread_kind, nr < CALLS_MAX && call_names[nr] ? call_names[nr] : "?", nr);
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(1);
	/* On no list: as SIGSYS is blocked here, the kernel ends us. */
	syscall(SYS_getppid);
	__builtin_trap();
}

static void prepare_message(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	static bool named;

	for (int nr = 0; nr < CALLS_MAX && !named; nr++)
		call_names[nr] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);
	named = true;
	if (sigaction(SIGSYS, &sa, NULL) < 0)
		die("sigaction SIGSYS: %m");
}
#endif

static uint32_t refusal(bool log_only)
{
	if (log_only || INSTRUMENTED)
		return SCMP_ACT_LOG;
#ifdef VVU_DEBUG
	return SCMP_ACT_TRAP;
#else
	return SCMP_ACT_KILL_PROCESS;
#endif
}

static int add_rule(scmp_filter_ctx ctx, const struct sandbox_rule *rule)
{
	struct scmp_arg_cmp cmp[SANDBOX_ARGS_MAX];
	unsigned int n = 0;

	for (unsigned int i = 0; i < SANDBOX_ARGS_MAX && rule->args[i].mask; i++) {
		const struct sandbox_arg *a = &rule->args[i];
		uint64_t value = a->value == SANDBOX_SELF ? (uint64_t)getpid() : a->value;

		cmp[n++] = SCMP_CMP64(a->index, SCMP_CMP_MASKED_EQ, a->mask, value);
	}
	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, rule->nr, n, cmp);
}

/* The filter as the kernel takes it. */
static int export_program(scmp_filter_ctx ctx, struct sock_fprog *prog)
{
	int fd = memfd_create("sandbox", MFD_CLOEXEC);
	off_t bytes;
	int ret;

	if (fd < 0)
		return -errno;
	ret = seccomp_export_bpf(ctx, fd);
	bytes = lseek(fd, 0, SEEK_END);
	if (!ret && (bytes <= 0 || bytes > (off_t)(BPF_MAXINSNS * sizeof(prog->filter[0]))))
		ret = -E2BIG;
	if (!ret) {
		prog->len = (unsigned short)((size_t)bytes / sizeof(prog->filter[0]));
		prog->filter = malloc((size_t)bytes);
		if (!prog->filter)
			ret = -ENOMEM;
		else if (pread(fd, prog->filter, (size_t)bytes, 0) != bytes)
			ret = -EIO;
	}
	close(fd);
	return ret;
}

void sandbox_compile(const struct sandbox_list *list, bool log_only, unsigned int slot)
{
	scmp_filter_ctx ctx = seccomp_init(refusal(log_only));
	int ret = ctx ? 0 : -ENOMEM;

	if (slot >= SANDBOX_LISTS_MAX)
		ret = -EINVAL;
#ifdef VVU_DEBUG
	prepare_message();
#endif
	/* A binary search instead of a walk: some calls are on the way of every wake-up. */
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!ret && !log_only && !INSTRUMENTED)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	for (unsigned int i = 0; i < list->num && !ret; i++)
		ret = add_rule(ctx, &list->rules[i]);
	if (!ret)
		ret = export_program(ctx, &programs[slot]);
	if (ret)
		die("cannot make the filter of system calls of the %s thread: %s", list->kind,
		    strerror(-ret));
	seccomp_release(ctx);
}

void sandbox_load(const struct sandbox_list *list, unsigned int slot)
{
#ifdef VVU_DEBUG
	thread_kind = list->kind;
#endif
	/* Without the flag, kernels before 5.16 turn speculative loads off for us, at a price in all code. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		    &programs[slot]) < 0)
		die("cannot confine the %s thread: seccomp: %s; use --sandbox off, or a kernel "
		    "with "
		    "CONFIG_SECCOMP_FILTER",
		    list->kind, strerror(errno));
}
