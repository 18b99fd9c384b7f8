/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The link: what the proxy and a VMM say to each other, one SOCK_SEQPACKET connection per VVU device.
 * docs/abi-link.md has the prose and the picture.
 *
 * The VMM connects and sends HELLO; the proxy answers WELCOME or REJECT (and closes). From then on each packet is one
 * vhost-user message with its fds, or one notice. Packets are at most LINK_PACKET_MAX bytes and carry at most
 * LINK_FDS_MAX fds; anything else ends the link.
 *
 * Sessions. While the back-end is up (BACKEND_UP) the proxy may open a session (SESSION_UP, a number it never uses
 * twice on a link) for the front-end that is connected. Every FRONTEND, BACKEND, RESULT packet and session notice
 * carries the session's number; packets of a session that is over are dropped, and their fds closed.
 *
 * Survival. A session is the proxy's, and outlives the back-end VM that serves it: when the link or the
 * back-end is lost the proxy answers for it, and opens the session again, under a new number, with the next
 * back-end (replay). And it outlives the proxy: while a session is up the proxy gives the VMM its records
 * (LINK_RECORD), a duplicate of the front-end's socket among them. A VMM that loses its link keeps session and
 * records, and gives them to the next proxy: HELLO with LINK_HELLO_KEPT, WELCOME, every LINK_RECORD, LINK_KEPT;
 * the proxy answers SESSION_UP with the same number (the session goes on, nothing is replayed) or SESSION_DOWN.
 */
#ifndef VVU_ABI_LINK_H
#define VVU_ABI_LINK_H

#include "abi/base.h"
#include "abi/vhost_user.h"

#define LINK_MAGIC   0x6b6c7676u /* "vvlk" */
#define LINK_VERSION 2

#define LINK_PORT_NAME_MAX 63
#define LINK_REASON_MAX	   255
#define LINK_PACKET_MAX	   1024
#define LINK_FDS_MAX	   VHOST_USER_TABLE_REGIONS_MAX

enum link_kind {
	/* VMM to proxy, first packet: struct link_hello. */
	LINK_HELLO = 1,
	/* Proxy to VMM: the port is yours. No body. */
	LINK_WELCOME = 2,
	/* Proxy to VMM: struct link_text with the reason; the proxy closes after it. */
	LINK_REJECT = 3,
	/* VMM to proxy: the driver set BACKEND_UP. struct link_backend_up. */
	LINK_BACKEND_UP = 4,
	/* VMM to proxy: the driver cleared BACKEND_UP, or the device was reset. No body; ends the session. */
	LINK_BACKEND_DOWN = 5,
	/* Proxy to VMM: a front-end is there. No body; session number in the header. */
	LINK_SESSION_UP = 6,
	/*
	 * Either way: the session is over; struct link_text says why. The sender has closed its fds of the
	 * session already and sends nothing more for it.
	 */
	LINK_SESSION_DOWN = 7,
	/*
	 * Proxy to VMM: a message of the front-end, or a front-end's reply to a back-end request (REPLY flag). User
	 * addresses are already rewritten to guest-physical ones; fds in message order. seq: counts requests.
	 */
	LINK_FRONTEND = 8,
	/*
	 * VMM to proxy: a reply of the back-end (REPLY flag; seq: that of the request) or a request of the back-end on
	 * the back-end channel.
	 */
	LINK_BACKEND = 9,
	/*
	 * VMM to proxy: the device could not carry out request seq and has not shown it to the back-end. struct
	 * link_text says why. The proxy acknowledges the failure when the front-end asked for an answer, and
	 * otherwise ends the session.
	 */
	LINK_RESULT = 10,
	/*
	 * VMM to proxy: the back-end is gone without having said so (its guest was reset, or broke its device). As
	 * BACKEND_DOWN, but the proxy keeps the session for the next BACKEND_UP. No body.
	 */
	LINK_BACKEND_LOST = 11,
	/*
	 * Proxy to VMM: keep this with the session; it takes the place of the record of the same kind and index, whose
	 * fds are closed. bytes 0 and no fds: forget that one. VMM to proxy, between WELCOME and KEPT: what was kept.
	 * struct link_record, LINK_RECORD_FDS_MAX fds at most.
	 */
	LINK_RECORD = 12,
	/* Proxy to VMM: the front-end has its answers up to request seq (in the header). No body. */
	LINK_ANSWERED = 13,
	/* VMM to proxy: that was the last record. struct link_kept. */
	LINK_KEPT = 14,
	/*
	 * Proxy to a VMM that is to replace another: that one has not stopped its rings in time. Nothing goes on
	 * until it is gone; whoever can should end it. No body.
	 */
	LINK_SILENT = 15,
	/* Proxy to the VMM that has been replaced: port and session are another's now. Do not link again. No body. */
	LINK_REPLACED = 16,
	/*
	 * Proxy to a VMM whose HELLO had LINK_HELLO_REPLACEMENT, once: the port is its own now. No other VMM has it
	 * any more, and its session, if it has one, goes on there. No body.
	 */
	LINK_SERVING = 17,
};

