/* SPDX-License-Identifier: BSD-2-Clause */
/* PVH boot information (Xen public header start_info.h, "hvm_start_info"), versions 0 and 1. */
#ifndef VVU_ABI_PVH_H
#define VVU_ABI_PVH_H

#include "abi/base.h"

#define PVH_START_MAGIC 0x336ec578u
#define PVH_NOTE_OWNER	"Xen"
#define PVH_NOTE_TYPE	18 /* XEN_ELFNOTE_PHYS32_ENTRY */

struct pvh_start_info {
	le32 magic;
	le32 version;
	le32 flags;
	le32 nr_modules;
	le64 modlist_paddr;
	le64 cmdline_paddr;
	le64 rsdp_paddr;
	le64 memmap_paddr; /* version 1 from here on */
	le32 memmap_entries;
	le32 reserved;
};
ABI_SIZE(struct pvh_start_info, 56);

struct pvh_module {
	le64 paddr;
	le64 size;
	le64 cmdline_paddr;
	le64 reserved;
};
ABI_SIZE(struct pvh_module, 32);

#define PVH_MEM_RAM	 1
#define PVH_MEM_RESERVED 2
struct pvh_memmap_entry {
	le64 addr;
	le64 size;
	le32 type;
	le32 reserved;
};
ABI_SIZE(struct pvh_memmap_entry, 24);

#endif
