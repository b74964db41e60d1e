/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SSD's answers. An SSD that does nothing but answer is brought up, exported, used by a host
 * and shut down; an input says, command by command, which of its answers are lies. The host never
 * sees anything that breaks the protocol, and afterwards nothing is left.
 *
 * Input: 8 bytes that change CAP (XOR), then for each command one byte: 0 is the truth, others are
 * in lie().
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "pcie/device.h"
#include "target/nvmf.h"
#include "target/ssd.h"
#include "target/worker.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "util/check.h"
#include "util/num.h"

#define QUEUES    4
#define HOSTS     3
#define MAX_IRQS  (QUEUES + 1)
#define MAX_AERS  4
#define MAX_LATER 8

struct ring {
	uint8_t *va;
	uint32_t entries, at;
	bool phase;
	uint16_t vector;
};

struct liar {
	struct pcie_device dev;
	struct input *input;
	uint8_t *dma;
	uint64_t iova;
	size_t dma_len;
	uint64_t cap, asq, acq;
	uint32_t cc, csts, aqa;
	bool gone;
	struct ring sq[QUEUES + 1], cq[QUEUES + 1];
	int irqs[MAX_IRQS];
	unsigned n_irqs;
	le16 aers[MAX_AERS];
	unsigned n_aers;
	struct {
		unsigned qid;
		struct nvme_cqe cqe;
	} later[MAX_LATER];
	unsigned n_later;
	pcie_device_event_fn *tell;
	void *tell_arg;
	struct loop_msg gone_msg;
	struct loop *loop;
};

static struct host hosts[HOSTS];
static bool closing;

static struct liar *liar_of(struct pcie_device *dev)
{
	return container_of(dev, struct liar, dev);
}

static void *dma(const struct liar *liar, uint64_t iova, size_t len)
{
	if (iova < liar->iova || iova - liar->iova > liar->dma_len ||
	    len > liar->dma_len - (iova - liar->iova))
		return NULL;
	return liar->dma + (iova - liar->iova);
}

/* What the IOMMU lets an SSD do, whoever has that memory by now: nothing of it is ours to check. */
__attribute__((no_sanitize_address)) static void copy(void *to, const void *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
}

/* --- Completions ------------------------------------------------------------------------------ */

static void signal_irq(const struct liar *liar, const struct ring *cq)
{
	const uint64_t one = 1;

	if (cq->vector < liar->n_irqs)
		must(write(liar->irqs[cq->vector], &one, sizeof(one)) == sizeof(one));
}

static void post(struct liar *liar, unsigned qid, struct nvme_cqe cqe)
{
	struct ring *cq = &liar->cq[qid];

	if (!cq->va)
		return;
	cqe.status = le16_set((uint16_t)((le16_get(cqe.status) & ~1u) | cq->phase));
	copy(cq->va + cq->at * sizeof(cqe), &cqe, sizeof(cqe));
	if (++cq->at == cq->entries) {
		cq->at = 0;
		cq->phase = !cq->phase;
	}
	signal_irq(liar, cq);
}

static void on_gone(struct loop_msg *msg)
{
	struct liar *liar = container_of(msg, struct liar, gone_msg);

	liar->tell(liar->tell_arg, PCIE_DEVICE_GONE);
}

static void patch(struct liar *liar, uint8_t *data)
{
	size_t at = input_u16(liar->input) % NVME_PAGE_SIZE, len = input_u8(liar->input) & 31;
	const uint8_t *bytes = input_bytes(liar->input, len, &len);

	if (data)
		copy(data + at, bytes, num_min(len, NVME_PAGE_SIZE - at));
}

static void fill(struct liar *liar, uint8_t *data)
{
	size_t at = input_u16(liar->input) % NVME_PAGE_SIZE, len = input_u16(liar->input);
	uint8_t value = input_u8(liar->input);

	for (size_t i = at; data && i < num_min(at + len, NVME_PAGE_SIZE); i++)
		copy(data + i, &value, 1);
}

