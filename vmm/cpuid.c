// SPDX-License-Identifier: BSD-2-Clause
#include <stdlib.h>
#include <string.h>

#include "abi/base.h"
#include "abi/machine.h"
#include "vmm/cpuid.h"

#define KVM_LEAF	     0x40000000u
#define KVM_LEAF_MOVED	     0x40000100u
#define APIC_BUS_KHZ	     1000000u /* KVM's local APIC timer counts nanoseconds */
#define LEAF1_ECX_DEADLINE   BIT_U32(24)
#define LEAF1_ECX_HYPERVISOR BIT_U32(31)
#define LEAF1_EDX_HTT	     BIT_U32(28)
#define XCR0_X87_SSE	     0x3u
#define XCR0_WANTED	     0xe7u /* x87, SSE, AVX, the three of AVX-512 */

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
	for (unsigned int i = 0; i < c->nent; i++) {
		if (c->entries[i].function == function && c->entries[i].index == index)
			return &c->entries[i];
	}
	return NULL;
}

static const struct kvm_cpuid_entry2 *find_const(const struct kvm_cpuid2 *c, uint32_t function,
						 uint32_t index)
{
	for (unsigned int i = 0; i < c->nent; i++) {
		if (c->entries[i].function == function && c->entries[i].index == index)
			return &c->entries[i];
	}
	return NULL;
}

static void add(struct kvm_cpuid2 *c, const struct kvm_cpuid_entry2 *e)
{
	struct kvm_cpuid_entry2 *old = find(c, e->function, e->index);

	if (old)
		*old = *e;
	else
		c->entries[c->nent++] = *e;
}

static void remove_leaf(struct kvm_cpuid2 *c, uint32_t function)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < c->nent; i++) {
		if (c->entries[i].function != function)
			c->entries[kept++] = c->entries[i];
	}
	c->nent = kept;
}

static void build_hypervisor(struct kvm_cpuid2 *c, const struct cpuid_conf *conf)
{
	struct kvm_cpuid_entry2 signature = {
		.function = MACHINE_CPUID_SIGNATURE_LEAF,
		.eax = MACHINE_CPUID_TSC_KHZ_LEAF,
	};

	for (unsigned int i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entries[i];

		if (e->function >= KVM_LEAF && e->function < KVM_LEAF_MOVED) {
			if (e->function == KVM_LEAF)
				e->eax += KVM_LEAF_MOVED - KVM_LEAF;
			e->function += KVM_LEAF_MOVED - KVM_LEAF;
		}
	}
	memcpy(&signature.ebx, "VvuV", 4);
	memcpy(&signature.ecx, "vuVv", 4);
	memcpy(&signature.edx, "u\0\0\0", 4);
	add(c, &signature);
	add(c, &(struct kvm_cpuid_entry2){ .function = MACHINE_CPUID_TSC_KHZ_LEAF,
					   .eax = conf->tsc_khz,
					   .ebx = APIC_BUS_KHZ });
}

/* Smallest n with 2^n >= cpus. */
static unsigned int apic_id_bits(unsigned int cpus)
{
	unsigned int n = 0;

	while ((1u << n) < cpus)
		n++;
	return n;
}

static void build_topology(struct kvm_cpuid2 *c, const struct cpuid_conf *conf)
{
	struct kvm_cpuid_entry2 *e = find(c, 1, 0);

	if (e) {
		e->ecx |= LEAF1_ECX_HYPERVISOR;
		if (conf->tsc_deadline)
			e->ecx |= LEAF1_ECX_DEADLINE;
		e->ebx = (e->ebx & 0xff00ffffu) | (uint32_t)conf->cpus << 16;
		if (conf->cpus > 1)
			e->edx |= LEAF1_EDX_HTT;
		else
			e->edx &= ~LEAF1_EDX_HTT;
	}
	/* Caches (leaf 4, Intel): private ones; EAX 31..26 is the number of cores less one, at
	 * most 63. */
	for (unsigned int i = 0; i < c->nent; i++) {
		e = &c->entries[i];
		if (e->function == 4 && (e->eax & 0x1f))
			e->eax = (e->eax & 0x3fff) |
				 (uint32_t)((conf->cpus > 64 ? 64 : conf->cpus) - 1) << 26;
	}
	/* Extended topology: no SMT, all cores in one package. */
	remove_leaf(c, 0x1f);
	remove_leaf(c, 0xb);
	add(c, &(struct kvm_cpuid_entry2){ .function = 0xb,
					   .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
					   .ebx = 1,
					   .ecx = 1 << 8 });
	add(c, &(struct kvm_cpuid_entry2){ .function = 0xb,
					   .index = 1,
					   .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
					   .eax = apic_id_bits(conf->cpus),
					   .ebx = conf->cpus,
					   .ecx = 2 << 8 | 1 });
	e = find(c, 0x80000008, 0);
	if (e) /* AMD: cores less one, and the bits of the APIC ID that number them */
		e->ecx = (e->ecx & ~0xf0ffu) | (conf->cpus - 1) | apic_id_bits(conf->cpus) << 12;
	e = find(c, 0x8000001e, 0);
	if (e)
		e->ebx = e->ecx = 0;
}

struct kvm_cpuid2 *cpuid_build(const struct kvm_cpuid2 *supported, const struct cpuid_conf *conf)
{
	size_t bytes = sizeof(*supported) + supported->nent * sizeof(supported->entries[0]);
	struct kvm_cpuid2 *c;

	c = calloc(1, bytes + CPUID_EXTRA_ENTRIES * sizeof(supported->entries[0]));
	if (!c)
		return NULL;
	memcpy(c, supported, bytes);
	build_hypervisor(c, conf);
	build_topology(c, conf);
	cpuid_set_apic_id(c, 0);
	return c;
}

void cpuid_set_apic_id(struct kvm_cpuid2 *cpuid, uint32_t apic_id)
{
	for (unsigned int i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == 1)
			e->ebx = (e->ebx & 0x00ffffffu) | apic_id << 24;
		else if (e->function == 0xb)
			e->edx = apic_id;
		else if (e->function == 0x8000001e) {
			e->eax = apic_id;
			e->ebx = (e->ebx & ~0xffu) | (apic_id & 0xff); /* core */
		}
	}
}

unsigned int cpuid_phys_bits(const struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *e = find_const(cpuid, 0x80000008, 0);
	unsigned int bits, mapped;

	if (!e)
		return 36;
	bits = e->eax & 0xff;
	/* Bits 23..16: what the guest can really use, where KVM's tables have fewer levels. */
	mapped = e->eax >> 16 & 0xff;
	if (mapped && mapped < bits)
		bits = mapped;
	return bits < 36 ? 36 : bits > 52 ? 52 : bits;
}

uint64_t cpuid_xcr0(const struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *e = find_const(cpuid, 0xd, 0);
	uint64_t xcr0 = e ? e->eax & XCR0_WANTED : 0;

	return (xcr0 & XCR0_X87_SSE) == XCR0_X87_SSE ? xcr0 : 1;
}
