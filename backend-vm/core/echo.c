// SPDX-License-Identifier: BSD-2-Clause
/* Returns each frame to its port with the addresses swapped. */
#include "core/switch.h"

void echo_burst(struct worker *w)
{
	struct net_burst *burst = &w->burst;
	struct port *port = burst->port;

	/* Only the private copies are changed; the sender's buffers are not ours to write. */
	for (unsigned int i = 0; i < burst->num; i++) {
		uint8_t *head = burst->heads[i], dst[6];

		__builtin_memcpy(dst, head, 6);
		__builtin_memcpy(head, head + 6, 6);
		__builtin_memcpy(head + 6, dst, 6);
		burst->frames[i].out = (uint8_t)port->index;
	}
	for (unsigned int i = 0; i < burst->num; i++) {
		struct net_frame *f = &burst->frames[i];
		unsigned int num = w->isa->forward(w, i);

		if (num) {
			i += num - 1;
		} else if (f->drop != CTR_COUNT) {
			worker_count(w, port, f->drop, 1);
		} else if (!worker_deliver(w, port, f)) {
			worker_put_back(w, i);
			break;
		}
	}
}