/* Changes an answer as the input has it. Returns how often it is given. */
static unsigned lie(struct liar *liar, unsigned qid, struct nvme_cqe *cqe, uint8_t *data)
{
	uint8_t kind = input_u8(liar->input);
	struct nvme_cqe other = *cqe;

	switch (kind & 15) {
	case 1:
		cqe->cid.raw ^= input_u16(liar->input);
		return 1;
	case 2:
		cqe->status = le16_set(input_u16(liar->input));
		return 1;
	case 3:
		cqe->dw0 = le32_set(input_u32(liar->input));
		return 1;
	case 4:
		for (unsigned i = 0; i <= (kind >> 4 & 3u); i++)
			patch(liar, data);
		return 1;
	case 5:
		return 0;
	case 6:
		return 2 + (kind >> 4);
	case 7: /* a phase that is not due */
		liar->cq[qid].phase = !liar->cq[qid].phase;
		return 1;
	case 8:
		if (liar->n_later == MAX_LATER)
			return 1;
		liar->later[liar->n_later].qid = qid;
		liar->later[liar->n_later++].cqe = *cqe;
		return 0;
	case 9:
		liar->csts = input_u32(liar->input);
		return 1;
	case 10:
		if (!liar->gone)
			loop_post(liar->loop, &liar->gone_msg, on_gone);
		liar->gone = true;
		return 0;
	case 11: /* an asynchronous event first */
		if (!liar->n_aers)
			return 1;
		other.cid = liar->aers[--liar->n_aers];
		other.dw0 = le32_set(input_u32(liar->input));
		post(liar, 0, other);
		return 1;
	case 12: /* somebody else's command */
		other.cid = le16_set(input_u16(liar->input));
		post(liar, input_u8(liar->input) % (QUEUES + 1), other);
		return 1;
	case 13:
		fill(liar, data);
		return 1;
	case 14:
		cqe->sqhd = le16_set(input_u16(liar->input));
		cqe->sqid = le16_set(input_u8(liar->input));
		return 1;
	default:
		return 1;
	}
}

/* --- Commands --------------------------------------------------------------------------------- */

static void identify(const struct nvme_sqe *sqe, uint8_t *data)
{
	struct nvme_id_ctrl *ctrl = (void *)data;
	struct nvme_id_ns *ns = (void *)data;
	struct nvme_ns_id_desc *desc = (void *)data;

	memset(data, 0, NVME_PAGE_SIZE);
	switch (le32_get(sqe->cdw10) & 0xff) {
	case NVME_CNS_CTRL:
		memcpy(ctrl->sn, "L1                  ", sizeof(ctrl->sn));
		ctrl->mdts = 5;
		ctrl->cntrltype = NVME_CNTRLTYPE_IO;
		ctrl->aerl = 3;
		ctrl->oncs = le16_set(0xff);
		ctrl->oacs = le16_set(NVME_OACS_DBBUF);
		ctrl->nn = le32_set(4);
		ctrl->vwc = 1;
		break;
	case NVME_CNS_NS:
		ns->nsze = ns->ncap = le64_set(1024);
		ns->lbaf[0].lbads = 9;
		break;
	case NVME_CNS_ACTIVE_NS_LIST:
		((le32 *)(void *)data)[0] = le32_set(1);
		((le32 *)(void *)data)[1] = le32_set(2);
		break;
	case NVME_CNS_NS_DESC_LIST:
		*desc = (struct nvme_ns_id_desc){ .nidt = NVME_NIDT_UUID, .nidl = 16 };
		memset(desc + 1, 0x77, 16);
		break;
	}
}

static uint16_t make_queue(struct liar *liar, struct ring *rings, const struct nvme_sqe *sqe,
			   size_t entry_size)
{
	uint16_t qid = (uint16_t)le32_get(sqe->cdw10);
	uint32_t entries = (le32_get(sqe->cdw10) >> 16) + 1;
	uint8_t *va = dma(liar, le64_get(sqe->prp1), entries * entry_size);

	if (qid == 0 || qid > QUEUES || !va)
		return NVME_SC_INVALID_FIELD;
	rings[qid] = (struct ring){ va, entries, 0, true, (uint16_t)(le32_get(sqe->cdw11) >> 16) };
	return 0;
}

