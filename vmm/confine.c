// SPDX-License-Identifier: BSD-2-Clause
/*
 * The system calls of vvu-vmm. Devices are emulated in the vCPU threads, so these need much of what the main
 * loop needs: they map and revoke memory, wire eventfds, and change what the main loop waits for.
 *
 * KVM is reached through fds that are open: its requests are listed by number, since KVM's list is long.
 */
#include "vmm/confine.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "vmm/conf.h"

#define IOCTL(request, why)	    SANDBOX_WHEN(ioctl, 1, SANDBOX_INT, request, why)
#define IOCTL_RARE(request, why, s) SANDBOX_WHEN_RARE(ioctl, 1, SANDBOX_INT, request, why, s)
#define OPEN_MASK		    (O_ACCMODE | O_CREAT | O_TRUNC)
#define RESTART			    "a guest that restarts"
#define DOORBELL		    "a doorbell that rings while its fd changes is a vCPU's, as a rule"
#define FAULT			    "which thread finds that memory is gone depends on the KVM"

static const struct sandbox_rule main_rules[] = {
	/* messages, notifications, log lines */
	SANDBOX_CALL(read, "queues' eventfds, console input, /proc for status"),
	SANDBOX_CALL(readv, "control requests"),
	SANDBOX_CALL(write, "log lines, console output, eventfds"),
	SANDBOX_CALL(writev, "replies to control requests"),
	SANDBOX_WHEN(ioctl, 1, SANDBOX_INT, FIONREAD,
		     "control requests: libevent asks how much is there"),
	SANDBOX_CALL(recvmsg, "packets of links"),
	SANDBOX_CALL(recvfrom, "a look at packets that are not taken yet"),
	SANDBOX_CALL(sendmsg, "packets of links"),
	SANDBOX_CALL(sendto, "sd_notify"),
	SANDBOX_WHEN2(socket, 0, SANDBOX_INT, AF_UNIX, 1, 0xf, SOCK_SEQPACKET, "links"),
	SANDBOX_CALL(connect, "links, again and again until the proxy is there"),
	SANDBOX_WHEN(setsockopt, 1, SANDBOX_INT, SOL_SOCKET, "links: SO_PEEK_OFF"),
	SANDBOX_WHEN(getsockopt, 1, SANDBOX_INT, SOL_SOCKET,
		     "whether a record's first fd is a front-end's socket"),
	SANDBOX_CALL(accept4, "control connections"),
	SANDBOX_CALL(close, "fds of a session that is over, connections"),
	/* waiting */
	SANDBOX_CALL(epoll_wait, "the loop"),
	SANDBOX_CALL(epoll_ctl, "the loop"),
	SANDBOX_RARE(poll, "whether a write would block",
		     "only console output that nobody took at once"),
	SANDBOX_CALL(futex, "locks; the end of vCPU threads"),
	SANDBOX_RARE(clock_gettime, "time", "the vDSO does it, unless the host's clock is slow"),
	SANDBOX_RARE(restart_syscall, "a wait goes on", "only after SIGSTOP or under a debugger"),
	/* signals */
	SANDBOX_CALL(rt_sigreturn, "the end of a signal handler"),
	SANDBOX_CALL(rt_sigaction, "stop signals get their default back; SIGALRM"),
	SANDBOX_CALL(rt_sigprocmask, "SIGALRM, and inside pthread_kill()"),
	SANDBOX_WHEN(tgkill, 0, SANDBOX_INT, SANDBOX_SELF, "vCPUs are made to leave KVM_RUN"),
	SANDBOX_CALL(getpid, "inside pthread_kill()"),
	SANDBOX_RARE(gettid, "a timer for this thread", DOORBELL),
	SANDBOX_RARE(timer_create, "the bound on writes to eventfds of peers", DOORBELL),
	SANDBOX_CALL(timer_settime, "the same; the beat by which memory is looked at"),
	SANDBOX_CALL(timer_delete, "the same"),
	/* files: those of the new root only, to read */
	SANDBOX_WHEN(openat, 2, OPEN_MASK, O_RDONLY, "image at a restart, /proc/self"),
	SANDBOX_CALL(newfstatat, "size of memory files and images"),
	SANDBOX_CALL(fstatfs, "kind of a memory file"),
	SANDBOX_CALL(readlink, "kind of an fd: /proc/self/fd"),
	SANDBOX_CALL(getdents64, "threads, for status"),
	SANDBOX_CALL(pread64, "image at a restart, KVM's statistics"),
	SANDBOX_CALL(preadv2, "count of an eventfd, without waiting"),
	SANDBOX_CALL(unlink, "control socket and pid file, at the end"),
	SANDBOX_WHEN(fcntl, 1, SANDBOX_INT, F_GETFL,
		     "memory is open for reading and writing; eventfds"),
	SANDBOX_WHEN_RARE(fcntl, 1, SANDBOX_INT, F_SETFL, "an eventfd of a peer that would block",
			  "peers' eventfds do not block, unless a peer is hostile"),
	SANDBOX_WHEN(fcntl, 1, SANDBOX_INT, F_GET_SEALS, "memory that cannot be truncated"),
	SANDBOX_CALL(inotify_add_watch, "memory that can be truncated"),
	SANDBOX_CALL(inotify_rm_watch, "the same"),
	SANDBOX_WHEN(fallocate, 1, SANDBOX_INT, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		     "guest RAM is cleared at a restart"),
	/* memory, none of it executable */
	SANDBOX_WHEN(mmap, 2, PROT_EXEC, 0, "windows of front-ends, zero pages, malloc"),
	SANDBOX_CALL(munmap, "at the end; malloc"),
	SANDBOX_WHEN_RARE(mprotect, 2, PROT_EXEC, 0, "malloc",
			  "the main thread's heap grows by brk"),
	SANDBOX_RARE(mremap, "malloc", "only large blocks that grow"),
	SANDBOX_CALL(brk, "malloc"),
	SANDBOX_WHEN(madvise, 2, SANDBOX_INT, MADV_POPULATE_WRITE, "--prefault, huge pages"),
	SANDBOX_WHEN_RARE(madvise, 2, SANDBOX_INT, MADV_POPULATE_READ, "holes in memory", FAULT),
	SANDBOX_WHEN(madvise, 2, SANDBOX_INT, MADV_HUGEPAGE, "windows of front-ends"),
	SANDBOX_WHEN(madvise, 2, SANDBOX_INT, MADV_NOHUGEPAGE, "zero pages"),
	SANDBOX_WHEN_RARE(madvise, 2, SANDBOX_INT, MADV_DONTNEED, "malloc",
			  "heaps of threads that shrink"),
	SANDBOX_CALL(getrandom, "json-c's tables"),
	/* KVM: windows and notifications */
	IOCTL(KVM_SET_USER_MEMORY_REGION, "windows of front-ends"),
	IOCTL(KVM_IOEVENTFD, "doorbells"),
	IOCTL(KVM_IRQFD, "kicks"),
	IOCTL(KVM_SET_GSI_ROUTING, "MSI-X vectors"),
	IOCTL(KVM_SIGNAL_MSI, "interrupts of the device itself"),
	IOCTL(KVM_IRQ_LINE, "the console's interrupt"),
	/* KVM: a guest that restarts */
	IOCTL(KVM_SET_IRQCHIP, RESTART),
	IOCTL(KVM_SET_PIT2, RESTART),
	IOCTL(KVM_GET_SREGS, RESTART),
	IOCTL(KVM_SET_SREGS, RESTART),
	IOCTL(KVM_SET_REGS, RESTART),
	IOCTL(KVM_SET_LAPIC, RESTART),
	IOCTL(KVM_SET_MSRS, RESTART),
	IOCTL(KVM_SET_FPU, RESTART),
	IOCTL(KVM_SET_DEBUGREGS, RESTART),
	IOCTL(KVM_SET_VCPU_EVENTS, RESTART),
	IOCTL(KVM_SET_MP_STATE, RESTART),
	IOCTL(KVM_SET_XCRS, RESTART),
	SANDBOX_CALL(exit_group, "the end"),
};

