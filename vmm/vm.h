/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual machine as a whole: hypervisor, memory, vCPUs, devices, and who may run when.
 *
 * State (vm_state): RUN: vCPU threads run the guest. PARK: they stop before the next KVM_RUN and
 * wait; the main loop may change their registers once all of them wait. QUIT: they end. A vCPU
 * thread or a device asks for a change with vm_power_off() or vm_reboot(); the main loop carries it
 * out.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <pthread.h>
#include <time.h>

#include "vmm/conf.h"
#include "vmm/cpuid.h"
#include "vmm/exitport.h"
#include "vmm/kvm.h"
#include "vmm/loader.h"
#include "vmm/mem.h"
#include "vmm/pulse.h"
#include "vmm/rtc.h"
#include "vmm/vcpu.h"

struct event;
struct event_base;
struct pci_host;
struct serial;
struct vvu_dev;

enum vm_state {
	VM_RUN,
	VM_PARK,
	VM_QUIT
};
enum vm_request {
	VM_REQUEST_NONE,
	VM_REQUEST_REBOOT,
	VM_REQUEST_POWER_OFF
};

struct vm {
	const struct vmm_conf *conf;
	struct event_base *base;
	struct kvm kvm;
	struct mem mem;
	int ram_slots[2];
	struct machine machine;
	struct vcpu *vcpus;
	unsigned int num_vcpus;
	uint32_t tsc_khz;
	struct loader_entry entry;

	struct serial *serial;
	int serial_fd; /* of --serial file=, else -1 */
	struct exitport exitport;
	struct rtc rtc;
	struct pci_host *pci;
	struct vvu_dev **ports; /* of conf->vvu, in order */
	unsigned int replacing; /* ports that another VMM may still have */
	unsigned int replaced;	/* ports that another VMM has now */
	uint64_t restarts;

	enum vm_state state; /* atomic; changed with run_lock held */
	pthread_mutex_t run_lock;
	pthread_cond_t run_cond;
	unsigned int parked;
	enum vm_request request; /* under run_lock */
	int exit_status;
	struct event *request_event;
	struct pulse pulse; /* for damaged memory */
};

/* Builds the machine of conf on base, image loaded, vCPUs ready to run. Ends the process on
 * failure, with a reason. */
void vm_create(struct vm *vm, const struct vmm_conf *conf, struct event_base *base);
/* Starts the vCPU threads. */
void vm_start(struct vm *vm);
/* Ends the threads and frees everything. */
void vm_destroy(struct vm *vm);

/*
 * Requests, from any thread, the machine lock held or not. Power-off: the main loop ends, exit
 * status 0 for status 0, else 1. Reboot: the guest starts again from its image.
 */
void vm_power_off(struct vm *vm, int status);
void vm_reboot(struct vm *vm);
/* Makes all vCPUs leave KVM_RUN once. */
void vm_kick(struct vm *vm);

/* Parts of the above, in vm_devices.c. Links to the proxy are looked for from _start() on. */
void vm_devices_create(struct vm *vm);
void vm_devices_start(struct vm *vm);
void vm_devices_destroy(struct vm *vm);

/* For vCPU threads, before KVM_RUN: waits while the VM is parked. False: the thread ends. */
bool vm_may_run(struct vm *vm);

#endif
