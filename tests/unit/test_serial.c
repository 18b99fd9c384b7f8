// SPDX-License-Identifier: BSD-2-Clause
/* The serial port as a driver sees it, and that output never blocks whoever holds the machine lock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "abi/machine.h"
#include "vmm/serial.h"

#define PORT 0x3f8
#define RAM  0x10000

static struct machine m;
static struct serial *serial;
static int out[2];
static int level;
static unsigned int edges;
static uint8_t ram[2 * MACHINE_TEXT_MAX];

static void irq_line(void *ctx, unsigned int irq, int l)
{
	assert_int_equal(irq, 4);
	edges += l && !level;
	level = l;
}

static const struct machine_ops ops = { .irq_line = irq_line };

static int setup(void **state)
{
	level = 0;
	edges = 0;
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(machine_init(&m, 40, NULL, &ops, NULL), 0);
	serial = serial_create(&m, &(struct serial_conf){ -1, out[1], PORT, 4, MACHINE_TEXT_PORT });
	assert_non_null(serial);
	assert_int_equal(memmap_add(&m.ram, gpa(RAM), sizeof(ram), ram), 0);
	return 0;
}

static int teardown(void **state)
{
	serial_destroy(serial);
	assert_int_equal(m.pio.num, 0);
	assert_int_equal(m.num_devices, 0);
	machine_free(&m);
	close(out[0]);
	close(out[1]);
	return 0;
}

static void outb(unsigned int reg, uint8_t v)
{
	bus_write(&m.pio, PORT + reg, 1, v);
}

static uint8_t inb(unsigned int reg)
{
	return (uint8_t)bus_read(&m.pio, PORT + reg, 1);
}

static void transmits(void **state)
{
	char buf[16] = "";

	assert_int_equal(inb(5), 0x60);
	outb(0, 'h');
	bus_write(&m.pio, PORT, 1, 'i');
	assert_int_equal(inb(5), 0x60);
	assert_int_equal(read(out[0], buf, sizeof(buf)), 2);
	assert_string_equal(buf, "hi");
	/* With DLAB set, the data register is the divisor. */
	outb(3, 0x83);
	outb(0, 1);
	outb(1, 0);
	assert_int_equal(inb(0), 1);
	outb(3, 0x03);
	outb(0, '!');
	assert_int_equal(read(out[0], buf, sizeof(buf)), 1);
	assert_int_equal(buf[0], '!');
}

static void transmit_interrupt(void **state)
{
	outb(1, 2); /* the transmitter is empty: at once */
	assert_int_equal(level, 1);
	assert_int_equal(inb(2) & 0xf, 2);
	assert_int_equal(level, 0); /* reading it acknowledges */
	assert_int_equal(inb(2) & 0xf, 1);
	outb(0, 'x');
	assert_int_equal(edges, 2);
	outb(1, 0);
	assert_int_equal(level, 0);
}

static void receives(void **state)
{
	outb(1, 1);
	assert_int_equal(serial_input(serial, (const uint8_t *)"0123456789abcdefXYZ", 19), 16);
	assert_int_equal(level, 1);
	assert_int_equal(inb(2) & 0xf, 4);
	for (unsigned int i = 0; i < 16; i++) {
		assert_int_equal(inb(5), 0x61);
		assert_int_equal(inb(0), "0123456789abcdef"[i]);
	}
	assert_int_equal(level, 0);
	assert_int_equal(inb(5), 0x60);
	assert_int_equal(inb(0), 0);
	/* Clearing the FIFO. */
	assert_int_equal(serial_input(serial, (const uint8_t *)"zz", 2), 2);
	outb(2, 3);
	assert_int_equal(level, 0);
	assert_int_equal(inb(2), 0xc1);
}

/* What Linux's 8250 driver does to find the port. */
static void probe(void **state)
{
	outb(1, 0);
	assert_int_equal(inb(1), 0);
	outb(1, 0x0f);
	assert_int_equal(inb(1), 0x0f);
	outb(1, 0);
	outb(4, 0x10 | 0x0a);
	assert_int_equal(inb(6) & 0xf0, 0x90);
	outb(0, 'l'); /* loops back */
	assert_int_equal(inb(5) & 1, 1);
	assert_int_equal(inb(0), 'l');
	outb(4, 0);
	assert_int_equal(inb(6) & 0xf0, 0xb0);
	outb(7, 0x5a);
	assert_int_equal(inb(7), 0x5a);
}

