// SPDX-License-Identifier: BSD-2-Clause
#include "vmm/rtc.h"

#define RTC_PORT 0x70

enum {
	REG_SECONDS = 0x00,
	REG_MINUTES = 0x02,
	REG_HOURS = 0x04,
	REG_WEEKDAY = 0x06,
	REG_DAY = 0x07,
	REG_MONTH = 0x08,
	REG_YEAR = 0x09,
	REG_A = 0x0a,
	REG_B = 0x0b,
	REG_D = 0x0d,
	REG_CENTURY = 0x32,
};

#define A_RUNNING 0x26 /* 32 kHz time base, no update in progress: reads are of one instant each */
#define B_24H	  0x02 /* 24 hours, BCD */
#define D_VALID	  0x80

static uint8_t bcd(int value)
{
	return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

static uint8_t read_reg(const struct rtc *rtc)
{
	time_t now = rtc->now();
	struct tm tm;

	if (!gmtime_r(&now, &tm))
		return 0;
	switch (rtc->index) {
	case REG_SECONDS:
		return bcd(tm.tm_sec);
	case REG_MINUTES:
		return bcd(tm.tm_min);
	case REG_HOURS:
		return bcd(tm.tm_hour);
	case REG_WEEKDAY:
		return bcd(tm.tm_wday + 1);
	case REG_DAY:
		return bcd(tm.tm_mday);
	case REG_MONTH:
		return bcd(tm.tm_mon + 1);
	case REG_YEAR:
		return bcd(tm.tm_year % 100);
	case REG_CENTURY:
		return bcd(19 + tm.tm_year / 100);
	case REG_A:
		return A_RUNNING;
	case REG_B:
		return B_24H;
	case REG_D:
		return D_VALID;
	default:
		return 0;
	}
}

static uint64_t rtc_read(void *dev, uint64_t offset, unsigned int size)
{
	const struct rtc *rtc = dev;

	return offset == 1 && size == 1 ? read_reg(rtc) : UINT64_MAX;
}

static void rtc_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct rtc *rtc = dev;

	/* Bit 7 masks NMIs on a PC. The clock can't be set: writes to registers are dropped. */
	if (offset == 0)
		rtc->index = value & 0x7f;
}

static const struct bus_ops rtc_ops = { .read = rtc_read, .write = rtc_write };

static time_t host_now(void)
{
	return time(NULL);
}

int rtc_init(struct rtc *rtc, struct machine *m)
{
	*rtc = (struct rtc){ .now = host_now };
	tzset(); /* so that gmtime_r() has no file to open later */
	return bus_add(&m->pio, &(struct bus_range){ RTC_PORT, 2, &rtc_ops, rtc, "rtc" });
}
