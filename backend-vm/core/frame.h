/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames as bytes: find the headers, complete a checksum, cut a TCP super-frame into segments. Pure functions
 * over flat private memory: the caller has copied the frame out of reach of whoever sent it. Nothing here
 * trusts a length found in the frame.
 */
#ifndef VVU_CORE_FRAME_H
#define VVU_CORE_FRAME_H

#include <stdbool.h>

#include "abi/base.h"

#define FRAME_ETH_HDR  14
#define FRAME_VLAN_HDR 4
/* Largest frame we carry: 64 KiB of IP and room for Ethernet with two VLAN tags. */
#define FRAME_MAX (65535 + FRAME_ETH_HDR + 2 * FRAME_VLAN_HDR)

/* Where the headers of a TCP frame are, as offsets into it. */
struct frame_tcp {
	uint16_t l3;
	uint16_t l4;
	uint16_t payload;
	bool ipv6;
};

/*
 * Finds IPv4 or IPv6 and TCP in the first len bytes of a frame, behind at most two VLAN tags. False: something else, a
 * fragment, or headers that do not fit.
 */
bool frame_parse_tcp(const uint8_t *frame, uint32_t len, struct frame_tcp *out);

/* Some number that is the same for all frames of a flow (addresses, protocol, ports). len >= 14. */
uint32_t frame_flow_hash(const uint8_t *frame, uint32_t len);

/*
 * Stores at start + offset the Internet checksum of frame[start..len), whose checksum field holds the sum of the
 * pseudo-header (virtio 1.2 §5.1.6.2, NEEDS_CSUM). False, nothing changed: the field is not inside the frame.
 */
bool frame_complete_csum(uint8_t *frame, uint32_t len, uint32_t start, uint32_t offset);

/* A super-frame being cut. The frame is borrowed until the last segment was made. */
struct frame_tso {
	const uint8_t *frame;
	uint32_t len;
	uint32_t done; /* payload bytes */
	uint32_t gso_size;
	uint32_t seq;
	uint16_t ip_id;
	uint8_t tcp_flags;
	struct frame_tcp at;
};

/* False: not a TCP frame of that IP version, or gso_size is 0. */
bool frame_tso_init(struct frame_tso *tso, const uint8_t *frame, uint32_t len, uint32_t gso_size,
		    bool ipv6);

/* Bytes the next segment has; 0: that was the last. */
uint32_t frame_tso_next_len(const struct frame_tso *tso);

/* Writes the next segment, frame_tso_next_len() bytes with all checksums right, to out. */
void frame_tso_next(struct frame_tso *tso, uint8_t *out);

/* The broadcast RARP request of SEND_RARP (vhost-user §SEND_RARP): FRAME_RARP_LEN bytes to out. */
#define FRAME_RARP_LEN 60
void frame_make_rarp(uint8_t *out, const uint8_t *mac);

#endif
