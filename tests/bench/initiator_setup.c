/* SPDX-License-Identifier: BSD-3-Clause */
/* The host for load until its queues are connected: one command at a time, blocking. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "target/nvmf.h"
#include "tests/bench/initiator.h"
#include "tests/bench/initiator_internal.h"
#include "util/num.h"

#define HOSTNQN "nqn.2014-08.org.nvmexpress:nvmetd-load"
#define WAIT_MS 60000

struct sync {
	bool over;
	uint16_t status;
	struct nvme_cqe cqe;
	uint8_t *to;
};

static void sync_data(void *arg, unsigned slot, size_t offset, const uint8_t *bytes, size_t len)
{
	const struct sync *sync = arg;

	(void)slot;
	memcpy(sync->to + offset, bytes, len);
}

static void sync_done(void *arg, unsigned slot, uint16_t status, const struct nvme_cqe *cqe)
{
	struct sync *sync = arg;

	(void)slot;
	sync->over = true;
	sync->status = status;
	if (cqe)
		sync->cqe = *cqe;
}

static int wait_for(struct initiator_queue *queue, short events)
{
	struct pollfd poll_fd = { .fd = queue->fd, .events = events };

	return poll(&poll_fd, 1, WAIT_MS) > 0 ? 0 : initiator_broken("no answer");
}

static int run_sync(struct initiator_queue *queue, struct nvme_sqe *sqe, const void *write,
		    void *read, size_t len, struct nvme_cqe *cqe)
{
	struct sync sync = { .to = read };
	const struct initiator_events events = { sync_data, sync_done, &sync };

	initiator_command(queue, 0, sqe, write, len, !read);
	while (!sync.over) {
		if (initiator_flush(queue) || wait_for(queue, POLLIN) ||
		    initiator_receive(queue, &events))
			return -1;
	}
	if (sync.status) {
		fprintf(stderr, "initiator: command %02xh: status %x/%02xh\n", sqe->opcode,
			sync.status >> 8 & 7, sync.status & 0xff);
		return -1;
	}
	if (cqe)
		*cqe = sync.cqe;
	return 0;
}

static int property(struct initiator_queue *admin, uint32_t offset, const uint32_t *set,
		    uint32_t *get)
{
	struct nvmf_property_cmd cmd = {
		.opcode = NVME_OPCODE_FABRICS,
		.fctype = set ? NVMF_PROPERTY_SET : NVMF_PROPERTY_GET,
		.offset = le32_set(offset),
		.value = le64_set(set ? *set : 0),
	};
	struct nvme_cqe cqe;
	struct nvme_sqe sqe;

	memcpy(&sqe, &cmd, sizeof(sqe));
	if (run_sync(admin, &sqe, NULL, NULL, 0, &cqe))
		return -1;
	if (get)
		*get = le32_get(cqe.dw0);
	return 0;
}

int initiator_enable(struct initiator_queue *admin)
{
	const uint32_t cc = NVME_CC_EN | NVME_SQE_SHIFT << NVME_CC_IOSQES_SHIFT |
			    NVME_CQE_SHIFT << NVME_CC_IOCQES_SHIFT;
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint32_t csts = 0;

	if (property(admin, NVME_REG_CC, &cc, NULL))
		return -1;
	for (unsigned i = 0; i < 5000; i++) {
		if (property(admin, NVME_REG_CSTS, NULL, &csts))
			return -1;
		if (csts & NVME_CSTS_RDY)
			return 0;
		nanosleep(&pause, NULL);
	}
	return initiator_broken("CSTS.RDY");
}

int initiator_set_queues(struct initiator_queue *admin, unsigned n)
{
	struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_SET_FEATURES,
		.cdw10 = le32_set(NVME_FEAT_NUM_QUEUES),
		.cdw11 = le32_set((n - 1) << 16 | (n - 1)),
	};
	struct nvme_cqe cqe;

	if (run_sync(admin, &sqe, NULL, NULL, 0, &cqe))
		return -1;
	return (int)(le32_get(cqe.dw0) & 0xffff) + 1;
}

int initiator_identify_ns(struct initiator_queue *admin, uint32_t nsid, struct nvme_id_ns *ns)
{
	struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_IDENTIFY,
		.nsid = le32_set(nsid),
		.cdw10 = le32_set(NVME_CNS_NS),
	};

	return run_sync(admin, &sqe, NULL, ns, sizeof(*ns), NULL);
}

/* Blocking: until the target has told its MAXH2CDATA. */
static int handshake(struct initiator_queue *queue)
{
	struct initiator_slot *slot = &queue->slots[0];
	struct nvme_tcp_icreq *icreq = (struct nvme_tcp_icreq *)(void *)slot->head;

	*icreq = (struct nvme_tcp_icreq){
		.ch = { .type = NVME_TCP_ICREQ, .hlen = sizeof(*icreq) },
		.dgst = queue->digests ? 3 : 0,
	};
	initiator_enqueue(queue, slot, NULL, 0);
	if (initiator_flush(queue))
		return -1;
	while (!queue->maxh2cdata) {
		if (wait_for(queue, POLLIN) || initiator_receive(queue, NULL))
			return -1;
	}
	return 0;
}

