// SPDX-License-Identifier: BSD-2-Clause
/* Image loading: right images end up where they belong, hostile ones are refused with a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi/machine.h"
#include "abi/pvh.h"
#include "vmm/loader.h"

#define RAM_BYTES (UINT64_C(16) << 20)
#define FILE_MAX  65536
#define LOAD_GPA  0x200000
#define TEXT_AT	  0x1000
#define TEXT_LEN  0x800
#define NOTE_AT	  0x200

/* A file image that each test damages in its own way. */
struct image {
	uint8_t bytes[FILE_MAX];
	size_t size;
};

static uint8_t *ram;
static struct memmap map;
static struct image image;
static struct loader_conf conf;
static struct loader_entry entry;
static char error[256];

static Elf64_Ehdr *eh(void)
{
	return (Elf64_Ehdr *)(void *)image.bytes;
}

static Elf64_Phdr *ph(unsigned int n)
{
	return (Elf64_Phdr *)(void *)(image.bytes + sizeof(Elf64_Ehdr)) + n;
}

static Elf64_Nhdr *nh(void)
{
	return (Elf64_Nhdr *)(void *)(image.bytes + NOTE_AT);
}

static void good_elf(void)
{
	uint32_t start = LOAD_GPA + 0x10;

	memset(&image, 0, sizeof(image));
	image.size = TEXT_AT + TEXT_LEN;
	*eh() = (Elf64_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	*ph(0) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = TEXT_AT,
		.p_paddr = LOAD_GPA,
		.p_filesz = TEXT_LEN,
		.p_memsz = 0x3000,
	};
	*ph(1) = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = NOTE_AT, .p_filesz = 20 };
	*nh() = (Elf64_Nhdr){ 4, 4, PVH_NOTE_TYPE };
	memcpy(nh() + 1, "Xen", 4);
	memcpy(image.bytes + NOTE_AT + 16, &start, 4);
	memset(image.bytes + TEXT_AT, 0xab, TEXT_LEN);
}

static int setup(void **state)
{
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(ram, MAP_FAILED);
	memmap_init(&map);
	assert_int_equal(memmap_add(&map, gpa(0), RAM_BYTES, ram), 0);
	conf = (struct loader_conf){ .cmdline = "switch a=b", .ram_low = RAM_BYTES };
	good_elf();
	return 0;
}

static int teardown(void **state)
{
	munmap(ram, RAM_BYTES);
	return 0;
}

/* The image as a file of its own; path is good while the fd is open. */
static int as_file(const void *bytes, size_t size, char path[64])
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

static int load(void)
{
	char path[64];
	int fd = as_file(image.bytes, image.size, path), ret;

	strcpy(error, "");
	conf.kernel = path;
	ret = loader_load(&conf, &map, &entry, error, sizeof(error));
	close(fd);
	conf.kernel = NULL;
	return ret;
}

static void refused(const char *text)
{
	assert_true(load() < 0);
	if (!strstr(error, text))
		fail_msg("the error is '%s', not about '%s'", error, text);
	assert_null(strchr(error, '\n'));
	good_elf();
}

static void loads_pvh(void **state)
{
	const struct pvh_start_info *info;
	const struct pvh_memmap_entry *e;
	uint64_t top = 0;

	assert_int_equal(load(), 0);
	assert_int_equal(entry.kind, LOADER_PVH);
	assert_int_equal(entry.entry, LOAD_GPA + 0x10);
	assert_int_equal(ram[LOAD_GPA], 0xab);
	assert_int_equal(ram[LOAD_GPA + TEXT_LEN - 1], 0xab);
	assert_int_equal(ram[LOAD_GPA + TEXT_LEN], 0);

	info = (const void *)(ram + entry.info);
	assert_int_equal(info->magic, PVH_START_MAGIC);
	assert_int_equal(info->version, 1);
	assert_int_equal(info->nr_modules, 0);
	assert_string_equal((char *)ram + info->cmdline_paddr, "switch a=b");
	e = (const void *)(ram + info->memmap_paddr);
	for (unsigned int i = 0; i < info->memmap_entries; i++) {
		assert_int_equal(e[i].addr, top);
		top += e[i].size;
		assert_int_equal(e[i].type, e[i].addr == 0xa0000 ? PVH_MEM_RESERVED : PVH_MEM_RAM);
	}
	assert_int_equal(top, RAM_BYTES);
}

