// SPDX-License-Identifier: BSD-2-Clause
/* The guest's CPUID: signature, clock, topology, address width, XCR0. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "abi/machine.h"
#include "vmm/cpuid.h"

static const struct kvm_cpuid_entry2 host[] = {
	{ .function = 0, .eax = 0x1f },
	{ .function = 1, .ebx = 0xff020800, .ecx = 0x01200000, .edx = 1 << 28 },
	{ .function = 4, .index = 0, .flags = 1, .eax = 0xfc004121 },
	{ .function = 0xb, .index = 0, .flags = 1, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 77 },
	{ .function = 0xb, .index = 1, .flags = 1, .eax = 7, .ebx = 64, .ecx = 0x201, .edx = 77 },
	{ .function = 0x1f, .index = 0, .flags = 1, .edx = 77 },
	{ .function = 0xd, .index = 0, .flags = 1, .eax = 0x602e7 },
	{ .function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b },
	{ .function = 0x40000001, .eax = 0x1007efb },
	{ .function = 0x80000008, .eax = 0x3930, .ecx = 0x703f },
};

static struct kvm_cpuid2 *supported(void)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + sizeof(host));

	assert_non_null(c);
	c->nent = sizeof(host) / sizeof(host[0]);
	memcpy(c->entries, host, sizeof(host));
	return c;
}

static struct kvm_cpuid2 *build(unsigned int cpus)
{
	const struct cpuid_conf conf = { .tsc_khz = 2600000, .cpus = cpus, .tsc_deadline = true };
	struct kvm_cpuid2 *from = supported(), *c = cpuid_build(from, &conf);

	assert_non_null(c);
	free(from);
	return c;
}

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid2 *c, uint32_t function,
					   uint32_t index)
{
	const struct kvm_cpuid_entry2 *found = NULL;

	for (unsigned int i = 0; i < c->nent; i++) {
		if (c->entries[i].function == function && c->entries[i].index == index) {
			assert_null(found); /* once only */
			found = &c->entries[i];
		}
	}
	return found;
}

static void hypervisor_leaves(void **state)
{
	struct kvm_cpuid2 *c = build(1);
	const struct kvm_cpuid_entry2 *e = leaf(c, MACHINE_CPUID_SIGNATURE_LEAF, 0);
	char text[13] = "";

	memcpy(text, &e->ebx, 4);
	memcpy(text + 4, &e->ecx, 4);
	memcpy(text + 8, &e->edx, 4);
	assert_string_equal(text, "VvuVvuVvu");
	assert_int_equal(e->eax, MACHINE_CPUID_TSC_KHZ_LEAF);
	assert_int_equal(leaf(c, MACHINE_CPUID_TSC_KHZ_LEAF, 0)->eax, 2600000);
	/* KVM's own, where Linux looks next. */
	assert_int_equal(leaf(c, 0x40000100, 0)->eax, 0x40000101);
	assert_int_equal(leaf(c, 0x40000100, 0)->ebx, 0x4b4d564b);
	assert_int_equal(leaf(c, 0x40000101, 0)->eax, 0x1007efb);
	assert_null(leaf(c, 0x40000001, 0));
	assert_true(leaf(c, 1, 0)->ecx >> 31);
	free(c);
}

static void topology(void **state)
{
	struct kvm_cpuid2 *c = build(5);

	cpuid_set_apic_id(c, 3);
	assert_int_equal(leaf(c, 1, 0)->ebx, 0x03050800);
	assert_true(leaf(c, 1, 0)->edx & 1 << 28);
	assert_true(leaf(c, 1, 0)->ecx & 1 << 24);
	assert_int_equal(leaf(c, 4, 0)->eax, 0x121 | 4u << 26);
	assert_int_equal(leaf(c, 0xb, 0)->ebx, 1);
	assert_int_equal(leaf(c, 0xb, 1)->eax, 3);
	assert_int_equal(leaf(c, 0xb, 1)->ebx, 5);
	assert_int_equal(leaf(c, 0xb, 0)->edx, 3);
	assert_int_equal(leaf(c, 0xb, 1)->edx, 3);
	assert_null(leaf(c, 0x1f, 0));
	assert_int_equal(leaf(c, 0x80000008, 0)->ecx, 4 | 3 << 12);
	free(c);
	c = build(1);
	assert_false(leaf(c, 1, 0)->edx & 1 << 28);
	free(c);
}

static void widths(void **state)
{
	struct kvm_cpuid2 *c = supported();

	assert_int_equal(cpuid_phys_bits(c), 48);
	c->entries[9].eax = 0x2e3934; /* 52 bits, of which KVM maps 46 */
	assert_int_equal(cpuid_phys_bits(c), 46);
	c->entries[9].eax = 0;
	assert_int_equal(cpuid_phys_bits(c), 36);
	c->entries[9].function = 0x80000007;
	assert_int_equal(cpuid_phys_bits(c), 36);

	assert_int_equal(cpuid_xcr0(c), 0xe7);
	c->entries[6].eax = 7;
	assert_int_equal(cpuid_xcr0(c), 7);
	c->entries[6].eax = 4; /* AVX without SSE */
	assert_int_equal(cpuid_xcr0(c), 1);
	c->entries[6].function = 0xe;
	assert_int_equal(cpuid_xcr0(c), 1);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hypervisor_leaves),
		cmocka_unit_test(topology),
		cmocka_unit_test(widths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
