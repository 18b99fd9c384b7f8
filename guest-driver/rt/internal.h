/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the files of the runtime; all of this runs in ring 3. */
#ifndef VVU_RT_INTERNAL_H
#define VVU_RT_INTERNAL_H

#include "abi/errno.h"
#include "rt/rt.h"
#include "ring0.h"

/* Exit status of rt_panic(); ring 0 uses it too. */
#define RT_EXIT_PANIC 254

/* On each CPU. */
void enable_avx(void);

uint32_t cpu_apic_id(unsigned int cpu);

void clock_init(void);
void timer_init(void);
void heap_init(void);

/* Ticks of the TSC until now_ns() reaches ns; UINT64_MAX stays. */
uint64_t clock_tsc_at(uint64_t ns);

/* As gd_platform.map_mmio and the window functions. */
void *window_map_mmio(uint64_t gpa, uint64_t size);
void *window_begin(uint64_t gpa, uint64_t size);
int window_step(void *window);
int window_touch(void *window);
void window_end(void *window);

/* Entries of the ring-3 side in assembly. */
extern char rt_image_end[];
void rt_fault_main(void);
_Noreturn void rt_catch_resume(uint64_t vector);
_Noreturn void rt_start3(void);
int rt_catch_call(void (*fn)(void *arg), void *arg);

void rt_cpu_start3(void);

/* For more than one line in a row; may be nested. */
void console_lock(void);
void console_unlock(void);

/* gd_platform.log */
void console_vlog(void *ctx, enum gd_log_level level, const char *fmt, va_list ap);

#endif
