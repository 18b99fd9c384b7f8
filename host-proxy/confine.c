// SPDX-License-Identifier: BSD-2-Clause
/*
 * The system calls of vvu-proxy, whose only thread reads and writes sockets. It maps no memory of front-ends:
 * no file can be mapped at all.
 */
#include "host-proxy/confine.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "host-proxy/conf.h"

#define OPEN_MASK (O_ACCMODE | O_CREAT | O_TRUNC)
#define IN_FLIGHT "the region of ring positions"

static const struct sandbox_rule rules[] = {
	/* sockets: UNIX ones */
	SANDBOX_CALL(recvmsg, "messages of front-ends, packets of links"),
	SANDBOX_CALL(sendmsg, "the same, the other way"),
	SANDBOX_CALL(sendto, "sd_notify"),
	SANDBOX_CALL(accept4, "front-ends, links, control connections"),
	SANDBOX_WHEN2(socket, 0, SANDBOX_INT, AF_UNIX, 1, 0xf, SOCK_STREAM, "ports in client mode"),
	SANDBOX_CALL(connect, "ports in client mode"),
	SANDBOX_WHEN(getsockopt, 1, SANDBOX_INT, SOL_SOCKET, "who the peer is; kind of an fd"),
	SANDBOX_WHEN(setsockopt, 1, SANDBOX_INT, SOL_SOCKET, "a small send buffer of links"),
	SANDBOX_WHEN(ioctl, 1, SANDBOX_INT, SIOCOUTQ, "whether a VMM reads its link"),
	SANDBOX_CALL(poll, "whether a peer has hung up"),
	SANDBOX_CALL(readv, "control requests"),
	SANDBOX_WHEN(ioctl, 1, SANDBOX_INT, FIONREAD,
		     "control requests: libevent asks how much is there"),
	SANDBOX_CALL(writev, "replies to control requests"),
	SANDBOX_CALL(write, "log lines"),
	SANDBOX_CALL(shutdown, "connections of which a VMM holds a duplicate"),
	SANDBOX_CALL(close, "fds that were passed on, connections"),
	/* waiting */
	SANDBOX_CALL(epoll_wait, "the loop"),
	SANDBOX_CALL(epoll_ctl, "the loop"),
	SANDBOX_CALL(read, "stop signals; number of an eventfd: /proc/self/fdinfo"),
	SANDBOX_CALL(rt_sigreturn, "the end of a signal handler"),
	SANDBOX_CALL(rt_sigaction, "stop signals get their default back"),
	SANDBOX_RARE(futex, "a lock of the log", "there is one thread"),
	SANDBOX_RARE(clock_gettime, "time", "the vDSO does it, unless the host's clock is slow"),
	SANDBOX_RARE(restart_syscall, "a wait goes on", "only after SIGSTOP or under a debugger"),
	/* fds of peers */
	SANDBOX_CALL(newfstatat, "size of a memory file"),
	SANDBOX_CALL(fstatfs, "kind of a memory file"),
	SANDBOX_WHEN(fcntl, 1, SANDBOX_INT, F_GETFL, "memory is open for reading and writing"),
	SANDBOX_WHEN(fcntl, 1, SANDBOX_INT, F_DUPFD_CLOEXEC,
		     "packets that a link does not take yet"),
	SANDBOX_CALL(readlink, "kind of an fd: /proc/self/fd"),
	SANDBOX_WHEN(openat, 2, OPEN_MASK, O_RDONLY, "number of an eventfd: /proc/self/fdinfo"),
	/* a session's own region of ring positions */
	SANDBOX_CALL(memfd_create, IN_FLIGHT),
	SANDBOX_CALL(ftruncate, IN_FLIGHT),
	SANDBOX_WHEN(fcntl, 1, SANDBOX_INT, F_ADD_SEALS, IN_FLIGHT),
	SANDBOX_CALL(pwrite64, "the same: the slot of a ring that has stopped is cleared"),
	/* memory: none that is executable or a file */
	SANDBOX_WHEN2(mmap, 2, PROT_EXEC, 0, 3, MAP_ANONYMOUS, MAP_ANONYMOUS, "malloc"),
	SANDBOX_CALL(munmap, "malloc"),
	SANDBOX_RARE(mremap, "malloc", "only large blocks that grow"),
	SANDBOX_CALL(brk, "malloc"),
	SANDBOX_RARE(madvise, "malloc", "heaps of threads that shrink"),
	SANDBOX_CALL(getrandom, "json-c's tables"),
	/* status, and the end */
	SANDBOX_CALL(getpid, "status"),
	SANDBOX_CALL(geteuid, "whose links are accepted"),
	SANDBOX_CALL(unlink, "sockets, at the end"),
	SANDBOX_CALL(exit_group, "the end"),
};

static const struct sandbox_list lists[] = {
	{ "main", rules, sizeof(rules) / sizeof(rules[0]) },
};

const struct sandbox_plan proxy_plan = {
	.lists = lists,
	.num_lists = 1,
	.user_namespace = false, /* --link-uid, and uid= and gid= of ports, are about other users */
};

void confine_self(const struct proxy_conf *conf)
{
	sandbox_place(conf->link, SANDBOX_DIR_WRITE);
	for (unsigned int i = 0; i < conf->num_ports; i++)
		sandbox_place(conf->ports[i].socket, SANDBOX_DIR_WRITE);
	sandbox_place(conf->control, SANDBOX_DIR_WRITE);
	sandbox_close_off(&conf->sandbox, &proxy_plan);
	sandbox_confine(0);
}