static void remove_queue(struct ring *rings, const struct nvme_sqe *sqe)
{
	uint16_t qid = (uint16_t)le32_get(sqe->cdw10);

	if (qid && qid <= QUEUES)
		rings[qid].va = NULL;
}

/* False: it is not answered now. */
static bool run_admin(struct liar *liar, const struct nvme_sqe *sqe, uint8_t *data,
		      struct nvme_cqe *cqe)
{
	switch (sqe->opcode) {
	case NVME_ADMIN_IDENTIFY:
		if (data)
			identify(sqe, data);
		return true;
	case NVME_ADMIN_CREATE_CQ:
		cqe->status = nvme_status_to_wire(
			make_queue(liar, liar->cq, sqe, sizeof(struct nvme_cqe)), false);
		return true;
	case NVME_ADMIN_CREATE_SQ:
		cqe->status = nvme_status_to_wire(
			make_queue(liar, liar->sq, sqe, sizeof(struct nvme_sqe)), false);
		return true;
	case NVME_ADMIN_DELETE_CQ:
		remove_queue(liar->cq, sqe);
		return true;
	case NVME_ADMIN_DELETE_SQ:
		remove_queue(liar->sq, sqe);
		return true;
	case NVME_ADMIN_SET_FEATURES:
		cqe->dw0 = le32_set((QUEUES - 1) << 16 | (QUEUES - 1));
		return true;
	case NVME_ADMIN_AER:
		if (liar->n_aers < MAX_AERS)
			liar->aers[liar->n_aers++] = sqe->cid;
		return false;
	default:
		return true;
	}
}

static void run_command(struct liar *liar, unsigned qid, const struct nvme_sqe *sqe)
{
	struct nvme_cqe cqe = { .cid = sqe->cid, .sqid = le16_set((uint16_t)qid) };
	uint8_t *data = sqe->prp1.raw ? dma(liar, le64_get(sqe->prp1), NVME_PAGE_SIZE) : NULL;
	unsigned times;

	if (qid == 0 && !run_admin(liar, sqe, data, &cqe))
		return;
	if (qid && sqe->opcode != NVME_IO_READ)
		data = NULL;
	times = closing ? 1 : lie(liar, qid, &cqe, data);
	for (unsigned i = 0; i < times; i++)
		post(liar, qid, cqe);
	for (unsigned i = 0; i < liar->n_later && times; i++)
		post(liar, liar->later[i].qid, liar->later[i].cqe);
	if (times)
		liar->n_later = 0;
}

static void doorbell(struct liar *liar, uint32_t off, uint32_t value)
{
	uint32_t stride = 4u << NVME_CAP_DSTRD(liar->cap), index;
	struct ring *sq;

	index = (off - NVME_REG_DOORBELLS) / stride;
	if ((index & 1) || index / 2 > QUEUES)
		return;
	sq = &liar->sq[index / 2];
	while (sq->va && sq->at != value % sq->entries && !liar->gone) {
		struct nvme_sqe sqe;

		copy(&sqe, sq->va + sq->at * sizeof(sqe), sizeof(sqe));
		sq->at = (sq->at + 1) % sq->entries;
		run_command(liar, index / 2, &sqe);
	}
}

/* --- The device ------------------------------------------------------------------------------- */

static uint64_t reg_read(struct pcie_device *dev, uint32_t off, unsigned size)
{
	const struct liar *liar = liar_of(dev);

	if (liar->gone)
		return size == 4 ? UINT32_MAX : UINT64_MAX;
	switch (off) {
	case NVME_REG_CAP:
		return liar->cap;
	case NVME_REG_VS:
		return NVME_VS(1, 4, 0);
	case NVME_REG_CC:
		return liar->cc;
	case NVME_REG_CSTS:
		return liar->csts;
	default:
		return 0;
	}
}

