/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The appliance's further CPUs: CPU N runs worker N, and nothing else (core/worker.h). Messages, windows,
 * device status and logs are the boot CPU's, worker 0's.
 */
#ifndef BACKEND_VM_CPU_H
#define BACKEND_VM_CPU_H

#include "core/poll.h"
#include "core/stats.h"

/* What kicks of a port raise, at whichever CPU waits for them. */
static inline unsigned int cpu_kick_irq(unsigned int port)
{
	return 2 * port + 1;
}

/* How many workers there are to be: one for each CPU. */
unsigned int cpu_count(void);

/* How the CPUs of this switch wake each other. Before it is set up. */
void cpu_open(struct be_switch *sw);

/* Starts them; the switch is set up. 0, or negative with *cpu the one that does not start. */
int cpu_start(struct be_switch *sw, const struct be_options *options, struct stats_page *page,
	      unsigned int *cpu);

/* Any CPU: brings the statistics page up to date. */
void cpu_stats(struct be_switch *sw);

/* Boot CPU, the others standing: a window ended, no CPU may use what it remembers of it. */
void cpu_window_ended(void);

#endif
