/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Register access: a store into the mapped BAR, or the provider's op when there is no mapping. The
 * choice is one well-predicted branch.
 *
 * x86 and arm64 both order a store to normal memory before a later store to device memory only with
 * a barrier; mmio_wmb() is that barrier and is written where a doorbell is rung.
 */
#ifndef NVMETD_PCIE_MMIO_H
#define NVMETD_PCIE_MMIO_H

#include <stdint.h>

#include "pcie/device.h"
#include "util/le.h"

static inline uint32_t mmio_read32(struct pcie_device *dev, uint32_t off)
{
	if (dev->bar0)
		return le32toh(*(const volatile uint32_t *)(dev->bar0 + off));
	return (uint32_t)dev->ops->read(dev, off, 4);
}

/* Two 32-bit reads, low half first: not every controller takes a 64-bit access (Base 3.1.3). */
static inline uint64_t mmio_read64(struct pcie_device *dev, uint32_t off)
{
	uint64_t lo, hi;

	if (!dev->bar0)
		return dev->ops->read(dev, off, 8);
	lo = mmio_read32(dev, off);
	hi = mmio_read32(dev, off + 4);
	return lo | hi << 32;
}

static inline void mmio_write32(struct pcie_device *dev, uint32_t off, uint32_t value)
{
	if (dev->bar0)
		*(volatile uint32_t *)(dev->bar0 + off) = htole32(value);
	else
		dev->ops->write(dev, off, 4, value);
}

static inline void mmio_write64(struct pcie_device *dev, uint32_t off, uint64_t value)
{
	if (!dev->bar0) {
		dev->ops->write(dev, off, 8, value);
		return;
	}
	mmio_write32(dev, off, (uint32_t)value);
	mmio_write32(dev, off + 4, (uint32_t)(value >> 32));
}

/* Everything written to DMA memory before is visible to the device before what is written after. */
static inline void mmio_wmb(void)
{
#if defined(__x86_64__)
	__asm__ volatile("sfence" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

#endif
