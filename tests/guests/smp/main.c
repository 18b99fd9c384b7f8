// SPDX-License-Identifier: BSD-2-Clause
/*
 * Everything that each CPU has for itself: interrupts, idling, its timer, vector registers, stacks,
 * exceptions, translations. And what they share: the console.
 */
#include "abi/cpu.h"
#include "io.h"
#include "smp.h"

#define MS	   1000000ull
#define PING_PONGS 5000
#define WAKES	   3000
#define IRQ_ROUNDS 50

/* ---- interrupts ---- */

static void send(unsigned int cpu, unsigned int irq)
{
	ring0_call3(RING0_IPI, cpu, LAPIC_ICR_ONE | (VECTOR_IRQ_BASE + irq), 0);
}

static void no_irqs(void)
{
	rt_irq_window();
	for (unsigned int i = 0; i < GD_IRQ_MAX; i++)
		CHECKF(!rt_irq_take(i), "CPU %u: irq %u is not for it", rt_cpu_id(), i);
}

static volatile uint32_t irqs_taken;

static void take_irqs(unsigned int me)
{
	for (unsigned int i = 0; i < IRQ_ROUNDS; i++) {
		while (!rt_irq_take((me * 20 + i % 20) % GD_IRQ_MAX))
			rt_idle(UINT64_MAX);
		__atomic_add_fetch(&irqs_taken, 1, __ATOMIC_SEQ_CST);
		if (i == IRQ_ROUNDS - 1)
			no_irqs();
	}
}

static void check_irqs(void)
{
	irqs_taken = 0;
	smp_begin(take_irqs);
	for (unsigned int i = 0; i < IRQ_ROUNDS; i++) {
		for (unsigned int cpu = 1; cpu < num_cpus; cpu++)
			send(cpu, (cpu * 20 + i % 20) % GD_IRQ_MAX);
		while (irqs_taken < (i + 1) * (num_cpus - 1))
			__builtin_ia32_pause();
	}
	smp_end();
	rt_printf("irqs done\n");
	no_irqs();
}

/* Outside of window and idling nothing comes in. */
static void held_off(unsigned int me)
{
	uint64_t end;

	send(me, 9);
	for (end = rt_now_ns() + 1 * MS; rt_now_ns() < end;)
		CHECKF(!rt_this_cpu()->irq_flags[9], "CPU %u: an interrupt outside of the window",
		       me);
	rt_irq_window();
	CHECK(rt_irq_take(9) && !rt_irq_take(9));
	send(me, 10);
	while (!rt_irq_take(10))
		rt_idle(UINT64_MAX);
	no_irqs();
}

/* ---- waking ---- */

/* The turn goes round; whoever has not got it sleeps. Lost wake-ups hang it. */
static volatile uint32_t turn;

static void ping_pong(unsigned int me)
{
	for (uint32_t i = me; i < PING_PONGS; i += num_cpus) {
		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != i)
			rt_idle(UINT64_MAX);
		__atomic_store_n(&turn, i + 1, __ATOMIC_RELEASE);
		rt_cpu_wake((me + 1) % num_cpus);
	}
}

/*
 * Sleeping as poll loops do: a sleeper says that it sleeps, looks once more, and idles; whoever has work for it wakes
 * it only if it says so. Each CPU gives work to its neighbour at odd moments.
 */
struct mailbox {
	volatile uint32_t sent;
	volatile uint32_t sleeping;
} __attribute__((aligned(128)));
static struct mailbox boxes[RT_CPUS_MAX];
static uint32_t wakes_sent[RT_CPUS_MAX][32];

static void give(unsigned int to, unsigned int from)
{
	__atomic_store_n(&boxes[to].sent, boxes[to].sent + 1, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!boxes[to].sleeping)
		return;
	rt_cpu_wake(to);
	wakes_sent[from][0]++;
}

static void random_wakes(unsigned int me)
{
	struct mailbox *box = &boxes[me];
	uint32_t seed = me + 1, got = 0;

	for (unsigned int i = 0; i < WAKES; i++) {
		seed = seed * 1664525 + 1013904223;
		for (uint32_t spin = seed >> 20; spin; spin--)
			__builtin_ia32_pause();
		give((me + 1) % num_cpus, me);
		while (box->sent == got) {
			box->sleeping = 1;
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			if (box->sent == got)
				rt_idle(UINT64_MAX);
			box->sleeping = 0;
		}
		got++;
	}
}

/* Whatever came before rt_idle() ends it, once. */
static void remembered(unsigned int me)
{
	rt_cpu_wake(me);
	rt_idle(UINT64_MAX);
	rt_cpu_wake(me);
	rt_irq_window();
	rt_idle(UINT64_MAX);
	no_irqs();
}

