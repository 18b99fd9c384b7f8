// SPDX-License-Identifier: BSD-2-Clause
/*
 * The C part of ring 0: what must be set up once, faults, and the calls of ring 3.
 *
 * It is small and plain on purpose. Some hosts emulate ring 0 an instruction at a time (a million
 * or two a second) and know no SSE there; so nothing here computes what ring 3 could compute. Ring
 * 3's requests are checked so far that a bug of its cannot touch ring 0's memory by way of the page
 * tables.
 */
#include "ring0.h"

#include <stdbool.h>

#include "abi/machine.h"
#include "abi/errno.h"

#define PTE_PRESENT  0x1ull
#define PTE_TABLE    0x67ull		   /* present, writable, user, accessed, dirty */
#define PTE_RING3    0x80000000000000e7ull /* as PTE_TABLE, 2 MiB, no execution */
#define PTE_RING0    0x80000000000000e3ull /* the same for ring 0 */
#define PTE_STACK    0x8000000000000067ull /* as PTE_RING3, but 4 KiB */
#define PTE_UNCACHED 0x18ull
#define PTE_ADDR     0x000ffffffffff000ull

/*
 * Tables for windows: one page per GiB, and a few above. The first ones lie in ring 0's own 2 MiB;
 * when they are used up, ring 3 gives memory of its heap, 2 MiB at a time.
 */
#define POOL_PAGES    128
#define DONATIONS_MAX 8

#define LAPIC_SVR	 0x0f0
#define LAPIC_ID	 0x020
#define LAPIC_TIMER	 0x320
#define LAPIC_LINT0	 0x350
#define LAPIC_TIMER_INIT 0x380
#define LAPIC_TIMER_CUR	 0x390
#define LAPIC_TIMER_DIV	 0x3e0
#define LAPIC_LVT_MASKED 0x10000u
#define LAPIC_TIMER_TSC	 0x40000u /* TSC-deadline mode */
#define LAPIC_DIV_1	 0xbu

#define MSR_TSC_DEADLINE 0x6e0
#define MSR_KVMCLOCK	 0x4b564d01
#define MSR_GS_BASE	 0xc0000101

#define CPUID1_ECX_TSC_DEADLINE BIT_U32(24)
#define CPUID1_ECX_XSAVE	BIT_U32(26)
#define CPUID1_ECX_HYPERVISOR	BIT_U32(31)
#define XCR0_WANTED		0xe7 /* x87, SSE, AVX, AVX-512 */
#define CR4_OSXSAVE		BIT_ULL(18)

struct tss {
	uint32_t reserved0;
	uint64_t rsp0;
	uint64_t rsp1, rsp2, reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t iomap;
} ABI_PACKED;
ABI_SIZE(struct tss, 104);

/* The CPU's I/O bitmap follows its TSS: all zero, so that ring 3 may use every port, ended by a
 * byte of ones. */
struct tss_block {
	struct tss tss;
	uint8_t io_bitmap[8192];
	uint8_t end;
} ABI_PACKED;

/* The CPU that starts next; ap.S knows the offsets. */
struct ring0_ap {
	uint64_t stack0;
	uint64_t rsp; /* in ring 3 */
	uint32_t cpu;
};
ABI_OFFSET(struct ring0_ap, stack0, AP_STACK0);
ABI_OFFSET(struct ring0_ap, rsp, AP_RSP);
ABI_OFFSET(struct ring0_ap, cpu, AP_CPU);

/* Under 1 MiB, 4096-aligned; nothing there is needed once the boot information has been copied. */
#define AP_PAGE 0x8000

extern uint64_t ring0_pml4[512];
extern uint64_t ring0_tss_descriptors[RT_CPUS_MAX][2];
extern const uint8_t ring0_ap_trampoline[], ring0_ap_trampoline_end[];
extern char rt_image_end[], rt_fault_stack_top[];

uint8_t ring0_boot_stack[RING0_STACK_BYTES] __attribute__((aligned(16)));
volatile struct ring0_ap ring0_ap;

static struct tss_block tss[RT_CPUS_MAX];
static uint8_t stacks[RT_CPUS_MAX][RING0_STACK_BYTES] __attribute__((aligned(16)));
static uint64_t stack_table[512] __attribute__((aligned(4096)));
static bool prepared[RT_CPUS_MAX];
static uint64_t pool[POOL_PAGES][512] __attribute__((aligned(4096)));
static uint64_t (*pool_next)[512] = pool;
static unsigned int pool_left = POOL_PAGES;
static uint64_t donated[DONATIONS_MAX];
static unsigned int num_donated;
static bool timer_tsc_deadline;
static uint32_t timer_rate; /* apic ticks per 2^20 tsc cycles */

