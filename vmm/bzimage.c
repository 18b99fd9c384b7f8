// SPDX-License-Identifier: BSD-2-Clause
#include "vmm/loader_priv.h"

int loader_bzimage(struct loader *l, struct loader_entry *out)
{
	return loader_bad(l, "bzImage is not supported yet");
}
