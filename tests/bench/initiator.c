/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small NVMe/TCP host for load; see initiator.h.
 *
 * Sending: each slot has one PDU on its way at most, a header of its own and a part of the caller's
 * data; slots queue up and one sendmsg takes many. Receiving: headers are collected, data is handed
 * out as it comes.
 */
#include "tests/bench/initiator.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "target/nvmf.h"
#include "tests/bench/initiator_internal.h"
#include "transport/digest.h"
#include "transport/tls.h"
#include "util/clock.h"
#include "util/num.h"

#define IN_CAPSULE 8192u
#define IOVS       384u /* of one sendmsg: three a PDU */

int initiator_broken(const char *what)
{
	fprintf(stderr, "initiator: %s\n", what);
	return -1;
}

int initiator_fd(const struct initiator_queue *queue)
{
	return queue->fd;
}

/* --- Sending ---------------------------------------------------------------------------------- */

bool initiator_wants_write(const struct initiator_queue *queue)
{
	return !STAILQ_EMPTY(&queue->tx);
}

void initiator_enqueue(struct initiator_queue *queue, struct initiator_slot *slot,
		       const uint8_t *part, uint32_t part_len)
{
	struct nvme_tcp_ch *ch = (struct nvme_tcp_ch *)(void *)slot->head;

	slot->head_len = ch->hlen;
	slot->part = part;
	slot->part_len = part_len;
	slot->tail_len = 0;
	slot->sent = 0;
	if (queue->digests && ch->type != NVME_TCP_ICREQ) {
		ch->flags |= NVME_TCP_F_HDGST;
		slot->head_len += NVME_TCP_DIGEST_SIZE;
		if (part_len) {
			ch->flags |= NVME_TCP_F_DDGST;
			slot->tail_len = NVME_TCP_DIGEST_SIZE;
			le32_store(slot->tail, digest_of(part, part_len));
		}
	}
	ch->pdo = part_len ? (uint8_t)slot->head_len : 0;
	ch->plen = le32_set(slot->head_len + part_len + slot->tail_len);
	if (slot->head_len > ch->hlen)
		le32_store(slot->head + ch->hlen, digest_of(slot->head, ch->hlen));
	slot->queued = true;
	STAILQ_INSERT_TAIL(&queue->tx, slot, link);
}

/* The next part of what the R2T asked for. */
static void send_part(struct initiator_queue *queue, struct initiator_slot *slot)
{
	struct nvme_tcp_data *pdu = (struct nvme_tcp_data *)(void *)slot->head;
	uint32_t part = num_min(slot->r2t_left, queue->maxh2cdata);

	*pdu = (struct nvme_tcp_data){
		.ch = { .type = NVME_TCP_H2C_DATA,
			.flags = part == slot->r2t_left ? NVME_TCP_F_LAST : 0,
			.hlen = sizeof(*pdu) },
		.cccid = le16_set((uint16_t)(slot - queue->slots)),
		.ttag = slot->ttag,
		.datao = le32_set(slot->r2t_offset),
		.datal = le32_set(part),
	};
	initiator_enqueue(queue, slot, slot->data + slot->r2t_offset, part);
	slot->r2t_offset += part;
	slot->r2t_left -= part;
}

static unsigned add_part(struct iovec *iov, const void *base, uint32_t len, uint32_t *skip)
{
	if (*skip >= len) {
		*skip -= len;
		return 0;
	}
	*iov = (struct iovec){ .iov_base = (uint8_t *)(uintptr_t)base + *skip,
			       .iov_len = len - *skip };
	*skip = 0;
	return 1;
}

static unsigned gather(struct initiator_queue *queue, struct iovec *iov)
{
	struct initiator_slot *slot;
	unsigned n = 0;

	STAILQ_FOREACH (slot, &queue->tx, link) {
		uint32_t skip = slot->sent;

		if (n + 3 > IOVS)
			break;
		n += add_part(&iov[n], slot->head, slot->head_len, &skip);
		n += add_part(&iov[n], slot->part, slot->part_len, &skip);
		n += add_part(&iov[n], slot->tail, slot->tail_len, &skip);
	}
	return n;
}

