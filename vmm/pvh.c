// SPDX-License-Identifier: BSD-2-Clause
/*
 * ELF images with a PVH entry note: 64-bit x86 ELF whose PT_LOAD segments go to their physical
 * addresses, entered in 32-bit protected mode without paging at the address the note gives, EBX
 * pointing at the start info (Xen docs/misc/pvh.pandoc; abi/pvh.h).
 */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "abi/machine.h"
#include "abi/pvh.h"
#include "vmm/loader_priv.h"

#define PHDRS_MAX 64
#define NOTES_MAX 65536

struct elf {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[PHDRS_MAX];
	uint8_t notes[NOTES_MAX];
};

/* All boot information in one block of guest memory. */
struct pvh_info {
	struct pvh_start_info start;
	struct pvh_module module;
	struct pvh_memmap_entry memmap[4];
	char cmdline[];
};

static int read_headers(struct loader *l, struct elf *elf)
{
	const Elf64_Ehdr *eh = &elf->eh;
	int ret;

	ret = loader_read(l, &elf->eh, 0, sizeof(elf->eh), "the ELF header");
	if (ret)
		return ret;
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
	    eh->e_machine != EM_X86_64)
		return loader_bad(l, "not an x86-64 ELF image");
	if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
		return loader_bad(l, "not an executable ELF image (type %u)", eh->e_type);
	if (eh->e_phentsize != sizeof(Elf64_Phdr) || !eh->e_phnum || eh->e_phnum > PHDRS_MAX)
		return loader_bad(l, "bad ELF program headers (%u of %u bytes)", eh->e_phnum,
				  eh->e_phentsize);
	return loader_read(l, elf->ph, eh->e_phoff, eh->e_phnum * sizeof(Elf64_Phdr),
			   "the program header table");
}

static int load_segment(struct loader *l, const struct elf *elf, unsigned int num)
{
	const Elf64_Phdr *ph = &elf->ph[num];

	if (!ph->p_memsz)
		return 0;
	if (ph->p_filesz > ph->p_memsz)
		return loader_bad(l, "bad ELF segment %u: larger in the file than in memory", num);
	if (!memmap_translate(l->ram, gpa(ph->p_paddr), ph->p_memsz, 1))
		return loader_bad(l,
				  "segment %u (0x%llx bytes at 0x%llx) does not fit into guest "
				  "memory; raise --memory",
				  num, (unsigned long long)ph->p_memsz,
				  (unsigned long long)ph->p_paddr);
	for (unsigned int i = 0; i < num; i++) {
		const Elf64_Phdr *other = &elf->ph[i];

		/* No sum wraps: those before have been found inside RAM. */
		if (other->p_type == PT_LOAD && other->p_memsz &&
		    ph->p_paddr < other->p_paddr + other->p_memsz &&
		    other->p_paddr < ph->p_paddr + ph->p_memsz)
			return loader_bad(l, "bad ELF image: segments %u and %u overlap", i, num);
	}
	if (ph->p_paddr < l->image_start)
		l->image_start = ph->p_paddr;
	if (ph->p_paddr + ph->p_memsz > l->image_end)
		l->image_end = ph->p_paddr + ph->p_memsz;
	return loader_read_guest(l, ph->p_paddr, ph->p_offset, ph->p_filesz, "a segment");
}

struct note {
	const char *owner;
	uint32_t type;
	uint8_t desc[8];
	uint32_t bytes; /* of desc: 4 or 8; 0: not found */
};

/* Looks for wanted in len bytes of notes. */
static void find_note(const uint8_t *notes, uint64_t len, struct note *wanted)
{
	uint64_t owner_bytes = strlen(wanted->owner) + 1;
	uint64_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		uint64_t name, desc, next;
		Elf64_Nhdr nh;

		memcpy(&nh, notes + at, sizeof(nh));
		name = at + sizeof(nh);
		desc = name + ALIGN_UP((uint64_t)nh.n_namesz, UINT64_C(4));
		next = desc + ALIGN_UP((uint64_t)nh.n_descsz, UINT64_C(4));
		if (desc > len || desc + nh.n_descsz > len)
			return;
		if (nh.n_type == wanted->type && nh.n_namesz == owner_bytes &&
		    !memcmp(notes + name, wanted->owner, owner_bytes) &&
		    (nh.n_descsz == 4 || nh.n_descsz == 8)) {
			wanted->bytes = nh.n_descsz;
			memcpy(wanted->desc, notes + desc, nh.n_descsz);
			return;
		}
		if (next >= len)
			return;
		at = next;
	}
}

