/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSI-X (PCI 3.0 §6.8.2): table and pending bits in a BAR of their own, function mask, per-vector
 * masks.
 *
 * Two kinds of sources raise a vector. The device's own events call msix_notify(), which sends the
 * message or sets the pending bit. A peer's eventfd is bound with msix_irq_bind(): while the vector
 * may be delivered, the eventfd is an irqfd of the vector's interrupt route and none of our threads
 * sees it. While it may not (disabled, masked, function mask) the irqfd is detached; the count
 * stays in the eventfd, poll() of it is the pending bit, and attaching it again delivers it once.
 * Several eventfds may share one vector.
 *
 * Routes are made when a vector with a bound eventfd is first delivered, so that vectors that
 * nobody uses cost nothing.
 *
 * The machine lock serialises everything here.
 */
#ifndef VMM_MSIX_H
#define VMM_MSIX_H

#include <stdbool.h>

#include "vmm/pci.h"

/* An eventfd bound to a vector; embedded in the owner's struct. Zero-filled with fd -1 means not
 * bound. */
struct msix_irq {
	int fd; /* borrowed while bound; -1: not bound */
	uint16_t vector;
	bool attached;
	struct msix_irq *next;
};

struct msix_vector {
	struct pci_msix_entry entry;
	int gsi;      /* -1: no route yet */
	bool pending; /* of msix_notify() */
	bool live;    /* irqfds are attached */
	struct msix_irq *irqs;
};

struct msix {
	struct machine *machine;
	struct pci_fn *fn;
	unsigned int cap; /* offset in configuration space */
	unsigned int num;
	bool enabled;
	bool masked; /* function mask */
	struct msix_vector *vectors;
	/*
	 * Attaching a bound eventfd failed later than msix_irq_bind(), when the guest unmasked its
	 * vector (-EBUSY: another irqfd has it). Called last; may unbind.
	 */
	void (*irq_failed)(void *arg, struct msix_irq *irq, int err);
	void *arg;
};

/* Bytes of the BAR for num vectors: a power of two. */
uint64_t msix_bar_bytes(unsigned int num);

/* Adds the capability and BAR to fn. 0, -ENOMEM, -ENOSPC. */
int msix_init(struct msix *msix, struct machine *machine, struct pci_fn *fn, unsigned int bar,
	      unsigned int num);
/* Every irq must have been unbound. */
void msix_free(struct msix *msix);
/* Power-on state: disabled, all vectors masked. Bound eventfds stay bound, detached. */
void msix_reset(struct msix *msix);

uint64_t msix_read(struct msix *msix, uint64_t offset, unsigned int size);
void msix_write(struct msix *msix, uint64_t offset, unsigned int size, uint64_t value);
/* To be called by the function's config_written. */
void msix_config_written(struct msix *msix, unsigned int reg, unsigned int size);

/* Raises vector; out of range (NO_VECTOR) is fine and does nothing. */
void msix_notify(struct msix *msix, unsigned int vector);

/*
 * Binds fd to vector, which must be below msix->num. irq must not be bound. 0; or, when the vector
 * is live and the eventfd can't be attached, -errno (-EBUSY: it is somebody else's irqfd), and irq
 * is not bound.
 */
int msix_irq_bind(struct msix *msix, struct msix_irq *irq, unsigned int vector, int fd);
void msix_irq_unbind(struct msix *msix, struct msix_irq *irq);

#endif