static void account(struct initiator_queue *queue, size_t sent)
{
	struct initiator_slot *slot;

	while (sent && (slot = STAILQ_FIRST(&queue->tx)) != NULL) {
		uint32_t total = slot->head_len + slot->part_len + slot->tail_len;
		uint32_t part = (uint32_t)num_min(sent, (size_t)(total - slot->sent));

		slot->sent += part;
		sent -= part;
		if (slot->sent < total)
			return;
		STAILQ_REMOVE_HEAD(&queue->tx, link);
		slot->queued = false;
		if (slot->r2t_left)
			send_part(queue, slot);
	}
}

int initiator_flush(struct initiator_queue *queue)
{
	while (initiator_wants_write(queue)) {
		struct iovec iov[IOVS];
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = gather(queue, iov) };
		ssize_t n = queue->tls ? tls_sendmsg(queue->tls, &msg)
				       : sendmsg(queue->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN ? 0 : initiator_broken(strerror(errno));
		account(queue, (size_t)n);
	}
	return 0;
}

void initiator_command(struct initiator_queue *queue, unsigned index, struct nvme_sqe *sqe,
		       const void *data, size_t len, bool write)
{
	uint32_t inlined = write && len <= IN_CAPSULE ? (uint32_t)len : 0;
	struct initiator_slot *slot = &queue->slots[index];
	struct nvme_tcp_capsule_cmd *pdu = (struct nvme_tcp_capsule_cmd *)(void *)slot->head;

	sqe->flags = NVME_PSDT_SGL << 6;
	sqe->cid = le16_set((uint16_t)index);
	sqe->sgl.length = le32_set((uint32_t)len);
	sqe->sgl.type = inlined ? NVMF_SGL_DATA_OFFSET : NVMF_SGL_TRANSPORT;
	pdu->ch = (struct nvme_tcp_ch){ .type = NVME_TCP_CAPSULE_CMD, .hlen = sizeof(*pdu) };
	pdu->sqe = *sqe;
	slot->write = write;
	slot->busy = true;
	slot->len = (uint32_t)len;
	slot->received = 0;
	slot->data = data;
	slot->r2t_left = 0;
	initiator_enqueue(queue, slot, data, inlined);
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

	initiator_command(queue, slot, &sqe, data, len, write);
}

/* --- Receiving -------------------------------------------------------------------------------- */

static struct initiator_slot *find_slot(struct initiator_queue *queue, le16 cid)
{
	unsigned index = le16_get(cid);

	return index < queue->depth && queue->slots[index].busy ? &queue->slots[index] : NULL;
}

static int take_r2t(struct initiator_queue *queue, const struct nvme_tcp_r2t *r2t)
{
	uint32_t offset = le32_get(r2t->r2to), left = le32_get(r2t->r2tl);
	struct initiator_slot *slot = find_slot(queue, r2t->cccid);

	if (!slot || !slot->write || !left || offset > slot->len || left > slot->len - offset)
		return initiator_broken(
			"R2T for a command that does not write, or beyond its data");
	if (slot->queued || slot->r2t_left)
		return initiator_broken("R2T while another one is answered");
	slot->ttag = r2t->ttag;
	slot->r2t_offset = offset;
	slot->r2t_left = left;
	send_part(queue, slot);
	return 0;
}

static void end(struct initiator_queue *queue, struct initiator_slot *slot, uint16_t status,
		const struct nvme_cqe *cqe, const struct initiator_events *events)
{
	slot->busy = false;
	events->done(events->arg, (unsigned)(slot - queue->slots), status, cqe);
}

