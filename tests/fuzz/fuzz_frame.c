// SPDX-License-Identifier: BSD-2-Clause
/*
 * The frame parser, checksum completion and TCP segmentation (backend-vm/core/frame.c) on any bytes. The frame and each
 * segment live in memory of exactly their size.
 *
 * Input: le16 gso_size, le16 csum_start, le16 csum_offset, u8 (bit 0: IPv6), then the frame.
 */
#include "fuzz.h"

#include "core/frame.h"

static void cut(const uint8_t *frame, uint32_t len, uint32_t gso_size, bool ipv6)
{
	struct frame_tso tso;
	struct frame_tcp at;
	uint32_t payload = 0, n, num = 0;

	if (!frame_tso_init(&tso, frame, len, gso_size, ipv6))
		return;
	CHECK(frame_parse_tcp(frame, len, &at) && at.ipv6 == ipv6);
	while ((n = frame_tso_next_len(&tso))) {
		uint8_t *out = malloc(n);

		CHECK(out && n >= at.payload && n <= len);
		frame_tso_next(&tso, out);
		CHECK(memcmp(out + at.payload, frame + at.payload + payload, n - at.payload) == 0);
		payload += n - at.payload;
		CHECK(++num <= len);
		free(out);
	}
	CHECK(num >= 1 && payload == len - at.payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint32_t gso_size = input_u16(&in), start = input_u16(&in), offset = input_u16(&in);
	bool ipv6 = input_u8(&in) & 1;
	uint32_t len = (uint32_t)input_left(&in);
	struct frame_tcp at;
	uint8_t *frame;

	if (len == 0 || len > FRAME_MAX)
		return 0;
	frame = malloc(len);
	CHECK(frame);
	input_bytes(&in, frame, len);
	if (frame_parse_tcp(frame, len, &at))
		CHECK(at.l3 >= FRAME_ETH_HDR && at.l3 + 20u <= at.l4 && at.l4 + 20u <= at.payload &&
		      at.payload <= len);
	if (len >= FRAME_ETH_HDR)
		CHECK(frame_flow_hash(frame, len) == frame_flow_hash(frame, len));
	cut(frame, len, gso_size, ipv6);
	CHECK(frame_complete_csum(frame, len, start, offset) == (start + offset + 2 <= len));
	free(frame);
	return 0;
}