static int fabrics_connect(struct initiator_queue *queue, const struct initiator_params *params,
			   uint16_t *cntlid)
{
	struct nvmf_connect_data data = {
		.hostid = "nvmetd-load",
		.cntlid = le16_set(params->qid ? *cntlid : NVMF_CNTLID_DYNAMIC),
	};
	struct nvmf_connect_cmd cmd = {
		.opcode = NVME_OPCODE_FABRICS,
		.fctype = NVMF_CONNECT,
		.qid = le16_set((uint16_t)params->qid),
		/* 0's based, and a queue of one entry is none. */
		.sqsize = le16_set((uint16_t)(num_max(queue->depth, 2u) - 1)),
		.cattr = NVMF_CATTR_DISABLE_SQFC,
	};
	struct nvme_cqe cqe;
	struct nvme_sqe sqe;

	snprintf(data.subnqn, sizeof(data.subnqn), "%s", params->nqn);
	snprintf(data.hostnqn, sizeof(data.hostnqn), "%s", HOSTNQN);
	memcpy(&sqe, &cmd, sizeof(sqe));
	if (run_sync(queue, &sqe, &data, NULL, sizeof(data), &cqe))
		return -1;
	if (params->qid == 0)
		*cntlid = (uint16_t)le32_get(cqe.dw0);
	return 0;
}

/* Before it connects: if the system's congestion control paces, the socket is paced for good from
 * then on. */
static int set_options(int fd, const struct initiator_params *params)
{
	const int on = 1;
	const char *name = params->congestion;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (params->arrival && setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
		return initiator_broken("the kernel does not tell when packets come");
	if (name && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) < 0)
		return initiator_broken("the kernel does not allow this congestion control");
	return 0;
}

static int dial(const struct initiator_params *params)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
	struct addrinfo *info = NULL;
	int fd = -1;

	if (getaddrinfo(params->addr, params->port, &hints, &info) == 0)
		fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    (set_options(fd, params) || connect(fd, info->ai_addr, info->ai_addrlen) < 0)) {
		fprintf(stderr, "initiator: %s port %s: %s\n", params->addr, params->port,
			strerror(errno));
		close(fd);
		fd = -1;
	}
	if (info)
		freeaddrinfo(info);
	return fd;
}

static int secure(struct initiator_queue *queue, const struct initiator_params *params)
{
	if (!params->tls_key)
		return 0;
	if (initiator_tls_start(queue, params->tls_key, HOSTNQN, params->nqn))
		return -1;
	return fcntl(queue->fd, F_SETFL, O_NONBLOCK) < 0 ? initiator_broken(strerror(errno)) : 0;
}

struct initiator_queue *initiator_connect(const struct initiator_params *params, uint16_t *cntlid)
{
	struct initiator_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return NULL;
	STAILQ_INIT(&queue->tx);
	queue->depth = params->depth;
	queue->digests = params->digests;
	queue->arrival = params->arrival;
	queue->slots = calloc(params->depth, sizeof(queue->slots[0]));
	queue->in = malloc(RECV_SIZE);
	queue->fd = dial(params);
	if (!queue->slots || !queue->in || queue->fd < 0 || secure(queue, params) ||
	    handshake(queue) || fabrics_connect(queue, params, cntlid)) {
		initiator_close(queue);
		return NULL;
	}
	return queue;
}

void initiator_close(struct initiator_queue *queue)
{
	if (!queue)
		return;
	initiator_tls_end(queue);
	if (queue->fd >= 0)
		close(queue->fd);
	free(queue->slots);
	free(queue->in);
	free(queue);
}
