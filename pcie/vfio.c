/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFIO device: regions, interrupts, reset, events; see vfio.h. How its IOMMU is reached is
 * vfio_group.c's or iommufd.c's.
 */
#include "pcie/vfio.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "pcie/mmio.h"
#include "pcie/nvme.h"
#include "pcie/vfio_internal.h"
#include "util/check.h"
#include "util/le.h"
#include "util/log.h"
#include "util/loop.h"

#define MAX_VECTORS 2048                      /* MSI-X has no more */
#define BAR0_MIN    (NVME_REG_DOORBELLS + 16) /* doorbells of the admin queue and one more pair */

static struct vfio_device *vfio_of(struct pcie_device *dev)
{
	return container_of(dev, struct vfio_device, dev);
}

/* --- Registers and config space --------------------------------------------------------------- */

static uint64_t reg_read(struct pcie_device *dev, uint32_t off, unsigned size)
{
	struct vfio_device *vfio = vfio_of(dev);
	uint64_t raw = 0;

	if (pread(vfio->fd, &raw, size, (off_t)(vfio->bar0_offset + off)) != (ssize_t)size)
		return UINT64_MAX; /* as a device that is gone reads */
	return le64toh(raw);
}

static void reg_write(struct pcie_device *dev, uint32_t off, unsigned size, uint64_t value)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(5);
	struct vfio_device *vfio = vfio_of(dev);
	uint64_t raw = htole64(value);

	/* Doorbells too, where BAR0 cannot be mapped. The kernel orders what was written before
	 * with its own write, but not what was read. */
	mmio_before_write();
	if (pwrite(vfio->fd, &raw, size, (off_t)(vfio->bar0_offset + off)) != (ssize_t)size)
		log_limited(&limit, LOG_LEVEL_ERR, "%s: register %xh cannot be written: %s",
			    vfio->bdf, off, strerror(errno));
}

static int set_bus_master(struct vfio_device *vfio, bool on)
{
	off_t at = (off_t)vfio->config_offset + PCI_COMMAND;
	uint16_t raw, command;

	if (pread(vfio->fd, &raw, sizeof(raw), at) != (ssize_t)sizeof(raw))
		return -EIO;
	command = le16toh(raw);
	command = (uint16_t)(on ? command | PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY
				: command & ~PCI_COMMAND_MASTER);
	raw = htole16(command);
	return pwrite(vfio->fd, &raw, sizeof(raw), at) == (ssize_t)sizeof(raw) ? 0 : -EIO;
}

/* Maps all of BAR0 when the kernel lets us; else every access is a pread or pwrite. */
static int setup_regions(struct vfio_device *vfio)
{
	struct vfio_region_info bar0 = { .argsz = sizeof(bar0),
					 .index = VFIO_PCI_BAR0_REGION_INDEX };
	struct vfio_region_info config = { .argsz = sizeof(config),
					   .index = VFIO_PCI_CONFIG_REGION_INDEX };

	if (ioctl(vfio->fd, VFIO_DEVICE_GET_REGION_INFO, &bar0) < 0 ||
	    ioctl(vfio->fd, VFIO_DEVICE_GET_REGION_INFO, &config) < 0)
		return -errno;
	if (bar0.size < BAR0_MIN) {
		log_err("%s: BAR0 is too small for an NVMe controller: %llu bytes", vfio->bdf,
			(unsigned long long)bar0.size);
		return -ENODEV;
	}
	vfio->bar0_offset = bar0.offset;
	vfio->config_offset = config.offset;
	vfio->dev.bar0_len = bar0.size;
	/* Areas that must not be mapped (a capability of the region lists them) make
	 * mmap() fail. */
	if (!(bar0.flags & VFIO_REGION_INFO_FLAG_MMAP))
		return 0;
	vfio->map = mmap(NULL, bar0.size, PROT_READ | PROT_WRITE, MAP_SHARED, vfio->fd,
			 (off_t)bar0.offset);
	if (vfio->map == MAP_FAILED) {
		log_debug("%s: BAR0 cannot be mapped as a whole (%s): using read and write",
			  vfio->bdf, strerror(errno));
		vfio->map = NULL;
	}
	vfio->dev.bar0 = vfio->map;
	return 0;
}

/* --- Interrupts ------------------------------------------------------------------------------- */