void ring0_main(const struct pvh_start_info *info);
uint64_t ring0_call(unsigned int fn, uint64_t a, uint64_t b, uint64_t c);
void ring0_fault(const struct rt_regs *regs, uint64_t cr2);
void ring0_timer_arm(uint64_t deadline);
void ring0_ap_main(void);

static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint32_t lapic_read(unsigned int reg)
{
	return *(volatile uint32_t *)(LAPIC_VA + reg);
}

static inline void lapic_write(unsigned int reg, uint32_t v)
{
	*(volatile uint32_t *)(LAPIC_VA + reg) = v;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static inline void cpuid(uint32_t leaf, uint32_t *r)
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(0));
}

/* For what ring 3 can no longer report: one line, then power off. */
static _Noreturn void ring0_die(const char *why)
{
	while (*why)
		out8(MACHINE_SERIAL_PORT, (uint8_t)*why++);
	out8(MACHINE_EXIT_PORT, 0xfe);
	out8(MACHINE_EXIT_REBOOT_PORT, 0xfe);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* The table below entry, made when it is not there yet. NULL: the pool is empty. */
static uint64_t *next_table(uint64_t *entry)
{
	if (!(*entry & PTE_PRESENT)) {
		if (!pool_left)
			return NULL;
		pool_left--;
		*entry = (uintptr_t)pool_next++ | PTE_TABLE;
	}
	return (uint64_t *)(*entry & PTE_ADDR);
}

/* The page directory for va and how many of its entries are left from there. */
static uint64_t *directory(uint64_t va, uint64_t *room)
{
	uint64_t *pdpt = next_table(&ring0_pml4[va >> 39]);
	uint64_t *pd = pdpt ? next_table(&pdpt[va >> 30 & 511]) : NULL;

	*room = 512 - (va >> 21 & 511);
	return pd ? &pd[va >> 21 & 511] : NULL;
}

static bool range_ok(uint64_t va, uint64_t num)
{
	uint64_t end = va + num * PAGE_2M;

	if (!IS_ALIGNED(va, PAGE_2M) || num > WINDOW_VA_END / PAGE_2M || va < 2 * PAGE_2M)
		return false;
	return end <= BIT_ULL(32) || (va >= WINDOW_VA_BASE && end <= WINDOW_VA_END);
}

/* Whether num pages from address (virtual or physical, which are the same there) touch memory that
 * was donated. */
static bool is_donated(uint64_t address, uint64_t num)
{
	unsigned int i;

	for (i = 0; i < num_donated; i++)
		if (address <= donated[i] && donated[i] < address + num * PAGE_2M)
			return true;
	return false;
}

/* num entries for consecutive pages. Eight at a time: each instruction may cost most of a microsecond here. */
static void enter(uint64_t *pd, uint64_t num, uint64_t entry)
{
	for (; num >= 8; num -= 8, pd += 8, entry += 8 * PAGE_2M) {
		pd[0] = entry;
		pd[1] = entry + 1 * PAGE_2M;
		pd[2] = entry + 2 * PAGE_2M;
		pd[3] = entry + 3 * PAGE_2M;
		pd[4] = entry + 4 * PAGE_2M;
		pd[5] = entry + 5 * PAGE_2M;
		pd[6] = entry + 6 * PAGE_2M;
		pd[7] = entry + 7 * PAGE_2M;
	}
	for (; num; num--, pd++, entry += PAGE_2M)
		*pd = entry;
}

static int64_t map(uint64_t va, uint64_t pa, uint64_t num)
{
	uint64_t flags = pa & RING0_MAP_UNCACHED ? PTE_RING3 | PTE_UNCACHED : PTE_RING3;
	uint64_t room;
	uint64_t *pd;

	pa &= ~(uint64_t)RING0_MAP_MASK;
	if (!range_ok(va, num) || !IS_ALIGNED(pa, PAGE_2M) || pa < 2 * PAGE_2M ||
	    pa + num * PAGE_2M > PTE_ADDR)
		return -EINVAL;
	if ((pa <= LAPIC_PA && pa + num * PAGE_2M > LAPIC_PA) || is_donated(va, num) ||
	    is_donated(pa, num))
		return -EPERM;
	while (num) {
		pd = directory(va, &room);
		if (!pd)
			return -ENOMEM;
		if (room > num)
			room = num;
		enter(pd, room, pa | flags);
		pa += room * PAGE_2M;
		va += room * PAGE_2M;
		num -= room;
	}
	return 0;
}

static int64_t unmap(uint64_t va, uint64_t num)
{
	uint64_t room, n, cr3;
	uint64_t *pd;

	if (!range_ok(va, num))
		return -EINVAL;
	if (is_donated(va, num))
		return -EPERM;
	for (; num; va += room * PAGE_2M, num -= room) {
		pd = directory(va, &room);
		if (!pd)
			return -ENOMEM;
		if (room > num)
			room = num;
		n = room;
		__asm__ volatile("rep stosq" : "+D"(pd), "+c"(n) : "a"(0ull) : "memory");
	}
	__asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) : : "memory");
	return 0;
}

