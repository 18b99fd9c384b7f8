/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Start-up of further CPUs. A start-up IPI begins in real mode on a page below 1 MiB, to which
 * cpu_start() in ring0.c copies the trampoline. One CPU starts at a time; ring0_ap says which it is.
 */
#include "ring0.h"

	.section .rodata
	.globl ring0_ap_trampoline, ring0_ap_trampoline_end
	.code16
ring0_ap_trampoline:
	cli
	lgdtl %cs:(ap_gdt_pointer - ring0_ap_trampoline)
	movl $0x11, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $ap32
ap_gdt_pointer:
	.word SEL_END - 1
	.long ring0_gdt
ring0_ap_trampoline_end:

	.text
	.code32
ap32:
	movw $SEL_DATA0, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl ring0_ap + AP_STACK0, %esp
	cld
	call ring0_long_mode
	ljmp $SEL_CODE0, $ap64

	.code64
ap64:
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	lidt ring0_idt_pointer
	call ring0_ap_main
	movl $rt_cpu_start3, %eax
	movq ring0_ap + AP_RSP, %rcx
	jmp ring0_enter_ring3

	.section .note.GNU-stack, "", @progbits
