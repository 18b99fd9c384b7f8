/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PVH entry, the descriptor and page tables (constants: each instruction of ring 0 can cost a microsecond), and
 * all ways into and out of ring 0.
 */
#include "ring0.h"

#define PTE_TABLE	 0x67	    /* present, writable, user, accessed, dirty */
#define PTE_RING0	 0xe3	    /* present, writable, accessed, dirty, 2 MiB */
#define PTE_RING3_TEXT	 0xe5	    /* present, user, accessed, dirty, 2 MiB */
#define PTE_RING0_DEVICE 0x80000000000000fb /* as PTE_RING0, uncached, no execution */

#define CR0_BITS 0x80050033 /* PG AM WP NE ET MP PE */
#define CR4_BITS 0x620	    /* PAE OSFXSR OSXMMEXCPT */
#define MSR_EFER 0xc0000080
#define EFER_BITS 0x900 /* LME NXE */

	.section .note.Xen, "a", @note
	.p2align 2
	.long 4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad rt_pvh_start
	.long 4, 4, 1 /* MACHINE_NOTE_NEEDS: nothing */
	.asciz "Vvu"
	.long 0

	.text
	.code32
	.globl rt_pvh_start
	.type rt_pvh_start, @function
rt_pvh_start:
	cld
	movl $ring0_boot_stack + RING0_STACK_BYTES, %esp
	call ring0_long_mode
	ljmp $SEL_CODE0, $start64

/* Turns paging and long mode on; the caller's next far jump enters 64-bit code. Keeps ebx, esi, edi. */
	.globl ring0_long_mode
ring0_long_mode:
	movl %cr4, %eax
	orl $CR4_BITS, %eax
	movl %eax, %cr4
	movl $ring0_pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_BITS, %eax
	wrmsr
	movl $CR0_BITS, %eax
	movl %eax, %cr0
	lgdt ring0_gdt_pointer
	ret

	.code64
start64:
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl $SEL_DATA0, %eax
	movl %eax, %ss
	lidt ring0_idt_pointer
	movl %ebx, %edi
	call ring0_main
	movl $rt_start3, %eax
	movl $rt_stack_top, %ecx

/* To ring 3 for the first time: rax = rip, rcx = rsp (aligned as at a function's entry), rdi = argument. */
	.globl ring0_enter_ring3
ring0_enter_ring3:
	pushq $SEL_DATA3
	subq $8, %rcx
	pushq %rcx
	pushq $RING3_RFLAGS
	pushq $SEL_CODE3
	pushq %rax
	xorl %ebp, %ebp
	iretq

/* Vector stubs, each at RING0_BASE + 16 * vector. Exceptions push what the CPU did not, interrupts set their flag. */
	.section .ring0.stubs, "ax", @progbits
	.globl ring0_stubs
ring0_stubs:
	.set v, 0
	.rept 256
	.org v * RING0_STUB_BYTES
	.if v == 3
		jmp ring0_gate
	.elseif v < 32
		/* 8, 10-14, 17, 21, 29 and 30 come with an error code. */
		.if !(v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30)
			pushq $0
		.endif
		pushq $v
		jmp ring0_exception
	.elseif v >= VECTOR_IRQ_BASE && v < VECTOR_IRQ_BASE + VECTOR_IRQ_NUM
		movb $1, %gs:CPU_IRQ_FLAGS + v - VECTOR_IRQ_BASE
		jmp ring0_irq_done
	.elseif v == VECTOR_WINDOW
		movb $1, %gs:CPU_WINDOW
		jmp ring0_eoi
	.elseif v == VECTOR_TIMER
		jmp ring0_irq_done
	.elseif v == VECTOR_WAKE
		movb $1, %gs:CPU_WOKEN
		jmp ring0_irq_done
	.else
		iretq /* spurious: no EOI */
	.endif
	.set v, v + 1
	.endr
	.org 256 * RING0_STUB_BYTES

	.text
ring0_irq_done:
	movb $1, %gs:CPU_IRQ_ANY
ring0_eoi:
	movl $0, LAPIC_VA + LAPIC_EOI
	cmpq $ring0_wait_hlt, (%rsp)
	jne 1f
	incq (%rsp)
1:	iretq

ring0_exception:
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	movq %cr2, %rsi
	call ring0_fault /* does not return when ring 3 cannot handle it */
	movl $rt_fault_entry, %eax
	movq %gs:CPU_FAULT_STACK, %rcx
	jmp ring0_enter_ring3

