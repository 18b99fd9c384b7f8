// SPDX-License-Identifier: BSD-2-Clause
/*
 * vCPU threads.
 *
 * A thread runs the guest until KVM_RUN returns, handles the exit under the machine lock, and looks
 * at what the VM wants (vm.h) before it runs on. A kick is a signal whose handler sets
 * immediate_exit in the shared page: whether it arrives before, in, or after KVM_RUN, the next or
 * current KVM_RUN returns at once.
 *
 * A guest can end its VM (triple fault, bad instruction), never this process without a word: each
 * way says what happened and ends the VM with status 1.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/confine.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define KICK_SIGNAL SIGUSR1
#define FAULTS_MAX  1000 /* in a row */

/* Newer than Debian 12's <linux/kvm.h>: says which address an EFAULT of KVM_RUN is about
 * (Linux 6.8). */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

static _Thread_local struct kvm_run *this_run;

static void on_kick(int sig)
{
	struct kvm_run *run = this_run;

	if (run)
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
}

int vcpu_init_signal(void)
{
	struct sigaction action = { .sa_handler = on_kick };

	sigemptyset(&action.sa_mask);
	return sigaction(KICK_SIGNAL, &action, NULL) < 0 ? -errno : 0;
}

void vcpu_kick(struct vcpu *vcpu)
{
	if (vcpu->started && !vcpu->ended)
		pthread_kill(vcpu->thread, KICK_SIGNAL);
}

/* What the guest was at, for the line that says why it ended. */
static void log_state(struct vcpu *vcpu)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return;
	log_error("guest",
		  "vCPU %u: rip=0x%llx cs=0x%x rsp=0x%llx rflags=0x%llx cr0=0x%llx cr2=0x%llx "
		  "cr3=0x%llx cr4=0x%llx efer=0x%llx",
		  vcpu->index, regs.rip, sregs.cs.selector, regs.rsp, regs.rflags, sregs.cr0,
		  sregs.cr2, sregs.cr3, sregs.cr4, sregs.efer);
	log_error("guest",
		  "vCPU %u: rax=0x%llx rbx=0x%llx rcx=0x%llx rdx=0x%llx rsi=0x%llx rdi=0x%llx "
		  "rbp=0x%llx",
		  vcpu->index, regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi,
		  regs.rbp);
}

static void guest_failed(struct vcpu *vcpu)
{
	log_state(vcpu);
	vm_power_off(vcpu->vm, 1);
}

static void handle_pio(struct vcpu *vcpu)
{
	struct machine *m = &vcpu->vm->machine;
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	pthread_mutex_lock(&m->lock);
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, run->io.size);
			bus_write(&m->pio, run->io.port, run->io.size, value);
		} else {
			value = bus_read(&m->pio, run->io.port, run->io.size);
			memcpy(data, &value, run->io.size);
		}
	}
	pthread_mutex_unlock(&m->lock);
}

/* KVM hands over up to 8 bytes, of any length where an access crossed a page; the bus takes powers
 * of two. */
static void handle_mmio(struct vcpu *vcpu)
{
	struct machine *m = &vcpu->vm->machine;
	struct kvm_run *run = vcpu->run;
	uint32_t len = run->mmio.len <= 8 ? run->mmio.len : 8;

	pthread_mutex_lock(&m->lock);
	for (uint32_t at = 0; at < len;) {
		uint32_t left = len - at;
		uint32_t size = left == 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
		uint64_t value = 0;

		if (run->mmio.is_write) {
			memcpy(&value, run->mmio.data + at, size);
			bus_write(&m->mmio, run->mmio.phys_addr + at, size, value);
		} else {
			value = bus_read(&m->mmio, run->mmio.phys_addr + at, size);
			memcpy(run->mmio.data + at, &value, size);
		}
		at += size;
	}
	pthread_mutex_unlock(&m->lock);
}

static void handle_internal_error(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char bytes[3 * 15 + 1] = "";

	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		log_error("guest", "vCPU %u: KVM internal error %u; the guest cannot go on",
			  vcpu->index, run->internal.suberror);
		return;
	}
	if (run->emulation_failure.ndata >= 3 &&
	    (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		unsigned int n = run->emulation_failure.insn_size;

		for (unsigned int i = 0; i < n && i < 15; i++)
			snprintf(bytes + 3 * i, 4, " %02x", run->emulation_failure.insn_bytes[i]);
	}
	log_error("guest",
		  "vCPU %u: KVM cannot emulate the instruction%s; some hosts emulate all of ring 0 "
		  "and lack it (docs/debugging.md)",
		  vcpu->index, bytes);
}

static void handle_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vm_power_off(vcpu->vm, 0);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		vm_reboot(vcpu->vm);
		break;
	default:
		log_error("guest", "vCPU %u: crashed (system event %u)", vcpu->index,
			  vcpu->run->system_event.type);
		guest_failed(vcpu);
	}
}