/* Zeroed memory of the heap, which lies at its physical address; ring 3 has it no more. What was
 * left of the pool is lost. */
static int64_t donate(uint64_t va)
{
	uint64_t room, cr3;
	uint64_t *pd;

	if (!range_ok(va, 1) || va >= HEAP_END_MAX || is_donated(va, 1) ||
	    num_donated == DONATIONS_MAX)
		return -EINVAL;
	pd = directory(va, &room);
	if (!pd || *pd != (va | PTE_RING3))
		return -EINVAL;
	*pd = va | PTE_RING0;
	__asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) : : "memory");
	donated[num_donated++] = va;
	pool_next = (uint64_t(*)[512])va;
	pool_left = 512;
	return 0;
}

/* One interrupt at tsc deadline, also when that is past. */
void ring0_timer_arm(uint64_t deadline)
{
	uint64_t now, ticks;

	if (timer_tsc_deadline) {
		wrmsr(MSR_TSC_DEADLINE, deadline);
		return;
	}
	now = rdtsc();
	ticks = deadline > now ? deadline - now : 1;
	ticks = ticks >> 44 ? UINT32_MAX : ticks * timer_rate >> 20;
	if (ticks > UINT32_MAX)
		ticks = UINT32_MAX;
	lapic_write(LAPIC_TIMER_INIT, ticks ? (uint32_t)ticks : 1);
}

static _Noreturn void triple_fault(void)
{
	static const uint8_t no_idt[10];

	__asm__ volatile("lidt %0; ud2" : : "m"(no_idt));
	__builtin_unreachable();
}

/* Whether the 2 MiB page around address is ring 3's data, at its physical address. */
static bool is_ring3_data(uint64_t address)
{
	uint64_t room, page = ALIGN_DOWN(address, (uint64_t)PAGE_2M);

	return range_ok(page, 1) && page < HEAP_END_MAX &&
	       *directory(page, &room) == (page | PTE_RING3);
}

/* The CPU's stacks for ring 3, in the memory from pa. */
static int64_t map_stacks(unsigned int cpu, uint64_t pa)
{
	uint64_t *at = &stack_table[cpu * (CPU_SLOT_BYTES / 4096)], *pd, room, end;

	if (!IS_ALIGNED(pa, 4096) || !is_ring3_data(pa) ||
	    !is_ring3_data(pa + CPU_FAULT_STACK_BYTES + CPU_STACK_BYTES - 1))
		return -EINVAL;
	pd = directory(CPU_STACKS_VA, &room);
	if (!pd)
		return -ENOMEM;
	*pd = (uintptr_t)stack_table | PTE_TABLE;
	at += CPU_FAULT_STACK_AT / 4096;
	for (end = pa + CPU_FAULT_STACK_BYTES; pa < end; pa += 4096)
		*at++ = pa | PTE_STACK;
	at += (CPU_STACK_AT - CPU_FAULT_STACK_AT - CPU_FAULT_STACK_BYTES) / 4096;
	for (end = pa + CPU_STACK_BYTES; pa < end; pa += 4096)
		*at++ = pa | PTE_STACK;
	return 0;
}

static int64_t cpu_start(uint64_t cpu, uint64_t stacks_pa)
{
	volatile uint8_t *page = (volatile uint8_t *)(uintptr_t)AP_PAGE;
	const uint8_t *code;
	int64_t err;

	if (cpu >= RT_CPUS_MAX || prepared[cpu])
		return -EINVAL;
	err = map_stacks((unsigned int)cpu, stacks_pa);
	if (err)
		return err;
	for (code = ring0_ap_trampoline; code != ring0_ap_trampoline_end; code++)
		*page++ = *code;
	/* Its interrupt stack; the upper half is for NMI and the like. */
	ring0_ap.stack0 = (uintptr_t)stacks[cpu] + RING0_STACK_BYTES / 2;
	ring0_ap.rsp = CPU_STACKS_VA + cpu * CPU_SLOT_BYTES + CPU_STACK_AT + CPU_STACK_BYTES;
	ring0_ap.cpu = (uint32_t)cpu;
	prepared[cpu] = true;
	return AP_PAGE;
}

