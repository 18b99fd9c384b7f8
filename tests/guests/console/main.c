// SPDX-License-Identifier: BSD-2-Clause
/*
 * Console input. `poll`: the line status is looked at. `irq`: the UART's interrupt line through the
 * I/O APIC wakes the idle CPU. Each line typed is echoed; `end` ends the test.
 */
#include "common.h"
#include "io.h"
#include "ring0.h"

#define UART_RBR  MACHINE_SERIAL_PORT
#define UART_IER  (MACHINE_SERIAL_PORT + 1)
#define UART_MCR  (MACHINE_SERIAL_PORT + 4)
#define UART_LSR  (MACHINE_SERIAL_PORT + 5)
#define IER_RX	  0x01
#define MCR_OUT2  0x08
#define LSR_READY 0x01

#define IOAPIC_GPA	0xfec00000
#define IOAPIC_SELECT	0x00
#define IOAPIC_WINDOW	0x10
#define IOAPIC_REDIR(n) (0x10u + 2 * (n))
#define CONSOLE_IRQ	3

static bool by_irq;

static void set_up_irq(void)
{
	const struct gd_platform *p = rt_platform();
	uint8_t *ioapic = p->map_mmio(p->ctx, IOAPIC_GPA, 4096);

	p->mmio_write(p->ctx, ioapic + IOAPIC_SELECT, 4, IOAPIC_REDIR(MACHINE_SERIAL_IRQ) + 1);
	p->mmio_write(p->ctx, ioapic + IOAPIC_WINDOW, 4, 0); /* to APIC ID 0 */
	p->mmio_write(p->ctx, ioapic + IOAPIC_SELECT, 4, IOAPIC_REDIR(MACHINE_SERIAL_IRQ));
	p->mmio_write(p->ctx, ioapic + IOAPIC_WINDOW, 4,
		      VECTOR_IRQ_BASE + CONSOLE_IRQ); /* fixed, edge */
	io_out8(UART_MCR, MCR_OUT2);
	io_out8(UART_IER, IER_RX);
}

static char get_char(void)
{
	while (!(io_in8(UART_LSR) & LSR_READY)) {
		if (by_irq) {
			rt_idle(UINT64_MAX);
			CHECK(rt_irq_take(CONSOLE_IRQ));
		}
	}
	return (char)io_in8(UART_RBR);
}

static void get_line(char *line, unsigned int size)
{
	unsigned int n = 0;
	char c;

	while ((c = get_char()) != '\n')
		if (c != '\r' && n < size - 1)
			line[n++] = c;
	line[n] = '\0';
}

int rt_main(const char *cmdline)
{
	char line[200];

	by_irq = strcmp(cmdline, "irq") == 0;
	if (by_irq)
		set_up_irq();
	rt_printf("READY\n");
	do {
		get_line(line, sizeof(line));
		rt_printf("got %zu: %s\n", strlen(line), line);
		CHECKF(*line, "empty line");
	} while (strcmp(line, "end"));
	return verdict();
}
