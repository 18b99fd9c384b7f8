// SPDX-License-Identifier: BSD-2-Clause
/*
 * Console on COM1. Each byte is an exit to the VMM. Under vvu-vmm whole pieces of text go to its text register instead
 * (abi/machine.h): the registers that a panic prints would take ten times as long as the restart that follows, byte by
 * byte. Elsewhere the line status is asked once for each FIFO's worth (16550: 16 bytes).
 *
 * One CPU prints at a time, a line of rt_log() or what one rt_printf() has; others wait for it. A CPU that panics
 * keeps the console.
 */
#include "internal.h"

#include "io.h"

#define UART_LSR      (MACHINE_SERIAL_PORT + 5)
#define UART_LSR_THRE 0x20
#define UART_FIFO     16
#define UART_POLLS    10000 /* then the UART is not there */
#define TEXT_MAX      1024  /* handed over at once */

static enum gd_log_level log_level = GD_LOG_INFO;
static uint32_t lock_owner; /* 0: none; else number of the CPU, plus one */
static unsigned int lock_depth;
/* struct machine_text; RAM is mapped where it is. Of the lock's owner. */
static struct {
	uint32_t len;
	char text[TEXT_MAX];
} out;
_Static_assert(TEXT_MAX <= MACHINE_TEXT_MAX, "");

/* The owner may come here again: by an exception in here. */
void console_lock(void)
{
	uint32_t me = rt_cpu_id() + 1, nobody = 0;

	if (__atomic_load_n(&lock_owner, __ATOMIC_RELAXED) != me)
		while (!__atomic_compare_exchange_n(&lock_owner, &nobody, me, false,
						    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			nobody = 0;
			__builtin_ia32_pause();
		}
	lock_depth++;
}

void console_unlock(void)
{
	if (--lock_depth == 0)
		__atomic_store_n(&lock_owner, 0, __ATOMIC_RELEASE);
}

static void uart_wait(void)
{
	for (int i = 0; i < UART_POLLS; i++)
		if (io_in8(UART_LSR) & UART_LSR_THRE)
			return;
}

static void uart_write(const char *s, size_t len)
{
	bool poll = !rt_is_vvu_machine();

	while (len) {
		size_t n = len < UART_FIFO ? len : UART_FIFO;

		if (poll)
			uart_wait();
		len -= n;
		__asm__ volatile("rep outsb"
				 : "+S"(s), "+c"(n)
				 : "d"(MACHINE_SERIAL_PORT)
				 : "memory");
	}
}

static bool has_text_register(void)
{
	static enum {
		UNKNOWN,
		NO,
		YES
	} has;

	if (has == UNKNOWN)
		has = rt_is_vvu_machine() && io_in32(MACHINE_TEXT_PORT) == 0 ? YES : NO;
	return has == YES;
}

static void console_flush(void)
{
	if (!out.len)
		return;
	if (has_text_register())
		io_out32(MACHINE_TEXT_PORT, (uint32_t)(uintptr_t)&out);
	else
		uart_write(out.text, out.len);
	out.len = 0;
}

static void put(char c)
{
	if (out.len >= TEXT_MAX)
		console_flush();
	out.text[out.len++] = c;
}

/* Text with CR before each LF, to be flushed. */
static void console_write(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			put('\r');
		put(*s);
	}
}

static void vprint(const char *prefix, const char *fmt, va_list ap, const char *suffix)
{
	char line[512];

	rt_vsnprintf(line, sizeof(line), fmt, ap);
	console_lock();
	console_write(prefix);
	console_write(line);
	console_write(suffix);
	console_flush();
	console_unlock();
}

static void vlog(enum gd_log_level level, const char *fmt, va_list ap)
{
	static const char *const names[] = {
		[GD_LOG_ERROR] = "error: ",
		[GD_LOG_WARN] = "warning: ",
		[GD_LOG_INFO] = "info: ",
		[GD_LOG_DEBUG] = "debug: ",
	};

	if (level <= log_level && level < ARRAY_LEN(names))
		vprint(names[level], fmt, ap, "\n");
}

void rt_set_log_level(enum gd_log_level level)
{
	log_level = level;
}

void rt_log(enum gd_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(level, fmt, ap);
	va_end(ap);
}

void console_vlog(void *ctx, enum gd_log_level level, const char *fmt, va_list ap)
{
	vlog(level, fmt, ap);
}

void rt_printf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprint("", fmt, ap, "");
	va_end(ap);
}

void rt_panic(const char *fmt, ...)
{
	va_list ap;

	console_lock();
	va_start(ap, fmt);
	vprint("panic: ", fmt, ap, "\n");
	va_end(ap);
	rt_exit(RT_EXIT_PANIC);
}
