// SPDX-License-Identifier: BSD-2-Clause
/* Parsing, checksum completion and TCP segmentation, against be_frames.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "be_frames.h"
#include "core/frame.h"

static uint8_t frame[FRAME_MAX + 64], out[FRAME_MAX + 64];

static void parses_what_it_should(void **state)
{
	for (unsigned int n = 0; n < 3 * 2 * 3 * 2; n++) {
		struct frame_spec s = {
			.dst = 2,
			.src = 1,
			.vlans = n % 3,
			.ipv6 = n / 3 % 2,
			.payload = 100,
			.ipv4_options = n / 6 % 3 * 4,
			.ipv6_ext = n / 6 % 3,
			.tcp_options = n / 18 * 12,
		};
		struct frame_at at = frame_layout(&s);
		struct frame_tcp tcp;
		uint32_t len = frame_build(frame, &s);

		assert_true(frame_parse_tcp(frame, len, &tcp));
		assert_int_equal(tcp.l3, at.l3);
		assert_int_equal(tcp.l4, at.l4);
		assert_int_equal(tcp.payload, at.payload);
		assert_int_equal(tcp.ipv6, s.ipv6);
		/* Cut anywhere inside the headers it is no TCP frame. A private copy shows reads beyond the end. */
		for (uint32_t cut = 0; cut < at.payload; cut++) {
			uint8_t *copy = malloc(cut ? cut : 1);

			memcpy(copy, frame, cut);
			assert_false(frame_parse_tcp(copy, cut, &tcp));
			free(copy);
		}
	}
}

static void refuses_what_is_not_tcp(void **state)
{
	struct frame_spec s = { .dst = 2, .src = 1, .payload = 64 };
	struct frame_tcp tcp;
	uint32_t len = frame_build(frame, &s);

	put16(frame + 14 + 6, 0x2000); /* more fragments */
	assert_false(frame_parse_tcp(frame, len, &tcp));
	put16(frame + 14 + 6, 0x0001); /* not the first fragment */
	assert_false(frame_parse_tcp(frame, len, &tcp));
	frame_build(frame, &s);
	frame[14 + 9] = 17;
	assert_false(frame_parse_tcp(frame, len, &tcp));
	frame_build(frame, &s);
	frame[14] = 0x44; /* header length below 20 */
	assert_false(frame_parse_tcp(frame, len, &tcp));
	frame_build(frame, &s);
	frame[14] = 0x65; /* version 6 behind an IPv4 ethertype */
	assert_false(frame_parse_tcp(frame, len, &tcp));
	frame_build(frame, &s);
	frame[34 + 12] = 0x40; /* data offset below 20 */
	assert_false(frame_parse_tcp(frame, len, &tcp));
	s.vlans = 3;
	len = frame_build(frame, &s);
	assert_false(frame_parse_tcp(frame, len, &tcp));
}

static void completes_checksums(void **state)
{
	srand(1);
	for (unsigned int n = 0; n < 3000; n++) {
		struct frame_spec s = {
			.dst = 2,
			.src = 1,
			.vlans = n % 3,
			.ipv6 = n % 2,
			.payload = (uint32_t)rand() % 9000,
			.tcp_options = 4 * ((uint32_t)rand() % 11),
			.seq = (uint32_t)rand(),
			.salt = n,
		};
		uint32_t len = frame_build(frame, &s);

		assert_true(frame_complete_csum(frame, len, frame_layout(&s).l4, 16));
		assert_true(frame_checksums_ok(frame, &s, len));
	}
}

static void completes_odd_places(void **state)
{
	/* The rule is arithmetic, whatever the bytes are: start and length odd or even. */
	srand(2);
	for (unsigned int n = 0; n < 3000; n++) {
		uint32_t len = 20 + (uint32_t)rand() % 200, start = (uint32_t)rand() % 10;
		uint32_t offset = (uint32_t)rand() % 8, want;

		for (uint32_t i = 0; i < len; i++)
			frame[i] = (uint8_t)rand();
		memcpy(out, frame, len);
		want = 0xffff - slow_sum(0, out + start, len - start);
		put16(out + start + offset, want ? want : 0xffff);
		assert_true(frame_complete_csum(frame, len, start, offset));
		assert_memory_equal(frame, out, len);
	}
	memset(frame, 0, 64);
	assert_false(frame_complete_csum(frame, 64, 63, 0));
	assert_false(frame_complete_csum(frame, 64, 60, 3));
	assert_false(frame_complete_csum(frame, 64, 0xffffffff, 3));
	assert_false(frame_complete_csum(frame, 64, 3, 0xffffffff));
	assert_true(frame_complete_csum(frame, 64, 62, 0));
	/* A sum that would be stored as zero is stored as its equal (0 means "none" in UDP). */
	memset(frame, 0xff, 64);
	assert_true(frame_complete_csum(frame, 64, 0, 16));
	assert_int_equal(get16(frame + 16), 0xffff);
}

