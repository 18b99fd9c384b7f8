// SPDX-License-Identifier: BSD-2-Clause
#include "core/frame.h"

#include "core/copy.h"

#define ETH_P_IPV4    0x0800
#define ETH_P_IPV6    0x86dd
#define ETH_P_RARP    0x8035
#define ETH_P_8021Q   0x8100
#define ETH_P_8021AD  0x88a8
#define IPPROTO_HOP   0
#define IPPROTO_TCP_  6
#define IPPROTO_UDP_  17
#define IPPROTO_ROUTE 43
#define IPPROTO_DST   60
#define IPV4_HDR_MIN  20
#define IPV6_HDR      40
#define TCP_HDR_MIN   20
#define TCP_FIN	      0x01
#define TCP_PSH	      0x08
#define TCP_CWR	      0x80
#define IPV6_EXT_MAX  8

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, v >> 16);
	put_be16(p + 2, v);
}

/* Ethertype behind at most two tags; *l3 is where it applies. 0 when the frame ends first. */
static uint16_t frame_ethertype(const uint8_t *frame, uint32_t len, uint32_t *l3)
{
	uint32_t at = FRAME_ETH_HDR - 2;

	for (unsigned int tags = 0; tags <= 2; tags++) {
		uint16_t type;

		if (at + 2 > len)
			return 0;
		type = be16(frame + at);
		*l3 = at + 2;
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			return type;
		at += FRAME_VLAN_HDR;
	}
	return 0;
}

/* Offset of the transport header of an IPv6 packet at l3 and its protocol; 0 when there is none to find. */
static uint32_t frame_ipv6_l4(const uint8_t *frame, uint32_t len, uint32_t l3, uint8_t *proto)
{
	uint32_t at = l3 + IPV6_HDR;

	if (at > len || frame[l3] >> 4 != 6)
		return 0;
	*proto = frame[l3 + 6];
	for (unsigned int n = 0; n < IPV6_EXT_MAX; n++) {
		if (*proto != IPPROTO_HOP && *proto != IPPROTO_ROUTE && *proto != IPPROTO_DST)
			return at;
		if (at + 8 > len)
			return 0;
		*proto = frame[at];
		at += 8u * (1 + frame[at + 1]);
	}
	return 0;
}

/* The same for IPv4; 0 for fragments too. */
static uint32_t frame_ipv4_l4(const uint8_t *frame, uint32_t len, uint32_t l3, uint8_t *proto)
{
	uint32_t ihl;

	if (l3 + IPV4_HDR_MIN > len || frame[l3] >> 4 != 4)
		return 0;
	ihl = (frame[l3] & 0xf) * 4u;
	if (ihl < IPV4_HDR_MIN || l3 + ihl > len || (be16(frame + l3 + 6) & 0x3fff))
		return 0;
	*proto = frame[l3 + 9];
	return l3 + ihl;
}

bool frame_parse_tcp(const uint8_t *frame, uint32_t len, struct frame_tcp *out)
{
	uint32_t l3 = 0, l4 = 0, doff;
	uint8_t proto = 0;
	uint16_t type = frame_ethertype(frame, len, &l3);

	if (type == ETH_P_IPV4)
		l4 = frame_ipv4_l4(frame, len, l3, &proto);
	else if (type == ETH_P_IPV6)
		l4 = frame_ipv6_l4(frame, len, l3, &proto);
	if (!l4 || proto != IPPROTO_TCP_ || l4 + TCP_HDR_MIN > len)
		return false;
	doff = (frame[l4 + 12] >> 4) * 4u;
	if (doff < TCP_HDR_MIN || l4 + doff > len || l4 + doff > UINT16_MAX)
		return false;
	*out = (struct frame_tcp){
		.l3 = (uint16_t)l3,
		.l4 = (uint16_t)l4,
		.payload = (uint16_t)(l4 + doff),
		.ipv6 = type == ETH_P_IPV6,
	};
	return true;
}

uint32_t frame_flow_hash(const uint8_t *frame, uint32_t len)
{
	uint32_t l3 = 0, l4 = 0, h = 0;
	uint8_t proto = 0;
	uint16_t type = frame_ethertype(frame, len, &l3);

	if (type == ETH_P_IPV4 && l3 + IPV4_HDR_MIN <= len) {
		h = be32(frame + l3 + 12) * 31 + be32(frame + l3 + 16);
		l4 = frame_ipv4_l4(frame, len, l3, &proto);
	} else if (type == ETH_P_IPV6 && l3 + IPV6_HDR <= len) {
		for (uint32_t i = 8; i < IPV6_HDR; i += 4)
			h = h * 31 + be32(frame + l3 + i);
		l4 = frame_ipv6_l4(frame, len, l3, &proto);
	} else {
		h = be32(frame + 2) * 31 + be32(frame + 8);
	}
	if (l4 && l4 + 4 <= len && (proto == IPPROTO_TCP_ || proto == IPPROTO_UDP_))
		h = h * 31 + be32(frame + l4) + proto;
	h *= UINT32_C(0x9e3779b1);
	return h ^ h >> 15;
}

