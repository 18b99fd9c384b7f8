/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine without a hypervisor: device models on their buses, and a guest that is the test
 * itself. What KVM does in the kernel happens here in fake_write() (ioeventfds) and fake_step()
 * (irqfds); each interrupt message that reaches the guest is counted by its data word.
 */
#ifndef TESTS_LOOP_FAKE_MACHINE_H
#define TESTS_LOOP_FAKE_MACHINE_H

#include "gd/platform.h"
#include "vmm/machine.h"
#include "vmm/pci.h"

#define FAKE_RAM_BYTES (UINT64_C(8) << 20)
#define FAKE_MSI_ADDR  0xfee00000u
#define FAKE_MSI_DATA  1024 /* data words that are counted */

struct fake_slot {
	bool used;
	uint64_t gpa;
	uint64_t size;
	uint8_t *host;
};

struct fake_ioevent {
	uint64_t gpa;
	int fd; /* -1: free */
};

struct fake_irqfd {
	int gsi;
	int fd; /* -1: free */
	uint64_t id;
};

struct fake_route {
	bool used;
	uint64_t addr;
	uint32_t data;
};

struct fake_machine {
	struct machine m;
	struct event_base *base;
	struct pci_host *pci;
	uint8_t *ram;
	uint64_t ram_used; /* by gd_platform.alloc */
	struct fake_slot slots[256];
	struct fake_ioevent ioevents[2048];
	struct fake_irqfd irqfds[1024];
	struct fake_route routes[1024];
	unsigned int msis[FAKE_MSI_DATA];
	unsigned int kicks; /* of kick_vcpus() */
	int watchers;	    /* of watch_memory() */
	unsigned int reboots;
	unsigned int slot_adds;
	/* Failures to order: the next n calls fail with that errno. */
	unsigned int fail_slot_add, fail_ioeventfd_add, fail_irqfd_add, fail_route_add;
	uint64_t elsewhere; /* number of an eventfd that another VM has, from 1; 0: none */
	struct gd_platform platform;
};

/* phys_bits as the machine would have them. Aborts on failure: it is our own set-up. */
void fake_init(struct fake_machine *f, unsigned int phys_bits);
void fake_free(struct fake_machine *f);

/* Guest accesses to physical addresses: ioeventfds first, then the MMIO bus. */
uint64_t fake_read(struct fake_machine *f, uint64_t gpa, unsigned int size);
void fake_write(struct fake_machine *f, uint64_t gpa, unsigned int size, uint64_t value);
uint64_t fake_in(struct fake_machine *f, uint16_t port, unsigned int size);
void fake_out(struct fake_machine *f, uint16_t port, unsigned int size, uint64_t value);

/* Configuration space by mechanism #1. */
uint32_t fake_pci_read(struct fake_machine *f, unsigned int bdf, unsigned int reg,
		       unsigned int size);
void fake_pci_write(struct fake_machine *f, unsigned int bdf, unsigned int reg, unsigned int size,
		    uint32_t value);

/* What the guest sees at gpa: RAM or a slot that holds all of it; NULL: nothing. */
uint8_t *fake_memory(struct fake_machine *f, uint64_t gpa, uint64_t size);

/* Lets the main loop and the irqfds do what is due, until nothing is. Returns what it did (events
 * and interrupts). */
void fake_step(struct fake_machine *f);
/* Lets the main loop wait for up to ms, for timers. */
void fake_wait(struct fake_machine *f, unsigned int ms);

/* Another VM has the eventfd behind fd: no irqfd for it here. -1: none has any more. */
void fake_elsewhere(struct fake_machine *f, int fd);

/* Interrupts with that data word so far; and forgets them. */
unsigned int fake_take_msis(struct fake_machine *f, unsigned int data);

unsigned int fake_num_slots(const struct fake_machine *f);
unsigned int fake_num_ioevents(const struct fake_machine *f);
unsigned int fake_num_irqfds(const struct fake_machine *f);
unsigned int fake_num_routes(const struct fake_machine *f);

/* Open descriptors of this process. */
unsigned int fake_num_fds(void);

#endif
