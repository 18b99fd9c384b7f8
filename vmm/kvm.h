/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor: /dev/kvm, one VM, and the machine_ops that show it to device models.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/machine.h"

#define KVM_FIRST_MSI_GSI 24 /* behind the I/O APIC's pins */

struct kvm {
	int dev_fd;
	int vm_fd;
	unsigned int run_bytes; /* of a vCPU's shared page */
	unsigned int max_vcpus;
	unsigned int max_slots;
	unsigned int max_routes;
	bool ioeventfd_any_length;
	bool tsc_deadline;
	bool binary_stats;
	struct kvm_cpuid2 *supported; /* what KVM_GET_SUPPORTED_CPUID says; freed by kvm_close() */

	uint64_t *slots_used; /* bitmap */
	/* What KVM has of us now, for the status. Atomic, for doorbells change beside the loop. */
	unsigned int num_slots;
	unsigned int num_ioeventfds;
	unsigned int num_irqfds;
	struct kvm_irq_routing *routing;
	uint16_t *route_at;		/* index in routing of each MSI gsi, 0: free */
	struct kvm_irqchip irqchips[3]; /* power-on state: PIC master, PIC slave, I/O APIC */
	struct kvm_pit_state2 pit;
	bool can_pit; /* the host can; has: the VM has one */
	bool has_pit;
};

/*
 * Opens KVM, checks every capability this program needs, and makes an empty VM with the in-kernel
 * interrupt controllers. Ends the process with a line that names what is missing and the remedy.
 */
void kvm_open(struct kvm *kvm);
void kvm_close(struct kvm *kvm);

/* Adds the timer of a PC, for guests that need one. A host without it is no error. Ends the process like kvm_open(). */
void kvm_add_pit(struct kvm *kvm);

/* Interrupt controllers and timer back to power-on state. 0 or -errno. */
int kvm_reset(struct kvm *kvm);

/* Width of guest-physical addresses. */
unsigned int kvm_phys_bits(const struct kvm *kvm);

/*
 * machine_ops, with a struct kvm as ctx in place of the machine's: kvm_ops.c. vm.c puts them into
 * its own table, whose ctx is the VM.
 */
int kvm_slot_add(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host);
void kvm_slot_del(struct kvm *kvm, int slot);
int kvm_ioeventfd(struct kvm *kvm, uint64_t gpa, int fd, bool add);
int kvm_route_add(struct kvm *kvm, uint64_t addr, uint32_t data);
int kvm_route_set(struct kvm *kvm, int gsi, uint64_t addr, uint32_t data);
void kvm_route_del(struct kvm *kvm, int gsi);
int kvm_irqfd(struct kvm *kvm, int gsi, int fd, bool add);
void kvm_msi_send(struct kvm *kvm, uint64_t addr, uint32_t data);
void kvm_irq_line(struct kvm *kvm, unsigned int irq, int level);
/* Allocates the tables of slots and routes, with the ISA interrupts in place. 0 or -ENOMEM. */
int kvm_ops_init(struct kvm *kvm);
void kvm_ops_free(struct kvm *kvm);

#endif