static int take_response(struct initiator_queue *queue, const struct nvme_tcp_capsule_resp *resp,
			 const struct initiator_events *events)
{
	struct initiator_slot *slot = find_slot(queue, resp->cqe.cid);
	uint16_t status = nvme_cqe_status(&resp->cqe);

	if (!slot)
		return initiator_broken("a response to no command");
	if (!status && !slot->write && slot->received != slot->len)
		return initiator_broken("success with less data than asked for");
	end(queue, slot, status, &resp->cqe, events);
	return 0;
}

/* All of a C2HData PDU is here. */
static int data_over(struct initiator_queue *queue, const struct initiator_events *events)
{
	const struct nvme_tcp_data *pdu = (const void *)queue->head;
	struct initiator_slot *slot = queue->rx_slot;

	if (queue->digests && digest_final(queue->crc) != le32_load(queue->ddgst))
		return initiator_broken("a data digest is wrong");
	queue->rx_slot = NULL;
	queue->head_len = 0;
	if (!(pdu->ch.flags & NVME_TCP_F_SUCCESS))
		return 0;
	if (slot->received != slot->len)
		return initiator_broken("success with less data than asked for");
	end(queue, slot, 0, NULL, events);
	return 0;
}

static int begin_data(struct initiator_queue *queue, const struct nvme_tcp_data *pdu)
{
	struct initiator_slot *slot = find_slot(queue, pdu->cccid);
	uint32_t len = le32_get(pdu->datal), plen = le32_get(pdu->ch.plen);

	if (!slot || slot->write || !len || le32_get(pdu->datao) != slot->received ||
	    len > slot->len - slot->received)
		return initiator_broken(
			"C2HData for a command that does not read, or beyond its data");
	queue->ddgst_left = queue->digests ? NVME_TCP_DIGEST_SIZE : 0;
	if (pdu->ch.pdo != queue->head_want || plen != pdu->ch.pdo + len + queue->ddgst_left)
		return initiator_broken("C2HData whose lengths do not agree");
	queue->rx_slot = slot;
	queue->data_left = len;
	queue->crc = DIGEST_INIT;
	return 0;
}

/* The header digest follows HLEN bytes. */
static bool digest_is_right(const struct initiator_queue *queue)
{
	const struct nvme_tcp_ch *ch = (const void *)queue->head;

	return queue->head_want == ch->hlen ||
	       le32_load(queue->head + ch->hlen) == digest_of(queue->head, ch->hlen);
}

static int take_header(struct initiator_queue *queue, const struct initiator_events *events)
{
	const struct nvme_tcp_ch *ch = (const void *)queue->head;
	int err;

	if (!digest_is_right(queue))
		return initiator_broken("a header digest is wrong");
	switch (ch->type) {
	case NVME_TCP_C2H_DATA:
		return begin_data(queue, (const void *)queue->head);
	case NVME_TCP_CAPSULE_RESP:
		err = take_response(queue, (const void *)queue->head, events);
		break;
	case NVME_TCP_R2T:
		err = take_r2t(queue, (const void *)queue->head);
		break;
	default: /* ICResp: look_at_type() let nothing else pass */
		queue->maxh2cdata = le32_get(((const struct nvme_tcp_icresp *)ch)->maxh2cdata);
		err = queue->maxh2cdata >= 4096 ? 0 : initiator_broken("MAXH2CDATA below 4096");
	}
	queue->head_len = 0;
	return err;
}

/* The common header tells how long the whole one is. */
static int look_at_type(struct initiator_queue *queue)
{
	const struct nvme_tcp_ch *ch = (const void *)queue->head;
	bool icresp = ch->type == NVME_TCP_ICRESP && !queue->maxh2cdata;

	if (!icresp && ch->type != NVME_TCP_C2H_DATA && ch->type != NVME_TCP_CAPSULE_RESP &&
	    ch->type != NVME_TCP_R2T)
		return initiator_broken("a PDU of an unexpected type");
	if (ch->hlen != (icresp ? sizeof(struct nvme_tcp_icresp) : 24))
		return initiator_broken("HLEN is not what the type says");
	queue->head_want = ch->hlen + (queue->digests && !icresp ? NVME_TCP_DIGEST_SIZE : 0);
	return 0;
}

