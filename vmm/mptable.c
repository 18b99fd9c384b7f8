// SPDX-License-Identifier: BSD-2-Clause
/*
 * The MultiProcessor Specification 1.4 table: how an operating system without ACPI learns of the
 * vCPUs and of the I/O APIC with the ISA interrupts. It lies in the BIOS area, which guests don't
 * use as RAM.
 */
#include <errno.h>
#include <string.h>

#include "vmm/loader_priv.h"

#define MP_GPA	       UINT64_C(0xf0000)
#define LAPIC_GPA      0xfee00000u
#define IOAPIC_GPA     0xfec00000u
#define APIC_VERSION   0x14
#define IOAPIC_VERSION 0x11
#define ISA_IRQS       16

enum {
	MP_PROCESSOR,
	MP_BUS,
	MP_IOAPIC,
	MP_IO_INT,
	MP_LOCAL_INT
};
enum {
	MP_INT,
	MP_NMI,
	MP_SMI,
	MP_EXTINT
};

struct mp_floating {
	char signature[4];
	le32 table;
	uint8_t length; /* in 16 bytes */
	uint8_t revision;
	uint8_t checksum;
	uint8_t features[5];
} ABI_PACKED;
ABI_SIZE(struct mp_floating, 16);

struct mp_table {
	char signature[4];
	le16 length;
	uint8_t revision;
	uint8_t checksum;
	char oem[8];
	char product[12];
	le32 oem_table;
	le16 oem_size;
	le16 entries;
	le32 lapic;
	le16 ext_length;
	uint8_t ext_checksum;
	uint8_t reserved;
} ABI_PACKED;
ABI_SIZE(struct mp_table, 44);

struct mp_processor {
	uint8_t type, apic_id, apic_version, flags;
	le32 signature, features, reserved[2];
} ABI_PACKED;
ABI_SIZE(struct mp_processor, 20);

/* Buses, I/O APICs and interrupts, all of 8 bytes. */
struct mp_bus {
	uint8_t type, id;
	char name[6];
} ABI_PACKED;

struct mp_ioapic {
	uint8_t type, id, version, flags;
	le32 addr;
} ABI_PACKED;

struct mp_interrupt {
	uint8_t type, int_type;
	le16 flags;
	uint8_t src_bus, src_irq, dst_apic, dst_pin;
} ABI_PACKED;
ABI_SIZE(struct mp_bus, 8);
ABI_SIZE(struct mp_ioapic, 8);
ABI_SIZE(struct mp_interrupt, 8);

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return (uint8_t)-sum;
}

struct writer {
	uint8_t *at;
	unsigned int entries;
};

static void put(struct writer *w, const void *entry, size_t len)
{
	memcpy(w->at, entry, len);
	w->at += len;
	w->entries++;
}

static void put_interrupts(struct writer *w, uint8_t ioapic)
{
	struct mp_interrupt e = { .type = MP_IO_INT, .dst_apic = ioapic };

	for (uint8_t irq = 0; irq < ISA_IRQS; irq++) {
		if (irq == 2)
			continue; /* the cascade */
		e.src_irq = irq;
		e.dst_pin = irq ? irq : 2; /* as kvm_ops.c routes it */
		put(w, &e, sizeof(e));
	}
	e = (struct mp_interrupt){ .type = MP_LOCAL_INT, .int_type = MP_EXTINT, .dst_apic = 0xff };
	put(w, &e, sizeof(e));
	e.int_type = MP_NMI;
	e.dst_pin = 1;
	put(w, &e, sizeof(e));
}

int loader_mptable(struct memmap *ram, unsigned int cpus)
{
	size_t bytes = sizeof(struct mp_floating) + sizeof(struct mp_table) +
		       cpus * sizeof(struct mp_processor) + (ISA_IRQS + 4) * 8;
	struct mp_floating *fp = memmap_translate(ram, gpa(MP_GPA), bytes, 16);
	struct mp_table *table;
	struct writer w;

	if (!fp)
		return -EFAULT;
	table = (struct mp_table *)(void *)(fp + 1);
	w = (struct writer){ .at = (uint8_t *)(table + 1) };
	for (unsigned int i = 0; i < cpus; i++) {
		struct mp_processor cpu = { .type = MP_PROCESSOR,
					    .apic_id = (uint8_t)i,
					    .apic_version = APIC_VERSION,
					    .flags = i ? 1 : 3 /* enabled, boot processor */ };

		put(&w, &cpu, sizeof(cpu));
	}
	put(&w, &(struct mp_bus){ .type = MP_BUS, .name = { 'I', 'S', 'A', ' ', ' ', ' ' } },
	    sizeof(struct mp_bus));
	put(&w,
	    &(struct mp_ioapic){ .type = MP_IOAPIC,
				 .id = (uint8_t)cpus,
				 .version = IOAPIC_VERSION,
				 .flags = 1,
				 .addr = IOAPIC_GPA },
	    sizeof(struct mp_ioapic));
	put_interrupts(&w, (uint8_t)cpus);

	*table = (struct mp_table){
		.signature = { 'P', 'C', 'M', 'P' },
		.length = (le16)(w.at - (uint8_t *)table),
		.revision = 4,
		.oem = { 'V', 'V', 'U', ' ', ' ', ' ', ' ', ' ' },
		.product = { 'V', 'V', 'U', '-', 'V', 'M', 'M', ' ', ' ', ' ', ' ', ' ' },
		.entries = (le16)w.entries,
		.lapic = LAPIC_GPA,
	};
	table->checksum = checksum(table, table->length);
	*fp = (struct mp_floating){
		.signature = { '_', 'M', 'P', '_' },
		.table = (le32)(MP_GPA + sizeof(*fp)),
		.length = 1,
		.revision = 4,
	};
	fp->checksum = checksum(fp, sizeof(*fp));
	return 0;
}
