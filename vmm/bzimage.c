// SPDX-License-Identifier: BSD-2-Clause
/*
 * Linux bzImage, by the 64-bit boot protocol (Documentation/arch/x86/boot.rst): the protected-mode
 * part of the file goes to the kernel's preferred address, the vCPU starts 0x200 bytes into it in
 * long mode with RSI at the zero page. Boot parameters, command line, a GDT and identity page
 * tables for the first 4 GiB are one block of guest memory.
 */
#include <string.h>

#include "abi/machine.h"
#include "vmm/loader_priv.h"

/* Offsets in the file's first sector and in the zero page alike. */
#define HDR_START	   0x1f1
#define HDR_SETUP_SECTS	   0x1f1
#define HDR_JUMP	   0x201 /* the header ends this byte's value behind 0x202 */
#define HDR_VERSION	   0x206
#define HDR_LOADER	   0x210
#define HDR_RAMDISK	   0x218
#define HDR_RAMDISK_SIZE   0x21c
#define HDR_CMDLINE	   0x228
#define HDR_INITRD_MAX	   0x22c
#define HDR_ALIGNMENT	   0x230
#define HDR_XLOADFLAGS	   0x236
#define HDR_CMDLINE_SIZE   0x238
#define HDR_PREF_ADDRESS   0x258
#define HDR_INIT_SIZE	   0x260
#define HDR_END		   0x264
#define ZP_E820_ENTRIES	   0x1e8
#define ZP_E820_TABLE	   0x2d0
#define XLOADFLAG_64	   0x1
#define VERSION_NEEDED	   0x20c
#define LOADER_UNDEFINED   0xff
#define ENTRY_64	   0x200
#define SECTOR		   512
#define PAGE_TABLE_ENTRIES 512
#define PTE_TABLE	   0x3u /* present, writable */
#define PTE_LARGE	   0x83u

struct e820_entry {
	le64 addr;
	le64 size;
	le32 type; /* as in PVH's memory map */
} ABI_PACKED;
ABI_SIZE(struct e820_entry, 20);

struct linux_info {
	uint8_t zero_page[4096];
	uint64_t pml4[PAGE_TABLE_ENTRIES];
	uint64_t pdpt[PAGE_TABLE_ENTRIES];
	uint64_t pd[4][PAGE_TABLE_ENTRIES];
	uint64_t gdt[8];
	char cmdline[4096];
};

struct bzimage {
	uint8_t head[HDR_END];
	uint64_t payload; /* offset in the file */
	uint64_t load;	  /* guest-physical */
	uint64_t init_size;
};

static uint64_t field(const uint8_t *base, unsigned int offset, unsigned int bytes)
{
	uint64_t v = 0;

	memcpy(&v, base + offset, bytes);
	return v;
}

static void set_field(uint8_t *base, unsigned int offset, unsigned int bytes, uint64_t v)
{
	memcpy(base + offset, &v, bytes);
}

static int read_header(struct loader *l, struct bzimage *bz)
{
	uint64_t sectors;
	int ret;

	ret = loader_read(l, bz->head, 0, sizeof(bz->head), "the setup header");
	if (ret)
		return ret;
	if (field(bz->head, HDR_VERSION, 2) < VERSION_NEEDED ||
	    !(field(bz->head, HDR_XLOADFLAGS, 2) & XLOADFLAG_64))
		return loader_bad(l, "not a 64-bit Linux kernel of version 3.8 or newer");
	if (strlen(l->conf->cmdline) > field(bz->head, HDR_CMDLINE_SIZE, 4) ||
	    strlen(l->conf->cmdline) >= sizeof(((struct linux_info *)0)->cmdline))
		return loader_bad(l, "the kernel does not take a command line that long");
	sectors = field(bz->head, HDR_SETUP_SECTS, 1);
	bz->payload = ((sectors ? sectors : 4) + 1) * SECTOR;
	if (bz->payload >= l->file_size)
		return loader_bad(l, "truncated: no kernel behind the setup sectors");
	return 0;
}

