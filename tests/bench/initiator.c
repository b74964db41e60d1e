/* SPDX-License-Identifier: BSD-3-Clause */
/* A small NVMe/TCP host for load; see initiator.h. */
#include "tests/bench/initiator.h"

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
#include "transport/nvme_tcp.h"
#include "util/num.h"

#define RECV_SIZE  (1u << 20)
#define IN_CAPSULE 8192u
#define HOSTNQN    "nqn.2014-08.org.nvmexpress:nvmetd-load"

struct slot {
	bool write, busy;
	uint32_t len, received;
	uint8_t *data;
};

struct initiator_queue {
	int fd;
	unsigned depth;
	size_t max_io;
	uint32_t maxh2cdata;
	struct slot *slots;
	uint8_t *memory;
	uint8_t *in, *out;
	size_t in_len, out_len, out_sent, out_size;
};

static int broken(const char *what)
{
	fprintf(stderr, "initiator: %s\n", what);
	return -1;
}

int initiator_fd(const struct initiator_queue *queue)
{
	return queue->fd;
}

bool initiator_wants_write(const struct initiator_queue *queue)
{
	return queue->out_sent < queue->out_len;
}

static void *out_room(struct initiator_queue *queue, size_t len)
{
	void *at;

	if (queue->out_sent == queue->out_len)
		queue->out_sent = queue->out_len = 0;
	if (queue->out_len + len > queue->out_size) {
		queue->out_size = (queue->out_len + len) * 2;
		queue->out = realloc(queue->out, queue->out_size);
		if (!queue->out)
			abort();
	}
	at = queue->out + queue->out_len;
	queue->out_len += len;
	return at;
}

