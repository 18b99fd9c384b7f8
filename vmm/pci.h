/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI bus 0 behind configuration mechanism #1 (PCI 3.0 §3.2.2.3.2): a host bridge at 00:00.0, then
 * functions from 00:01.0 on, packed eight to a device.
 *
 * A function's configuration space is two byte arrays, values and write masks; BARs, command
 * register and capabilities are built from them. Memory BARs come and go on the MMIO bus with the
 * command register and the guest's writes to them; the function is told where they are.
 *
 * I/O ports 0xcf8..0xcff belong to this file, the reset control register 0xcf9 among them.
 *
 * The machine lock serialises everything here.
 */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <stdbool.h>

#include "abi/pci.h"
#include "vmm/machine.h"

#define PCI_BAR_UNMAPPED UINT64_MAX

struct pci_host;
struct pci_fn;

struct pci_fn_ops {
	/* Accesses to a mapped BAR, or by way of virtio's PCI_CFG capability. size: 1, 2, 4 or 8.
	 */
	uint64_t (*bar_read)(struct pci_fn *fn, unsigned int bar, uint64_t offset,
			     unsigned int size);
	void (*bar_write)(struct pci_fn *fn, unsigned int bar, uint64_t offset, unsigned int size,
			  uint64_t value);
	/* The BAR is at gpa now, or (PCI_BAR_UNMAPPED) nowhere. Between two places it is unmapped
	 * first. May be NULL. */
	void (*bar_moved)(struct pci_fn *fn, unsigned int bar, uint64_t gpa);
	/* Before a read of, and after a write to, bytes [reg, reg + size) of configuration space.
	 * May be NULL. */
	void (*config_reading)(struct pci_fn *fn, unsigned int reg, unsigned int size);
	void (*config_written)(struct pci_fn *fn, unsigned int reg, unsigned int size);
	/* The machine restarts: back to power-on state (configuration space is done by pci.c). */
	void (*reset)(struct pci_fn *fn);
};

struct pci_bar {
	struct pci_fn *fn;
	unsigned int index;
	uint64_t size; /* power of two; 0: not there */
	bool is_64;
	bool prefetch;
	bool window;	   /* no registers: not on the MMIO bus, the function places memory there */
	uint64_t assigned; /* by pci_host_assign() */
	uint64_t gpa;	   /* where it is mapped now, or PCI_BAR_UNMAPPED */
};

struct pci_fn {
	struct pci_host *host;
	const struct pci_fn_ops *ops;
	const char *name; /* for log lines; must outlive the function */
	unsigned int devfn;
	unsigned int cap_end;  /* where the next capability goes */
	unsigned int cap_last; /* the last one's offset, 0: none */
	struct pci_bar bars[PCI_NUM_BARS];
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t write_mask[PCI_CONFIG_SIZE];
	uint8_t power_on[PCI_CONFIG_SIZE]; /* values after a machine reset */
};

struct pci_ids {
	uint16_t vendor;
	uint16_t device;
	uint16_t class;
	uint8_t revision;
	uint16_t subsys_vendor;
	uint16_t subsys;
};

/*
 * Makes the bus and its host bridge, claims the ports and registers with the machine, whose reset
 * then resets every function. NULL and errno on failure.
 */
struct pci_host *pci_host_new(struct machine *machine);
/* Functions must be removed before. NULL is fine. */
void pci_host_free(struct pci_host *host);

/*
 * Gives every BAR a place: 32-bit ones in the hole below 4 GiB, 64-bit ones in the upper half of
 * the guest's physical address space (pci_window_base()). Call it once when all functions are
 * there. Decoding stays off until the guest turns it on. 0, or -ENOSPC.
 */
int pci_host_assign(struct pci_host *host);

/*
 * The 64-bit window for phys_bits: [base, 2 * base). At most 2^46: an operating system that maps it
 * one to one needs canonical addresses of 4-level paging.
 */
uint64_t pci_window_base(unsigned int phys_bits);

/* Sets up fn's header; then BARs and capabilities are added; then pci_fn_add() puts it on the bus.
 */
void pci_fn_init(struct pci_fn *fn, const char *name, const struct pci_ids *ids,
		 const struct pci_fn_ops *ops);
/* size: power of two, at least 4096. A 64-bit BAR takes the next index as well. window: see struct
 * pci_bar. */
void pci_fn_add_bar(struct pci_fn *fn, unsigned int index, uint64_t size, bool is_64, bool window);
/* Appends a capability whose first byte is its ID; byte 1 is filled in here. Returns its offset, or
 * -ENOSPC. */
int pci_fn_add_cap(struct pci_fn *fn, const void *cap, unsigned int size);
/* Makes bytes of configuration space writable by mask (per byte). */
void pci_fn_writable(struct pci_fn *fn, unsigned int reg, const void *mask, unsigned int size);

/* At the next free place from 00:01.0 on. 0, or -ENOSPC. fn stays the caller's, until pci_fn_del().
 */
int pci_fn_add(struct pci_host *host, struct pci_fn *fn);
void pci_fn_del(struct pci_fn *fn);

uint16_t pci_config_u16(const struct pci_fn *fn, unsigned int reg);
uint32_t pci_config_u32(const struct pci_fn *fn, unsigned int reg);
void pci_config_set_u32(struct pci_fn *fn, unsigned int reg, uint32_t value);

#endif
