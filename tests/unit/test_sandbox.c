// SPDX-License-Identifier: BSD-2-Clause
/*
 * Filters at work: a child installs the list of each kind of thread of each program, makes one system call, and ends by
 * SIGSYS, or does not.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host-proxy/confine.h"
#include "hosted/hconfine.h"
#include "vmm/confine.h"

static const struct {
	const char *program;
	const struct sandbox_plan *plan;
} programs[] = {
	{ "vvu-vmm", &vmm_plan },
	{ "vvu-proxy", &proxy_plan },
	{ "vvu-backend", &hconfine_plan },
};

/* One call; returns whatever it returns. */
typedef long (*attempt_fn)(void);

/* How a child ends that makes the call with this filter: 0, the signal, or -1. */
static int outcome(const struct sandbox_list *list, bool log_only, attempt_fn attempt)
{
	int status;
	pid_t child;

	sandbox_compile(list, log_only, 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDERR_FILENO); /* the line of debug builds */
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		sandbox_load(list, 0);
		attempt();
		syscall(SYS_exit_group, 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static long try_nothing(void)
{
	return 0;
}

static long try_execve(void)
{
	static char *const none[] = { NULL };

	return execve("/bin/true", none, none);
}

static long try_fork(void)
{
	return syscall(SYS_fork);
}

static long try_inet(void)
{
	return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

static long try_netlink(void)
{
	return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
}

static long try_datagram(void)
{
	return syscall(SYS_socket, AF_UNIX, SOCK_DGRAM, 0);
}

static long try_open_to_write(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY);
}

static long try_open_old(void)
{
	return syscall(SYS_open, "/dev/null", O_RDONLY);
}

static long try_create(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY | O_CREAT, 0600);
}

static long try_map_code(void)
{
	return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
}

static long try_protect_code(void)
{
	return syscall(SYS_mprotect, NULL, 0, PROT_READ | PROT_EXEC);
}

static long try_ptrace(void)
{
	return syscall(SYS_ptrace, PTRACE_ATTACH, 1, NULL, NULL);
}

static long try_kill(void)
{
	return syscall(SYS_kill, 0, 0);
}

static long try_kill_another(void)
{
	return syscall(SYS_tgkill, 1, 1, 0);
}

static long try_setuid(void)
{
	return syscall(SYS_setuid, 0);
}

static long try_mount(void)
{
	return syscall(SYS_mount, "x", "/", "tmpfs", 0, NULL);
}

static long try_unshare(void)
{
	return syscall(SYS_unshare, 0);
}

static long try_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long try_terminal_input(void)
{
	return syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x");
}

static long try_create_vm(void)
{
	return syscall(SYS_ioctl, -1, KVM_CREATE_VM, 0);
}

static long try_io_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long try_x32(void)
{
	return syscall(0x40000000 | SYS_getpid);
}

static const struct {
	const char *name;
	attempt_fn fn;
} forbidden[] = {
	{ "execve", try_execve },
	{ "fork", try_fork },
	{ "socket(AF_INET)", try_inet },
	{ "socket(AF_NETLINK)", try_netlink },
	{ "socket(AF_UNIX, SOCK_DGRAM)", try_datagram },
	{ "openat(O_WRONLY)", try_open_to_write },
	{ "openat(O_CREAT)", try_create },
	{ "open", try_open_old },
	{ "mmap(PROT_EXEC)", try_map_code },
	{ "mprotect(PROT_EXEC)", try_protect_code },
	{ "ptrace", try_ptrace },
	{ "kill", try_kill },
	{ "tgkill of another process", try_kill_another },
	{ "setuid", try_setuid },
	{ "mount", try_mount },
	{ "unshare", try_unshare },
	{ "bpf", try_bpf },
	{ "io_uring_setup", try_io_uring },
	{ "ioctl(TIOCSTI)", try_terminal_input },
	{ "ioctl(KVM_CREATE_VM)", try_create_vm },
	{ "the x32 ABI", try_x32 },
};

static void test_forbidden(void **state)
{
	for (size_t p = 0; p < sizeof(programs) / sizeof(programs[0]); p++) {
		for (unsigned int l = 0; l < programs[p].plan->num_lists; l++) {
			const struct sandbox_list *list = &programs[p].plan->lists[l];

			for (size_t f = 0; f < sizeof(forbidden) / sizeof(forbidden[0]); f++) {
				int how = outcome(list, false, forbidden[f].fn);

				if (how != SIGSYS)
					fail_msg("%s, %s thread: %s ends with %d, not by SIGSYS",
						 programs[p].program, list->kind, forbidden[f].name,
						 how);
			}
		}
	}
}

static void test_allowed(void **state)
{
	for (size_t p = 0; p < sizeof(programs) / sizeof(programs[0]); p++) {
		for (unsigned int l = 0; l < programs[p].plan->num_lists; l++)
			assert_int_equal(outcome(&programs[p].plan->lists[l], false, try_nothing),
					 0);
	}
}

/* --sandbox log: nothing is refused. */
static void test_log(void **state)
{
	assert_int_equal(outcome(&proxy_plan.lists[0], true, try_inet), 0);
	assert_int_equal(outcome(&proxy_plan.lists[0], true, try_protect_code), 0);
}

static void test_modes(void **state)
{
	enum sandbox_mode mode = SANDBOX_OFF;

	assert_int_equal(sandbox_parse_mode("on", &mode), 0);
	assert_int_equal(mode, SANDBOX_ON);
	assert_int_equal(sandbox_parse_mode("log", &mode), 0);
	assert_int_equal(mode, SANDBOX_LOG);
	assert_int_equal(sandbox_parse_mode("off", &mode), 0);
	assert_int_equal(mode, SANDBOX_OFF);
	assert_int_equal(sandbox_parse_mode("", &mode), -EINVAL);
	assert_int_equal(sandbox_parse_mode("On", &mode), -EINVAL);
}

/* Each rule says why, and its conditions are possible. */
static void test_tables(void **state)
{
	for (size_t p = 0; p < sizeof(programs) / sizeof(programs[0]); p++) {
		const struct sandbox_plan *plan = programs[p].plan;

		assert_true(plan->num_lists <= SANDBOX_LISTS_MAX);
		for (unsigned int l = 0; l < plan->num_lists; l++) {
			for (unsigned int r = 0; r < plan->lists[l].num; r++) {
				const struct sandbox_rule *rule = &plan->lists[l].rules[r];

				assert_non_null(rule->name);
				assert_true(rule->why && *rule->why);
				for (unsigned int a = 0; a < SANDBOX_ARGS_MAX; a++) {
					const struct sandbox_arg *arg = &rule->args[a];

					if (arg->mask && arg->value != SANDBOX_SELF)
						assert_int_equal(arg->value & ~arg->mask, 0);
				}
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables),	cmocka_unit_test(test_modes),
		cmocka_unit_test(test_allowed), cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
