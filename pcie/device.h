/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device seam: what the controller driver needs of a PCI function, whoever provides it.
 *
 * Providers: VFIO (pcie/vfio.h) and the emulated SSD (pcie/emul/emul.h). Everything above (ctrl.h,
 * qpair.h) is written once, against this header.
 *
 * Threads: all calls come from the main thread, except `write` to the doorbells of an I/O queue and
 * `poll` of an I/O queue, which come from the worker that owns the queue pair.
 */
#ifndef NVMETD_PCIE_DEVICE_H
#define NVMETD_PCIE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pcie_device;
struct loop;

/* What can happen to a device behind the driver's back. Delivered on the main loop. */
enum pcie_device_event {
	PCIE_DEVICE_GONE,    /* surprise removal, or the emulator's fault key */
	PCIE_DEVICE_BACK,    /* it is there again, as after power-on (devices that `returns`) */
	PCIE_DEVICE_REQUEST, /* the kernel asks for the device back (VFIO request eventfd) */
	PCIE_DEVICE_ERROR,   /* uncorrected PCIe error (VFIO error eventfd) */
};
typedef void pcie_device_event_fn(void *arg, enum pcie_device_event event);

struct pcie_device_ops {
	/* Registers of BAR0; size is 4 or 8 bytes, off is a multiple of 4. All ones: the device is
	 * gone. */
	uint64_t (*read)(struct pcie_device *dev, uint32_t off, unsigned size);
	void (*write)(struct pcie_device *dev, uint32_t off, unsigned size, uint64_t value);

	/*
	 * Makes [va, va + len) reachable for the device at [iova, iova + len); page-aligned. The
	 * memory stays the caller's and must outlive the mapping. 0, -ENOMEM (RLIMIT_MEMLOCK:
	 * already logged with the size needed), or another -errno.
	 */
	int (*map_dma)(struct pcie_device *dev, void *va, uint64_t iova, size_t len);
	int (*unmap_dma)(struct pcie_device *dev, uint64_t iova, size_t len);

	/*
	 * Vector i signals fds[i], for i < n <= dev->n_vectors; n = 0 switches interrupts off. The
	 * eventfds stay the caller's. Once per bring-up: MSI-X vectors are enabled as a whole. 0,
	 * -errno; -ENOSPC: the machine has fewer, and dev->n_vectors now says how many (at least
	 * 1, less than `n`).
	 */
	int (*set_interrupts)(struct pcie_device *dev, const int *fds, unsigned n);

	/* Function-level reset, or what the provider has for it. 0, -ENOTSUP or -errno. */
	int (*reset)(struct pcie_device *dev);

	/* Optional: keeps it from DMA when it cannot be reset. 0 or -errno. */
	int (*stop_dma)(struct pcie_device *dev);

	/*
	 * Optional (NULL on hardware): called before the completion queue `qid` is looked at, so
	 * that a device without a life of its own can post what its media has finished.
	 */
	void (*poll)(struct pcie_device *dev, uint16_t qid);

	/* Starts delivering events to fn(arg) on `loop`. */
	int (*watch)(struct pcie_device *dev, struct loop *loop, pcie_device_event_fn *fn,
		     void *arg);

	/* Frees the device; interrupts are off and DMA is unmapped afterwards. */
	void (*close)(struct pcie_device *dev);
};

struct pcie_device {
	const struct pcie_device_ops *ops;
	char name[48];          /* for the log: "0000:01:00.0", "emulated:0" */
	volatile uint8_t *bar0; /* mapped BAR0, or NULL: every access goes through ops */
	size_t bar0_len;        /* bytes; of the BAR, mapped or not */
	unsigned n_vectors;     /* usable MSI-X (or MSI) vectors; 0: polled mode */
	uint64_t iova_max;      /* highest IOVA that the IOMMU lets the device use */
	uint32_t data_align;    /* bytes: of the IOVA of data; 4 .. 4096, a power of two */

	/* After GONE it may announce BACK itself; others are closed and opened again. */
	bool returns;

	/*
	 * Set by the driver: it looks at the CQ after each doorbell, in the same wake-up. What a
	 * device completes inside the doorbell then needs no interrupt.
	 */
	bool looks_after_doorbell;
};

#endif
