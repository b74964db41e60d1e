/* SPDX-License-Identifier: BSD-3-Clause */
/* The emulated SSD as a device: registers (Base 3.1.3), DMA table, interrupts, opening
 * and closing. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include "pcie/emul/cache.h"
#include "pcie/emul/state.h"
#include "pcie/emul/uring.h"
#include "util/clock.h"
#include "util/log.h"

#define CAP_TO_500MS      2
#define DOORBELL(qid, cq) (NVME_REG_DOORBELLS + (2u * (qid) + (cq)) * 4u)

static struct emul *emul_of(struct pcie_device *dev)
{
	return container_of(dev, struct emul, dev);
}

void *emul_dma(const struct emul *emul, uint64_t iova, size_t len)
{
	for (unsigned i = 0; i < emul->n_ranges; i++) {
		const struct emul_range *range = &emul->ranges[i];

		if (iova >= range->iova && iova - range->iova < range->len &&
		    len <= range->len - (iova - range->iova))
			return range->va + (iova - range->iova);
	}
	return NULL;
}

void emul_interrupt(struct emul *emul, const struct emul_cq *cq)
{
	const uint64_t one = 1;

	if (cq->interrupts && cq->vector < emul->n_irqs &&
	    !atomic_load_explicit(&emul->sq[cq - emul->cq].muted, memory_order_relaxed) &&
	    write(emul->irq_fds[cq->vector], &one, sizeof(one)) < 0)
		log_warn("%s: interrupt %u could not be signalled", emul->dev.name, cq->vector);
}

void emul_signal(struct emul *emul, struct emul_cq *cq)
{
	cq->unsignalled = 0;
	emul_interrupt(emul, cq);
}

/* --- Registers -------------------------------------------------------------------------------- */

static uint64_t cap(const struct emul *emul)
{
	return (uint64_t)(emul->options.depth - 1) << NVME_CAP_MQES_SHIFT | NVME_CAP_CQR_BIT |
	       (uint64_t)CAP_TO_500MS << NVME_CAP_TO_SHIFT | UINT64_C(1) << NVME_CAP_CSS_SHIFT;
}

static uint64_t reg_read(struct pcie_device *dev, uint32_t off, unsigned size)
{
	struct emul *emul = emul_of(dev);
	uint64_t value;

	if (atomic_load(&emul->gone))
		return UINT64_MAX;
	switch (off & ~7u) {
	case NVME_REG_CAP:
		value = cap(emul);
		break;
	case NVME_REG_VS:
		value = EMUL_VERSION;
		break;
	case NVME_REG_CC & ~7u: /* INTMC and CC */
		value = (uint64_t)emul->cc << 32;
		break;
	case NVME_REG_CSTS & ~7u:
		value = (uint64_t)(emul->csts | (atomic_load(&emul->fatal) ? NVME_CSTS_CFS : 0))
			<< 32;
		break;
	case NVME_REG_AQA & ~7u:
		value = (uint64_t)emul->aqa << 32;
		break;
	case NVME_REG_ASQ:
		value = emul->asq;
		break;
	case NVME_REG_ACQ:
		value = emul->acq;
		break;
	default:
		value = 0;
	}
	value >>= (off & 4) * 8;
	return size == 4 ? (uint32_t)value : value;
}

/* What is under way on the file ends: afterwards no page of the driver's is touched. The driver
 * sees to it that nobody uses the queues meanwhile. False: the file does not answer, and the device
 * stays as it is. */
static bool disable(struct emul *emul)
{
	uint64_t deadline = clock_now_ns() + EMUL_DRAIN_NS;

	for (unsigned qid = 0; qid <= EMUL_MAX_QUEUES; qid++) {
		if (emul->sq[qid].has_uring && !emul->media.ram &&
		    !emul_uring_drain(&emul->sq[qid], false, deadline))
			return false;
		atomic_store(&emul->sq[qid].enabled, false);
	}
	emul->csts = 0;
	atomic_store(&emul->fatal, false);
	emul->n_aers = 0;
	emul->events = NULL;
	return true;
}

/*
 * The driver takes its pages back after this, whatever comes of it. An IOMMU would hold a real SSD
 * off; the kernel, still at work on our file, is held off by nothing but the end of this process.
 */