/* ---- time ---- */

static volatile uint64_t latest;

/* Deadlines hold, and no CPU's clock is behind another's. */
static void timers(unsigned int me)
{
	static const uint64_t lengths[] = { 0, 1000, 50000, 1 * MS, 5 * MS, 20 * MS };

	for (unsigned int i = 0; i < ARRAY_LEN(lengths); i++) {
		uint64_t seen = __atomic_load_n(&latest, __ATOMIC_ACQUIRE), start;

		__builtin_ia32_lfence(); /* rdtsc waits for no load */
		start = rt_now_ns();
		CHECKF(start >= seen, "CPU %u: %lu ns after %lu ns", me, start, seen);
		rt_idle(start + lengths[i]);
		CHECKF(rt_now_ns() >= start + lengths[i], "CPU %u woke early from %lu ns", me,
		       lengths[i]);
		__atomic_store_n(&latest, rt_now_ns(), __ATOMIC_RELEASE);
	}
}

static void clocks(unsigned int me)
{
	for (unsigned int i = 0; i < 20000; i++) {
		uint64_t seen = __atomic_load_n(&latest, __ATOMIC_ACQUIRE), now;

		__builtin_ia32_lfence(); /* rdtsc waits for no load */
		now = rt_now_ns();
		if (!CHECKF(now >= seen, "CPU %u: %lu ns after %lu ns", me, now, seen))
			break;
		__atomic_store_n(&latest, now, __ATOMIC_RELEASE);
	}
}

/* ---- registers, stacks, exceptions ---- */

static uint64_t boot_xcr0;
static unsigned int boot_isa;

static bool have_xgetbv(void)
{
	return rt_boot.cpuid1_ecx & BIT_U32(26);
}

static void registers(unsigned int me)
{
	uint8_t want[32] __attribute__((aligned(32))), got[32] __attribute__((aligned(32)));
	bool avx = boot_isa & GD_CPU_AVX2;

	if (have_xgetbv())
		CHECKF(io_xgetbv() == boot_xcr0, "CPU %u: XCR0 %#lx, not %#lx", me, io_xgetbv(),
		       boot_xcr0);
	CHECKF(gd_cpu_isa() == boot_isa, "CPU %u: %#x, not %#x", me, gd_cpu_isa(), boot_isa);
	memset(want, (int)(0x11 * me + 1), sizeof(want));
	memset(got, 0, sizeof(got));
	if (avx)
		__asm__ volatile("vmovdqa %0, %%ymm15" : : "m"(want) : "memory");
	else
		__asm__ volatile("movdqa %0, %%xmm15" : : "m"(want) : "memory");
	send(me, 3);
	while (!rt_irq_take(3))
		rt_idle(UINT64_MAX);
	rt_irq_window();
	rt_tlb_flush();
	rt_idle(rt_now_ns() + 1 * MS);
	if (avx)
		__asm__ volatile("vmovdqa %%ymm15, %0" : "=m"(got) : : "memory");
	else
		__asm__ volatile("movdqa %%xmm15, %0" : "=m"(got) : : "memory");
	CHECKF(memcmp(got, want, avx ? 32 : 16) == 0, "CPU %u: a vector register was lost", me);
}

static void read_at(void *arg)
{
	*(volatile uint8_t *)arg;
}

static void overflow(void *arg)
{
	__asm__ volatile("1: pushq $0; jmp 1b");
}

/* At the same time on all of them. */
static void exceptions(unsigned int me)
{
	uint8_t *const nowhere = (uint8_t *)0x7000000000;
	uint64_t code, cr2, top = CPU_STACKS_VA + me * CPU_SLOT_BYTES + CPU_STACK_AT;

	for (unsigned int i = 0; i < 200; i++) {
		int vector = rt_catch(read_at, nowhere + me * 8192 + i, &code, &cr2);

		CHECKF(vector == 14 && code == 4 && cr2 == (uintptr_t)nowhere + me * 8192 + i,
		       "CPU %u: vector %d code %#lx cr2 %#lx", me, vector, code, cr2);
	}
	if (!me)
		return;
	CHECK(rt_catch(overflow, NULL, NULL, &cr2) == 14);
	CHECKF(cr2 < top && cr2 >= top - 0x8000, "CPU %u: %#lx", me, cr2);
	CHECKF((int64_t)ring0_call3(RING0_MAP, WINDOW_VA_BASE, BIT_ULL(40), 1) < 0,
	       "page tables are the boot CPU's");
	CHECKF(!rt_alloc(1, 1), "the heap is the boot CPU's");
}

