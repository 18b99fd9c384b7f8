// SPDX-License-Identifier: BSD-2-Clause
/* Tells the VMM where the statistics page is (abi/machine.h). */
#include "internal.h"

#include "io.h"

void rt_stats_announce(const struct stats_page *page)
{
	uint64_t where = (uintptr_t)page;

	if (!rt_is_vvu_machine())
		return;
	io_out32(MACHINE_STATS_PORT_LO, (uint32_t)where);
	io_out32(MACHINE_STATS_PORT_HI, (uint32_t)(where >> 32));
}