static void loads_module_and_high_memory(void **state)
{
	static uint8_t high[4096] __attribute__((aligned(4096)));
	const struct pvh_start_info *info;
	const struct pvh_memmap_entry *e;
	const struct pvh_module *mod;
	char path[64];
	int fd = as_file("initrd contents", 15, path);

	assert_int_equal(memmap_add(&map, gpa(0x100000000), sizeof(high), high), 0);
	conf.ram_high = sizeof(high);
	conf.initrd = path;
	assert_int_equal(load(), 0);
	info = (const void *)(ram + entry.info);
	assert_int_equal(info->nr_modules, 1);
	mod = (const void *)(ram + info->modlist_paddr);
	assert_int_equal(mod->size, 15);
	assert_int_equal(mod->paddr, RAM_BYTES - 4096);
	assert_memory_equal(ram + mod->paddr, "initrd contents", 15);
	e = (const void *)(ram + info->memmap_paddr);
	assert_int_equal(e[info->memmap_entries - 1].addr, 0x100000000);
	assert_int_equal(e[info->memmap_entries - 1].size, 4096);
	close(fd);

	conf.initrd = "/nonexistent/initrd";
	refused("/nonexistent/initrd");
	conf.initrd = "/proc/self";
	refused("not a regular file");
	fd = memfd_create("large", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, RAM_BYTES), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	conf.initrd = path;
	refused("does not fit");
	close(fd);
	conf.initrd = NULL;
}

/* The image lies where boot information usually goes. */
static void moves_the_information(void **state)
{
	ph(0)->p_paddr = 0x8f000;
	nh()->n_descsz = 8;
	ph(1)->p_filesz = 24;
	memcpy(image.bytes + NOTE_AT + 16, &(uint64_t){ 0x8f000 }, 8);
	assert_int_equal(load(), 0);
	assert_int_equal(entry.entry, 0x8f000);
	assert_true(entry.info >= 0x100000);
	assert_int_equal(ram[0x8f000], 0xab);
}

static void refuses_files(void **state)
{
	conf.kernel = "/nonexistent/kernel";
	assert_true(loader_load(&conf, &map, &entry, error, sizeof(error)) < 0);
	assert_non_null(strstr(error, "/nonexistent/kernel"));
	conf.kernel = "/dev/null";
	assert_true(loader_load(&conf, &map, &entry, error, sizeof(error)) < 0);
	assert_non_null(strstr(error, "not a regular file"));
	image.size = 0;
	refused("truncated");
	image.size = 63;
	refused("truncated");
	memset(image.bytes, 0, sizeof(image.bytes));
	refused("neither");
}

static void refuses_headers(void **state)
{
	eh()->e_ident[EI_CLASS] = ELFCLASS32;
	refused("x86-64");
	eh()->e_ident[EI_DATA] = ELFDATA2MSB;
	refused("x86-64");
	eh()->e_machine = EM_AARCH64;
	refused("x86-64");
	eh()->e_type = ET_REL;
	refused("executable");
	eh()->e_phentsize = 1;
	refused("program headers");
	eh()->e_phnum = 0;
	refused("program headers");
	eh()->e_phnum = 65535;
	refused("program headers");
	eh()->e_phoff = UINT64_MAX - 8;
	refused("truncated");
	eh()->e_phoff = image.size - 8;
	refused("truncated");
}

static void refuses_segments(void **state)
{
	ph(0)->p_offset = image.size - 1;
	refused("truncated");
	ph(0)->p_offset = UINT64_MAX;
	refused("truncated");
	image.size--;
	refused("truncated");
	ph(0)->p_filesz = ph(0)->p_memsz + 1;
	refused("larger in the file");
	ph(0)->p_memsz = RAM_BYTES;
	refused("does not fit");
	ph(0)->p_memsz = UINT64_MAX;
	refused("does not fit");
	ph(0)->p_paddr = RAM_BYTES;
	refused("does not fit");
	ph(0)->p_paddr = UINT64_MAX - 0xfff;
	refused("does not fit");
	eh()->e_phnum = 3;
	*ph(2) = *ph(0);
	ph(2)->p_paddr += 0x2fff;
	refused("overlap");
	/* Segments of size zero don't matter, wherever they claim to be. */
	eh()->e_phnum = 3;
	*ph(2) = (Elf64_Phdr){ .p_type = PT_LOAD, .p_paddr = UINT64_MAX };
	assert_int_equal(load(), 0);
}