/* Cuts a frame and checks each segment by itself and all together. */
static void check_cut(const struct frame_spec *s, uint32_t gso_size)
{
	struct frame_at at = frame_layout(s);
	uint32_t len = frame_build(frame, s), done = 0, n, num = 0;
	struct frame_tso tso;

	assert_true(frame_tso_init(&tso, frame, len, gso_size, s->ipv6));
	while ((n = frame_tso_next_len(&tso))) {
		uint32_t part = n - at.payload;
		bool last = done + part == s->payload;
		uint8_t flags = s->tcp_flags;

		assert_true(part <= gso_size && (part == gso_size || last));
		memset(out, 0xee, n + 8);
		frame_tso_next(&tso, out);
		assert_int_equal(out[n], 0xee);
		assert_true(frame_checksums_ok(out, s, n));
		assert_memory_equal(out, frame, at.l3);
		assert_int_equal(get32(out + at.l4 + 4), (uint32_t)(s->seq + done));
		if (s->ipv6)
			assert_int_equal(get16(out + at.l3 + 4), n - at.l3 - 40);
		else {
			assert_int_equal(get16(out + at.l3 + 2), n - at.l3);
			assert_int_equal(get16(out + at.l3 + 4), (uint16_t)(s->id + num));
		}
		if (!last)
			flags &= (uint8_t)~0x09;
		if (num)
			flags &= 0x7f;
		assert_int_equal(out[at.l4 + 13], flags);
		assert_memory_equal(out + at.payload, frame + at.payload + done, part);
		done += part;
		num++;
	}
	assert_int_equal(done, s->payload);
	assert_int_equal(num, s->payload ? (s->payload + gso_size - 1) / gso_size : 1);
}

static void cuts(void **state)
{
	srand(3);
	for (unsigned int n = 0; n < 600; n++) {
		struct frame_spec s = {
			.dst = 2,
			.src = 1,
			.vlans = n % 3,
			.ipv6 = n / 3 % 2,
			.salt = n,
			.ipv4_options = 4 * ((uint32_t)rand() % 11),
			.ipv6_ext = (uint32_t)rand() % 4,
			.tcp_options = 4 * ((uint32_t)rand() % 11),
			.tcp_flags = (uint8_t)rand(),
			.seq = 0xffff0000 + (uint32_t)rand() % 65536,
			.id = (uint16_t)rand(),
			.payload = (uint32_t)rand() % 20000,
		};

		check_cut(&s, 1 + (uint32_t)rand() % 3000);
	}
}

static void cuts_extremes(void **state)
{
	struct frame_spec s = { .dst = 2, .src = 1, .tcp_flags = 0x19 };
	struct frame_tso tso;

	check_cut(&s, 1448); /* no payload */
	s.payload = 65535 - 40;
	check_cut(&s, 1448);
	check_cut(&s, 65495);
	check_cut(&s, 1000000);
	s.payload = 300;
	check_cut(&s, 1);
	assert_false(frame_tso_init(&tso, frame, frame_build(frame, &s), 0, false));
	assert_false(frame_tso_init(&tso, frame, frame_build(frame, &s), 100, true));
	assert_false(frame_tso_init(&tso, frame, FRAME_MAX + 1, 100, false));
}

static void hashes_flows(void **state)
{
	struct frame_spec a = { .dst = 2, .src = 1, .payload = 100 },
			  b = { .dst = 2, .src = 1, .payload = 900, .seq = 99 };
	struct frame_spec c = { .dst = 2, .src = 3, .payload = 100 };
	uint32_t ha = frame_flow_hash(frame, frame_build(frame, &a));

	assert_int_equal(ha, frame_flow_hash(frame, frame_build(frame, &b)));
	assert_true(ha != frame_flow_hash(frame, frame_build(frame, &c)));
	for (uint32_t len = 14; len < 200; len++) {
		uint8_t *copy = malloc(len);

		memcpy(copy, frame, len);
		frame_flow_hash(copy, len);
		free(copy);
	}
}

static void makes_rarp(void **state)
{
	const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 };

	frame_make_rarp(out, mac);
	assert_memory_equal(
		out, ((uint8_t[]){ 255, 255, 255, 255, 255, 255, 2, 1, 2, 3, 4, 5, 0x80, 0x35 }),
		14);
	assert_memory_equal(out + 14, ((uint8_t[]){ 0, 1, 8, 0, 6, 4, 0, 3, 2, 1, 2, 3, 4, 5 }),
			    14);
	assert_memory_equal(out + 32, mac, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_what_it_should),
		cmocka_unit_test(refuses_what_is_not_tcp),
		cmocka_unit_test(completes_checksums),
		cmocka_unit_test(completes_odd_places),
		cmocka_unit_test(cuts),
		cmocka_unit_test(cuts_extremes),
		cmocka_unit_test(hashes_flows),
		cmocka_unit_test(makes_rarp),
	};

	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
