/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames for the tests of the switch, and slow independent checks of them: 16-bit big-endian arithmetic straight from
 * RFC 1071, no shortcuts shared with the code under test.
 */
#ifndef TESTS_UNIT_BE_FRAMES_H
#define TESTS_UNIT_BE_FRAMES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct frame_spec {
	uint8_t dst, src; /* 02:00:00:00:00:XX */
	unsigned int vlans;
	bool ipv6;
	unsigned int ipv4_options; /* bytes, multiple of 4 */
	unsigned int ipv6_ext;	   /* destination-options headers of 8 bytes */
	unsigned int tcp_options;  /* bytes, multiple of 4 */
	uint8_t tcp_flags;
	uint32_t seq;
	uint16_t id;
	uint32_t payload;
	uint32_t salt; /* of the payload's bytes */
};

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static inline uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] * 256 + p[1];
}

static inline uint32_t get32(const uint8_t *p)
{
	return get16(p) * 65536 + get16(p + 2);
}

/* RFC 1071, one word at a time with the carry put back at once. */
static inline uint32_t slow_sum(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i += 2) {
		sum += get16((const uint8_t[]){ p[i], i + 1 < len ? p[i + 1] : 0 });
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

static inline uint32_t slow_pseudo(const uint8_t *ip, bool ipv6, uint32_t tcp_len)
{
	uint8_t tail[4];
	uint32_t sum = ipv6 ? slow_sum(0, ip + 8, 32) : slow_sum(0, ip + 12, 8);

	put32(tail, tcp_len);
	sum = slow_sum(sum, tail, 4);
	return slow_sum(sum, (const uint8_t[]){ 0, 6 }, 2);
}

struct frame_at {
	uint32_t l3, l4, payload, len;
};

static inline struct frame_at frame_layout(const struct frame_spec *s)
{
	struct frame_at at;

	at.l3 = 14 + 4 * s->vlans;
	at.l4 = at.l3 + (s->ipv6 ? 40 + 8 * s->ipv6_ext : 20 + s->ipv4_options);
	at.payload = at.l4 + 20 + s->tcp_options;
	at.len = at.payload + s->payload;
	return at;
}

static inline uint8_t payload_byte(uint32_t salt, uint32_t i)
{
	return (uint8_t)((i * 2654435761u + salt) >> 13);
}

/*
 * A TCP frame with the pseudo-header's sum in the checksum field, as a guest leaves it with NEEDS_CSUM. Returns
 * its length.
 */
static inline uint32_t frame_build(uint8_t *f, const struct frame_spec *s)
{
	struct frame_at at = frame_layout(s);
	uint8_t *ip = f + at.l3, *tcp = f + at.l4;

	memset(f, 0, at.payload);
	memcpy(f, (const uint8_t[]){ 2, 0, 0, 0, 0, s->dst, 2, 0, 0, 0, 0, s->src }, 12);
	for (unsigned int i = 0; i < s->vlans; i++) {
		put16(f + 12 + 4 * i, i + 1 < s->vlans ? 0x88a8 : 0x8100);
		put16(f + 14 + 4 * i, 100 + i);
	}
	put16(f + at.l3 - 2, s->ipv6 ? 0x86dd : 0x0800);
	if (s->ipv6) {
		ip[0] = 0x60;
		put16(ip + 4, at.len - at.l3 - 40);
		ip[6] = s->ipv6_ext ? 60 : 6;
		ip[7] = 64;
		for (unsigned int i = 8; i < 40; i++)
			ip[i] = (uint8_t)(i * 37);
		for (unsigned int i = 0; i < s->ipv6_ext; i++)
			ip[40 + 8 * i] = i + 1 < s->ipv6_ext ? 60 : 6;
	} else {
		ip[0] = (uint8_t)(0x45 + s->ipv4_options / 4);
		put16(ip + 2, at.len - at.l3);
		put16(ip + 4, s->id);
		put16(ip + 6, 0x4000);
		ip[8] = 64;
		ip[9] = 6;
		memcpy(ip + 12, (const uint8_t[]){ 10, 9, 0, s->src, 10, 9, 0, s->dst }, 8);
		memset(ip + 20, 1, s->ipv4_options);
		put16(ip + 10, 0xffff - slow_sum(0, ip, 20 + s->ipv4_options));
	}
	put16(tcp, 40000);
	put16(tcp + 2, 5001);
	put32(tcp + 4, s->seq);
	tcp[12] = (uint8_t)((20 + s->tcp_options) << 2);
	tcp[13] = s->tcp_flags;
	memset(tcp + 20, 1, s->tcp_options);
	put16(tcp + 16, slow_pseudo(ip, s->ipv6, at.len - at.l4));
	for (uint32_t i = 0; i < s->payload; i++)
		f[at.payload + i] = payload_byte(s->salt, i);
	return at.len;
}

/* True when the IPv4 header's and the TCP checksum of a frame of that layout are right. */
static inline bool frame_checksums_ok(const uint8_t *f, const struct frame_spec *s, uint32_t len)
{
	struct frame_at at = frame_layout(s);
	const uint8_t *ip = f + at.l3;

	if (!s->ipv6 && slow_sum(0, ip, at.l4 - at.l3) != 0xffff)
		return false;
	return slow_sum(slow_pseudo(ip, s->ipv6, len - at.l4), f + at.l4, len - at.l4) == 0xffff;
}

#endif
