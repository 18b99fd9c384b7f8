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
 */
#ifndef VVU_ABI_LINK_H
#define VVU_ABI_LINK_H

#include "abi/base.h"
#include "abi/vhost_user.h"

#define LINK_MAGIC   0x6b6c7676u /* "vvlk" */
#define LINK_VERSION 1

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
};

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
	char port[LINK_PORT_NAME_MAX + 1]; /* NUL-terminated */
	char who[LINK_PORT_NAME_MAX + 1];  /* for log lines: program and pid */
};
ABI_SIZE(struct link_hello, 136);

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

struct link_packet {
	struct link_header hdr;
	union {
		struct link_hello hello;
		struct link_backend_up backend_up;
		struct link_text text;
		struct vhost_user_msg msg;
	} body;
};
_Static_assert(sizeof(struct link_packet) <= LINK_PACKET_MAX, "a packet fits");

#endif
