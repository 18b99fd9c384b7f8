/* SPDX-License-Identifier: BSD-2-Clause */
/* Shorthands of the drivers for their platform; private to drv/. */
#ifndef VVU_DRV_H
#define VVU_DRV_H

#include "gd/platform.h"

static inline uint32_t drv_read(const struct gd_platform *p, const uint8_t *regs, size_t offset,
				unsigned int width)
{
	return p->mmio_read(p->ctx, regs + offset, width);
}

static inline void drv_write(const struct gd_platform *p, uint8_t *regs, size_t offset,
			     unsigned int width, uint32_t v)
{
	p->mmio_write(p->ctx, regs + offset, width, v);
}

#endif
