/* SPDX-License-Identifier: BSD-2-Clause */
/* The fixed ports of abi/machine.h: exit, reset by the keyboard controller's command, statistics
 * register. */
#ifndef VMM_EXITPORT_H
#define VMM_EXITPORT_H

#include "vmm/machine.h"

struct exitport {
	struct machine *m;
	uint32_t stats_low; /* written, not valid before the high half is */
	uint64_t stats_gpa; /* 0: the guest announced no statistics page */
};

/* Adds the ports to m's I/O bus and registers the device. 0 or -errno; e must outlive m. */
int exitport_init(struct exitport *e, struct machine *m);

#endif
