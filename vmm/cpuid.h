/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPUID that guests see: what KVM supports, with our signature and clock leaves (abi/machine.h)
 * and a plain topology of one package with one thread per core. Pure functions on the tables.
 *
 * Hypervisor leaves: 0x40000000 is ours; KVM's own ("KVMKVMKVM": kvmclock and the like) move to
 * 0x40000100, where Linux looks as well and KVM itself takes notice. 0x40000010 has the layout
 * others give it: EAX the TSC's and EBX the local APIC timer's rate, both in kHz.
 */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/* Entries cpuid_build() may add. */
#define CPUID_EXTRA_ENTRIES 8

struct cpuid_conf {
	uint32_t tsc_khz;
	unsigned int cpus;
	bool tsc_deadline; /* the local APIC has it */
};

/* A copy of supported, made ours, for vCPU 0. NULL: out of memory. The caller frees it. */
struct kvm_cpuid2 *cpuid_build(const struct kvm_cpuid2 *supported, const struct cpuid_conf *conf);
/* Changes the few fields that name the vCPU. */
void cpuid_set_apic_id(struct kvm_cpuid2 *cpuid, uint32_t apic_id);

/* Width of guest-physical addresses: leaf 0x80000008, narrowed to what KVM can map. 36 when there
 * is no such leaf. */
unsigned int cpuid_phys_bits(const struct kvm_cpuid2 *cpuid);
/* The XCR0 to start with: x87, SSE, AVX and AVX-512 state as far as they are offered. 1: no XSAVE.
 */
uint64_t cpuid_xcr0(const struct kvm_cpuid2 *cpuid);

#endif
