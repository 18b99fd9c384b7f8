/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The clock part of a PC's MC146818: host time in UTC, no alarms, no battery memory. Linux waits long for one
 * that is not there.
 */
#ifndef VMM_RTC_H
#define VMM_RTC_H

#include <time.h>

#include "vmm/machine.h"

struct rtc {
	uint8_t index;
	time_t (*now)(void); /* seconds since 1970; tests have their own */
};

/* Adds ports 0x70 and 0x71 to m's I/O bus. 0 or -errno; rtc must outlive m. */
int rtc_init(struct rtc *rtc, struct machine *m);

#endif