ring0_gate:
	cmpl $RING0_IDLE, %eax
	je ring0_idle
	cmpl $RING0_IRQ_WINDOW, %eax
	je ring0_irq_window
	cmpl $RING0_WAKE, %eax
	je ring0_wake
	cmpl $RING0_TLB_FLUSH, %eax
	je ring0_tlb_flush
	cmpl $RING0_STOP, %eax
	je ring0_stop
	cld
	movq %rdx, %rcx
	movq %rsi, %rdx
	movq %rdi, %rsi
	movl %eax, %edi
	call ring0_call
	iretq

/* The look at the flag and the halt are one step for interrupts: `sti` lets them in only after the next instruction. */
ring0_idle:
	testq %rdi, %rdi
	jz 1f
	call ring0_timer_arm
1:	cmpb $0, %gs:CPU_IRQ_ANY
	jne 2f
	call ring0_wait
	jmp 1b
2:	iretq

/*
 * Halts for an interrupt. `sti` holds interrupts off until `hlt` waits for them, but not everywhere: QEMU's emulated
 * SVM forgets the shadow of `sti` when an exit falls into it. So a handler that finds it has interrupted the `hlt`
 * itself returns behind it (ring0_irq_done); a handler that ended the halt returns there anyway.
 */
ring0_wait:
	sti
ring0_wait_hlt:
	hlt
	cli
	ret

ring0_wake:
	shll $24, %edi
	movl %edi, LAPIC_VA + LAPIC_ICR_HI
	movl $LAPIC_ICR_ONE | VECTOR_WAKE, LAPIC_VA + LAPIC_ICR
	iretq

ring0_tlb_flush:
	movq %cr3, %rax
	movq %rax, %cr3
	iretq

ring0_stop:
	cli
	hlt
	jmp ring0_stop

/*
 * Lets in what is pending. Where ring 0 is emulated, `sti` and `cli` alone let nothing in: interrupts come only
 * when the emulation ends, as it does at `hlt`. So the CPU halts, and wakes itself by an interrupt of the
 * lowest priority in use, which therefore comes last.
 */
ring0_irq_window:
	movb $0, %gs:CPU_WINDOW
	movl $LAPIC_ICR_SELF | VECTOR_WINDOW, LAPIC_VA + LAPIC_ICR
1:	call ring0_wait
	cmpb $0, %gs:CPU_WINDOW
	je 1b
	iretq

	.data
	.p2align 3
	.globl ring0_gdt
ring0_gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* code, ring 0, 64-bit */
	.quad 0x00cf93000000ffff /* data, ring 0 */
	.quad 0x00cff3000000ffff /* data, ring 3 */
	.quad 0x00affb000000ffff /* code, ring 3, 64-bit */
	.quad 0x00cf73000000ffff /* data, ring 3, not present */
	.quad 0x00cf9b000000ffff /* code, ring 0, 32-bit: start-up of further CPUs */
	.quad 0
	.globl ring0_tss_descriptors
ring0_tss_descriptors:
	.fill 2 * RT_CPUS_MAX, 8, 0
	.globl ring0_gdt_pointer
ring0_gdt_pointer:
	.word SEL_END - 1
	.quad ring0_gdt
	.globl ring0_idt_pointer
ring0_idt_pointer:
	.word 256 * 16 - 1
	.quad ring0_idt

	.p2align 4
ring0_idt:
	.set v, 0
	.rept 256
	.word v * RING0_STUB_BYTES /* RING0_BASE has only zeros in its low 16 bits */
	.word SEL_CODE0
	.if v == 2 || v == 8 || v == 18 /* NMI, double fault, machine check: a stack of their own */
		.byte 1
	.else
		.byte 0
	.endif
	.if v == 3
		.byte 0xee
	.else
		.byte 0x8e
	.endif
	.word RING0_BASE >> 16
	.long 0, 0
	.set v, v + 1
	.endr

	.p2align 12
	.globl ring0_pml4
ring0_pml4:
	.quad ring0_pdpt_low + PTE_TABLE
	.fill 510, 8, 0
	.quad ring0_pdpt_high + PTE_TABLE
ring0_pdpt_low:
	.quad ring0_pd0 + PTE_TABLE
	.fill 511, 8, 0
ring0_pdpt_high:
	.fill 511, 8, 0
	.quad ring0_pd_high + PTE_TABLE
ring0_pd0:
	.quad PTE_RING0
	.quad PAGE_2M + PTE_RING3_TEXT
	.fill 510, 8, 0
ring0_pd_high:
	.fill 503, 8, 0
	.quad LAPIC_PA + PTE_RING0_DEVICE
	.fill 8, 8, 0

	.section .stack, "aw", @nobits
	.p2align 4
	.skip 262144
	.globl rt_stack_top
rt_stack_top:
	.skip 16384
	.globl rt_fault_stack_top
rt_fault_stack_top:

	.section .note.GNU-stack, "", @progbits