static int load_kernel(struct loader *l, struct bzimage *bz)
{
	uint64_t bytes = l->file_size - bz->payload;
	uint64_t align = field(bz->head, HDR_ALIGNMENT, 4);

	bz->load = field(bz->head, HDR_PREF_ADDRESS, 8);
	bz->init_size = field(bz->head, HDR_INIT_SIZE, 4);
	if (bz->load < LOADER_HIGH_MEM || !align || (align & (align - 1)) ||
	    !IS_ALIGNED(bz->load, align))
		return loader_bad(l, "bad setup header: preferred address 0x%llx, alignment 0x%llx",
				  (unsigned long long)bz->load, (unsigned long long)align);
	if (bz->init_size < bytes)
		bz->init_size = bytes;
	if (!memmap_translate(l->ram, gpa(bz->load), bz->init_size, 1))
		return loader_bad(l,
				  "does not fit into guest memory: it needs %llu MiB; raise "
				  "--memory",
				  (unsigned long long)((bz->load + bz->init_size) >> 20));
	l->image_start = bz->load;
	l->image_end = bz->load + bz->init_size;
	return loader_read_guest(l, bz->load, bz->payload, bytes, "the kernel");
}

static void fill_page_tables(struct linux_info *info, uint64_t at)
{
	info->pml4[0] = (at + offsetof(struct linux_info, pdpt)) | PTE_TABLE;
	for (uint64_t i = 0; i < 4; i++) {
		info->pdpt[i] = (at + offsetof(struct linux_info, pd) + i * 4096) | PTE_TABLE;
		for (uint64_t j = 0; j < PAGE_TABLE_ENTRIES; j++)
			info->pd[i][j] = (i << 30 | j << 21) | PTE_LARGE;
	}
}

static void add_e820(uint8_t *zero_page, uint64_t addr, uint64_t size, uint32_t type)
{
	struct e820_entry e = { addr, size, type };
	uint8_t n = zero_page[ZP_E820_ENTRIES];

	memcpy(zero_page + ZP_E820_TABLE + n * sizeof(e), &e, sizeof(e));
	zero_page[ZP_E820_ENTRIES] = n + 1;
}

static void fill_zero_page(struct loader *l, const struct bzimage *bz, struct linux_info *info,
			   uint64_t at)
{
	unsigned int end = 0x202 + bz->head[HDR_JUMP];
	uint8_t *zp = info->zero_page;

	if (end > HDR_END)
		end = HDR_END;
	memcpy(zp + HDR_START, bz->head + HDR_START, end - HDR_START);
	zp[HDR_LOADER] = LOADER_UNDEFINED;
	set_field(zp, HDR_CMDLINE, 4, at + offsetof(struct linux_info, cmdline));
	set_field(zp, HDR_RAMDISK, 4, l->initrd);
	set_field(zp, HDR_RAMDISK_SIZE, 4, l->initrd_size);

	add_e820(zp, 0, LOADER_LOW_END, LOADER_MEM_RAM);
	add_e820(zp, LOADER_LOW_END, LOADER_HIGH_MEM - LOADER_LOW_END, LOADER_MEM_RESERVED);
	add_e820(zp, LOADER_HIGH_MEM, l->conf->ram_low - LOADER_HIGH_MEM, LOADER_MEM_RAM);
	if (l->conf->ram_high)
		add_e820(zp, MACHINE_RAM_HIGH_BASE, l->conf->ram_high, LOADER_MEM_RAM);
}

static int write_info(struct loader *l, const struct bzimage *bz, struct loader_entry *out)
{
	struct linux_info *info;
	uint64_t at = loader_info_room(l, sizeof(*info));

	info = at ? memmap_translate(l->ram, gpa(at), sizeof(*info), 4096) : NULL;
	if (!info)
		return loader_bad(l, "no room for the boot information; raise --memory");
	fill_page_tables(info, at);
	fill_zero_page(l, bz, info, at);
	/* Selectors 0x10 and 0x18, as the protocol wants them: flat 64-bit code and data. */
	info->gdt[2] = 0x00af9b000000ffff;
	info->gdt[3] = 0x00cf93000000ffff;
	memcpy(info->cmdline, l->conf->cmdline, strlen(l->conf->cmdline) + 1);

	out->kind = LOADER_LINUX64;
	out->entry = bz->load + ENTRY_64;
	out->info = at;
	out->page_tables = at + offsetof(struct linux_info, pml4);
	out->gdt = at + offsetof(struct linux_info, gdt);
	out->gdt_bytes = sizeof(info->gdt);
	return 0;
}

int loader_bzimage(struct loader *l, struct loader_entry *out)
{
	struct bzimage bz;
	int ret;

	ret = read_header(l, &bz);
	if (!ret)
		ret = load_kernel(l, &bz);
	if (!ret)
		ret = loader_initrd(l, field(bz.head, HDR_INITRD_MAX, 4) + 1);
	return ret ? ret : write_info(l, &bz, out);
}