static void overrun_in_loopback(void **state)
{
	outb(1, 4);
	outb(4, 0x10);
	for (unsigned int i = 0; i < 17; i++)
		outb(0, 'x');
	assert_int_equal(level, 1);
	assert_int_equal(inb(2) & 0xf, 6);
	assert_int_equal(inb(5), 0x63);
	assert_int_equal(level, 0);
	assert_int_equal(inb(5), 0x61);
}

/* Wide accesses are several byte accesses, and one that leaves the port hits nothing. */
static void wide(void **state)
{
	bus_write(&m.pio, PORT + 6, 2, 0x7700);
	assert_int_equal(inb(7), 0x77);
	assert_int_equal(bus_read(&m.pio, PORT + 4, 4) >> 24, 0x77);
	assert_int_equal(bus_read(&m.pio, PORT + 6, 4), UINT32_MAX);
}

static void output_never_blocks(void **state)
{
	unsigned int taken = 0;
	char c = 0;

	assert_int_equal(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
	/* More than the pipe and the queue hold: the end is lost, not the start, and nothing hangs.
	 */
	for (unsigned int i = 0; i < 300000; i++)
		outb(0, (uint8_t)('a' + i % 26));
	while (c != '.') {
		if (read(out[0], &c, 1) != 1)
			outb(0, '.'); /* there is room again: the queue goes on */
		else if (c != '.')
			assert_int_equal(c, 'a' + taken++ % 26);
	}
	assert_true(taken > 65536);
	assert_true(taken < 300000);
}

static void send_text(uint32_t at, uint32_t len, const char *text)
{
	memcpy(ram + at, &len, sizeof(len));
	for (uint8_t *to = ram + at + sizeof(len); *text; to++, text++)
		*to = (uint8_t)*text;
	bus_write(&m.pio, MACHINE_TEXT_PORT, 4, RAM + at);
}

static void text_register(void **state)
{
	char buf[64] = "";

	assert_int_equal(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(bus_read(&m.pio, MACHINE_TEXT_PORT, 4), 0);
	send_text(100, 5, "one\r\nnot this");
	outb(0, '2');
	send_text(sizeof(ram) - 7, 3, "end");
	assert_int_equal(read(out[0], buf, sizeof(buf)), 9);
	assert_string_equal(buf, "one\r\n2end");
	/* Too long; beyond the end of RAM; with its length beyond it; not there; of another width. */
	send_text(0, MACHINE_TEXT_MAX + 1, "x");
	send_text(sizeof(ram) - 6, 3, "en");
	bus_write(&m.pio, MACHINE_TEXT_PORT, 4, RAM + sizeof(ram) - 2);
	bus_write(&m.pio, MACHINE_TEXT_PORT, 4, 0xfffffffe);
	send_text(100, 0, "x");
	bus_write(&m.pio, MACHINE_TEXT_PORT, 2, RAM + 100);
	assert_int_equal(read(out[0], buf, sizeof(buf)), -1);
	send_text(0, MACHINE_TEXT_MAX, "x");
	assert_int_equal(read(out[0], ram, sizeof(ram)), MACHINE_TEXT_MAX);
}

static void reset(void **state)
{
	outb(1, 2);
	outb(7, 1);
	outb(3, 0x80);
	assert_int_equal(level, 1);
	machine_reset_devices(&m);
	assert_int_equal(level, 0);
	assert_int_equal(inb(1), 0);
	assert_int_equal(inb(3), 0);
	assert_int_equal(inb(7), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(transmits),     TEST(transmit_interrupt),
		TEST(receives),	     TEST(probe),
		TEST(wide),	     TEST(overrun_in_loopback),
		TEST(reset),	     TEST(output_never_blocks),
		TEST(text_register),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