/* What an image says that it needs of a PC; without a word it gets everything. */
static void needs(void **state)
{
	const uint32_t nothing = 0;
	uint8_t *note = image.bytes + NOTE_AT + 20;

	assert_int_equal(load(), 0);
	assert_int_equal(entry.needs, UINT32_MAX);
	memcpy(note, &(Elf64_Nhdr){ 4, 4, MACHINE_NOTE_NEEDS }, sizeof(Elf64_Nhdr));
	memcpy(note + 12, MACHINE_NOTE_OWNER, 4);
	memcpy(note + 16, &nothing, 4);
	assert_int_equal(load(), 0);
	assert_int_equal(entry.needs, UINT32_MAX); /* behind the end */
	ph(1)->p_filesz = 40;
	assert_int_equal(load(), 0);
	assert_int_equal(entry.needs, 0);
	assert_int_equal(entry.entry, LOAD_GPA + 0x10);
	note[12] = 'v';
	assert_int_equal(load(), 0);
	assert_int_equal(entry.needs, UINT32_MAX);
}

static void refuses_notes(void **state)
{
	ph(1)->p_type = PT_NULL;
	refused("PVH");
	ph(1)->p_filesz = 19;
	refused("PVH");
	ph(1)->p_offset = image.size - 4;
	refused("truncated");
	ph(1)->p_filesz = 1 << 20;
	refused("note segment");
	nh()->n_namesz = UINT32_MAX;
	refused("PVH");
	nh()->n_descsz = UINT32_MAX;
	refused("PVH");
	nh()->n_descsz = 0;
	refused("PVH");
	nh()->n_type = 17;
	refused("PVH");
	memcpy(nh() + 1, "XeN", 4);
	refused("PVH");
	memset(nh(), 0, 64); /* empty notes to the end */
	ph(1)->p_filesz = 64;
	refused("PVH");
}

static void refuses_entries(void **state)
{
	static const uint64_t bad[] = { 0, LOAD_GPA - 1, LOAD_GPA + TEXT_LEN, UINT64_MAX,
					UINT64_C(0x100000000) + LOAD_GPA };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		nh()->n_descsz = 8;
		ph(1)->p_filesz = 24;
		memcpy(image.bytes + NOTE_AT + 16, &bad[i], 8);
		refused("entry point");
	}
}

static void put(unsigned int offset, uint64_t v, unsigned int bytes)
{
	memcpy(image.bytes + offset, &v, bytes);
}

static void good_bzimage(void)
{
	memset(&image, 0, sizeof(image));
	image.size = 1024 + 3000;
	put(0x1f1, 1, 1); /* setup sectors */
	put(0x1fe, 0xaa55, 2);
	put(0x201, 0x62, 1);
	memcpy(image.bytes + 0x202, "HdrS", 4);
	put(0x206, 0x20f, 2);
	put(0x22c, 0x7fffffff, 4);
	put(0x230, 0x200000, 4);
	put(0x236, 1, 2);
	put(0x238, 2047, 4);
	put(0x258, 0x400000, 8);
	put(0x260, 0x100000, 4);
	memset(image.bytes + 1024, 0xcd, 3000);
}

static void refused_bz(const char *text)
{
	refused(text);
	good_bzimage();
}

static void loads_bzimage(void **state)
{
	uint32_t cmdline;

	good_bzimage();
	assert_int_equal(load(), 0);
	assert_int_equal(entry.kind, LOADER_LINUX64);
	assert_int_equal(entry.entry, 0x400200);
	assert_int_equal(ram[0x400000], 0xcd);
	assert_int_equal(ram[0x400000 + 2999], 0xcd);
	memcpy(&cmdline, ram + entry.info + 0x228, 4);
	assert_string_equal((char *)ram + cmdline, "switch a=b");
	assert_int_equal(ram[entry.info + 0x1e8], 3);
	assert_int_equal(entry.page_tables & 0xfff, 0);
}

static void refuses_bzimages(void **state)
{
	good_bzimage();
	put(0x206, 0x204, 2);
	refused_bz("64-bit");
	put(0x236, 0, 2);
	refused_bz("64-bit");
	put(0x1f1, 255, 1);
	refused_bz("truncated");
	image.size = 0x210;
	refused_bz("truncated");
	put(0x238, 3, 4);
	refused_bz("command line");
	put(0x258, 0x400001, 8);
	refused_bz("preferred address");
	put(0x258, UINT64_MAX & ~0x1fffffull, 8);
	refused_bz("does not fit");
	put(0x230, 0, 4);
	refused_bz("alignment");
	put(0x260, UINT32_MAX, 4);
	refused_bz("does not fit");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(loads_pvh),
		TEST(loads_module_and_high_memory),
		TEST(refuses_files),
		TEST(moves_the_information),
		TEST(refuses_headers),
		TEST(refuses_segments),
		TEST(refuses_notes),
		TEST(refuses_entries),
		TEST(needs),
		TEST(loads_bzimage),
		TEST(refuses_bzimages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
