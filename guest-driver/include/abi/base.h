/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Basic types of every binary contract in this directory.
 *
 * The headers under abi/ describe bytes that two trust domains share: registers, rings, messages. They are
 * compiled hosted and freestanding, so they use nothing but the compiler's own headers. Every layout is checked
 * where it is defined with ABI_SIZE and ABI_OFFSET.
 *
 * le16/le32/le64 document the byte order of the wire. All supported machines are little-endian, which the check
 * below turns into a compile-time fact; no swapping code exists.
 */
#ifndef VVU_ABI_BASE_H
#define VVU_ABI_BASE_H

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vvu supports little-endian machines only"
#endif

typedef uint16_t le16;
typedef uint32_t le32;
typedef uint64_t le64;

#define BIT_U32(n)			(UINT32_C(1) << (n))
#define BIT_ULL(n)			(UINT64_C(1) << (n))
#define ARRAY_LEN(a)			(sizeof(a) / sizeof((a)[0]))
#define ABI_PACKED			__attribute__((packed))
#define ALIGN_UP(x, a)			(((x) + ((a)-1)) & ~((a)-1))
#define ALIGN_DOWN(x, a)		((x) & ~((a)-1))
#define IS_ALIGNED(x, a)		(((x) & ((a)-1)) == 0)
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* The type is named once per check, so that an assertion cannot speak of the wrong struct. */
#define ABI_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has the wrong size")
#define ABI_OFFSET(type, field, offset)                                                            \
	_Static_assert(offsetof(type, field) == (offset),                                          \
		       #type "." #field " is at the wrong offset")

/*
 * A guest-physical address of some VM. A struct of its own, so that it can neither be dereferenced nor be mixed up
 * with a host pointer, a length or an offset by accident. memmap_translate() (vq/memmap.h) is the one place where it
 * becomes a pointer.
 */
struct gpa {
	uint64_t v;
};

static inline struct gpa gpa(uint64_t v)
{
	return (struct gpa){ v };
}

#endif
