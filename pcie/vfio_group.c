/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The group and container interface: /dev/vfio/vfio is the container (an IOMMU domain), /dev/vfio/N
 * the group. A group can be opened once, so functions of one group share it and its container, and
 * memory that one has mapped is mapped for the others.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pcie/vfio_internal.h"
#include "util/log.h"

struct vfio_group {
	LIST_ENTRY(vfio_group) link;
	int number;
	int fd, container;
	unsigned refs;
	unsigned map_refs;
	uint64_t iova_max;
};

static LIST_HEAD(, vfio_group) groups = LIST_HEAD_INITIALIZER(groups);

static int group_map(struct vfio_device *vfio, void *va, uint64_t iova, size_t len)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)va,
		.iova = iova,
		.size = len,
	};

	if (vfio->group->map_refs++)
		return 0; /* another function of the group did: it is the same arena */
	if (ioctl(vfio->group->container, VFIO_IOMMU_MAP_DMA, &map) == 0)
		return 0;
	vfio->group->map_refs--;
	return -errno;
}

static int group_unmap(struct vfio_device *vfio, uint64_t iova, size_t len)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap),
						    .iova = iova,
						    .size = len };

	if (--vfio->group->map_refs)
		return 0;
	return ioctl(vfio->group->container, VFIO_IOMMU_UNMAP_DMA, &unmap) < 0 ? -errno : 0;
}

static void group_put(struct vfio_group *group)
{
	if (--group->refs)
		return;
	LIST_REMOVE(group, link);
	if (group->fd >= 0)
		close(group->fd);
	if (group->container >= 0)
		close(group->container);
	free(group);
}

static void group_close(struct vfio_device *vfio)
{
	if (vfio->group)
		group_put(vfio->group);
	vfio->group = NULL;
}

static const struct vfio_iommu_ops group_ops = {
	.map = group_map,
	.unmap = group_unmap,
	.close = group_close,
};

static void log_open_error(const struct vfio_device *vfio, const char *path, int err)
{
	struct stat st;

	if (err == -EACCES && stat(path, &st) == 0)
		log_err("%s: no permission for %s (owner %u, group %u, mode %o): make it "
			"this user's, by chown or by a udev rule",
			vfio->bdf, path, st.st_uid, st.st_gid, st.st_mode & 0777);
	else if (err == -ENOENT)
		log_err("%s: there is no %s: modprobe vfio-pci", vfio->bdf, path);
	else if (err == -EBUSY)
		log_err("%s: %s is in use: another process has this SSD or one of its group",
			vfio->bdf, path);
	else
		log_err("%s: %s: %s", vfio->bdf, path, strerror(-err));
}

/* The end of the last IOVA range that the IOMMU offers; everything, when it does not say. */
static uint64_t iova_max(int container)
{
	uint8_t buf[4096] __attribute__((aligned(8))) = { 0 };
	struct vfio_iommu_type1_info *info = (void *)buf;
	struct vfio_iommu_type1_info_cap_iova_range ranges;
	struct vfio_iova_range last;
	size_t at, end;

	info->argsz = sizeof(buf);
	if (ioctl(container, VFIO_IOMMU_GET_INFO, info) < 0 ||
	    !(info->flags & VFIO_IOMMU_INFO_CAPS))
		return UINT64_MAX;
	/* Copied out: older kernels put capabilities at multiples of 4 only. */
	for (at = info->cap_offset; at && at + sizeof(ranges) <= sizeof(buf);
	     at = ranges.header.next) {
		memcpy(&ranges, buf + at, sizeof(ranges));
		if (ranges.header.id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		end = at + sizeof(ranges) + ranges.nr_iovas * sizeof(last);
		if (!ranges.nr_iovas || end > sizeof(buf))
			break;
		memcpy(&last, buf + end - sizeof(last), sizeof(last));
		return last.end;
	}
	return UINT64_MAX;
}

static int container_setup(struct vfio_device *vfio, struct vfio_group *group)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	int err;

	if (ioctl(group->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    !ioctl(group->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU)) {
		log_err("%s: the kernel's VFIO has no type 1 IOMMU: modprobe vfio_iommu_type1",
			vfio->bdf);
		return -ENOTSUP;
	}
	if (ioctl(group->fd, VFIO_GROUP_GET_STATUS, &status) < 0)
		return -errno;
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
		pci_log_group(group->number, vfio->bdf);
		return -EPERM;
	}
	if (ioctl(group->fd, VFIO_GROUP_SET_CONTAINER, &group->container) < 0 ||
	    ioctl(group->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0) {
		err = -errno;
		log_err("%s: its group cannot join an IOMMU container: %s%s", vfio->bdf,
			strerror(-err),
			err == -EPERM ? " (no interrupt remapping? see dmesg)" : "");
		return err;
	}
	group->iova_max = iova_max(group->container);
	return 0;
}

static int group_get(struct vfio_device *vfio, int number, struct vfio_group **ret_group)
{
	struct vfio_group *group;
	char path[32];
	int err;

	LIST_FOREACH (group, &groups, link) {
		if (group->number == number) {
			group->refs++;
			*ret_group = group;
			return 0;
		}
	}
	group = calloc(1, sizeof(*group));
	if (!group)
		return -ENOMEM;
	group->number = number;
	group->refs = 1;
	LIST_INSERT_HEAD(&groups, group, link);
	snprintf(path, sizeof(path), "/dev/vfio/%d", number);
	group->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	err = group->container < 0 ? -errno : 0;
	group->fd = err ? -1 : open(path, O_RDWR | O_CLOEXEC);
	if (!err && group->fd < 0)
		err = -errno;
	if (err)
		log_open_error(vfio, group->container < 0 ? "/dev/vfio/vfio" : path, err);
	else
		err = container_setup(vfio, group);
	if (err) {
		group_put(group);
		return err;
	}
	*ret_group = group;
	return 0;
}

int vfio_group_open(struct vfio_device *vfio, int number)
{
	int err = group_get(vfio, number, &vfio->group);

	if (err)
		return err;
	vfio->iommu = &group_ops;
	vfio->dev.iova_max = vfio->group->iova_max;
	vfio->fd = ioctl(vfio->group->fd, VFIO_GROUP_GET_DEVICE_FD, vfio->bdf);
	if (vfio->fd < 0) {
		err = -errno;
		log_err("%s: VFIO does not hand it out: %s", vfio->bdf, strerror(-err));
	}
	return err;
}
