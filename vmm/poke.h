/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_POKE_H
#define VMM_POKE_H

/*
 * Signals a peer's eventfd from user space, for the rare cases in which the kernel did not do it.
 * The peer shares the open file description: it can clear O_NONBLOCK and fill the counter at any
 * time, so the write is bounded to about 10 ms (decision: a signal interrupts it). SIGALRM's
 * handler is set up on first use. Nothing to report: a counter that is full has signalled already.
 */
void poke_eventfd(int fd);

#endif
