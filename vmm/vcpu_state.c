// SPDX-License-Identifier: BSD-2-Clause
/* The state a vCPU starts in: after power-on and, the same, after the guest restarted. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "abi/base.h"
#include "vmm/cpuid.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define CR0_PE	     BIT_ULL(0)
#define CR0_ET	     BIT_ULL(4)
#define CR0_NW	     BIT_ULL(29)
#define CR0_CD	     BIT_ULL(30)
#define CR0_PG	     BIT_ULL(31)
#define CR4_PAE	     BIT_ULL(5)
#define EFER_LME     BIT_ULL(8)
#define EFER_LMA     BIT_ULL(10)
#define EFLAGS_FIXED 0x2

#define APIC_BASE     0xfee00000u
#define APIC_BASE_BSP 0x100u
#define APIC_BASE_ON  0x800u

#define MSR_TSC_DEADLINE 0x6e0u

/*
 * What a guest can leave behind. KVM-specific ones (0x4b564d..) make the hypervisor write into
 * guest memory, so they must be off before new contents are there. An MSR that this KVM lacks is
 * left out.
 */
static const struct kvm_msr_entry power_on_msrs[] = {
	{ .index = 0x11 },	 /* KVM_WALL_CLOCK */
	{ .index = 0x12 },	 /* KVM_SYSTEM_TIME */
	{ .index = 0x4b564d00 }, /* KVM_WALL_CLOCK_NEW */
	{ .index = 0x4b564d01 }, /* KVM_SYSTEM_TIME_NEW */
	{ .index = 0x4b564d02 }, /* KVM_ASYNC_PF_EN */
	{ .index = 0x4b564d03 }, /* KVM_STEAL_TIME */
	{ .index = 0x4b564d04 }, /* KVM_EOI_EN */
	{ .index = MSR_TSC_DEADLINE },
	{ .index = 0x174 }, /* SYSENTER_CS, ESP, EIP */
	{ .index = 0x175 },
	{ .index = 0x176 },
	{ .index = 0xc0000081 }, /* STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE, TSC_AUX */
	{ .index = 0xc0000082 },
	{ .index = 0xc0000083 },
	{ .index = 0xc0000084 },
	{ .index = 0xc0000102 },
	{ .index = 0xc0000103 },
	{ .index = 0x277, .data = 0x0007040600070406 }, /* PAT */
	{ .index = 0x1a0, .data = 1 },			/* MISC_ENABLE: fast string operations */
};

/* Write-back memory by default, as firmware leaves it (the power-on value is uncached). */
static const struct kvm_msr_entry mtrr_default = { .index = 0x2ff, .data = 0x806 };

static void set_msr(int fd, const struct kvm_msr_entry *entry)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = { .header.nmsrs = 1, .entry = *entry };

	ioctl(fd, KVM_SET_MSRS, &one);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code, bool long_mode)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = !(code && long_mode),
		.s = 1,
		.l = code && long_mode,
		.g = 1,
	};
}

static void flat_segments(struct kvm_sregs *s, bool long_mode)
{
	s->cs = segment(0x10, 0xb, true, long_mode);
	s->ds = s->es = s->fs = s->gs = s->ss = segment(0x18, 0x3, false, long_mode);
	s->tr = (struct kvm_segment){ .limit = 0x67, .type = 0xb, .present = 1, .selector = 0x20 };
	s->ldt = (struct kvm_segment){ .unusable = 1 };
}

/* Flat segments; PVH: 32-bit protected mode without paging; Linux: 64-bit mode on the loader's page
 * tables. */
static void boot_sregs(struct kvm_sregs *s, const struct loader_entry *entry)
{
	bool long_mode = entry->kind == LOADER_LINUX64;

	flat_segments(s, long_mode);
	s->gdt = (struct kvm_dtable){ .base = entry->gdt };
	if (entry->gdt_bytes)
		s->gdt.limit = entry->gdt_bytes - 1;
	memset(&s->idt, 0, sizeof(s->idt));
	s->cr0 = CR0_PE | CR0_ET;
	s->cr3 = s->cr4 = s->efer = 0;
	if (long_mode) {
		s->cr0 |= CR0_PG;
		s->cr4 = CR4_PAE;
		s->cr3 = entry->page_tables;
		s->efer = EFER_LME | EFER_LMA;
	}
}