int initiator_flush(struct initiator_queue *queue)
{
	while (initiator_wants_write(queue)) {
		ssize_t n = send(queue->fd, queue->out + queue->out_sent,
				 queue->out_len - queue->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN ? 0 : broken(strerror(errno));
		queue->out_sent += (size_t)n;
	}
	return 0;
}

/* Appends a CapsuleCmd, its data in the capsule when it fits. */
static void send_command(struct initiator_queue *queue, unsigned index, struct nvme_sqe *sqe,
			 const void *data, size_t len, bool write)
{
	size_t inlined = write && len && len <= IN_CAPSULE ? len : 0;
	struct slot *slot = &queue->slots[index];
	struct nvme_tcp_capsule_cmd *pdu = out_room(queue, sizeof(*pdu) + inlined);

	sqe->flags = NVME_PSDT_SGL << 6;
	sqe->cid = le16_set((uint16_t)index);
	sqe->sgl.length = le32_set((uint32_t)len);
	sqe->sgl.type = inlined ? NVMF_SGL_DATA_OFFSET : NVMF_SGL_TRANSPORT;
	memset(&pdu->ch, 0, sizeof(pdu->ch));
	pdu->ch.type = NVME_TCP_CAPSULE_CMD;
	pdu->ch.hlen = sizeof(*pdu);
	pdu->ch.pdo = inlined ? sizeof(*pdu) : 0;
	pdu->ch.plen = le32_set((uint32_t)(sizeof(*pdu) + inlined));
	memcpy(&pdu->sqe, sqe, sizeof(*sqe));
	memcpy(pdu + 1, data ? data : "", inlined);
	slot->write = write;
	slot->busy = true;
	slot->len = (uint32_t)len;
	slot->received = 0;
	if (write && !inlined && len)
		memcpy(slot->data, data, len);
}

void initiator_rw(struct initiator_queue *queue, unsigned slot, bool write, uint32_t nsid,
		  uint64_t slba, unsigned blocks, const void *data, size_t len)
{
	struct nvme_sqe sqe = {
		.opcode = write ? NVME_IO_WRITE : NVME_IO_READ,
		.nsid = le32_set(nsid),
		.cdw10 = le32_set((uint32_t)slba),
		.cdw11 = le32_set((uint32_t)(slba >> 32)),
		.cdw12 = le32_set(blocks - 1),
	};

	send_command(queue, slot, &sqe, data, len, write);
}

/* --- Receiving ----------------------------------------------------------------------------------
 */

static int answer_r2t(struct initiator_queue *queue, const struct nvme_tcp_r2t *r2t)
{
	unsigned cid = le16_get(r2t->cccid);
	uint32_t offset = le32_get(r2t->r2to), left = le32_get(r2t->r2tl);
	struct slot *slot = &queue->slots[cid];

	if (cid >= queue->depth || !slot->busy || !slot->write || !left || offset > slot->len ||
	    left > slot->len - offset)
		return broken("R2T for a command that does not write, or beyond its data");
	while (left) {
		uint32_t part = num_min(left, queue->maxh2cdata);
		struct nvme_tcp_data *data = out_room(queue, sizeof(*data) + part);

		*data = (struct nvme_tcp_data){
			.ch = { .type = NVME_TCP_H2C_DATA,
				.flags = part == left ? NVME_TCP_F_LAST : 0,
				.hlen = sizeof(*data),
				.pdo = sizeof(*data),
				.plen = le32_set((uint32_t)sizeof(*data) + part) },
			.cccid = r2t->cccid,
			.ttag = r2t->ttag,
			.datao = le32_set(offset),
			.datal = le32_set(part),
		};
		memcpy(data + 1, slot->data + offset, part);
		offset += part;
		left -= part;
	}
	return 0;
}

static int take_data(struct initiator_queue *queue, const struct nvme_tcp_data *data, size_t len,
		     initiator_done_fn *done, void *arg)
{
	unsigned cid = le16_get(data->cccid);
	struct slot *slot = &queue->slots[cid];

	if (cid >= queue->depth || !slot->busy || slot->write ||
	    le32_get(data->datao) != slot->received || len > slot->len - slot->received)
		return broken("C2HData for a command that does not read, or beyond its data");
	memcpy(slot->data + slot->received, (const uint8_t *)data + data->ch.pdo, len);
	slot->received += (uint32_t)len;
	if (data->ch.flags & NVME_TCP_F_SUCCESS) {
		if (slot->received != slot->len)
			return broken("success with less data than asked for");
		slot->busy = false;
		done(arg, cid, 0, slot->data);
	}
	return 0;
}

static int take_response(struct initiator_queue *queue, const struct nvme_tcp_capsule_resp *resp,
			 initiator_done_fn *done, void *arg)
{
	unsigned cid = le16_get(resp->cqe.cid);
	struct slot *slot = &queue->slots[cid];
	uint16_t status = nvme_cqe_status(&resp->cqe);

	if (cid >= queue->depth || !slot->busy)
		return broken("a response to no command");
	if (!status && !slot->write && slot->received != slot->len)
		return broken("success with less data than asked for");
	slot->busy = false;
	done(arg, cid, status, slot->write ? (const uint8_t *)&resp->cqe : slot->data);
	return 0;
}

static int take_pdu(struct initiator_queue *queue, const uint8_t *pdu, size_t plen,
		    initiator_done_fn *done, void *arg)
{
	const struct nvme_tcp_ch *ch = (const void *)pdu;

	if (ch->type == NVME_TCP_ICRESP && plen == sizeof(struct nvme_tcp_icresp)) {
		queue->maxh2cdata = le32_get(((const struct nvme_tcp_icresp *)ch)->maxh2cdata);
		return queue->maxh2cdata >= 4096 ? 0 : broken("MAXH2CDATA below 4096");
	}
	if (ch->hlen != 24)
		return broken("HLEN is not 24");
	switch (ch->type) {
	case NVME_TCP_CAPSULE_RESP:
		return take_response(queue, (const void *)pdu, done, arg);
	case NVME_TCP_C2H_DATA:
		if (ch->pdo < 24 || ch->pdo > plen)
			return broken("PDO");
		return take_data(queue, (const void *)pdu, plen - ch->pdo, done, arg);
	case NVME_TCP_R2T:
		return answer_r2t(queue, (const void *)pdu);
	default:
		return broken("a PDU of an unexpected type");
	}
}

int initiator_receive(struct initiator_queue *queue, initiator_done_fn *done, void *arg)
{
	size_t at = 0, size = RECV_SIZE + queue->max_io;
	ssize_t n = recv(queue->fd, queue->in + queue->in_len, size - queue->in_len, MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : broken(n ? strerror(errno) : "closed");
	queue->in_len += (size_t)n;
	while (queue->in_len - at >= sizeof(struct nvme_tcp_ch)) {
		size_t plen = le32_get(((const struct nvme_tcp_ch *)(queue->in + at))->plen);

		if (plen < 24 || plen > size)
			return broken("PLEN");
		if (plen > queue->in_len - at)
			break;
		if (take_pdu(queue, queue->in + at, plen, done, arg))
			return -1;
		at += plen;
	}
	memmove(queue->in, queue->in + at, queue->in_len - at);
	queue->in_len -= at;
	return 0;
}

/* --- Set-up: one command at a time, blocking ----------------------------------------------------
 */

struct sync {
	bool over;
	uint16_t status;
	struct nvme_cqe cqe;
	void *to;
	size_t len;
};

static void sync_done(void *arg, unsigned slot, uint16_t status, const uint8_t *data)
{
	struct sync *sync = arg;

	(void)slot;
	sync->over = true;
	sync->status = status;
	if (sync->to)
		memcpy(sync->to, data, sync->len);
	else
		memcpy(&sync->cqe, data, sizeof(sync->cqe));
}

static int run_sync(struct initiator_queue *queue, struct nvme_sqe *sqe, const void *write,
		    void *read, size_t len, struct nvme_cqe *cqe)
{
	struct sync sync = { .to = read, .len = len };

	send_command(queue, 0, sqe, write, len, !read);
	while (!sync.over) {
		struct pollfd poll_fd = { .fd = queue->fd, .events = POLLIN };

		if (initiator_flush(queue) || poll(&poll_fd, 1, 10000) <= 0 ||
		    initiator_receive(queue, sync_done, &sync))
			return broken("no answer");
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
	return broken("CSTS.RDY");
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

static int fabrics_connect(struct initiator_queue *queue, const char *nqn, unsigned qid,
			   uint16_t *cntlid)
{
	struct nvmf_connect_data data = { .hostid = "nvmetd-load",
					  .cntlid = le16_set(qid ? *cntlid : NVMF_CNTLID_DYNAMIC) };
	struct nvmf_connect_cmd cmd = {
		.opcode = NVME_OPCODE_FABRICS,
		.fctype = NVMF_CONNECT,
		.qid = le16_set((uint16_t)qid),
		.sqsize = le16_set((uint16_t)(queue->depth - 1)),
		.cattr = NVMF_CATTR_DISABLE_SQFC,
	};
	struct nvme_cqe cqe;
	struct nvme_sqe sqe;

	snprintf(data.subnqn, sizeof(data.subnqn), "%s", nqn);
	snprintf(data.hostnqn, sizeof(data.hostnqn), "%s", HOSTNQN);
	memcpy(&sqe, &cmd, sizeof(sqe));
	if (run_sync(queue, &sqe, &data, NULL, sizeof(data), &cqe))
		return -1;
	if (qid == 0)
		*cntlid = (uint16_t)le32_get(cqe.dw0);
	return 0;
}

static int dial(const char *addr, const char *port)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
	struct addrinfo *info = NULL;
	const int on = 1;
	int fd = -1;

	if (getaddrinfo(addr, port, &hints, &info) == 0)
		fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, info->ai_addr, info->ai_addrlen) < 0) {
		fprintf(stderr, "initiator: %s port %s: %s\n", addr, port, strerror(errno));
		close(fd);
		fd = -1;
	}
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (info)
		freeaddrinfo(info);
	return fd;
}

struct initiator_queue *initiator_connect(const char *addr, const char *port, const char *nqn,
					  unsigned qid, unsigned depth, size_t max_io,
					  uint16_t *cntlid)
{
	struct initiator_queue *queue = calloc(1, sizeof(*queue));
	struct nvme_tcp_icreq icreq = {
		.ch = { .type = NVME_TCP_ICREQ, .hlen = 128, .plen = le32_set(128) }
	};

	if (!queue)
		return NULL;
	queue->depth = depth;
	queue->max_io = max_io < 4096 ? 4096 : max_io;
	queue->slots = calloc(depth, sizeof(queue->slots[0]));
	queue->memory = calloc(depth, queue->max_io);
	queue->in = malloc(RECV_SIZE + queue->max_io);
	queue->fd = dial(addr, port);
	if (!queue->slots || !queue->memory || !queue->in || queue->fd < 0) {
		initiator_close(queue);
		return NULL;
	}
	for (unsigned i = 0; i < depth; i++)
		queue->slots[i].data = queue->memory + i * queue->max_io;
	memcpy(out_room(queue, sizeof(icreq)), &icreq, sizeof(icreq));
	if (fabrics_connect(queue, nqn, qid, cntlid)) {
		initiator_close(queue);
		return NULL;
	}
	return queue;
}

void initiator_close(struct initiator_queue *queue)
{
	if (!queue)
		return;
	if (queue->fd >= 0)
		close(queue->fd);
	free(queue->slots);
	free(queue->memory);
	free(queue->in);
	free(queue->out);
	free(queue);
}
