/* SPDX-License-Identifier: BSD-2-Clause */
/* A 16550A serial port, and beside it the text register of abi/machine.h, which writes to the same output. */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include "vmm/machine.h"

struct serial;

struct serial_conf {
	int in_fd;  /* -1: no input. Both fds stay the caller's, and open until serial_destroy(). */
	int out_fd; /* -1: output is dropped */
	uint16_t port;
	unsigned int irq;
	uint16_t text_port; /* 0: no text register */
};

/*
 * Adds the ports to m's I/O bus and registers it as device "serial". Input is read by m's event base
 * (NULL: never). Output never blocks a vCPU: what out_fd does not take at once is queued, and
 * dropped when the queue is full. NULL and errno.
 */
struct serial *serial_create(struct machine *m, const struct serial_conf *conf);
/* Waits up to a second for queued output to be taken. */
void serial_destroy(struct serial *s);
/* Input from elsewhere (tests); returns how many bytes there was room for. The lock is held by the
 * caller. */
unsigned int serial_input(struct serial *s, const uint8_t *data, unsigned int len);

#endif
