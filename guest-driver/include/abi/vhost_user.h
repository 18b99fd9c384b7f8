/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vhost-user protocol's bytes, and the one table of its messages.
 *
 * Source: vhost-user specification of QEMU (docs/interop/vhost-user.rst), cited as "vhost-user §NAME". Front-end
 * and back-end as there. The tables at the end drive everything that looks at a message: names, size and fd checks,
 * reply rules, and what the relay does.
 */
#ifndef VVU_ABI_VHOST_USER_H
#define VVU_ABI_VHOST_USER_H

#include "abi/base.h"

/* vhost-user §Header. */
struct vhost_user_header {
	le32 request;
	le32 flags;
	le32 size; /* of the payload */
};
ABI_SIZE(struct vhost_user_header, 12);

#define VHOST_USER_VERSION	   0x1
#define VHOST_USER_VERSION_MASK	   0x3
#define VHOST_USER_REPLY_MASK	   0x4
#define VHOST_USER_NEED_REPLY_MASK 0x8
#define VHOST_USER_FLAGS_KNOWN	   0xf

/* Virtio feature bit numbers that belong to vhost-user. */
#define VHOST_F_LOG_ALL_BIT		   26
#define VHOST_USER_F_PROTOCOL_FEATURES_BIT 30

/* Protocol feature bit numbers (vhost-user §Protocol features). */
enum vhost_user_protocol_feature {
	VHOST_USER_PROTOCOL_F_MQ = 0,
	VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1,
	VHOST_USER_PROTOCOL_F_RARP = 2,
	VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
	VHOST_USER_PROTOCOL_F_MTU = 4,
	VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
	VHOST_USER_PROTOCOL_F_CROSS_ENDIAN = 6,
	VHOST_USER_PROTOCOL_F_CRYPTO_SESSION = 7,
	VHOST_USER_PROTOCOL_F_PAGEFAULT = 8,
	VHOST_USER_PROTOCOL_F_CONFIG = 9,
	VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = 10,
	VHOST_USER_PROTOCOL_F_HOST_NOTIFIER = 11,
	VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
	VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS = 14,
	VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VHOST_USER_PROTOCOL_F_STATUS = 16,
	VHOST_USER_PROTOCOL_F_XEN_MMAP = 17,
	VHOST_USER_PROTOCOL_F_SHARED_OBJECT = 18,
	VHOST_USER_PROTOCOL_F_DEVICE_STATE = 19,
	VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT = 20,
	VHOST_USER_PROTOCOL_F_GPA_ADDRESSES = 21,
	VHOST_USER_PROTOCOL_F_SHMEM = 22,
	VHOST_USER_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN = 23,
	VHOST_USER_PROTOCOL_F_NONE = 255, /* "no gate" in the message table */
};

#define VHOST_USER_PF_MASK(name) BIT_ULL(VHOST_USER_PROTOCOL_F_##name)

/*
 * What the whole chain (proxy, device, driver) can carry. The proxy clears everything else from
 * GET_PROTOCOL_FEATURES replies and ends a session that sets a cleared bit.
 */
#define VHOST_USER_PF_CARRIED                                                                      \
	(VHOST_USER_PF_MASK(MQ) | VHOST_USER_PF_MASK(RARP) | VHOST_USER_PF_MASK(REPLY_ACK) |       \
	 VHOST_USER_PF_MASK(MTU) | VHOST_USER_PF_MASK(BACKEND_REQ) | VHOST_USER_PF_MASK(CONFIG) |  \
	 VHOST_USER_PF_MASK(RESET_DEVICE) | VHOST_USER_PF_MASK(CONFIGURE_MEM_SLOTS) |              \
	 VHOST_USER_PF_MASK(STATUS))
/* What proxy, device and driver carry among themselves: never offered to a front-end (abi/inflight.h). */
#define VHOST_USER_PF_INTERNAL (VHOST_USER_PF_MASK(INFLIGHT_SHMFD))
/* Cleared in addition when the back-end driver uses the classic shared-memory layout (abi/vvu.h). */
#define VHOST_USER_PF_EXPLICIT_ONLY                                                                \
	(VHOST_USER_PF_MASK(CONFIGURE_MEM_SLOTS) | VHOST_USER_PF_INTERNAL)

/* vhost-user §Vring state description. */
struct vhost_user_vring_state {
	le32 index;
	le32 num;
} ABI_PACKED;
ABI_SIZE(struct vhost_user_vring_state, 8);

/* vhost-user §Vring address description. desc, used and avail are user addresses of the front-end. */
struct vhost_user_vring_addr {
	le32 index;
	le32 flags; /* bit 0: log used ring writes */
	le64 desc_user_addr;
	le64 used_user_addr;
	le64 avail_user_addr;
	le64 log_guest_addr;
} ABI_PACKED;
ABI_SIZE(struct vhost_user_vring_addr, 40);
#define VHOST_VRING_F_LOG_MASK 0x1