static int read_notes(struct loader *l, struct elf *elf, struct loader_entry *out)
{
	struct note entry = { .owner = PVH_NOTE_OWNER, .type = PVH_NOTE_TYPE };
	struct note needs = { .owner = MACHINE_NOTE_OWNER, .type = MACHINE_NOTE_NEEDS };

	for (unsigned int i = 0; i < elf->eh.e_phnum && !entry.bytes; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];
		int ret;

		if (ph->p_type != PT_NOTE || !ph->p_filesz)
			continue;
		if (ph->p_filesz > NOTES_MAX)
			return loader_bad(l, "bad ELF note segment: more than %u bytes", NOTES_MAX);
		ret = loader_read(l, elf->notes, ph->p_offset, ph->p_filesz, "a note segment");
		if (ret)
			return ret;
		find_note(elf->notes, ph->p_filesz, &entry);
		find_note(elf->notes, ph->p_filesz, &needs);
	}
	if (!entry.bytes)
		return loader_bad(l, "no PVH entry note; build the image for PVH (Linux: "
				     "CONFIG_PVH), or give its bzImage");
	memcpy(&out->entry, entry.desc, sizeof(out->entry));
	if (needs.bytes)
		memcpy(&out->needs, needs.desc, sizeof(out->needs));
	return 0;
}

static int check_entry(struct loader *l, const struct elf *elf, uint64_t entry)
{
	for (unsigned int i = 0; i < elf->eh.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];

		if (ph->p_type == PT_LOAD && entry >= ph->p_paddr &&
		    entry - ph->p_paddr < ph->p_filesz && entry <= UINT32_MAX)
			return 0;
	}
	return loader_bad(l, "bad PVH entry point 0x%llx: outside every segment",
			  (unsigned long long)entry);
}

static void fill_memmap(const struct loader *l, struct pvh_info *info)
{
	const struct loader_conf *c = l->conf;
	struct pvh_memmap_entry *e = info->memmap;
	unsigned int n = 0;

	e[n++] = (struct pvh_memmap_entry){ 0, LOADER_LOW_END, PVH_MEM_RAM, 0 };
	e[n++] = (struct pvh_memmap_entry){ LOADER_LOW_END, LOADER_HIGH_MEM - LOADER_LOW_END,
					    PVH_MEM_RESERVED, 0 };
	e[n++] = (struct pvh_memmap_entry){ LOADER_HIGH_MEM, c->ram_low - LOADER_HIGH_MEM,
					    PVH_MEM_RAM, 0 };
	if (c->ram_high)
		e[n++] = (struct pvh_memmap_entry){ MACHINE_RAM_HIGH_BASE, c->ram_high, PVH_MEM_RAM,
						    0 };
	info->start.memmap_entries = n;
}

static int write_info(struct loader *l, uint64_t *at)
{
	uint64_t cmdline_bytes = strlen(l->conf->cmdline) + 1;
	uint64_t bytes = sizeof(struct pvh_info) + cmdline_bytes;
	struct pvh_info *info;

	*at = loader_info_room(l, bytes);
	info = *at ? memmap_translate(l->ram, gpa(*at), bytes, 8) : NULL;
	if (!info)
		return loader_bad(l, "no room for the boot information; raise --memory");

	info->start = (struct pvh_start_info){
		.magic = PVH_START_MAGIC,
		.version = 1,
		.cmdline_paddr = *at + offsetof(struct pvh_info, cmdline),
		.memmap_paddr = *at + offsetof(struct pvh_info, memmap),
	};
	if (l->initrd) {
		info->start.nr_modules = 1;
		info->start.modlist_paddr = *at + offsetof(struct pvh_info, module);
		info->module = (struct pvh_module){ .paddr = l->initrd, .size = l->initrd_size };
	}
	fill_memmap(l, info);
	memcpy(info->cmdline, l->conf->cmdline, cmdline_bytes);
	return 0;
}

static int load_elf(struct loader *l, struct elf *elf, struct loader_entry *out)
{
	int ret;

	ret = read_headers(l, elf);
	if (ret)
		return ret;
	ret = read_notes(l, elf, out);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < elf->eh.e_phnum; i++) {
		if (elf->ph[i].p_type != PT_LOAD)
			continue;
		ret = load_segment(l, elf, i);
		if (ret)
			return ret;
	}
	ret = check_entry(l, elf, out->entry);
	if (ret)
		return ret;
	ret = loader_initrd(l, UINT64_MAX);
	return ret ? ret : write_info(l, &out->info);
}

int loader_pvh(struct loader *l, struct loader_entry *out)
{
	struct elf *elf = malloc(sizeof(*elf));
	int ret;

	if (!elf)
		return loader_bad(l, "out of memory");
	out->kind = LOADER_PVH;
	ret = load_elf(l, elf, out);
	free(elf);
	return ret;
}