/* What changes the page tables, or another CPU's state, is the boot CPU's alone: nothing here takes locks. */
static int64_t boot_cpu_call(unsigned int fn, uint64_t a, uint64_t b, uint64_t c)
{
	if (rt_this_cpu()->id)
		return -EPERM;
	switch (fn) {
	case RING0_MAP:
		return map(a, b, c);
	case RING0_UNMAP:
		return unmap(a, b);
	case RING0_DONATE:
		return donate(a);
	default:
		return cpu_start(a, b);
	}
}

uint64_t ring0_call(unsigned int fn, uint64_t a, uint64_t b, uint64_t c)
{
	switch (fn) {
	case RING0_MAP:
	case RING0_UNMAP:
	case RING0_DONATE:
	case RING0_CPU_START:
		return (uint64_t)boot_cpu_call(fn, a, b, c);
	case RING0_XSETBV:
		__asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)a), "d"((uint32_t)(a >> 32)));
		return 0;
	case RING0_KVMCLOCK:
		wrmsr(MSR_KVMCLOCK, a);
		return 0;
	case RING0_TIMER_RATE:
		timer_rate = (uint32_t)a;
		lapic_write(LAPIC_TIMER_INIT, 0);
		lapic_write(LAPIC_TIMER, VECTOR_TIMER);
		return 0;
	case RING0_TIMER_COUNT:
		if (a)
			lapic_write(LAPIC_TIMER_INIT, (uint32_t)a);
		return lapic_read(LAPIC_TIMER_CUR);
	case RING0_IPI:
		lapic_write(LAPIC_ICR_HI, (uint32_t)a << 24);
		lapic_write(LAPIC_ICR, (uint32_t)b);
		return 0;
	case RING0_RESET:
		triple_fault();
	default:
		return (uint64_t)-ENOSYS;
	}
}

/* Hands an exception to rt_fault_entry in ring 3, which prints it or goes on at rt_catch(). */
void ring0_fault(const struct rt_regs *regs, uint64_t cr2)
{
	struct rt_fault *fault = &rt_this_cpu()->fault;
	const uint64_t *from = (const uint64_t *)regs;
	uint64_t *to = (uint64_t *)&fault->regs;
	unsigned int i;

	if (fault->busy)
		ring0_die("panic: exception while handling an exception\r\n");
	fault->busy = 1;
	for (i = 0; i < sizeof(*regs) / 8; i++)
		to[i] = from[i];
	fault->cr2 = cr2;
}

static void copy_boot_info(const struct pvh_start_info *info)
{
	const struct pvh_memmap_entry *map_at = (const void *)info->memmap_paddr;
	const uint64_t *from = (const uint64_t *)map_at;
	uint64_t *to = (uint64_t *)rt_boot.memmap;
	const char *cmdline = (const void *)info->cmdline_paddr;
	unsigned int i;

	if ((uintptr_t)info >= RING0_END || info->magic != PVH_START_MAGIC)
		ring0_die("panic: no PVH boot information\r\n");
	if (info->version < 1 || !map_at || info->memmap_paddr >= RING0_END)
		ring0_die("panic: PVH boot information has no memory map\r\n");
	if (info->cmdline_paddr >= RING0_END)
		ring0_die("panic: the command line is above 2 MiB\r\n");
	rt_boot.memmap_num =
		info->memmap_entries < RT_MEMMAP_MAX ? info->memmap_entries : RT_MEMMAP_MAX;
	for (i = 0; i < rt_boot.memmap_num * sizeof(*map_at) / 8; i++)
		to[i] = from[i];
	for (i = 0; cmdline && cmdline[i] && i < RT_CMDLINE_MAX - 1; i++)
		rt_boot.cmdline[i] = cmdline[i];
}