/* link_hello.flags, masks. */
#define LINK_HELLO_KEPT 0x1 /* a session survived the last link: it has number link_hello.session */
#define LINK_HELLO_REPLACEMENT                                                                     \
	0x2 /* to take the port over from the VMM that serves it, if one does */
#define LINK_HELLO_KNOWN 0x3

struct link_header {
	le16 kind;
	le16 flags; /* 0; unknown flags end the link */
	le32 seq;
	le32 session;  /* 0 where the packet belongs to none */
	le32 reserved; /* 0 */
};
ABI_SIZE(struct link_header, 16);

struct link_hello {
	le32 magic;
	le32 version;
	le32 flags;
	le32 session;
	char port[LINK_PORT_NAME_MAX + 1]; /* NUL-terminated */
	char who[LINK_PORT_NAME_MAX + 1];  /* for log lines: program and pid */
};
ABI_SIZE(struct link_hello, 144);

struct link_backend_up {
	le64 protocol_features; /* mask: what this device and driver can carry */
	le32 max_queues;	/* virtqueues */
	le32 max_mem_slots;
};
ABI_SIZE(struct link_backend_up, 16);

struct link_text {
	char text[LINK_REASON_MAX + 1]; /* NUL-terminated, printable */
};
ABI_SIZE(struct link_text, 256);

/*
 * A part of a session that is kept (LINK_RECORD). kind and index are its name. The packet ends after data[bytes].
 */
#define LINK_RECORD_DATA_MAX 480
#define LINK_RECORD_HDR	     8u
#define LINK_RECORD_FDS_MAX  4
#define LINK_RECORDS_MAX     320 /* of one session */
/* The kind of the record, with index 0, whose first fd is the front-end's socket: all that the VMM knows of records. */
#define LINK_RECORD_SESSION 0
struct link_record {
	le16 kind;
	le16 index;
	le32 bytes;
	uint8_t data[LINK_RECORD_DATA_MAX];
};
ABI_SIZE(struct link_record, 488);

/* Numbers of the requests that decide whether a kept session can go on: one that is unanswered can not. */
struct link_kept {
	le32 received;	 /* seq of the last FRONTEND request */
	le32 answered;	 /* seq of the last LINK_ANSWERED */
	le32 unanswered; /* requests after that one that want an answer */
	le32 reserved;	 /* 0 */
};
ABI_SIZE(struct link_kept, 16);

struct link_packet {
	struct link_header hdr;
	union {
		struct link_hello hello;
		struct link_backend_up backend_up;
		struct link_text text;
		struct link_record record;
		struct link_kept kept;
		struct vhost_user_msg msg;
	} body;
};
_Static_assert(sizeof(struct link_packet) <= LINK_PACKET_MAX, "a packet fits");

#endif
