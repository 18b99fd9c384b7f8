// SPDX-License-Identifier: BSD-2-Clause
/* The forwarding table: learning, ageing, moving, pinning, and what keeps one port from hurting others. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/fdb.h"

static struct fdb fdb;

/* An individual address that differs in n. */
static uint64_t mac(uint32_t n)
{
	const uint8_t b[6] = {
		0x02, 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n
	};

	return fdb_mac(b);
}

static void learns_and_forgets(void **state)
{
	fdb_init(&fdb, 1, 300, 4);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 0), FDB_NO_PORT);
	assert_int_equal(fdb_learn(&fdb, mac(1), 2, 10), FDB_LEARNED);
	assert_int_equal(fdb_learn(&fdb, mac(1), 2, 11), FDB_REFRESHED);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 12), 2);
	assert_int_equal(fdb_lookup(&fdb, mac(2), 12), FDB_NO_PORT);
	assert_int_equal(fdb.num, 1);
	fdb_flush(&fdb, 1);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 12), 2);
	fdb_flush(&fdb, 2);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 12), FDB_NO_PORT);
	assert_int_equal(fdb.num, 0);
	assert_int_equal(fdb.per_port[2], 0);
}

static void ages(void **state)
{
	fdb_init(&fdb, 2, 300, 4);
	fdb_learn(&fdb, mac(1), 0, 1000);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 1300), 0);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 1301), FDB_NO_PORT);
	/* Seen again in time, it stays. */
	assert_int_equal(fdb_learn(&fdb, mac(1), 0, 1300), FDB_REFRESHED);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 1600), 0);
	/* Expired, it may come back anywhere. */
	assert_int_equal(fdb_learn(&fdb, mac(1), 3, 1601), FDB_LEARNED);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 1601), 3);
	fdb_init(&fdb, 2, 0, 4);
	fdb_learn(&fdb, mac(1), 0, 0);
	assert_int_equal(fdb_lookup(&fdb, mac(1), UINT32_MAX), 0);
}

static void moves_once_a_second(void **state)
{
	uint32_t generation;

	fdb_init(&fdb, 3, 300, 4);
	fdb_learn(&fdb, mac(1), 0, 5);
	assert_int_equal(fdb_learn(&fdb, mac(1), 1, 5), FDB_HELD);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 5), 0);
	generation = fdb.generation;
	assert_int_equal(fdb_learn(&fdb, mac(1), 1, 6), FDB_MOVED);
	assert_true(fdb.generation != generation);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 6), 1);
	assert_int_equal(fdb_learn(&fdb, mac(1), 0, 6), FDB_HELD);
	assert_int_equal(fdb_learn(&fdb, mac(1), 0, 7), FDB_MOVED);
	assert_int_equal(fdb.per_port[0], 1);
	assert_int_equal(fdb.per_port[1], 0);
}

static void pins(void **state)
{
	fdb_init(&fdb, 4, 10, 4);
	fdb_learn(&fdb, mac(1), 0, 5);
	assert_int_equal(fdb_pin(&fdb, mac(1), 1), 0);
	assert_int_equal(fdb_pin(&fdb, mac(1), 1), 0);
	assert_int_equal(fdb_pin(&fdb, mac(1), 2), -EINVAL);
	assert_int_equal(fdb_pin(&fdb, mac(2) | 1, 2), -EINVAL);
	assert_int_equal(fdb_pin(&fdb, 0, 2), -EINVAL);
	assert_int_equal(fdb_learn(&fdb, mac(1), 0, 100), FDB_PINNED);
	assert_int_equal(fdb_learn(&fdb, mac(1), 1, 100), FDB_REFRESHED);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 1000000), 1);
	fdb_flush(&fdb, 1);
	assert_int_equal(fdb_lookup(&fdb, mac(1), 1000000), 1);
}

/* A port that invents addresses fills its share and hurts nobody: every address learned before stays. */
static void flood_of_one_port_is_contained(void **state)
{
	const unsigned int first = 100;
	unsigned int honest = first, full = 0;

	fdb_init(&fdb, 0x123456789abcdef, 300, 4);
	for (uint32_t i = 0; i < first; i++)
		assert_int_equal(fdb_learn(&fdb, mac(i), 1 + i % 3, 0), FDB_LEARNED);
	for (uint32_t i = 0; i < 1000000; i++) {
		enum fdb_result r = fdb_learn(&fdb, mac(1000 + i), 0, 1);

		assert_true(r == FDB_LEARNED || r == FDB_FULL);
		full += r == FDB_FULL;
		assert_true(fdb.per_port[0] <= FDB_ENTRIES / FDB_SHARES_MIN);
	}
	assert_true(full > 0);
	/* Nor does it keep others from being learned: next to no bucket is full of its addresses. */
	full = 0;
	for (uint32_t i = 0; i < 1000; i++)
		full += fdb_learn(&fdb, mac(2000000 + i), 1, 1) == FDB_FULL;
	assert_true(full <= 10);
	for (uint32_t i = 0; i < 1000; i++) {
		if (fdb_lookup(&fdb, mac(2000000 + i), 1) == 1)
			honest++;
	}
	for (uint32_t i = 0; i < first; i++)
		assert_int_equal(fdb_lookup(&fdb, mac(i), 1), 1 + i % 3);
	fdb_flush(&fdb, 0);
	assert_int_equal(fdb.num, honest);
}

/* Against a model that has no limits: as long as the table is nearly empty, both agree. */
static void agrees_with_a_plain_table(void **state)
{
	enum {
		ADDRESSES = 64
	};
	struct {
		int port;
		uint32_t seen, moved;
	} model[ADDRESSES];
	uint32_t now = 1000;

	srand(7);
	fdb_init(&fdb, (uint64_t)rand() << 32 | (uint32_t)rand(), 20, 4);
	for (unsigned int i = 0; i < ADDRESSES; i++)
		model[i].port = -1;
	for (unsigned int step = 0; step < 200000; step++) {
		unsigned int n = (unsigned int)rand() % ADDRESSES, port = (unsigned int)rand() % 4;
		bool live = model[n].port >= 0 && now - model[n].seen <= 20;

		if (rand() % 50 == 0)
			now += (uint32_t)rand() % 4;
		live = model[n].port >= 0 && now - model[n].seen <= 20;
		assert_int_equal(fdb_lookup(&fdb, mac(n), now), live ? model[n].port : FDB_NO_PORT);
		switch (fdb_learn(&fdb, mac(n), port, now)) {
		case FDB_LEARNED:
			assert_false(live);
			model[n].moved = now;
			break;
		case FDB_KNOWN:
		case FDB_REFRESHED:
			assert_true(live && model[n].port == (int)port);
			break;
		case FDB_MOVED:
			assert_true(live && model[n].port != (int)port && model[n].moved != now);
			model[n].moved = now;
			break;
		case FDB_HELD:
			assert_true(live && model[n].port != (int)port && model[n].moved == now);
			continue;
		default:
			fail();
		}
		model[n].port = (int)port;
		model[n].seen = now;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learns_and_forgets),
		cmocka_unit_test(ages),
		cmocka_unit_test(moves_once_a_second),
		cmocka_unit_test(pins),
		cmocka_unit_test(flood_of_one_port_is_contained),
		cmocka_unit_test(agrees_with_a_plain_table),
	};

	return cmocka_run_group_tests_name("fdb", tests, NULL, NULL);
}