/* u64 payload of SET_VRING_KICK/CALL/ERR (vhost-user §SET_VRING_KICK). */
#define VHOST_USER_VRING_INDEX_MASK 0xff
#define VHOST_USER_VRING_NOFD_MASK  0x100

/* vhost-user §Memory region description. */
struct vhost_user_region {
	le64 guest_phys_addr;
	le64 memory_size;
	le64 userspace_addr;
	le64 mmap_offset;
} ABI_PACKED;
ABI_SIZE(struct vhost_user_region, 32);

#define VHOST_USER_TABLE_REGIONS_MAX 8	/* of SET_MEM_TABLE, and fds of one message */
#define VHOST_USER_MEM_SLOTS_MAX     32 /* with CONFIGURE_MEM_SLOTS: what we carry per session */

/* vhost-user §Multiple memory regions description. */
struct vhost_user_mem_table {
	le32 num_regions;
	le32 padding;
	struct vhost_user_region regions[VHOST_USER_TABLE_REGIONS_MAX];
} ABI_PACKED;
ABI_SIZE(struct vhost_user_mem_table, 264);
#define VHOST_USER_MEM_TABLE_BYTES(n) (8u + 32u * (n))

/* vhost-user §Single memory region description. */
struct vhost_user_mem_reg {
	le64 padding;
	struct vhost_user_region region;
} ABI_PACKED;
ABI_SIZE(struct vhost_user_mem_reg, 40);

/* vhost-user §Log description. */
struct vhost_user_log {
	le64 mmap_size;
	le64 mmap_offset;
} ABI_PACKED;
ABI_SIZE(struct vhost_user_log, 16);

/* vhost-user §Virtio device config space. */
#define VHOST_USER_CONFIG_MAX 256
struct vhost_user_config {
	le32 offset;
	le32 size;
	le32 flags;
	uint8_t region[VHOST_USER_CONFIG_MAX];
} ABI_PACKED;
ABI_SIZE(struct vhost_user_config, 268);
#define VHOST_USER_CONFIG_HDR		  12u
#define VHOST_USER_CONFIG_F_WRITABLE_MASK 0x1 /* flags of SET_CONFIG: 0 = write by the guest */

/* vhost-user §Inflight description. */
struct vhost_user_inflight {
	le64 mmap_size;
	le64 mmap_offset;
	le16 num_queues;
	le16 queue_size;
	uint8_t padding[4];
} ABI_PACKED;
ABI_SIZE(struct vhost_user_inflight, 24);

/*
 * A whole message as it crosses a socket or a virtqueue. Fds, lengths and pointers never live here; nothing may
 * follow the payload.
 *
 * The payload starts at byte 12, so its 64-bit fields are not aligned: all payload structs are packed, which makes a
 * pointer to any of them good wherever it points.
 */
union vhost_user_payload {
	le64 u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_mem_table mem;
	struct vhost_user_mem_reg mem_reg;
	struct vhost_user_log log;
	struct vhost_user_config config;
	struct vhost_user_inflight inflight;
} ABI_PACKED;

struct vhost_user_msg {
	struct vhost_user_header hdr;
	union vhost_user_payload payload;
} ABI_PACKED;
ABI_OFFSET(struct vhost_user_msg, payload, 12);
#define VHOST_USER_PAYLOAD_MAX sizeof(union vhost_user_payload)

/* Kinds of payload, and by them the exact sizes (vu_payload_size_ok()). */
enum vu_payload {
	VU_PAYLOAD_NONE,
	VU_PAYLOAD_U64,
	VU_PAYLOAD_STATE,
	VU_PAYLOAD_ADDR,
	VU_PAYLOAD_MEM_TABLE, /* VHOST_USER_MEM_TABLE_BYTES(num_regions), see vu_check.h for the tolerated rest */
	VU_PAYLOAD_MEM_REG,
	VU_PAYLOAD_LOG,
	VU_PAYLOAD_CONFIG, /* VHOST_USER_CONFIG_HDR + size */
	VU_PAYLOAD_INFLIGHT,
	VU_PAYLOAD_OPAQUE, /* refused messages: not looked at */
};

/* Fds that travel with a message. */
enum vu_fds {
	VU_FDS_NONE,
	VU_FDS_ONE_MEMORY,
	VU_FDS_PER_REGION,	/* as many as num_regions */
	VU_FDS_OPTIONAL_MEMORY, /* none; one is tolerated and closed (REM_MEM_REG) */
	VU_FDS_VRING,		/* one eventfd, or none with VHOST_USER_VRING_NOFD_MASK */
	VU_FDS_ONE_EVENT,
	VU_FDS_ONE_SOCKET,
};

