// SPDX-License-Identifier: BSD-2-Clause
/* The fixed ports: exit, reset, statistics register, clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "abi/machine.h"
#include "vmm/exitport.h"
#include "vmm/rtc.h"

static struct machine m;
static struct exitport exitport;
static struct rtc rtc;
static int powered_off;
static unsigned int reboots;

static void power_off(void *ctx, int status)
{
	powered_off = status;
}

static void reboot(void *ctx)
{
	reboots++;
}

static const struct machine_ops ops = { .power_off = power_off, .reboot = reboot };

/* 2026-11-22 17:07:47 UTC, a Sunday. */
static time_t fixed_time(void)
{
	return 1795367267;
}

static int setup(void **state)
{
	powered_off = -1;
	reboots = 0;
	assert_int_equal(machine_init(&m, 40, NULL, &ops, NULL), 0);
	assert_int_equal(exitport_init(&exitport, &m), 0);
	assert_int_equal(rtc_init(&rtc, &m), 0);
	rtc.now = fixed_time;
	return 0;
}

static int teardown(void **state)
{
	machine_free(&m);
	return 0;
}

static void exits(void **state)
{
	bus_write(&m.pio, MACHINE_EXIT_PORT, 1, 3);
	assert_int_equal(powered_off, 3);
	bus_write(&m.pio, MACHINE_EXIT_PORT, 4, 0);
	assert_int_equal(powered_off, 0);
	powered_off = -1;
	bus_write(&m.pio, MACHINE_EXIT_PORT + 1, 1, 7);
	assert_int_equal(powered_off, -1);
}

static void resets(void **state)
{
	/* Nobody home for who probes, but ready for the command. */
	assert_int_equal(bus_read(&m.pio, MACHINE_EXIT_REBOOT_PORT, 1), 0xfd);
	bus_write(&m.pio, MACHINE_EXIT_REBOOT_PORT, 1, 0xd1);
	assert_int_equal(reboots, 0);
	bus_write(&m.pio, MACHINE_EXIT_REBOOT_PORT, 1, 0xfe);
	assert_int_equal(reboots, 1);
}

static void statistics_register(void **state)
{
	bus_write(&m.pio, MACHINE_STATS_PORT_LO, 4, 0x12345000);
	assert_int_equal(exitport.stats_gpa, 0); /* not before the high half */
	bus_write(&m.pio, MACHINE_STATS_PORT_HI, 4, 1);
	assert_int_equal(exitport.stats_gpa, 0x112345000);
	bus_write(&m.pio, MACHINE_STATS_PORT_LO, 2, 0x6000);
	bus_write(&m.pio, MACHINE_STATS_PORT_LO, 8, 0x6000);
	bus_write(&m.pio, MACHINE_STATS_PORT_HI, 4, 2);
	assert_int_equal(exitport.stats_gpa, 0x212345000);
	machine_reset_devices(&m);
	assert_int_equal(exitport.stats_gpa, 0);
}

static uint8_t clock_reg(uint8_t reg)
{
	bus_write(&m.pio, 0x70, 1, reg);
	return (uint8_t)bus_read(&m.pio, 0x71, 1);
}

static void clock_reads(void **state)
{
	assert_int_equal(clock_reg(0x0a) & 0x80, 0);	/* no update in progress */
	assert_int_equal(clock_reg(0x0b) & 0x06, 0x02); /* 24 hours, BCD */
	assert_int_equal(clock_reg(0x0d), 0x80);
	assert_int_equal(clock_reg(0x00), 0x47);
	assert_int_equal(clock_reg(0x02), 0x07);
	assert_int_equal(clock_reg(0x84), 0x17); /* bit 7 is not the register's */
	assert_int_equal(clock_reg(0x06), 0x01);
	assert_int_equal(clock_reg(0x07), 0x22);
	assert_int_equal(clock_reg(0x08), 0x11);
	assert_int_equal(clock_reg(0x09), 0x26);
	assert_int_equal(clock_reg(0x32), 0x20);
	assert_int_equal(clock_reg(0x55), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(exits),
		TEST(resets),
		TEST(statistics_register),
		TEST(clock_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