static void must_disable(struct emul *emul)
{
	if (disable(emul))
		return;
	log_err("%s: its file does not answer: ending, because memory that is still being "
		"transferred cannot be taken back",
		emul->dev.name);
	abort();
}

/* What fault.never_ready and fault.ready_again say of this time. */
static bool gets_ready(const struct emul *emul)
{
	const struct emul_faults *faults = &emul->options.faults;

	return !faults->never_ready || emul->n_enables < faults->never_ready ||
	       (faults->ready_again && emul->n_enables >= faults->ready_again);
}

static void enable(struct emul *emul)
{
	uint32_t sq_entries = (emul->aqa & 0xfff) + 1, cq_entries = (emul->aqa >> 16 & 0xfff) + 1;

	emul->quiet = false;
	for (unsigned qid = 0; qid <= EMUL_MAX_QUEUES; qid++) {
		emul_queue_free(emul, (uint16_t)qid);
		emul->cq[qid].created = false;
	}
	emul->n_enables++;
	if (!gets_ready(emul))
		return;
	if (NVME_CC_MPS(emul->cc) != 0 || NVME_CC_CSS(emul->cc) != 0 ||
	    NVME_CC_IOSQES(emul->cc) != NVME_SQE_SHIFT ||
	    NVME_CC_IOCQES(emul->cc) != NVME_CQE_SHIFT || sq_entries < 2 || cq_entries < 2 ||
	    emul_create_cq(emul, 0, emul->acq, cq_entries, 0, emul->n_irqs > 0) ||
	    emul_create_sq(emul, 0, 0, emul->asq, sq_entries)) {
		emul->csts |= NVME_CSTS_CFS;
		return;
	}
	emul->csts |= NVME_CSTS_RDY;
}

static void write_cc(struct emul *emul, uint32_t cc)
{
	uint32_t old = emul->cc;

	emul->cc = cc;
	if ((cc & NVME_CC_EN) && !(old & NVME_CC_EN))
		enable(emul);
	if (!(cc & NVME_CC_EN) && (old & NVME_CC_EN))
		disable(emul);
	emul->csts &= ~NVME_CSTS_SHST_MASK;
	if (NVME_CC_SHN(cc)) {
		/* Flushing is the host's business (Base 3.6.1); a file is synced all the same. */
		if (emul->media.dirty)
			emul_cache_flush(&emul->media);
		if (emul->media.fd >= 0 && fdatasync(emul->media.fd) < 0)
			log_err("%s: its file could not be synced: %s", emul->dev.name,
				strerror(errno));
		emul->csts |= NVME_CSTS_SHST_DONE << NVME_CSTS_SHST_SHIFT;
	}
}

static void doorbell(struct emul *emul, uint32_t off, uint32_t value)
{
	uint32_t index = (off - NVME_REG_DOORBELLS) / 4;
	uint16_t qid = (uint16_t)(index / 2);

	if (index / 2 > emul->options.queues)
		return;
	if (index & 1)
		emul_cq_doorbell(emul, qid, value);
	else
		emul_sq_doorbell(emul, qid, value);
}

static uint64_t set_half(uint64_t old, uint32_t off, unsigned size, uint64_t value)
{
	if (size == 8)
		return value;
	return off & 4 ? (old & UINT32_MAX) | value << 32
		       : (old & ~(uint64_t)UINT32_MAX) | (uint32_t)value;
}

static void reg_write(struct pcie_device *dev, uint32_t off, unsigned size, uint64_t value)
{
	struct emul *emul = emul_of(dev);

	if (off >= NVME_REG_DOORBELLS) {
		doorbell(emul, off, (uint32_t)value);
		return;
	}
	if (atomic_load(&emul->gone))
		return;
	if (off == NVME_REG_CC)
		write_cc(emul, (uint32_t)value);
	else if (off == NVME_REG_AQA)
		emul->aqa = (uint32_t)value;
	else if ((off & ~7u) == NVME_REG_ASQ)
		emul->asq = set_half(emul->asq, off, size, value);
	else if ((off & ~7u) == NVME_REG_ACQ)
		emul->acq = set_half(emul->acq, off, size, value);
}

/* --- DMA, interrupts, reset ------------------------------------------------------------------- */