/* What answers a message. ACK: a u64 only when NEED_REPLY is set and REPLY_ACK was negotiated. */
enum vu_reply {
	VU_REPLY_ACK,
	VU_REPLY_U64,
	VU_REPLY_STATE,
	VU_REPLY_CONFIG,
	VU_REPLY_INFLIGHT,
};

/* What a message needs to have happened before (decided per session or per vring). */
enum vu_needs {
	VU_NEEDS_NOTHING,
	VU_NEEDS_MEMORY,     /* a memory table or a region */
	VU_NEEDS_VRING_ADDR, /* SET_VRING_ADDR of the same vring */
};

/* What the relay does with a message on its way to the back-end. */
enum vu_relay {
	VU_RELAY_PASS,
	VU_RELAY_TRANSLATE, /* fds become resources of the device, user addresses become guest-physical */
	VU_RELAY_ANSWER, /* passed, its reply is filtered; or answered without the back-end */
	VU_RELAY_REFUSE, /* never negotiated; the session ends when it is seen */
};

/*
 * Messages of the front-end: X(NAME, id, gate, payload, fds, reply, needs, relay). The gate is the protocol feature
 * without which the message may not be sent.
 */
#define VHOST_USER_FRONTEND_MESSAGES(X)                                                            \
	X(GET_FEATURES, 1, NONE, NONE, NONE, U64, NOTHING, ANSWER)                                 \
	X(SET_FEATURES, 2, NONE, U64, NONE, ACK, NOTHING, PASS)                                    \
	X(SET_OWNER, 3, NONE, NONE, NONE, ACK, NOTHING, PASS)                                      \
	X(RESET_OWNER, 4, NONE, NONE, NONE, ACK, NOTHING, PASS)                                    \
	X(SET_MEM_TABLE, 5, NONE, MEM_TABLE, PER_REGION, ACK, NOTHING, TRANSLATE)                  \
	X(SET_LOG_BASE, 6, LOG_SHMFD, LOG, ONE_MEMORY, U64, NOTHING, REFUSE)                       \
	X(SET_LOG_FD, 7, LOG_SHMFD, NONE, ONE_EVENT, ACK, NOTHING, REFUSE)                         \
	X(SET_VRING_NUM, 8, NONE, STATE, NONE, ACK, NOTHING, PASS)                                 \
	X(SET_VRING_ADDR, 9, NONE, ADDR, NONE, ACK, MEMORY, TRANSLATE)                             \
	X(SET_VRING_BASE, 10, NONE, STATE, NONE, ACK, NOTHING, PASS)                               \
	X(GET_VRING_BASE, 11, NONE, STATE, NONE, STATE, NOTHING, PASS)                             \
	X(SET_VRING_KICK, 12, NONE, U64, VRING, ACK, VRING_ADDR, TRANSLATE)                        \
	X(SET_VRING_CALL, 13, NONE, U64, VRING, ACK, NOTHING, TRANSLATE)                           \
	X(SET_VRING_ERR, 14, NONE, U64, VRING, ACK, NOTHING, TRANSLATE)                            \
	X(GET_PROTOCOL_FEATURES, 15, NONE, NONE, NONE, U64, NOTHING, ANSWER)                       \
	X(SET_PROTOCOL_FEATURES, 16, NONE, U64, NONE, ACK, NOTHING, PASS)                          \
	X(GET_QUEUE_NUM, 17, MQ, NONE, NONE, U64, NOTHING, ANSWER)                                 \
	X(SET_VRING_ENABLE, 18, NONE, STATE, NONE, ACK, NOTHING, PASS)                             \
	X(SEND_RARP, 19, RARP, U64, NONE, ACK, NOTHING, PASS)                                      \
	X(NET_SET_MTU, 20, MTU, U64, NONE, ACK, NOTHING, PASS)                                     \
	X(SET_BACKEND_REQ_FD, 21, BACKEND_REQ, NONE, ONE_SOCKET, ACK, NOTHING, TRANSLATE)          \
	X(IOTLB_MSG, 22, NONE, OPAQUE, NONE, ACK, NOTHING, REFUSE)                                 \
	X(SET_VRING_ENDIAN, 23, CROSS_ENDIAN, STATE, NONE, ACK, NOTHING, REFUSE)                   \
	X(GET_CONFIG, 24, CONFIG, CONFIG, NONE, CONFIG, NOTHING, PASS)                             \
	X(SET_CONFIG, 25, CONFIG, CONFIG, NONE, ACK, NOTHING, PASS)                                \
	X(CREATE_CRYPTO_SESSION, 26, CRYPTO_SESSION, OPAQUE, NONE, ACK, NOTHING, REFUSE)           \
	X(CLOSE_CRYPTO_SESSION, 27, CRYPTO_SESSION, U64, NONE, ACK, NOTHING, REFUSE)               \
	X(POSTCOPY_ADVISE, 28, PAGEFAULT, NONE, NONE, ACK, NOTHING, REFUSE)                        \
	X(POSTCOPY_LISTEN, 29, PAGEFAULT, NONE, NONE, ACK, NOTHING, REFUSE)                        \
	X(POSTCOPY_END, 30, PAGEFAULT, NONE, NONE, ACK, NOTHING, REFUSE)                           \
	X(GET_INFLIGHT_FD, 31, INFLIGHT_SHMFD, INFLIGHT, NONE, INFLIGHT, NOTHING, REFUSE)          \
	X(SET_INFLIGHT_FD, 32, INFLIGHT_SHMFD, INFLIGHT, ONE_MEMORY, ACK, NOTHING, TRANSLATE)      \
	X(GPU_SET_SOCKET, 33, NONE, NONE, ONE_SOCKET, ACK, NOTHING, REFUSE)                        \
	X(RESET_DEVICE, 34, RESET_DEVICE, NONE, NONE, ACK, NOTHING, PASS)                          \
	X(VRING_KICK, 35, INBAND_NOTIFICATIONS, STATE, NONE, ACK, NOTHING, REFUSE)                 \
	X(GET_MAX_MEM_SLOTS, 36, CONFIGURE_MEM_SLOTS, NONE, NONE, U64, NOTHING, ANSWER)            \
	X(ADD_MEM_REG, 37, CONFIGURE_MEM_SLOTS, MEM_REG, ONE_MEMORY, ACK, NOTHING, TRANSLATE)      \
	X(REM_MEM_REG, 38, CONFIGURE_MEM_SLOTS, MEM_REG, OPTIONAL_MEMORY, ACK, MEMORY, TRANSLATE)  \
	X(SET_STATUS, 39, STATUS, U64, NONE, ACK, NOTHING, PASS)                                   \
	X(GET_STATUS, 40, STATUS, NONE, NONE, U64, NOTHING, PASS)                                  \
	X(GET_SHARED_OBJECT, 41, SHARED_OBJECT, OPAQUE, NONE, ACK, NOTHING, REFUSE)                \
	X(SET_DEVICE_STATE_FD, 42, DEVICE_STATE, OPAQUE, NONE, U64, NOTHING, REFUSE)               \
	X(CHECK_DEVICE_STATE, 43, DEVICE_STATE, NONE, NONE, U64, NOTHING, REFUSE)                  \
	X(GET_SHMEM_CONFIG, 44, SHMEM, NONE, NONE, ACK, NOTHING, REFUSE)                           \
	X(GET_VRING_BASE_SKIP_DRAIN, 45, GET_VRING_BASE_SKIP_DRAIN, STATE, NONE, STATE, NOTHING,   \
	  REFUSE)

