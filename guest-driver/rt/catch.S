/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ring 3's end of a CPU exception. Ring 0 has copied the registers to the CPU's struct rt_cpu and entered
 * rt_fault_entry on a stack of its own. Within rt_catch() execution goes on there, as if fn had returned.
 */
#include "ring0.h"

	.text
	.globl rt_fault_entry
rt_fault_entry:
	cld
	jmp rt_fault_main

/* int rt_catch_call(fn, arg): calls fn(arg); -1, or the vector given to rt_catch_resume(). */
	.globl rt_catch_call
rt_catch_call:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	subq $8, %rsp
	stmxcsr 4(%rsp)
	fnstcw (%rsp)
	movq %rsp, %gs:CPU_CATCH_RSP
	movq %rdi, %rax
	movq %rsi, %rdi
	call *%rax
	movl $-1, %eax
1:	addq $8, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.globl rt_catch_resume
rt_catch_resume:
	movl %edi, %eax
	movq %gs:CPU_CATCH_RSP, %rsp
	fnclex
	fninit
	fldcw (%rsp)
	ldmxcsr 4(%rsp)
	jmp 1b

	.section .note.GNU-stack, "", @progbits