/* Collects a header, or a part of one. */
static int feed_header(struct initiator_queue *queue, const uint8_t *bytes, size_t len,
		       size_t *used, const struct initiator_events *events)
{
	bool first = queue->head_len < sizeof(struct nvme_tcp_ch);
	size_t want = first ? sizeof(struct nvme_tcp_ch) : queue->head_want;

	*used = num_min(len, want - queue->head_len);
	memcpy(queue->head + queue->head_len, bytes, *used);
	queue->head_len += *used;
	if (queue->head_len < want)
		return 0;
	return first ? look_at_type(queue) : take_header(queue, events);
}

static int feed_data(struct initiator_queue *queue, const uint8_t *bytes, size_t len, size_t *used,
		     const struct initiator_events *events)
{
	struct initiator_slot *slot = queue->rx_slot;

	if (queue->data_left) {
		*used = num_min(len, (size_t)queue->data_left);
		if (queue->digests)
			queue->crc = digest_update(queue->crc, bytes, *used);
		events->data(events->arg, (unsigned)(slot - queue->slots), slot->received, bytes,
			     *used);
		slot->received += (uint32_t)*used;
		queue->data_left -= (uint32_t)*used;
	} else {
		*used = num_min(len, queue->ddgst_left);
		memcpy(queue->ddgst + sizeof(queue->ddgst) - queue->ddgst_left, bytes, *used);
		queue->ddgst_left -= *used;
	}
	return queue->data_left || queue->ddgst_left ? 0 : data_over(queue, events);
}

static uint64_t ns_of(const struct timespec *ts)
{
	return (uint64_t)ts->tv_sec * NSEC_PER_SEC + (uint64_t)ts->tv_nsec;
}

static uint64_t real_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return ns_of(&now);
}

uint64_t initiator_arrived(const struct initiator_queue *queue)
{
	return clock_now_ns() - (real_ns() - queue->arrived);
}

/* The kernel begins to note when packets come a moment after the first socket asked for that; what
 * came before has come now. */
static ssize_t recv_with_time(struct initiator_queue *queue)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct timespec))];
	struct iovec iov = { .iov_base = queue->in, .iov_len = RECV_SIZE };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(queue->fd, &msg, MSG_DONTWAIT);
	const struct cmsghdr *cmsg = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	struct timespec ts;

	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SO_TIMESTAMPNS) {
		memcpy(&ts, CMSG_DATA(cmsg), sizeof(ts));
		queue->arrived = ns_of(&ts);
	} else if (n > 0) {
		queue->arrived = real_ns();
	}
	return n;
}

static ssize_t take(struct initiator_queue *queue)
{
	const struct iovec iov = { .iov_base = queue->in, .iov_len = RECV_SIZE };

	if (queue->tls)
		return tls_readv(queue->tls, &iov, 1);
	if (queue->arrival)
		return recv_with_time(queue);
	return recv(queue->fd, queue->in, RECV_SIZE, MSG_DONTWAIT);
}

/* 1: something came; 0: nothing; -1. */
static int receive_once(struct initiator_queue *queue, const struct initiator_events *events)
{
	const uint8_t *bytes = queue->in;
	ssize_t n = take(queue);
	size_t left = n > 0 ? (size_t)n : 0, used;

	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0
						: initiator_broken(n ? strerror(errno) : "closed");
	while (left) {
		int err = queue->rx_slot ? feed_data(queue, bytes, left, &used, events)
					 : feed_header(queue, bytes, left, &used, events);

		if (err)
			return err;
		bytes += used;
		left -= used;
	}
	return 1;
}

int initiator_receive(struct initiator_queue *queue, const struct initiator_events *events)
{
	int came;

	/* The socket does not tell of what OpenSSL has taken from it already. */
	do {
		came = receive_once(queue, events);
	} while (came > 0 && queue->tls && tls_has_more(queue->tls));
	return came < 0 ? -1 : 0;
}