/* Messages of the back-end, on the socket of SET_BACKEND_REQ_FD. Same columns. */
#define VHOST_USER_BACKEND_MESSAGES(X)                                                             \
	X(IOTLB_MSG, 1, NONE, OPAQUE, NONE, ACK, NOTHING, REFUSE)                                  \
	X(CONFIG_CHANGE_MSG, 2, CONFIG, NONE, NONE, ACK, NOTHING, PASS)                            \
	X(VRING_HOST_NOTIFIER_MSG, 3, HOST_NOTIFIER, OPAQUE, NONE, ACK, NOTHING, REFUSE)           \
	X(VRING_CALL, 4, INBAND_NOTIFICATIONS, STATE, NONE, ACK, NOTHING, REFUSE)                  \
	X(VRING_ERR, 5, INBAND_NOTIFICATIONS, STATE, NONE, ACK, NOTHING, REFUSE)                   \
	X(SHARED_OBJECT_ADD, 6, SHARED_OBJECT, OPAQUE, NONE, ACK, NOTHING, REFUSE)                 \
	X(SHARED_OBJECT_REMOVE, 7, SHARED_OBJECT, OPAQUE, NONE, ACK, NOTHING, REFUSE)              \
	X(SHARED_OBJECT_LOOKUP, 8, SHARED_OBJECT, OPAQUE, NONE, ACK, NOTHING, REFUSE)              \
	X(SHMEM_MAP, 9, SHMEM, OPAQUE, NONE, ACK, NOTHING, REFUSE)                                 \
	X(SHMEM_UNMAP, 10, SHMEM, OPAQUE, NONE, ACK, NOTHING, REFUSE)

enum vhost_user_request {
#define X(name, id, ...) VHOST_USER_##name = (id),
	VHOST_USER_FRONTEND_MESSAGES(X)
#undef X
	VHOST_USER_REQUEST_END,
};

enum vhost_user_backend_request {
#define X(name, id, ...) VHOST_USER_BACKEND_##name = (id),
	VHOST_USER_BACKEND_MESSAGES(X)
#undef X
	VHOST_USER_BACKEND_REQUEST_END,
};

#endif