static int map_dma(struct pcie_device *dev, void *va, uint64_t iova, size_t len)
{
	struct emul *emul = emul_of(dev);

	if (emul->n_ranges == EMUL_MAX_RANGES)
		return -ENOSPC;
	emul->ranges[emul->n_ranges++] = (struct emul_range){ va, iova, len };
	return 0;
}

static int unmap_dma(struct pcie_device *dev, uint64_t iova, size_t len)
{
	struct emul *emul = emul_of(dev);

	for (unsigned i = 0; i < emul->n_ranges; i++) {
		if (emul->ranges[i].iova == iova && emul->ranges[i].len == len) {
			emul->ranges[i] = emul->ranges[--emul->n_ranges];
			return 0;
		}
	}
	return -ENOENT;
}

static int set_interrupts(struct pcie_device *dev, const int *fds, unsigned n)
{
	struct emul *emul = emul_of(dev);

	if (n > dev->n_vectors)
		return -EINVAL;
	/* The last that the driver asks of a device that is gone: a real one would not write
	 * either. */
	if (!n && atomic_load(&emul->gone))
		must_disable(emul);
	emul->quiet = n == 0;
	if (n)
		memcpy(emul->irq_fds, fds, n * sizeof(fds[0]));
	emul->n_irqs = n;
	return 0;
}

static int reset(struct pcie_device *dev)
{
	struct emul *emul = emul_of(dev);

	if (atomic_load(&emul->gone))
		return -ENODEV;
	must_disable(emul);
	emul->cc = 0;
	return 0;
}

static int watch(struct pcie_device *dev, struct loop *loop, pcie_device_event_fn *fn, void *arg)
{
	struct emul *emul = emul_of(dev);

	emul->watch_loop = loop;
	emul->watch_fn = fn;
	emul->watch_arg = arg;
	return 0;
}

static void come_back_later(struct emul *emul)
{
	unsigned ms = emul->options.faults.back_ms;
	const struct timeval after = clock_timeval(ms);

	if (ms && emul->back_timer)
		evtimer_add(emul->back_timer, &after);
}

/* As after power-on. */
static void come_back(evutil_socket_t fd, short what, void *arg)
{
	struct emul *emul = arg;
	const struct emul_faults *faults = &emul->options.faults;

	(void)fd;
	(void)what;
	if (!emul->quiet || (faults->back_when[0] && access(faults->back_when, F_OK) < 0)) {
		come_back_later(emul);
		return;
	}
	must_disable(emul);
	emul->cc = 0;
	if (emul->media.dirty)
		emul_cache_drop(&emul->media);
	if (faults->back_as[0])
		memcpy(emul->options.serial, faults->back_as, sizeof(emul->options.serial));
	atomic_store(&emul->gone, false);
	emul->watch_fn(emul->watch_arg, PCIE_DEVICE_BACK);
}

void emul_announce_gone(struct loop_msg *msg)
{
	struct emul *emul = container_of(msg, struct emul, gone_msg);

	if (!emul->back_timer)
		emul->back_timer = evtimer_new(emul->watch_loop->base, come_back, emul);
	come_back_later(emul);
	emul->watch_fn(emul->watch_arg, PCIE_DEVICE_GONE);
}

static void poll(struct pcie_device *dev, uint16_t qid)
{
	emul_queue_poll(emul_of(dev), qid);
}

static void close_device(struct pcie_device *dev)
{
	struct emul *emul = emul_of(dev);

	for (unsigned qid = 0; qid <= EMUL_MAX_QUEUES; qid++)
		emul_queue_free(emul, (uint16_t)qid);
	emul_bad_fini(&emul->bad);
	pthread_mutex_destroy(&emul->change_lock);
	if (emul->back_timer)
		event_free(emul->back_timer);
	emul_media_close(&emul->media);
	free(emul);
}

static const struct pcie_device_ops emul_ops = {
	.read = reg_read,
	.write = reg_write,
	.map_dma = map_dma,
	.unmap_dma = unmap_dma,
	.set_interrupts = set_interrupts,
	.reset = reset,
	.poll = poll,
	.watch = watch,
	.close = close_device,
};

/* --- Opening ---------------------------------------------------------------------------------- */

/* What tells this machine from others (machine-id(5)); empty if it has no such thing. 0 or -errno
 * (logged): it has one, and with none the SSD would be another one to hosts. */
