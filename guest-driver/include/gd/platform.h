/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the driver library needs from whoever embeds it: the bare-metal runtime (rt/platform.c), or a test that runs
 * drivers against device models in one process (tests/loop).
 *
 * Calls may be slow (each register access of a virtual device is a VM exit of tens of microseconds on some hosts),
 * so drivers read once and remember.
 */
#ifndef VVU_GD_PLATFORM_H
#define VVU_GD_PLATFORM_H

#include <stdarg.h>
#include <stdbool.h>

#include "abi/base.h"

enum gd_log_level {
	GD_LOG_ERROR,
	GD_LOG_WARN,
	GD_LOG_INFO,
	GD_LOG_DEBUG
};

/* Interrupt of a device as MSI-X has it: where to write what. */
struct gd_msi {
	uint64_t addr;
	uint32_t data;
};

struct gd_platform {
	/* PCI configuration space; width 1, 2 or 4, reg aligned to it. */
	uint32_t (*pci_read)(void *ctx, unsigned int bdf, unsigned int reg, unsigned int width);
	void (*pci_write)(void *ctx, unsigned int bdf, unsigned int reg, unsigned int width,
			  uint32_t v);

	/*
	 * Makes [gpa, gpa + size) of device registers accessible and returns a handle for mmio_read/write. On bare
	 * metal the handle is the pointer itself. NULL when out of mapping room.
	 */
	void *(*map_mmio)(void *ctx, uint64_t gpa, uint64_t size);
	uint32_t (*mmio_read)(void *ctx, const void *addr, unsigned int width);
	void (*mmio_write)(void *ctx, void *addr, unsigned int width, uint32_t value);

	/*
	 * Window on shared memory (write-back): begin gives the pointer at which [gpa, gpa + size) will appear,
	 * or NULL; step enters a slice of it, returning 1 when all of it is entered, 0 when there is more to
	 * do, -errno; end withdraws the window, after which its addresses fault (on other CPUs: once they forgot
	 * them, rt_tlb_flush()). Pointers are congruent to addresses modulo 2 MiB, the page size of the translation.
	 *
	 * touch reads a byte of each 4 KiB of a window that is entered, about 30 us' worth of them with each call, so
	 * that whoever uses it later finds it mapped all the way down (--prefault): 1 when all was read, 0 when there
	 * is more to do, -errno.
	 */
	void *(*window_begin)(void *ctx, uint64_t gpa, uint64_t size);
	int (*window_step)(void *ctx, void *window);
	int (*window_touch)(void *ctx, void *window);
	void (*window_end)(void *ctx, void *window);

	/* Zeroed memory for rings and buffers, aligned to align (a power of two, at most 4096), never freed. NULL: none
	 * left. to_gpa gives the address a device knows it by. */
	void *(*alloc)(void *ctx, size_t size, size_t align);
	struct gpa (*to_gpa)(void *ctx, const void *ptr);

	/* The MSI that raises interrupt number irq (0..GD_IRQ_MAX-1) at a CPU (0: the boot CPU). */
	struct gd_msi (*msi)(void *ctx, unsigned int irq, unsigned int cpu);

	void (*log)(void *ctx, enum gd_log_level level, const char *fmt, va_list ap);
	void *ctx;
};

#define GD_IRQ_MAX 128

void gd_log(const struct gd_platform *p, enum gd_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
