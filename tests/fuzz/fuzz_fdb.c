// SPDX-License-Identifier: BSD-2-Clause
/*
 * The forwarding table (backend-vm/core/fdb.c) under any sequence of operations.
 *
 * Input: le64 seed, le16 age, u8 ports; then per operation u8 kind, u8 port, le16 address.
 */
#include "fuzz.h"

#include "core/fdb.h"

static struct fdb fdb;

static void check_all(unsigned int ports)
{
	uint32_t per_port[FDB_PORTS_MAX] = { 0 }, num = 0;

	for (unsigned int i = 0; i < FDB_ENTRIES; i++) {
		const struct fdb_entry *e = &fdb.entries[i];

		if (!e->mac)
			continue;
		CHECK(e->port < ports && !fdb_is_group(e->mac));
		per_port[e->port]++;
		num++;
	}
	CHECK(num == fdb.num);
	for (unsigned int i = 0; i < FDB_PORTS_MAX; i++)
		CHECK(per_port[i] == fdb.per_port[i]);
}

static void one_operation(struct input *in, unsigned int ports, uint32_t *now)
{
	uint8_t kind = input_u8(in);
	unsigned int port = input_u8(in) % ports;
	uint64_t mac = 0x02 | (uint64_t)input_u16(in) << 16;
	uint32_t generation = fdb.generation;

	switch (kind % 8) {
	case 0:
		*now += (uint32_t)(mac >> 16) & 0x3ff;
		break;
	case 1:
		fdb_flush(&fdb, port);
		break;
	case 2:
		if (!fdb_pin(&fdb, mac, port))
			CHECK(fdb_lookup(&fdb, mac, *now) == port);
		break;
	case 3:
		CHECK(fdb_lookup(&fdb, mac, *now) == FDB_NO_PORT ||
		      fdb_lookup(&fdb, mac, *now) < ports);
		break;
	default:
		switch (fdb_learn(&fdb, mac, port, *now)) {
		case FDB_LEARNED:
		case FDB_MOVED:
			CHECK(fdb.generation != generation);
			CHECK(fdb_lookup(&fdb, mac, *now) == port);
			break;
		case FDB_KNOWN:
		case FDB_REFRESHED:
			CHECK(fdb_lookup(&fdb, mac, *now) == port);
			break;
		case FDB_HELD:
		case FDB_PINNED:
			CHECK(fdb_lookup(&fdb, mac, *now) != port);
			break;
		case FDB_FULL:
			CHECK(fdb_lookup(&fdb, mac, *now) != port);
			break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint64_t seed = input_u64(&in);
	uint32_t age = input_u16(&in), now = 1;
	unsigned int ports = 1 + input_u8(&in) % FDB_PORTS_MAX;

	fdb_init(&fdb, seed, age, ports);
	while (input_left(&in))
		one_operation(&in, ports, &now);
	/* Going through the whole table takes longer than everything else: now and then is enough. */
	if (size % 8 == 0)
		check_all(ports);
	return 0;
}