static void write_cc(struct liar *liar, uint32_t cc)
{
	liar->cc = cc;
	liar->csts = (cc & NVME_CC_EN) ? NVME_CSTS_RDY : 0;
	if (NVME_CC_SHN(cc))
		liar->csts |= NVME_CSTS_SHST_DONE << NVME_CSTS_SHST_SHIFT;
	memset(liar->sq, 0, sizeof(liar->sq[0]));
	if (!(cc & NVME_CC_EN)) {
		memset(liar->sq, 0, sizeof(liar->sq));
		memset(liar->cq, 0, sizeof(liar->cq));
		liar->n_later = liar->n_aers = 0;
		return;
	}
	liar->sq[0].entries = (liar->aqa & 0xfff) + 1;
	liar->sq[0].va = dma(liar, liar->asq, liar->sq[0].entries * sizeof(struct nvme_sqe));
	liar->cq[0] = (struct ring){ .entries = (liar->aqa >> 16 & 0xfff) + 1, .phase = true };
	liar->cq[0].va = dma(liar, liar->acq, liar->cq[0].entries * sizeof(struct nvme_cqe));
}

static void reg_write(struct pcie_device *dev, uint32_t off, unsigned size, uint64_t value)
{
	struct liar *liar = liar_of(dev);

	(void)size;
	if (off >= NVME_REG_DOORBELLS)
		doorbell(liar, off, (uint32_t)value);
	else if (off == NVME_REG_CC)
		write_cc(liar, (uint32_t)value);
	else if (off == NVME_REG_AQA)
		liar->aqa = (uint32_t)value;
	else if (off == NVME_REG_ASQ)
		liar->asq = value;
	else if (off == NVME_REG_ACQ)
		liar->acq = value;
}

static int map_dma(struct pcie_device *dev, void *va, uint64_t iova, size_t len)
{
	struct liar *liar = liar_of(dev);

	liar->dma = va;
	liar->iova = iova;
	liar->dma_len = len;
	return 0;
}

static int unmap_dma(struct pcie_device *dev, uint64_t iova, size_t len)
{
	(void)iova;
	(void)len;
	liar_of(dev)->dma_len = 0;
	return 0;
}

static int set_interrupts(struct pcie_device *dev, const int *fds, unsigned n)
{
	struct liar *liar = liar_of(dev);

	must(n <= MAX_IRQS);
	for (unsigned i = 0; i < n; i++)
		liar->irqs[i] = fds[i];
	liar->n_irqs = n;
	return 0;
}

static int reset(struct pcie_device *dev)
{
	write_cc(liar_of(dev), 0);
	return liar_of(dev)->gone ? -ENODEV : 0;
}

static int watch(struct pcie_device *dev, struct loop *loop, pcie_device_event_fn *fn, void *arg)
{
	struct liar *liar = liar_of(dev);

	liar->loop = loop;
	liar->tell = fn;
	liar->tell_arg = arg;
	return 0;
}

static void close_device(struct pcie_device *dev)
{
	free(liar_of(dev));
}

static struct pcie_device *liar_new(struct input *input)
{
	static const struct pcie_device_ops ops = {
		.read = reg_read,
		.write = reg_write,
		.map_dma = map_dma,
		.unmap_dma = unmap_dma,
		.set_interrupts = set_interrupts,
		.reset = reset,
		.watch = watch,
		.close = close_device,
	};
	struct liar *liar = calloc(1, sizeof(*liar));

	must(liar);
	liar->input = input;
	liar->dev = (struct pcie_device){ .ops = &ops,
					  .name = "liar",
					  .bar0_len = 1 << 20,
					  .n_vectors = MAX_IRQS,
					  .iova_max = UINT64_MAX };
	liar->cap = (UINT64_C(63) | NVME_CAP_CQR_BIT | UINT64_C(1) << NVME_CAP_CSS_SHIFT |
		     UINT64_C(20) << NVME_CAP_TO_SHIFT) ^
		    input_number(input, 8);
	return &liar->dev;
}

/* --- The host --------------------------------------------------------------------------------- */

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, HOSTS));
}

static void command(struct host *host, uint8_t opcode, uint32_t nsid, uint32_t length,
		    const uint32_t cdw[3], size_t in_capsule)
{
	static const uint8_t data[8192];
	static uint16_t cid;
	struct nvme_sqe sqe = { .opcode = opcode, .flags = 0x40, .cid = le16_set(++cid) };

	sqe.nsid = le32_set(nsid);
	sqe.sgl.length = le32_set(length);
	sqe.sgl.type = in_capsule ? NVMF_SGL_DATA_OFFSET : NVMF_SGL_TRANSPORT;
	sqe.cdw10 = le32_set(cdw[0]);
	sqe.cdw11 = le32_set(cdw[1]);
	sqe.cdw12 = le32_set(cdw[2]);
	host_send_command(host, &sqe, data, in_capsule, 0);
	settle();
}