static int set_segments(struct vcpu *vcpu, const struct loader_entry *entry, const char **what)
{
	struct kvm_sregs s;

	*what = "KVM_GET_SREGS";
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.apic_base = APIC_BASE | APIC_BASE_ON | (vcpu->index ? 0 : APIC_BASE_BSP);
	s.cr8 = 0;
	memset(s.interrupt_bitmap, 0, sizeof(s.interrupt_bitmap));
	if (!vcpu->index) {
		boot_sregs(&s, entry);
	} else {
		/* INIT sets the rest when it comes; but KVM refuses 64-bit segments with that CR0. */
		flat_segments(&s, false);
		s.cr0 = CR0_ET | CR0_NW | CR0_CD;
		s.cr3 = s.cr4 = s.efer = 0;
	}
	*what = "KVM_SET_SREGS";
	return ioctl(vcpu->fd, KVM_SET_SREGS, &s) < 0 ? -errno : 0;
}

static int set_registers(struct vcpu *vcpu, const struct loader_entry *entry, const char **what)
{
	struct kvm_regs regs = { .rflags = EFLAGS_FIXED };

	if (!vcpu->index) {
		regs.rip = entry->entry;
		if (entry->kind == LOADER_PVH)
			regs.rbx = entry->info;
		else
			regs.rsi = entry->info;
	}
	*what = "KVM_SET_REGS";
	return ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0 ? -errno : 0;
}

/* Undoes what the guest did, where a new vCPU needs nothing. */
static int reset_used(struct vcpu *vcpu, const char **what)
{
	struct kvm_mp_state mp = { .mp_state = vcpu->index ? KVM_MP_STATE_UNINITIALIZED
							   : KVM_MP_STATE_RUNNABLE };
	struct kvm_debugregs debug = { .dr6 = 0xffff0ff0, .dr7 = 0x400 };

	for (unsigned int i = 0; i < ARRAY_LEN(power_on_msrs); i++)
		set_msr(vcpu->fd, &power_on_msrs[i]);
	*what = "KVM_SET_FPU";
	if (ioctl(vcpu->fd, KVM_SET_FPU, &vcpu->fpu) < 0)
		return -errno;
	ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &debug); /* not everywhere */
	*what = "KVM_SET_VCPU_EVENTS";
	if (ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &vcpu->events) < 0)
		return -errno;
	*what = "KVM_SET_MP_STATE";
	return ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp) < 0 ? -errno : 0;
}

int vcpu_reset(struct vcpu *vcpu, const struct loader_entry *entry, bool first, const char **what)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	int ret;

	ret = set_segments(vcpu, entry, what);
	if (!ret && !first) {
		/* After APIC_BASE, which decides how the local APIC's state is read. */
		*what = "KVM_SET_LAPIC";
		ret = ioctl(vcpu->fd, KVM_SET_LAPIC, &vcpu->lapic) < 0 ? -errno : 0;
		if (!ret)
			ret = reset_used(vcpu, what);
	}
	if (!ret)
		ret = set_registers(vcpu, entry, what);
	if (ret)
		return ret;
	set_msr(vcpu->fd, &mtrr_default);
	/*
	 * Where KVM emulates ring 0, the guest has no xsetbv: it finds XCR0 set and only needs
	 * CR4.OSXSAVE. Elsewhere it sets XCR0 itself, to the same.
	 */
	xcrs.xcrs[0].value = cpuid_xcr0(vcpu->vm->kvm.supported);
	*what = "KVM_SET_XCRS";
	if (xcrs.xcrs[0].value > 1 && ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs) < 0)
		return -errno;
	return 0;
}