/* ---- translations ---- */

#define VALUE_A 0xaaaaaaaau
#define VALUE_B 0xbbbbbbbbu

static uint8_t *window;
static volatile uint32_t stage;

static void wait_stage(uint32_t n)
{
	while (__atomic_load_n(&stage, __ATOMIC_ACQUIRE) < n)
		__builtin_ia32_pause();
}

static volatile uint32_t stage_seen;

static void look(unsigned int me)
{
	volatile uint32_t *word = (volatile uint32_t *)window;

	for (uint32_t round = 0; round < 40; round += 4) {
		wait_stage(round + 1);
		rt_tlb_flush();
		CHECKF(*word == VALUE_A, "CPU %u: %#x", me, *word);
		__atomic_add_fetch(&stage_seen, 1, __ATOMIC_SEQ_CST);
		wait_stage(round + 2);
		rt_tlb_flush();
		CHECKF(rt_catch(read_at, window, NULL, NULL) == 14, "CPU %u: the window is gone",
		       me);
		__atomic_add_fetch(&stage_seen, 1, __ATOMIC_SEQ_CST);
		wait_stage(round + 3);
		/* It was not there when it was last looked at: nothing to forget. */
		CHECKF(*word == VALUE_B, "CPU %u: %#x", me, *word);
		__atomic_add_fetch(&stage_seen, 1, __ATOMIC_SEQ_CST);
		wait_stage(round + 4);
		__atomic_add_fetch(&stage_seen, 1, __ATOMIC_SEQ_CST);
	}
}

static void next_stage(void)
{
	uint32_t n = stage + 1;

	__atomic_store_n(&stage, n, __ATOMIC_RELEASE);
	while (__atomic_load_n(&stage_seen, __ATOMIC_ACQUIRE) < n * (num_cpus - 1))
		__builtin_ia32_pause();
}

static void check_translations(void)
{
	const struct gd_platform *p = rt_platform();
	uint32_t *a = rt_alloc(PAGE_2M, PAGE_2M), *b = rt_alloc(PAGE_2M, PAGE_2M);
	void *first = p->window_begin(p->ctx, (uintptr_t)a, 4096);

	*a = VALUE_A;
	*b = VALUE_B;
	window = first;
	CHECK(p->window_step(p->ctx, first) == 1);
	smp_begin(look);
	for (unsigned int round = 0; round < 40; round += 4) {
		next_stage();
		p->window_end(p->ctx, window);
		next_stage();
		CHECK(p->window_begin(p->ctx, (uintptr_t)b, 4096) == window);
		CHECK(p->window_step(p->ctx, window) == 1);
		next_stage();
		/* Straight from one memory to another; the flush is due at the next stage. */
		p->window_end(p->ctx, window);
		CHECK(p->window_begin(p->ctx, (uintptr_t)a, 4096) == window);
		CHECK(p->window_step(p->ctx, window) == 1);
		next_stage();
	}
	smp_end();
}

/* ---- the console ---- */

static void talk(unsigned int me)
{
	for (unsigned int i = 0; i < 8; i++)
		rt_log(GD_LOG_INFO, "CPU %u says %u: the quick brown fox jumps over the lazy dog",
		       me, i);
}

int rt_main(const char *cmdline)
{
	uint64_t start;

	CHECK(rt_cpu_id() == 0);
	CHECK(rt_cpu_start(0, smp_loop, NULL) < 0 && rt_cpu_start(RT_CPUS_MAX, smp_loop, NULL) < 0);
	if (!smp_start())
		return verdict();
	CHECKF(rt_cpu_start(1, smp_loop, NULL) < 0, "started already");
	boot_isa = gd_cpu_isa();
	boot_xcr0 = have_xgetbv() ? io_xgetbv() : 0;
	check_irqs();
	smp_all(held_off);
	smp_all(remembered);
	start = rt_now_ns();
	smp_all(ping_pong);
	rt_printf("%u hand-overs took %lu us\n", PING_PONGS, (rt_now_ns() - start) / 1000);
	CHECK(turn == PING_PONGS);
	start = rt_now_ns();
	smp_all(random_wakes);
	rt_printf("%u x %u turns took %lu us; %u wake-ups by CPU 0\n", num_cpus, WAKES,
		  (rt_now_ns() - start) / 1000, wakes_sent[0][0]);
	smp_all(timers);
	smp_all(clocks);
	smp_all(registers);
	smp_all(exceptions);
	check_translations();
	smp_all(talk);
	no_irqs();
	return verdict();
}