static unsigned count_irqs(struct vfio_device *vfio, unsigned index)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = index };

	if (ioctl(vfio->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 ||
	    !(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;
	return info.count > MAX_VECTORS ? MAX_VECTORS : info.count;
}

/* MSI-X, else MSI. INTx is shared and must be unmasked by hand: polling is better. */
static void choose_irqs(struct vfio_device *vfio)
{
	vfio->irq_index = VFIO_PCI_MSIX_IRQ_INDEX;
	vfio->dev.n_vectors = count_irqs(vfio, vfio->irq_index);
	if (vfio->dev.n_vectors)
		return;
	vfio->irq_index = VFIO_PCI_MSI_IRQ_INDEX;
	vfio->dev.n_vectors = count_irqs(vfio, vfio->irq_index);
	if (!vfio->dev.n_vectors)
		log_warn("%s: it has neither MSI-X nor MSI: its queues are polled", vfio->bdf);
}

/* 0, -errno, or how many vectors there are when they are fewer than `n`: none is enabled then. */
static int set_irqs(struct vfio_device *vfio, unsigned index, const int *fds, unsigned n)
{
	size_t size = sizeof(struct vfio_irq_set) + n * sizeof(fds[0]);
	struct vfio_irq_set *set = calloc(1, size);
	int ret;

	if (!set)
		return -ENOMEM;
	set->argsz = (uint32_t)size;
	set->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
		     (n ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	set->index = index;
	set->count = n;
	if (n)
		memcpy(set->data, fds, n * sizeof(fds[0]));
	ret = ioctl(vfio->fd, VFIO_DEVICE_SET_IRQS, set);
	if (ret < 0)
		ret = -errno;
	free(set);
	return ret;
}

static int set_interrupts(struct pcie_device *dev, const int *fds, unsigned n)
{
	struct vfio_device *vfio = vfio_of(dev);
	int err;

	if (vfio->interrupts_on) {
		set_irqs(vfio, vfio->irq_index, NULL, 0);
		vfio->interrupts_on = false;
	}
	if (!n)
		return 0;
	err = set_irqs(vfio, vfio->irq_index, fds, n);
	if (err > 0 && (unsigned)err < n) {
		log_warn("%s: the machine has %d interrupt vectors for it, not %u", vfio->bdf, err,
			 n);
		dev->n_vectors = (unsigned)err;
		return -ENOSPC;
	}
	vfio->interrupts_on = !err;
	return err;
}

/* --- DMA -------------------------------------------------------------------------------------- */

static void log_memlock(const struct vfio_device *vfio, size_t len)
{
	struct rlimit limit;
	size_t need = vfio->mapped + len;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		log_err("%s: the kernel cannot lock %zu MiB for DMA", vfio->bdf, need >> 20);
	else
		log_err("%s: RLIMIT_MEMLOCK is too small: %llu KiB, and each SSD needs %zu KiB: "
			"ulimit -l %zu, or LimitMEMLOCK=%zuK in the systemd unit; or use less: "
			"dma_memory, --dma-memory",
			vfio->bdf, (unsigned long long)limit.rlim_cur >> 10, need >> 10, need >> 10,
			need >> 10);
}

static int map_dma(struct pcie_device *dev, void *va, uint64_t iova, size_t len)
{
	struct vfio_device *vfio = vfio_of(dev);
	int err = vfio->iommu->map(vfio, va, iova, len);

	if (!err)
		vfio->mapped += len;
	else if (err == -ENOMEM)
		log_memlock(vfio, len);
	else
		log_err("%s: DMA memory cannot be mapped at %llx: %s", vfio->bdf,
			(unsigned long long)iova, strerror(-err));
	return err;
}

static int unmap_dma(struct pcie_device *dev, uint64_t iova, size_t len)
{
	struct vfio_device *vfio = vfio_of(dev);

	vfio->mapped -= len;
	return vfio->iommu->unmap(vfio, iova, len);
}

/* --- Reset and events ------------------------------------------------------------------------- */

static int reset(struct pcie_device *dev)
{
	struct vfio_device *vfio = vfio_of(dev);
	struct vfio_device_info info = { .argsz = sizeof(info) };

	if (ioctl(vfio->fd, VFIO_DEVICE_GET_INFO, &info) < 0)
		return -errno;
	if (!(info.flags & VFIO_DEVICE_FLAGS_RESET))
		return -ENOTSUP;
	if (ioctl(vfio->fd, VFIO_DEVICE_RESET) < 0)
		return -errno;
	return set_bus_master(vfio, true); /* the reset cleared it */
}

static int stop_dma(struct pcie_device *dev)
{
	return set_bus_master(vfio_of(dev), false);
}

static void on_error(evutil_socket_t fd, short what, void *arg)
{
	struct vfio_device *vfio = arg;

	(void)fd;
	(void)what;
	vfio->watch_fn(vfio->watch_arg, PCIE_DEVICE_ERROR);
}

static void on_request(evutil_socket_t fd, short what, void *arg)
{
	struct vfio_device *vfio = arg;

	(void)fd;
	(void)what;
	vfio->watch_fn(vfio->watch_arg, PCIE_DEVICE_REQUEST);
}

/* Not every kernel and device has both: then those events just do not come. */
static int watch_one(struct vfio_device *vfio, struct event_base *base, unsigned index, int *fd,
		     struct event **event, event_callback_fn callback)
{
	if (!count_irqs(vfio, index))
		return 0;
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (*fd < 0)
		return -errno;
	*event = event_new(base, *fd, EV_READ | EV_ET | EV_PERSIST, callback, vfio);
	if (!*event || event_add(*event, NULL) < 0)
		return -ENOMEM;
	return set_irqs(vfio, index, fd, 1);
}

static int watch(struct pcie_device *dev, struct loop *loop, pcie_device_event_fn *fn, void *arg)
{
	struct vfio_device *vfio = vfio_of(dev);
	int err;

	vfio->watch_fn = fn;
	vfio->watch_arg = arg;
	err = watch_one(vfio, loop->base, VFIO_PCI_ERR_IRQ_INDEX, &vfio->err_fd, &vfio->err_event,
			on_error);
	if (!err)
		err = watch_one(vfio, loop->base, VFIO_PCI_REQ_IRQ_INDEX, &vfio->req_fd,
				&vfio->req_event, on_request);
	return err;
}

static void close_device(struct pcie_device *dev)
{
	struct vfio_device *vfio = vfio_of(dev);

	if (vfio->fd >= 0 && vfio->config_offset)
		(void)set_bus_master(vfio, false);
	if (vfio->err_event)
		event_free(vfio->err_event);
	if (vfio->req_event)
		event_free(vfio->req_event);
	if (vfio->map)
		munmap(vfio->map, vfio->dev.bar0_len);
	if (vfio->fd >= 0)
		close(vfio->fd);
	if (vfio->iommu)
		vfio->iommu->close(vfio);
	if (vfio->err_fd >= 0)
		close(vfio->err_fd);
	if (vfio->req_fd >= 0)
		close(vfio->req_fd);
	free(vfio);
}

static const struct pcie_device_ops vfio_ops = {
	.read = reg_read,
	.write = reg_write,
	.map_dma = map_dma,
	.unmap_dma = unmap_dma,
	.set_interrupts = set_interrupts,
	.reset = reset,
	.stop_dma = stop_dma,
	.watch = watch,
	.close = close_device,
};

static int setup(struct vfio_device *vfio)
{
	int err = setup_regions(vfio);

	if (!err)
		err = reset(&vfio->dev);
	if (err == -ENOTSUP)
		err = set_bus_master(vfio, true); /* no reset: the driver disables it anyway */
	if (err)
		log_err("%s: its registers cannot be set up: %s", vfio->bdf, strerror(-err));
	else
		choose_irqs(vfio);
	return err;
}

bool vfio_device_present(const char *text)
{
	char bdf[PCI_BDF_SIZE], driver[64];

	if (pci_parse_bdf(text, bdf))
		return false;
	pci_driver(bdf, driver, sizeof(driver));
	return strcmp(driver, "vfio-pci") == 0;
}

int vfio_device_open(const char *text, struct pcie_device **ret_dev)
{
	struct vfio_device *vfio;
	char bdf[PCI_BDF_SIZE];
	int group, err = pci_parse_bdf(text, bdf);

	if (err) {
		log_err("%s: expected a PCI address such as 0000:01:00.0", text);
		return err;
	}
	err = pci_check(bdf, &group);
	if (err)
		return err;
	vfio = calloc(1, sizeof(*vfio));
	if (!vfio)
		return -ENOMEM;
	vfio->dev.ops = &vfio_ops;
	vfio->dev.data_align = sizeof(le32);
	vfio->fd = vfio->iommufd = vfio->err_fd = vfio->req_fd = -1;
	memcpy(vfio->bdf, bdf, sizeof(bdf));
	snprintf(vfio->dev.name, sizeof(vfio->dev.name), "%s", bdf);
	err = vfio_iommufd_usable(bdf) ? vfio_iommufd_open(vfio, pci_vfio_cdev(bdf))
				       : vfio_group_open(vfio, group);
	if (!err)
		err = setup(vfio);
	if (err) {
		close_device(&vfio->dev);
		return err;
	}
	*ret_dev = &vfio->dev;
	return 0;
}