static void handle_exit(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_pio(vcpu);
		break;
	case KVM_EXIT_MMIO:
		handle_mmio(vcpu);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_HLT: /* with the in-kernel local APIC, halting does not leave the kernel */
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu);
		break;
	case KVM_EXIT_SHUTDOWN:
		log_error("guest", "vCPU %u: triple fault; the guest has crashed", vcpu->index);
		guest_failed(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		log_error("guest", "vCPU %u: the CPU refused to enter the guest (reason 0x%llx)",
			  vcpu->index, run->fail_entry.hardware_entry_failure_reason);
		guest_failed(vcpu);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		handle_internal_error(vcpu);
		guest_failed(vcpu);
		break;
	default:
		log_error("guest", "vCPU %u: unexpected exit %u from KVM", vcpu->index,
			  run->exit_reason);
		guest_failed(vcpu);
	}
}

/* Where it was that KVM_RUN returned EFAULT (Linux 6.8, Documentation/virt/kvm/api.rst §KVM_EXIT_MEMORY_FAULT). */
static uint64_t fault_gpa(const struct kvm_run *run)
{
	struct {
		uint64_t flags, gpa, size;
	} fault;

	if (run->exit_reason != KVM_EXIT_MEMORY_FAULT)
		return MACHINE_GPA_UNKNOWN;
	memcpy(&fault, &run->hw, sizeof(fault));
	return fault.gpa;
}

/*
 * EFAULT: memory behind a slot is gone. The device it belongs to puts zero pages there. Where there is none, another
 * vCPU may have met the same and be done with it, or the host may have memory again: only if that goes on for long, the
 * guest is lost.
 */
static void handle_fault(struct vcpu *vcpu)
{
	struct machine *m = &vcpu->vm->machine;
	bool repaired;

	pthread_mutex_lock(&m->lock);
	repaired = machine_memory_fault(m, fault_gpa(vcpu->run));
	pthread_mutex_unlock(&m->lock);
	if (repaired || vcpu->faults++ < FAULTS_MAX)
		return;
	log_error("guest", "vCPU %u: touched memory that the host cannot provide (KVM_RUN: %s)",
		  vcpu->index, strerror(EFAULT));
	guest_failed(vcpu);
}

static void handle_run_error(struct vcpu *vcpu, int error)
{
	switch (error) {
	case EINTR:
	case EAGAIN: /* an INIT has just been taken */
		break;
	case EFAULT:
		handle_fault(vcpu);
		break;
	default:
		log_error("guest", "vCPU %u: KVM_RUN: %s", vcpu->index, strerror(error));
		guest_failed(vcpu);
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	sigset_t kick;

	this_run = vcpu->run;
	__atomic_store_n(&vcpu->tid, (int)syscall(SYS_gettid), __ATOMIC_RELAXED);
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	sandbox_confine(CONFINE_VCPU);

	for (;;) {
		int ret;

		/* In this order: a kick from here on makes the next KVM_RUN return, one from before
		 * is seen by the look. */
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (!vm_may_run(vcpu->vm))
			break;
		ret = ioctl(vcpu->fd, KVM_RUN, 0);
		__atomic_store_n(&vcpu->exits, vcpu->exits + 1, __ATOMIC_RELAXED);
		if (ret < 0) {
			handle_run_error(vcpu, errno);
		} else {
			vcpu->faults = 0;
			handle_exit(vcpu);
		}
	}
	this_run = NULL;
	return NULL;
}

int vcpu_start(struct vcpu *vcpu)
{
	sigset_t all, old;
	char name[16];
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret)
		return -ret;
	vcpu->started = true;
	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	pthread_setname_np(vcpu->thread, name);
	return 0;
}

void vcpu_join(struct vcpu *vcpu)
{
	if (vcpu->started && !vcpu->ended)
		pthread_join(vcpu->thread, NULL);
	vcpu->ended = true;
}

/* Opened early, like all fds. Without it there are no counters, which status leaves out then. */
static void open_stats(struct vcpu *vcpu)
{
	int fd = -1;

	if (vcpu->vm->kvm.binary_stats)
		fd = ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL);
	if (fd < 0)
		vcpu->stats.fd = -1;
	else if (kvm_stats_init(&vcpu->stats, fd))
		log_warn("kvm", "cannot read KVM's statistics of vCPU %u", vcpu->index);
}

void vcpu_create(struct vcpu *vcpu, struct vm *vm, unsigned int index)
{
	void *run;

	*vcpu = (struct vcpu){ .vm = vm, .index = index };
	vcpu->fd = ioctl(vm->kvm.vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0)
		die("KVM_CREATE_VCPU %u: %m; use fewer --cpus", index);
	run = mmap(NULL, vm->kvm.run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		die("mmap of vCPU %u: %m", index);
	vcpu->run = run;
	open_stats(vcpu);
	if (ioctl(vcpu->fd, KVM_GET_LAPIC, &vcpu->lapic) < 0)
		die("KVM_GET_LAPIC: %m");
	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &vcpu->events) < 0)
		die("KVM_GET_VCPU_EVENTS: %m");
	if (ioctl(vcpu->fd, KVM_GET_FPU, &vcpu->fpu) < 0)
		die("KVM_GET_FPU: %m");
}

void vcpu_set_cpuid(struct vcpu *vcpu, struct kvm_cpuid2 *cpuid)
{
	cpuid_set_apic_id(cpuid, vcpu->index);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		die("KVM_SET_CPUID2: %m");
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->kvm.run_bytes);
	vcpu->run = NULL;
	kvm_stats_close(&vcpu->stats);
	fd_close(&vcpu->fd);
}
