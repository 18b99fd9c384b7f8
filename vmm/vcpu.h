/* SPDX-License-Identifier: BSD-2-Clause */
/* One virtual CPU and its thread. */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "vmm/kvm_stats.h"
#include "vmm/loader.h"

struct vm;

struct vcpu {
	struct vm *vm;
	unsigned int index; /* also its APIC ID */
	int fd;
	struct kvm_run *run;
	struct kvm_lapic_state lapic; /* power-on state */
	struct kvm_vcpu_events events;
	struct kvm_fpu fpu;
	pthread_t thread;
	bool started;
	bool ended; /* the thread has been joined or never ran */
	int tid;
	struct kvm_stats stats;
	unsigned int faults; /* returns of EFAULT in a row that nobody could do anything about */
	uint64_t exits;	     /* returns from KVM_RUN; written by the thread, read by any */
};

/* Makes the vCPU; cpuid is for all of them and changed for this one. Ends the process when KVM
 * refuses. */
void vcpu_create(struct vcpu *vcpu, struct vm *vm, unsigned int index);
void vcpu_set_cpuid(struct vcpu *vcpu, struct kvm_cpuid2 *cpuid);
void vcpu_destroy(struct vcpu *vcpu);

/*
 * Power-on state; vCPU 0 at entry, the others waiting for INIT and SIPI. first: the vCPU is new, so
 * that only what differs from KVM's own initial state is set. 0 or -errno with *what naming the
 * failing call.
 */
int vcpu_reset(struct vcpu *vcpu, const struct loader_entry *entry, bool first, const char **what);

/* Installs the handler of the signal that interrupts KVM_RUN, once. 0 or -errno. */
int vcpu_init_signal(void);
/* Runs the thread (all signals but the kick blocked). 0 or -errno. */
int vcpu_start(struct vcpu *vcpu);
/* Interrupts KVM_RUN. Any thread. */
void vcpu_kick(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);

#endif
