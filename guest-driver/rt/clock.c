// SPDX-License-Identifier: BSD-2-Clause
/*
 * Time is the TSC. Its rate, in this order: the VMM's CPUID leaf, CPUID 0x15, kvmclock, and where
 * there is none of these (QEMU without KVM) a look at the PIT.
 */
#include "internal.h"

#include "io.h"

#define KVM_SIGNATURE		 "KVMKVMKVM\0\0"
#define KVM_FEATURE_CLOCKSOURCE2 BIT_U32(3)

#define PIT_HZ		 1193182
#define PIT_CHANNEL_2	 0x42
#define PIT_COMMAND	 0x43
#define PIT_CH2_MODE_0	 0xb0 /* both bytes, interrupt on terminal count */
#define PIT_GATE	 0x61
#define PIT_GATE_ON	 0x01
#define PIT_GATE_OUT	 0x20
#define PIT_CALIBRATE_MS 10
#define PIT_TRIES	 10
#define TSC_KHZ_GUESS	 1000000

/* KVM's pvclock_vcpu_time_info; the rate is in the last fields. */
struct pvclock {
	le32 version;
	le32 pad0;
	le64 tsc_timestamp;
	le64 system_time;
	le32 tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};
ABI_SIZE(struct pvclock, 32);

static uint64_t tsc_khz;
static uint64_t tsc_boot;
static uint64_t ns_mul; /* ns = tsc * ns_mul >> 32 */

uint64_t rt_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

uint64_t rt_tsc_khz(void)
{
	return tsc_khz;
}

static uint64_t ns_at(uint64_t tsc)
{
	return (uint64_t)((unsigned __int128)(tsc - tsc_boot) * ns_mul >> 32);
}

uint64_t rt_now_ns(void)
{
	return ns_at(rt_tsc());
}

/* The first one at which rt_now_ns() says so. */
uint64_t clock_tsc_at(uint64_t ns)
{
	/* 128-bit divisions need a library function. */
	unsigned __int128 tsc = (unsigned __int128)(ns / 1000000) * tsc_khz +
				ns % 1000000 * tsc_khz / 1000000 + tsc_boot;
	uint64_t then;

	if (tsc > UINT64_MAX / 2)
		return UINT64_MAX;
	/* ns_mul was rounded down, so that our time is a little slower. */
	then = ns_at((uint64_t)tsc);
	if (then < ns)
		tsc += (ns - then) * tsc_khz / 1000000 + 1;
	return (uint64_t)tsc;
}

static uint64_t khz_from_crystal(void)
{
	const uint32_t *c = rt_boot.crystal;

	return c[0] && c[1] && c[2] ? (uint64_t)c[2] * c[1] / c[0] / 1000 : 0;
}

static uint64_t khz_from_kvmclock(void)
{
	static volatile struct pvclock page __attribute__((aligned(64)));
	uint64_t khz;

	if (memcmp(rt_boot.hv_signature, KVM_SIGNATURE, 12) ||
	    !(rt_boot.hv_features & KVM_FEATURE_CLOCKSOURCE2))
		return 0;
	ring0_call3(RING0_KVMCLOCK, (uintptr_t)&page | 1, 0, 0);
	ring0_call3(RING0_KVMCLOCK, 0, 0, 0);
	if (!page.tsc_to_system_mul)
		return 0;
	/* ns = (tsc << shift) * mul >> 32 */
	khz = (1000000ull << 32) / page.tsc_to_system_mul;
	return page.tsc_shift >= 0 ? khz >> page.tsc_shift : khz << -page.tsc_shift;
}

/* Cycles until the PIT has counted, and how many of them are in doubt: the host may have run others meanwhile. */
static bool pit_cycles(uint64_t *cycles, uint64_t *doubt)
{
	const uint16_t count = PIT_HZ * PIT_CALIBRATE_MS / 1000;
	const uint64_t limit = 1ull << 32;
	uint64_t before, start, low, now;
	bool over;

	io_out8(PIT_COMMAND, PIT_CH2_MODE_0);
	io_out8(PIT_CHANNEL_2, count & 0xff);
	before = rt_tsc();
	io_out8(PIT_CHANNEL_2, count >> 8);
	start = now = rt_tsc();
	do {
		low = now;
		over = io_in8(PIT_GATE) & PIT_GATE_OUT;
		now = rt_tsc();
	} while (!over && now - start < limit);
	*cycles = (now - before + (low - start)) / 2;
	*doubt = now - before - (low - start);
	return over;
}

/* The best of some tries: a host that has other things to do makes one wrong by any factor. */
static uint64_t khz_from_pit(void)
{
	uint64_t best = 0, least = UINT64_MAX, cycles, doubt;
	uint8_t gate = io_in8(PIT_GATE);

	if (gate == 0xff) /* no such port */
		return 0;
	io_out8(PIT_GATE, (gate & 0xfc) | PIT_GATE_ON);
	for (int i = 0; i < PIT_TRIES && pit_cycles(&cycles, &doubt); i++) {
		if (doubt < least) {
			least = doubt;
			best = cycles;
		}
		if (doubt < cycles / 100)
			break;
	}
	return best / PIT_CALIBRATE_MS;
}

void clock_init(void)
{
	tsc_khz = rt_boot.hv_tsc_khz;
	if (!tsc_khz)
		tsc_khz = khz_from_crystal();
	if (!tsc_khz)
		tsc_khz = khz_from_kvmclock();
	if (!tsc_khz)
		tsc_khz = khz_from_pit();
	if (!tsc_khz) {
		tsc_khz = TSC_KHZ_GUESS;
		rt_log(GD_LOG_WARN, "the clock's rate is unknown; taking it for 1 GHz");
	}
	tsc_boot = rt_tsc();
	ns_mul = (1000000ull << 32) / tsc_khz;
}