static int machine_id(char ret_id[33])
{
	FILE *file = fopen("/etc/machine-id", "re");
	int err = !file && errno != ENOENT ? -errno : 0;

	ret_id[0] = '\0';
	if (file) {
		errno = 0;
		if (fscanf(file, "%32[0-9a-f]", ret_id) != 1 && ferror(file))
			err = errno ? -errno : -EIO;
		fclose(file);
	}
	if (err)
		log_err("/etc/machine-id cannot be read: %s; an SSD with serial= needs it not",
			strerror(-err));
	return err;
}

/*
 * Stable identity. A serial number that was given and the file make it, so that the file may move
 * to another machine. Otherwise it is this machine's alone: a host that uses files of the same name
 * on two machines must not take them for two paths to one namespace.
 */
static int set_identity(struct emul *emul, unsigned index)
{
	static const uint8_t space[16] = { 0x63, 0x1b, 0x4e, 0x0c, 0x93, 0x27, 0x4e, 0x6b,
					   0xa0, 0x4f, 0x55, 0x9d, 0x1c, 0x62, 0x07, 0x33 };
	char name[512], machine[33];
	uuid_t id;

	if (!emul->options.serial[0]) {
		int err = machine_id(machine);

		if (err)
			return err;
		snprintf(name, sizeof(name), "%s|%s", emul->options.file, machine);
		uuid_generate_sha1(id, space, name, strlen(name));
		snprintf(emul->options.serial, sizeof(emul->options.serial),
			 "EMU%02X%02X%02X%02X%02X%02X%02X", id[0], id[1], id[2], id[3], id[4],
			 id[5], id[6]);
		/* Two SSDs in memory must differ, on this machine and on the next start. */
		if (!emul->options.file[0])
			snprintf(emul->options.serial + 13, sizeof(emul->options.serial) - 13,
				 "%03u", index % 1000);
	}
	snprintf(name, sizeof(name), "%s|%s", emul->options.file, emul->options.serial);
	for (unsigned i = 0; i < emul->options.namespaces; i++) {
		size_t len = strlen(name);

		name[len] = (char)('A' + i);
		uuid_generate_sha1(emul->ns_uuid[i], space, name, len + 1);
		name[len] = '\0';
	}
	return 0;
}

bool emul_device_present(const struct emul_options *options)
{
	return !options->file[0] || access(options->file, F_OK) == 0 || errno == EACCES;
}

int emul_device_open(const struct emul_options *options, struct pcie_device **ret_dev)
{
	static unsigned opened; /* main thread */
	struct emul *emul = calloc(1, sizeof(*emul));
	uint64_t blocks;
	int err;

	if (!emul)
		return -ENOMEM;
	emul->options = *options;
	emul->dev.ops = &emul_ops;
	emul->dev.bar0_len = DOORBELL(EMUL_MAX_QUEUES + 1, 0);
	emul->dev.n_vectors = options->vectors;
	emul->dev.returns = true;
	emul->dev.iova_max = UINT64_MAX;
	snprintf(emul->dev.name, sizeof(emul->dev.name), "emulated:%u", opened);
	pthread_mutex_init(&emul->change_lock, NULL);
	emul->block_bytes = (1u << options->lba_shift) + options->ms;
	err = emul_media_open(options, &emul->media);
	emul->dev.data_align = emul->media.data_align;
	blocks = emul->media.size / emul->block_bytes;
	if (!err && emul->media.ram)
		err = emul_bad_init(&emul->bad, emul->media.size >> 9); /* of any format */
	if (!err && blocks < options->namespaces) {
		log_err("%s: too small for %u namespaces", emul->dev.name, options->namespaces);
		err = -EINVAL;
	}
	if (!err)
		err = set_identity(emul, opened);
	if (err) {
		close_device(&emul->dev);
		return err;
	}
	emul->ns_blocks = emul->ns_span = blocks / options->namespaces;
	emul->n_ns = options->namespaces - (options->faults.attach_after ? 1 : 0);
	emul->faulty = emul_fault_any(&options->faults);
	memcpy(emul->firmware, "1.0     ", sizeof(emul->firmware));
	opened++;
	*ret_dev = &emul->dev;
	return 0;
}