static const struct sandbox_rule vcpu_rules[] = {
	IOCTL(KVM_RUN, "the guest"),
	SANDBOX_CALL(futex, "the machine's lock; a guest that restarts"),
	SANDBOX_CALL(exit, "the end of the thread"),
	SANDBOX_RARE(exit_group, "the end of the program",
		     "a failure of our own ends the main thread"),
	SANDBOX_CALL(write, "waking the main loop, console output, log lines, eventfds"),
	SANDBOX_CALL(poll, "whether a write would block"),
	SANDBOX_CALL(preadv2, "count of an eventfd, without waiting"),
	SANDBOX_CALL(epoll_ctl, "what the main loop waits for"),
	SANDBOX_CALL(close, "fds of a session that is over"),
	SANDBOX_RARE(clock_gettime, "time", "the vDSO does it, unless the host's clock is slow"),
	SANDBOX_RARE(restart_syscall, "a wait goes on", "only after SIGSTOP or under a debugger"),
	/* signals */
	SANDBOX_CALL(rt_sigreturn, "the end of a signal handler"),
	SANDBOX_CALL(rt_sigprocmask, "SIGALRM, and inside pthread_kill()"),
	SANDBOX_CALL(rt_sigaction, "SIGALRM"),
	SANDBOX_WHEN(tgkill, 0, SANDBOX_INT, SANDBOX_SELF, "other vCPUs are made to leave KVM_RUN"),
	SANDBOX_CALL(getpid, "inside pthread_kill()"),
	SANDBOX_CALL(gettid, "a timer for this thread"),
	SANDBOX_CALL(timer_create, "the bound on writes to eventfds of peers"),
	SANDBOX_CALL(timer_settime, "the same"),
	SANDBOX_CALL(timer_delete, "the same"),
	SANDBOX_WHEN(fcntl, 1, SANDBOX_INT, F_GETFL, "eventfds of peers"),
	SANDBOX_WHEN_RARE(fcntl, 1, SANDBOX_INT, F_SETFL, "an eventfd of a peer that would block",
			  "peers' eventfds do not block, unless a peer is hostile"),
	/* memory, none of it executable */
	SANDBOX_WHEN(mmap, 2, PROT_EXEC, 0, "zero pages, malloc"),
	SANDBOX_CALL(munmap, "malloc, the end of a thread's stack"),
	SANDBOX_WHEN(mprotect, 2, PROT_EXEC, 0, "malloc"),
	SANDBOX_WHEN(madvise, 2, SANDBOX_INT, MADV_NOHUGEPAGE, "zero pages"),
	SANDBOX_WHEN(madvise, 2, SANDBOX_INT, MADV_DONTNEED, "malloc, the end of a thread's stack"),
	SANDBOX_WHEN_RARE(madvise, 2, SANDBOX_INT, MADV_POPULATE_READ, "memory that is gone",
			  FAULT),
	SANDBOX_CALL(newfstatat, "memory that is gone"),
	SANDBOX_RARE(fstatfs, "the same", FAULT),
	SANDBOX_CALL(inotify_rm_watch, "memory of a session that is over"),
	/* KVM, for devices */
	IOCTL(KVM_SET_USER_MEMORY_REGION, "windows that the guest moves"),
	IOCTL(KVM_IOEVENTFD, "doorbells"),
	IOCTL(KVM_IRQFD, "MSI-X vectors that the guest masks"),
	IOCTL(KVM_SET_GSI_ROUTING, "MSI-X vectors that the guest changes"),
	IOCTL(KVM_SIGNAL_MSI, "interrupts of the device itself"),
	IOCTL(KVM_IRQ_LINE, "the console's interrupt"),
	IOCTL(KVM_GET_REGS, "the line that says where a guest crashed"),
	IOCTL(KVM_GET_SREGS, "the same"),
};

static const struct sandbox_list lists[] = {
	[CONFINE_MAIN] = { "main", main_rules, sizeof(main_rules) / sizeof(main_rules[0]) },
	[CONFINE_VCPU] = { "vCPU", vcpu_rules, sizeof(vcpu_rules) / sizeof(vcpu_rules[0]) },
};

const struct sandbox_plan vmm_plan = {
	.lists = lists,
	.num_lists = sizeof(lists) / sizeof(lists[0]),
	.user_namespace = true,
	.kernel_threads = true,
};

void confine_close_off(const struct vmm_conf *conf)
{
	/* A guest that restarts is loaded again. */
	sandbox_place(conf->kernel, SANDBOX_FILE);
	sandbox_place(conf->initrd, SANDBOX_FILE);
	for (unsigned int i = 0; i < conf->num_vvu; i++)
		sandbox_place(conf->vvu[i].link, SANDBOX_DIR);
	sandbox_place(conf->control, SANDBOX_DIR_WRITE);
	sandbox_place(conf->pid_file, SANDBOX_DIR_WRITE);
	sandbox_close_off(&conf->sandbox, &vmm_plan);
}