/* One's complement sum of bytes, as a 64-bit number to be folded; an odd last byte is the high one of its word. */
static uint64_t csum_add(uint64_t sum, const uint8_t *p, uint32_t len)
{
	/* Byte order: sums of little-endian words are the byte-swapped sums (RFC 1071 2 B); swapped in csum_fold(). */
	while (len >= 8) {
		uint64_t w;

		__builtin_memcpy(&w, p, 8);
		sum += (w & UINT32_MAX) + (w >> 32);
		p += 8;
		len -= 8;
	}
	while (len >= 2) {
		uint16_t w;

		__builtin_memcpy(&w, p, 2);
		sum += w;
		p += 2;
		len -= 2;
	}
	return len ? sum + *p : sum;
}

/* The checksum to store, in host order; never 0, which means "none" in UDP and is equal to 0xffff elsewhere. */
static uint16_t csum_fold(uint64_t sum)
{
	uint16_t folded;

	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	folded = (uint16_t)~sum;
	folded = (uint16_t)(folded << 8 | folded >> 8);
	return folded ? folded : 0xffff;
}

bool frame_complete_csum(uint8_t *frame, uint32_t len, uint32_t start, uint32_t offset)
{
	if (start > len || offset > len || (uint64_t)start + offset + 2 > len)
		return false;
	put_be16(frame + start + offset, csum_fold(csum_add(0, frame + start, len - start)));
	return true;
}

bool frame_tso_init(struct frame_tso *tso, const uint8_t *frame, uint32_t len, uint32_t gso_size,
		    bool ipv6)
{
	struct frame_tcp at;

	if (!gso_size || len > FRAME_MAX || !frame_parse_tcp(frame, len, &at) || at.ipv6 != ipv6)
		return false;
	*tso = (struct frame_tso){
		.frame = frame,
		.len = len,
		.gso_size = gso_size,
		.seq = be32(frame + at.l4 + 4),
		.ip_id = ipv6 ? 0 : be16(frame + at.l3 + 4),
		.tcp_flags = frame[at.l4 + 13],
		.at = at,
	};
	/* Without payload there is nothing to cut: one segment, as it is. */
	if (at.payload == len)
		tso->gso_size = 1;
	return true;
}

static uint32_t tso_left(const struct frame_tso *tso)
{
	uint32_t left = tso->len - tso->at.payload - tso->done;

	return left < tso->gso_size ? left : tso->gso_size;
}

uint32_t frame_tso_next_len(const struct frame_tso *tso)
{
	/* UINT32_MAX: the only segment was one without payload, and it was made. */
	if (tso->done == UINT32_MAX || (tso->done && tso->at.payload + tso->done >= tso->len))
		return 0;
	return tso->at.payload + tso_left(tso);
}

/* Sum of the pseudo-header of a segment whose TCP part has tcp_len bytes (RFC 9293 3.1, RFC 8200 8.1). */
static uint64_t tso_pseudo(const struct frame_tso *tso, const uint8_t *out, uint32_t tcp_len)
{
	uint8_t tail[8] = { 0 };
	uint64_t sum;

	if (tso->at.ipv6)
		sum = csum_add(0, out + tso->at.l3 + 8, 32);
	else
		sum = csum_add(0, out + tso->at.l3 + 12, 8);
	put_be32(tail, tcp_len);
	tail[7] = IPPROTO_TCP_;
	return csum_add(sum, tail, sizeof(tail));
}

void frame_tso_next(struct frame_tso *tso, uint8_t *out)
{
	const struct frame_tcp *at = &tso->at;
	uint32_t part = tso_left(tso);
	uint32_t len = at->payload + part;
	uint8_t *ip = out + at->l3, *tcp = out + at->l4;
	bool first = tso->done == 0, last = at->payload + tso->done + part >= tso->len;
	uint8_t flags = tso->tcp_flags;

	copy_bytes(out, tso->frame, at->payload);
	copy_bytes(out + at->payload, tso->frame + at->payload + tso->done, part);
	if (at->ipv6) {
		put_be16(ip + 4, len - at->l3 - IPV6_HDR);
	} else {
		put_be16(ip + 2, len - at->l3);
		put_be16(ip + 4, tso->ip_id++);
		put_be16(ip + 10, 0);
		put_be16(ip + 10, csum_fold(csum_add(0, ip, (uint32_t)(at->l4 - at->l3))));
	}
	if (!last)
		flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (!first)
		flags &= (uint8_t)~TCP_CWR;
	tcp[13] = flags;
	put_be32(tcp + 4, tso->seq + tso->done);
	put_be16(tcp + 16, 0);
	put_be16(tcp + 16,
		 csum_fold(csum_add(tso_pseudo(tso, out, len - at->l4), tcp, len - at->l4)));
	tso->done = part ? tso->done + part : UINT32_MAX;
}

void frame_make_rarp(uint8_t *out, const uint8_t *mac)
{
	for (unsigned int i = 0; i < FRAME_RARP_LEN; i++)
		out[i] = i < 6 ? 0xff : 0;
	__builtin_memcpy(out + 6, mac, 6);
	put_be16(out + 12, ETH_P_RARP);
	put_be16(out + 14, 1); /* hardware: Ethernet */
	put_be16(out + 16, ETH_P_IPV4);
	out[18] = 6;
	out[19] = 4;
	put_be16(out + 20, 3); /* request reverse */
	__builtin_memcpy(out + 22, mac, 6);
	__builtin_memcpy(out + 32, mac, 6);
}
