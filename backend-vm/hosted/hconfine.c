// SPDX-License-Identifier: BSD-2-Clause
/*
 * The system calls of vvu-backend. What no list can take away: its threads see the memory of all front-ends.
 */
#include "hosted/hconfine.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define TAKEN "the tests take it from the main thread"

static const struct sandbox_rule main_rules[] = {
	/* sockets: UNIX ones */
	SANDBOX_CALL(recvmsg, "messages of front-ends"),
	SANDBOX_CALL(sendmsg, "replies"),
	SANDBOX_CALL(accept4, "front-ends, control connections"),
	SANDBOX_WHEN2(socket, 0, SANDBOX_INT, AF_UNIX, 1, 0xf, SOCK_STREAM, "ports in client mode"),
	SANDBOX_CALL(connect, "ports in client mode"),
	SANDBOX_WHEN(getsockopt, 1, SANDBOX_INT, SOL_SOCKET, "kind of an fd"),
	SANDBOX_CALL(readv, "control requests"),
	SANDBOX_WHEN(ioctl, 1, SANDBOX_INT, FIONREAD,
		     "control requests: libevent asks how much is there"),
	SANDBOX_CALL(writev, "replies to control requests"),
	SANDBOX_CALL(write, "calls of front-ends, waking workers, log lines"),
	SANDBOX_CALL(read, "stop signals"),
	SANDBOX_CALL(sendto, "sd_notify"),
	SANDBOX_CALL(close, "fds of a session that is over, connections"),
	/* waiting */
	SANDBOX_CALL(poll, "whether a front-end has hung up"),
	SANDBOX_CALL(epoll_wait, "the loop"),
	SANDBOX_CALL(epoll_ctl, "the loop; kicks that workers wait for"),
	SANDBOX_CALL(futex, "the end of workers"),
	SANDBOX_CALL(sched_yield, "another worker is to go on first"),
	SANDBOX_RARE(clock_gettime, "time", "the vDSO does it, unless the host's clock is slow"),
	SANDBOX_RARE(restart_syscall, "a wait goes on", "only after SIGSTOP or under a debugger"),
	/* signals */
	SANDBOX_CALL(rt_sigreturn, "the end of a signal handler"),
	SANDBOX_CALL(rt_sigaction, "stop signals get their default back"),
	SANDBOX_CALL(gettid, "a timer for this thread"),
	SANDBOX_CALL(timer_create, "the bound on writes to eventfds of peers"),
	SANDBOX_CALL(timer_settime, "the same"),
	SANDBOX_CALL(timer_delete, "the same"),
	/* fds of peers */
	SANDBOX_CALL(newfstatat, "size of a memory file"),
	SANDBOX_CALL(fstatfs, "kind of a memory file"),
	SANDBOX_WHEN(fcntl, 1, SANDBOX_INT, F_GETFL, "memory is open for reading and writing"),
	SANDBOX_CALL(readlink, "kind of an fd: /proc/self/fd"),
	/* memory, none of it executable */
	SANDBOX_WHEN(mmap, 2, PROT_EXEC, 0, "front-ends' memory, malloc"),
	SANDBOX_CALL(munmap, "front-ends' memory, malloc"),
	SANDBOX_WHEN(madvise, 2, SANDBOX_INT, MADV_DONTDUMP, "front-ends' memory"),
	SANDBOX_RARE(mremap, "malloc", "only large blocks that grow"),
	SANDBOX_CALL(brk, "malloc"),
	SANDBOX_CALL(getrandom, "json-c's tables"),
	/* the end */
	SANDBOX_CALL(unlink, "sockets, at the end"),
	SANDBOX_CALL(exit_group, "the end"),
};

static const struct sandbox_rule worker_rules[] = {
	SANDBOX_CALL(write, "calls of front-ends, waking other workers"),
	SANDBOX_CALL(epoll_wait, "kicks"),
	SANDBOX_RARE(futex, "a lock", "workers share none"),
	SANDBOX_CALL(sched_yield, "another worker is to go on first"),
	SANDBOX_RARE(clock_gettime, "time", "the vDSO does it, unless the host's clock is slow"),
	SANDBOX_RARE(restart_syscall, "a wait goes on", "only after SIGSTOP or under a debugger"),
	SANDBOX_CALL(gettid, "a timer for this thread"),
	SANDBOX_CALL(timer_create, "the bound on writes to eventfds of peers"),
	SANDBOX_CALL(timer_settime, "the same"),
	SANDBOX_CALL(timer_delete, "the same"),
	SANDBOX_CALL(rt_sigreturn, "the end of a signal handler"),
	SANDBOX_RARE(rt_sigaction, "a SIGBUS of our own fault is fatal", "there is none"),
	SANDBOX_CALL(rt_sigprocmask, "the end of the thread"),
	SANDBOX_WHEN_RARE(mmap, 2, PROT_EXEC, 0, "memory that a front-end took away", TAKEN),
	SANDBOX_WHEN(madvise, 2, SANDBOX_INT, MADV_DONTNEED, "the end of a thread's stack"),
	SANDBOX_CALL(exit, "the end of the thread"),
	SANDBOX_RARE(exit_group, "the end of the program",
		     "a failure of our own ends the main thread"),
};

static const struct sandbox_list lists[] = {
	[HCONFINE_MAIN] = { "main", main_rules, sizeof(main_rules) / sizeof(main_rules[0]) },
	[HCONFINE_WORKER] = { "worker", worker_rules,
			      sizeof(worker_rules) / sizeof(worker_rules[0]) },
};

const struct sandbox_plan hconfine_plan = {
	.lists = lists,
	.num_lists = sizeof(lists) / sizeof(lists[0]),
	.user_namespace = true,
};