static void read_cpuid(void)
{
	uint32_t r[4];

	cpuid(0, r);
	rt_boot.cpuid_max = r[0];
	cpuid(1, r);
	rt_boot.cpuid1_ebx = r[1];
	rt_boot.cpuid1_ecx = r[2];
	rt_boot.cpuid1_edx = r[3];
	if (rt_boot.cpuid_max >= 0x15) {
		cpuid(0x15, r);
		rt_boot.crystal[0] = r[0];
		rt_boot.crystal[1] = r[1];
		rt_boot.crystal[2] = r[2];
	}
	if (rt_boot.cpuid1_ecx & CPUID1_ECX_XSAVE) {
		cpuid(0xd, r);
		rt_boot.xcr0_supported = r[0] & XCR0_WANTED;
	}
	if (!(rt_boot.cpuid1_ecx & CPUID1_ECX_HYPERVISOR))
		return;
	cpuid(MACHINE_CPUID_SIGNATURE_LEAF, r);
	rt_boot.hv_max = r[0];
	rt_boot.hv_signature[0] = r[1];
	rt_boot.hv_signature[1] = r[2];
	rt_boot.hv_signature[2] = r[3];
	cpuid(MACHINE_CPUID_SIGNATURE_LEAF + 1, r);
	rt_boot.hv_features = r[0];
	if (rt_boot.hv_max < MACHINE_CPUID_TSC_KHZ_LEAF)
		return;
	cpuid(MACHINE_CPUID_TSC_KHZ_LEAF, r);
	rt_boot.hv_tsc_khz = r[0];
	rt_boot.hv_apic_khz = r[1];
}

/* The calling CPU's task state: its stack for entries from ring 3, one for NMI and the like, the
 * ports. */
static void set_tss(unsigned int cpu, uint64_t stack)
{
	struct tss_block *block = &tss[cpu];
	uint64_t *descriptor = ring0_tss_descriptors[cpu];
	uint64_t base = (uintptr_t)block;

	block->tss.rsp0 = stack;
	block->tss.ist[0] = (uintptr_t)stacks[cpu] + RING0_STACK_BYTES;
	block->tss.iomap = sizeof(struct tss);
	block->end = 0xff;
	descriptor[0] =
		(sizeof(*block) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24) << 56;
	descriptor[1] = 0;
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS + 16 * cpu));
}

static void set_osxsave(void)
{
	uint64_t cr4;

	if (!(rt_boot.cpuid1_ecx & CPUID1_ECX_XSAVE))
		return;
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSXSAVE));
}

/* The same for every CPU, but that the timer's rate is known once the boot CPU has found it. */
static void set_lapic(void)
{
	lapic_write(LAPIC_SVR, 0x100 | VECTOR_SPURIOUS);
	/* The PIC: firmware may have left it on, and its vectors are those of exceptions. */
	lapic_write(LAPIC_LINT0, LAPIC_LVT_MASKED);
	if (timer_tsc_deadline) {
		lapic_write(LAPIC_TIMER, LAPIC_TIMER_TSC | VECTOR_TIMER);
	} else {
		lapic_write(LAPIC_TIMER_DIV, LAPIC_DIV_1);
		lapic_write(LAPIC_TIMER, (timer_rate ? 0 : LAPIC_LVT_MASKED) | VECTOR_TIMER);
	}
}

/* First and last C code of the boot CPU in ring 0; ring 3 follows. */
void ring0_main(const struct pvh_start_info *info)
{
	uint64_t end = ALIGN_UP((uintptr_t)rt_image_end, (uintptr_t)PAGE_2M) + 4ull * PAGE_2M;

	if (map(2ull * PAGE_2M, 2ull * PAGE_2M, end / PAGE_2M - 2))
		ring0_die("panic: cannot map the image\r\n");
	rt_cpus[0].self = &rt_cpus[0];
	rt_cpus[0].fault_stack = (uintptr_t)rt_fault_stack_top;
	wrmsr(MSR_GS_BASE, (uintptr_t)&rt_cpus[0]);
	rt_boot.mapped_end = end;
	copy_boot_info(info);
	set_tss(0, (uintptr_t)ring0_boot_stack + RING0_STACK_BYTES);
	prepared[0] = true;
	read_cpuid();
	set_osxsave();
	timer_tsc_deadline = rt_boot.cpuid1_ecx & CPUID1_ECX_TSC_DEADLINE;
	rt_boot.apic_id = lapic_read(LAPIC_ID) >> 24;
	set_lapic();
}

/* The same for a CPU started later; ring 3 has prepared its struct rt_cpu. */
void ring0_ap_main(void)
{
	wrmsr(MSR_GS_BASE, (uintptr_t)&rt_cpus[ring0_ap.cpu]);
	set_tss(ring0_ap.cpu, ring0_ap.stack0);
	set_osxsave();
	set_lapic();
}
