/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI function through VFIO, as a device of the seam (pcie/device.h): the legacy group and
 * container interface, or a device cdev with iommufd where the kernel has them.
 */
#ifndef NVMETD_PCIE_VFIO_H
#define NVMETD_PCIE_VFIO_H

#include <stdbool.h>

struct pcie_device;

/*
 * Opens the function at `bdf` ("0000:01:00.0", the domain may be missing): it is bound to vfio-pci,
 * its IOMMU group is viable, BAR0 is mapped, it is reset and may master the bus. 0, or -errno with
 * log lines that say what is in the way and what to type. Main thread.
 */
int vfio_device_open(const char *bdf, struct pcie_device **ret_dev);

/* Whether it is there and bound to vfio-pci: vfio_device_open() is worth trying. Logs nothing. */
bool vfio_device_present(const char *bdf);

#endif
