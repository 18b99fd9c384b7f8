/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session as records (abi/link.h, LINK_RECORD): what a proxy needs to go on with a session that
 * another one began.
 *
 * While a session is up its VMM is given the records, and again those that change. After each
 * message of the front-end comes, last of all, the mark: the number of the last request that
 * the records know of, and whether bytes of the front-end's next message may have been read
 * already. So whoever has the records knows whether they tell all. Nothing queues: records_dirty
 * says what is to be sent, and the front-end is not read while anything is.
 *
 * While the session goes from one VMM to another (replace.h) both have them at last, and the marks say which of the
 * two is which: the old one's before its first ring is stopped, the new one's before its first ring is started.
 */
#ifndef HOST_PROXY_RECORD_H
#define HOST_PROXY_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/link.h"

#define RECORD_VERSION 1

enum record_kind {
	RECORD_SESSION = 0, /* index 0; fds: front-end, channel, ring positions */
	RECORD_REGION = 1,  /* index: in the table; fd: memory */
	RECORD_RING = 2,    /* index: vring; fds: kick, call, err */
	RECORD_MARK = 3,    /* index 0 */
};

/* record_session.flags, masks. */
#define RECORD_HAS_FEATURES    0x1
#define RECORD_HAS_PROTOCOL    0x2
#define RECORD_HAS_OWNER       0x4
#define RECORD_HAS_MTU	       0x8
#define RECORD_HAS_STATUS      0x10
#define RECORD_HAD_CHANNEL     0x20
#define RECORD_CHANNEL	       0x40 /* the next fd */
#define RECORD_INFLIGHT	       0x80 /* the next fd */
#define RECORD_INFLIGHT_TOLD   0x100
#define RECORD_OFFERS_FEATURES 0x200
#define RECORD_OFFERS_PROTOCOL 0x400
#define RECORD_OFFERS_QUEUES   0x800
#define RECORD_OFFERS_SLOTS    0x1000
#define RECORD_SESSION_KNOWN   0x1fff

struct record_session {
	le32 version;
	le32 flags;
	le64 features_offered, features;
	le64 protocol_offered, protocol;
	le64 queues_offered;
	le64 mtu, status;
	le64 offers_features, offers_protocol, offers_queues, offers_slots;
	le64 since_ns;
	le32 num_rings, inflight_rings;
	le32 replays, reserved;
};
ABI_SIZE(struct record_session, 120);

struct record_region {
	struct vhost_user_region region;
	le32 repeats;
	le32 reserved;
};
ABI_SIZE(struct record_region, 40);

/* record_ring.flags, masks; those of one fd shifted by enum ring_fd. */
#define RECORD_RING_HAS_NUM    0x1
#define RECORD_RING_HAS_BASE   0x2
#define RECORD_RING_HAS_ADDR   0x4
#define RECORD_RING_HAS_ENABLE 0x8
#define RECORD_RING_ENABLED    0x10
#define RECORD_RING_RUNNING    0x20
#define RECORD_RING_SERVED     0x40
#define RECORD_RING_TRACKED    0x80
#define RECORD_RING_TOLD       0x100  /* 0x200, 0x400 */
#define RECORD_RING_FD	       0x1000 /* 0x2000, 0x4000: comes along */
#define RECORD_RING_KNOWN      0x77ff

struct record_ring {
	le32 flags;
	le32 num, base;
	le32 reserved;
	struct vhost_user_vring_addr addr;
};
ABI_SIZE(struct record_ring, 56);

#define RECORD_MARK_READING 0x1
#define RECORD_MARK_LEAVING 0x2 /* another VMM is to have it: its rings may be stopped */
#define RECORD_MARK_COMING                                                                         \
	0x4 /* another VMM had it, whose rings are stopped: they may have been started here */
#define RECORD_MARK_KNOWN 0x7

struct record_mark {
	le32 seq;
	le32 flags;
};
ABI_SIZE(struct record_mark, 8);

struct session;

/* What the VMM of a session that is up has not been told yet. */
struct records_dirty {
	bool session, mark, answer;
	bool reading;	       /* as the mark says, or will say */
	uint32_t answered;     /* seq of the last answer that has left */
	uint32_t regions;      /* a bit for each */
	uint32_t regions_told; /* how many the VMM has */
	uint64_t rings[4];
};

/* All of it: a new back-end has the session. */
void records_all(struct session *s);
void records_ring(struct session *s, uint32_t index);
void records_memory(struct session *s);
/* Only the last region is new. */
void records_region_added(struct session *s);
/* The front-end has the answer to request seq. */
void records_answered(struct session *s, uint32_t seq);

/* True when the VMM knows all. */
bool records_told(const struct session *s);
/* Sends as far as the link takes. May end the link. */
void records_flush(struct session *s);
/* The session is UP after a replay: all of it. What the back-end has answered was ours. May end the link. */
void records_replayed(struct session *s);
/*
 * The session is STOPPING or REPLAY: the same, as of one on its way between VMMs. True: port->link has been told
 * all. May end the link.
 */
bool records_give(struct session *s);

/*
 * Before bytes of the front-end are read, and after. False: the VMM does not know of it yet, don't
 * read.
 */
bool records_begin_reading(struct session *s);
void records_end_reading(struct session *s);

/* True when there is something to tell of the ring. */
bool record_has_ring(const struct session *s, uint32_t index);
/* One record of s; the fds are borrowed. Returns their number. */
unsigned int record_make(const struct session *s, enum record_kind kind, uint32_t index,
			 struct link_record *out, int fds[LINK_RECORD_FDS_MAX]);

#endif
