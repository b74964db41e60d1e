/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Register access: a store into the mapped BAR, or the provider's op when there is no mapping. The
 * choice is one well-predicted branch.
 *
 * Registers and DMA memory are different kinds of memory, and only barriers order one with the
 * other. What each access here is ordered with is what the SSD is told by it:
 *
 *   before a register is written: all that was written (SQEs, rings) and read (CQEs, which the SSD
 *     overwrites once it knows the new head);
 *   after a register was read: all that is read from then on (what the SSD wrote before, CSTS).
 *
 * The shadow doorbells are memory, and need the same by hand. arm64 and riscv64 reorder all of
 * these, and the fences of C11 are no help: they are for memory that CPUs share. Those of arm64
 * reach no further than that (inner shareable), and an SSD is further out.
 */
#ifndef NVMETD_PCIE_MMIO_H
#define NVMETD_PCIE_MMIO_H

#include <stdint.h>

#include "pcie/device.h"
#include "util/le.h"

/* What was read and written before, before what is read and written after. */
static inline void mmio_full(void)
{
#if defined(__aarch64__)
	__asm__ volatile("dmb osh" ::: "memory");
#elif defined(__riscv)
	__asm__ volatile("fence iorw, iorw" ::: "memory"); /* C11's has no i and no o: registers */
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* What was read and written before, before what is written after: arm64's oshst would let reads
 * pass. */
static inline void mmio_before_write(void)
{
#if defined(__x86_64__)
	__asm__ volatile("sfence" ::: "memory");
#else
	mmio_full();
#endif
}

/* What was read before, before what is read after. */
static inline void mmio_after_read(void)
{
#if defined(__x86_64__)
	__asm__ volatile("" ::: "memory"); /* reads stay in order, but for the compiler */
#elif defined(__aarch64__)
	__asm__ volatile("dmb oshld" ::: "memory");
#else
	mmio_full();
#endif
}

static inline uint32_t mmio_read32(struct pcie_device *dev, uint32_t off)
{
	uint32_t raw;

	if (!dev->bar0)
		return (uint32_t)dev->ops->read(dev, off, 4);
	raw = *(const volatile uint32_t *)(dev->bar0 + off);
	mmio_after_read();
	return le32toh(raw);
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
	if (!dev->bar0) {
		dev->ops->write(dev, off, 4, value);
		return;
	}
	mmio_before_write();
	*(volatile uint32_t *)(dev->bar0 + off) = htole32(value);
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

#endif
