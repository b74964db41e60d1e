/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The newer way: the device's own character device and an iommufd (Linux 6.6). No Debian 12 kernel
 * has it, and its headers are newer than ours, so the few requests we need are written down here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "pcie/vfio_internal.h"
#include "util/check.h"
#include "util/log.h"

/* uapi of <linux/iommufd.h> and of newer <linux/vfio.h>. */
struct ioas_alloc {
	uint32_t size, flags, out_ioas_id;
};
WIRE_SIZE(struct ioas_alloc, 12);
struct ioas_map {
	uint32_t size, flags, ioas_id, reserved;
	uint64_t user_va, length, iova;
};
WIRE_SIZE(struct ioas_map, 40);
struct ioas_unmap {
	uint32_t size, ioas_id;
	uint64_t iova, length;
};
WIRE_SIZE(struct ioas_unmap, 24);
struct iova_range {
	uint64_t start, last;
};
struct ioas_iova_ranges {
	uint32_t size, ioas_id, num_iovas, reserved;
	uint64_t allowed_iovas;
	uint64_t out_iova_alignment;
};
WIRE_SIZE(struct ioas_iova_ranges, 32);
struct bind_iommufd {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t out_devid;
};
WIRE_SIZE(struct bind_iommufd, 16);
struct attach_pt {
	uint32_t argsz, flags, pt_id;
};

#define IOAS_ALLOC          _IO(';', 0x81)
#define IOAS_IOVA_RANGES    _IO(';', 0x84)
#define IOAS_MAP            _IO(';', 0x85)
#define IOAS_UNMAP          _IO(';', 0x86)
#define IOAS_MAP_FIXED_IOVA (1u << 0)
#define IOAS_MAP_WRITEABLE  (1u << 1)
#define IOAS_MAP_READABLE   (1u << 2)
#define BIND_IOMMUFD        _IO(VFIO_TYPE, VFIO_BASE + 18)
#define ATTACH_PT           _IO(VFIO_TYPE, VFIO_BASE + 19)
#define MAX_RANGES          64

static int fd_map(struct vfio_device *vfio, void *va, uint64_t iova, size_t len)
{
	struct ioas_map map = {
		.size = sizeof(map),
		.flags = IOAS_MAP_FIXED_IOVA | IOAS_MAP_WRITEABLE | IOAS_MAP_READABLE,
		.ioas_id = vfio->ioas,
		.user_va = (uintptr_t)va,
		.length = len,
		.iova = iova,
	};

	return ioctl(vfio->iommufd, IOAS_MAP, &map) < 0 ? -errno : 0;
}

static int fd_unmap(struct vfio_device *vfio, uint64_t iova, size_t len)
{
	struct ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = vfio->ioas, .iova = iova, .length = len
	};

	return ioctl(vfio->iommufd, IOAS_UNMAP, &unmap) < 0 ? -errno : 0;
}

static void fd_close(struct vfio_device *vfio)
{
	if (vfio->iommufd >= 0)
		close(vfio->iommufd);
	vfio->iommufd = -1;
}

static const struct vfio_iommu_ops fd_ops = { .map = fd_map, .unmap = fd_unmap, .close = fd_close };

bool vfio_iommufd_usable(const char *bdf)
{
	return access("/dev/iommu", R_OK | W_OK) == 0 && pci_vfio_cdev(bdf) >= 0;
}

static uint64_t iova_max(const struct vfio_device *vfio)
{
	struct iova_range ranges[MAX_RANGES];
	struct ioas_iova_ranges query = {
		.size = sizeof(query),
		.ioas_id = vfio->ioas,
		.num_iovas = MAX_RANGES,
		.allowed_iovas = (uintptr_t)ranges,
	};

	if (ioctl(vfio->iommufd, IOAS_IOVA_RANGES, &query) < 0 || !query.num_iovas)
		return UINT64_MAX;
	return ranges[query.num_iovas - 1].last;
}

int vfio_iommufd_open(struct vfio_device *vfio, int cdev)
{
	struct bind_iommufd bind = { .argsz = sizeof(bind) };
	struct ioas_alloc alloc = { .size = sizeof(alloc) };
	struct attach_pt attach = { .argsz = sizeof(attach) };
	char path[48];
	int err;

	snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%d", cdev);
	vfio->iommu = &fd_ops;
	vfio->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (vfio->iommufd >= 0)
		vfio->fd = open(path, O_RDWR | O_CLOEXEC);
	bind.iommufd = vfio->iommufd;
	if (vfio->iommufd < 0 || vfio->fd < 0 || ioctl(vfio->fd, BIND_IOMMUFD, &bind) < 0 ||
	    ioctl(vfio->iommufd, IOAS_ALLOC, &alloc) < 0) {
		err = -errno;
		log_err("%s: %s with /dev/iommu: %s", vfio->bdf, path, strerror(-err));
		return err;
	}
	vfio->ioas = attach.pt_id = alloc.out_ioas_id;
	if (ioctl(vfio->fd, ATTACH_PT, &attach) < 0) {
		err = -errno;
		log_err("%s: its IOMMU cannot be used: %s", vfio->bdf, strerror(-err));
		return err;
	}
	vfio->dev.iova_max = iova_max(vfio);
	return 0;
}
