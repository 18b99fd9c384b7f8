// SPDX-License-Identifier: BSD-2-Clause
/* Returns each frame to its port with the addresses swapped. */
#include "core/switch.h"

void echo_burst(struct worker *w)
{
	struct net_burst *burst = &w->burst;
	struct port *port = burst->port;

	for (unsigned int i = 0; i < burst->num; i++) {
		struct net_frame *f = &burst->frames[i];
		uint8_t dst[6];

		if (f->drop != CTR_COUNT) {
			worker_count(w, port, f->drop, 1);
			continue;
		}
		/* Only the private copy is changed; the sender's buffer is not ours to write. */
		__builtin_memcpy(dst, f->head, 6);
		__builtin_memcpy(f->head, f->head + 6, 6);
		__builtin_memcpy(f->head + 6, dst, 6);
		worker_deliver(w, port, f);
	}
	net_flush(w);
}
