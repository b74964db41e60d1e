/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI function as sysfs shows it: whether it is there, what it is, who drives it, with whom it
 * shares an IOMMU group. Each refusal is logged with what to type. Main thread.
 */
#ifndef NVMETD_PCIE_PCI_H
#define NVMETD_PCIE_PCI_H

#include <stddef.h>

#define PCI_BDF_SIZE 13 /* "0000:01:00.0" and NUL */

/* Where sysfs is; tests put a tree of their own here. Default "/sys". The text stays
 * the caller's. */
void pci_set_sysfs(const char *root);
const char *pci_sysfs(void);

/* "1:0.0", "01:00.0", "0000:01:00.0" → "0000:01:00.0". 0 or -EINVAL. */
int pci_parse_bdf(const char *text, char bdf[PCI_BDF_SIZE]);

/*
 * Checks that the function exists, is an NVMe controller (class 010802h), has an IOMMU group and is
 * bound to vfio-pci. 0 and the group's number, or -ENOENT, -ENODEV, -ENOTSUP, -EBUSY (all logged).
 */
int pci_check(const char *bdf, int *ret_group);

/* Logs the other members of a group that is not viable, with their drivers. */
void pci_log_group(int group, const char *bdf);

/* The driver that a function is bound to; "" for none. */
void pci_driver(const char *bdf, char *name, size_t size);

/* The number N of /dev/vfio/devices/vfioN. -ENOENT: the kernel has no device cdevs. */
int pci_vfio_cdev(const char *bdf);

#endif
