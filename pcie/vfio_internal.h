/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the VFIO files share: vfio.c (the device: regions, interrupts, reset), vfio_group.c and
 * iommufd.c (the two ways to the device and to its IOMMU). Main thread.
 */
#ifndef NVMETD_PCIE_VFIO_INTERNAL_H
#define NVMETD_PCIE_VFIO_INTERNAL_H

#include <stdbool.h>

#include "pcie/device.h"
#include "pcie/pci.h"

struct vfio_device;

/* One of the two ways. */
struct vfio_iommu_ops {
	/* Makes DMA memory reachable. 0, -ENOMEM or another -errno; not logged. */
	int (*map)(struct vfio_device *vfio, void *va, uint64_t iova, size_t len);
	int (*unmap)(struct vfio_device *vfio, uint64_t iova, size_t len);
	/* Gives group, container or iommufd back; the device fd is closed already. */
	void (*close)(struct vfio_device *vfio);
};

struct vfio_group;

struct vfio_device {
	struct pcie_device dev;
	char bdf[PCI_BDF_SIZE];
	const struct vfio_iommu_ops *iommu;
	int fd; /* the device */

	struct vfio_group *group; /* by group and container */
	int iommufd;              /* by iommufd */
	uint32_t ioas;

	uint64_t bar0_offset, config_offset; /* in fd */
	void *map;                           /* of BAR0, or NULL */
	unsigned irq_index;
	bool interrupts_on;
	size_t mapped; /* bytes of DMA memory, for messages */

	/* Error and request events. */
	int err_fd, req_fd;
	struct event *err_event, *req_event;
	pcie_device_event_fn *watch_fn;
	void *watch_arg;
};

/* Each opens vfio->fd by its way and sets vfio->iommu, or fails with -errno (logged). */
int vfio_group_open(struct vfio_device *vfio, int group);
int vfio_iommufd_open(struct vfio_device *vfio, int cdev);
/* Whether the kernel and /dev have what the second way needs. */
bool vfio_iommufd_usable(const char *bdf);

#endif
