/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bare-metal runtime: what a guest image of ours gets from the machine.
 *
 * Boot is PVH (32-bit, no paging). Ring 0 sets up long mode, page tables of 2 MiB pages, GDT/IDT/TSS and the local
 * APIC, then enters ring 3 and calls rt_main(), which never leaves ring 3. Ring 0 stays tiny: exception and interrupt
 * entry, idle, and the few page-table changes ring 3 asks for through `int3` (the one gate that works on every KVM).
 *
 * Ring 3 runs with interrupts off (IF=0 in its flags; IOPL 3 gives it the I/O ports). An interrupt handler only
 * sets the flag of its irq number. Interrupts get in at two places, both asked for by ring 3: rt_irq_window()
 * and rt_idle(). So the program has no concurrency but the device's and that of the CPUs it starts, and a poll loop is
 * never interrupted.
 */
#ifndef VVU_RT_RT_H
#define VVU_RT_RT_H

#include <stdarg.h>
#include <stdbool.h>

#include "abi/machine.h"
#include "gd/platform.h"

/* Provided by the image; its return value goes to rt_exit(). cmdline: the boot command line, never NULL. */
int rt_main(const char *cmdline);

/* The platform for drivers (gd/platform.h) on this machine. */
const struct gd_platform *rt_platform(void);

/*
 * True under vvu-vmm (machine.h); false on other VMMs, where exit means ACPI-less power-off by what PVH
 * machines have.
 */
bool rt_is_vvu_machine(void);

uint64_t rt_tsc(void);
uint64_t rt_tsc_khz(void);
uint64_t rt_now_ns(void); /* since boot, monotonic */

/*
 * Lets pending interrupts in; cheap enough for every few milliseconds, not for every loop (about 10 us on some
 * hosts).
 */
void rt_irq_window(void);
/* Returns whether irq was raised since the last time this was asked, and forgets it. */
bool rt_irq_take(unsigned int irq);
/*
 * Halts the vCPU until an irq flag is set or the clock reaches deadline_ns (UINT64_MAX: no deadline). Returns
 * at once when a flag is set already; the look at the flags happens with interrupts off, so no wake-up is lost.
 */
void rt_idle(uint64_t deadline_ns);

/*
 * CPUs. Number 0 is the boot CPU. Each has its own interrupt flags, local APIC timer and vector registers: what is
 * said above of rt_irq_*() and rt_idle() holds for the CPU that calls, and an interrupt for one CPU (gd_platform.msi)
 * disturbs no other. Any CPU may call what is above, rt_log(), rt_printf(), rt_panic(), rt_exit() and rt_catch().
 * Everything else (heap, windows and their page tables, PCI) is the boot CPU's; rt_alloc() gives the others NULL.
 * An exception on any CPU ends the VM like one on the boot CPU.
 */
unsigned int rt_cpu_id(void);
/* How many the VM has; 1 where only trying could tell (other VMMs). */
unsigned int rt_cpu_count(void);
/*
 * Starts a CPU: it runs fn(arg) in ring 3 on a stack of its own (64 KiB, nothing below it) and halts for good when fn
 * returns. To be called by the boot CPU, once for each. 0, -ENOMEM, -EINVAL, -ENODEV or -ETIMEDOUT (there is no such
 * CPU).
 */
int rt_cpu_start(unsigned int cpu, void (*fn)(void *arg), void *arg);
/*
 * Wakes a CPU that was started out of rt_idle(); when it is not in there, its next rt_idle() returns at once. An
 * interrupt (10 to 20 us on some hosts), so the caller should know that the other one sleeps, or is about to.
 */
void rt_cpu_wake(unsigned int cpu);
/*
 * Makes the calling CPU forget the translations it remembers. gd_platform.window_end() does it on the boot CPU; the
 * others may go on seeing the window until they do it themselves. So whoever ends a window while other CPUs run has
 * each of them call this, after the end and before that CPU uses any window that began after the end (its addresses may
 * be the same). 10 to 20 us on some hosts.
 */
void rt_tlb_flush(void);

/* status 0: clean power-off, else a failure that the VMM reports (machine.h). */
_Noreturn void rt_exit(int status);
_Noreturn void rt_reboot(void);
_Noreturn void rt_panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Console. Lines start with the level; messages above the level are not formatted. */
void rt_set_log_level(enum gd_log_level level);
void rt_log(enum gd_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rt_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int rt_snprintf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int rt_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap);

/*
 * Memory from the image's heap (all RAM behind the image), zeroed, never freed. NULL: none left, or not the boot CPU.
 */
void *rt_alloc(size_t size, size_t align);
size_t rt_free_bytes(void);

/* Announces the statistics page (machine.h): 4096-aligned memory of rt_alloc(). No-op on other VMMs. */
void rt_stats_announce(const struct stats_page *page);

/*
 * Runs fn(arg) and catches the first CPU exception in it. Returns the vector, or -1 when none happened; *error_code and
 * *cr2 (may be NULL) as the CPU gave them. For tests and for probing.
 */
int rt_catch(void (*fn)(void *arg), void *arg, uint64_t *error_code, uint64_t *cr2);

/* Freestanding string functions under their usual names, since the compiler calls them. */
void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);

#endif