static void connect_queue(struct host *host, uint16_t qid)
{
	const struct host_connect how = { .hostnqn = RIG_FRIEND,
					  .subnqn = RIG_NQN,
					  .qid = qid,
					  .cntlid = hosts[0].cntlid,
					  .sqsize = 15 };

	host_connect(host, rig_connect(), &how, settle);
}

static void enable(struct host *admin)
{
	const uint32_t cdw[3] = { 0, NVME_REG_CC, 0x00460001 };

	command(admin, NVME_OPCODE_FABRICS, NVMF_PROPERTY_SET, 0, cdw, 0);
}

/* Everything that reaches the SSD. */
static void use_ssd(void)
{
	static const struct {
		uint8_t opcode;
		uint32_t nsid, length, cdw[3];
	} admin[] = {
		{ NVME_ADMIN_AER, 0, 0, { 0 } },
		{ NVME_ADMIN_SET_FEATURES, 0, 0, { NVME_FEAT_AEC, 0x1ff } },
		{ NVME_ADMIN_IDENTIFY, 0, 4096, { NVME_CNS_CTRL } },
		{ NVME_ADMIN_IDENTIFY, 1, 4096, { NVME_CNS_NS } },
		{ NVME_ADMIN_IDENTIFY, 2, 4096, { NVME_CNS_NS } },
		{ NVME_ADMIN_IDENTIFY, 0, 4096, { NVME_CNS_ACTIVE_NS_LIST } },
		{ NVME_ADMIN_IDENTIFY, 1, 4096, { NVME_CNS_NS_DESC_LIST } },
		{ NVME_ADMIN_GET_LOG_PAGE, NVME_NSID_ALL, 512, { NVME_LOG_SMART | 127 << 16 } },
		{ NVME_ADMIN_GET_FEATURES, 0, 0, { NVME_FEAT_VWC } },
		{ NVME_ADMIN_GET_FEATURES, 1, 0, { NVME_FEAT_ERROR_RECOVERY } },
	};
	static const uint32_t block[3] = { 0, 0, 7 };

	for (size_t i = 0; i < ARRAY_SIZE(admin); i++)
		command(&hosts[0], admin[i].opcode, admin[i].nsid, admin[i].length, admin[i].cdw,
			0);
	for (unsigned i = 0; i < 24; i++)
		command(&hosts[1 + i % 2], i % 3 ? NVME_IO_READ : NVME_IO_WRITE, 1 + i % 2, 4096,
			block, i % 3 ? 0 : 4096);
	command(&hosts[1], NVME_IO_FLUSH, 1, 0, block, 0);
	command(&hosts[2], NVME_IO_WRITE_ZEROES, 1, 0, block, 0);
	rig_sleep(2000);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	rig_init(NULL);
	rig_conf.max_transfer = 64u << 10;
	rig_conf.n_subsystems = 1;
	rig_conf.subsystems[0].n_ns = 0;
	rig_conf.subsystems[0].all_of_ssd = 0;
	rig_conf.ssds[0].max_queues = QUEUES;
	rig_ssd_may_fail = true;
	log_set_level(LOG_LEVEL_ERR);
	rig_start();
	for (unsigned i = 0; i < HOSTS; i++)
		hosts[i].fd = -1;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	closing = false;
	if (rig_bring_up(liar_new(&input))) {
		connect_queue(&hosts[0], 0);
		enable(&hosts[0]);
		connect_queue(&hosts[1], 1);
		connect_queue(&hosts[2], 2);
		use_ssd();
		for (unsigned i = 0; i < HOSTS; i++)
			host_close(&hosts[i]);
		rig_expect_clean();
	}
	closing = true; /* a shutdown that is answered: what comes before it is what we are after */
	rig_take_down();
	return 0;
}
