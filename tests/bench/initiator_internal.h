/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the host for load share: its queue (initiator.c), its set-up
 * (initiator_setup.c), TLS (initiator_tls.c). */
#ifndef NVMETD_TESTS_INITIATOR_INTERNAL_H
#define NVMETD_TESTS_INITIATOR_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "pcie/nvme.h"
#include "transport/nvme_tcp.h"

#define RECV_SIZE (256u << 10)
#define HEAD_MAX  (sizeof(struct nvme_tcp_icreq) + NVME_TCP_DIGEST_SIZE)

struct initiator_slot {
	STAILQ_ENTRY(initiator_slot) link;
	bool write, busy, queued;
	uint32_t len, received;
	const uint8_t *data; /* of a write */

	/* The PDU on its way: header, data, digest. */
	uint32_t head_len, part_len, tail_len, sent;
	const uint8_t *part;
	uint8_t tail[NVME_TCP_DIGEST_SIZE];
	/* What an R2T asked for beyond it. */
	uint32_t r2t_offset, r2t_left;
	le16 ttag;
	_Alignas(8) uint8_t head[HEAD_MAX];
};

struct initiator_queue {
	int fd;          /* does not block once there is TLS */
	struct tls *tls; /* NULL: none */
	unsigned depth;
	bool digests, arrival;
	uint64_t arrived; /* ns of CLOCK_REALTIME */
	uint32_t maxh2cdata;
	struct initiator_slot *slots;
	STAILQ_HEAD(, initiator_slot) tx;

	/* Receiving: a header, then its data, then the data's digest. */
	uint8_t *in;
	_Alignas(8) uint8_t head[HEAD_MAX];
	size_t head_len, head_want;
	struct initiator_slot *rx_slot;
	uint32_t data_left;
	uint32_t crc;
	uint8_t ddgst[NVME_TCP_DIGEST_SIZE];
	size_t ddgst_left;
};

/* Prints what the target did wrong, or what failed. Returns -1. */
int initiator_broken(const char *what);
/* The header in slot->head is filled but for PDO, PLEN and flags of digests: completes it and
 * queues the PDU, with `part_len` bytes of data. */
void initiator_enqueue(struct initiator_queue *queue, struct initiator_slot *slot,
		       const uint8_t *part, uint32_t part_len);
/* Queues a CapsuleCmd in a free slot, the data of a write in it when it fits. */
void initiator_command(struct initiator_queue *queue, unsigned index, struct nvme_sqe *sqe,
		       const void *data, size_t len, bool write);
/* Blocking: the handshake. 0 or -1 (printed). Ended by initiator_tls_end(), which does nothing
 * without. */
int initiator_tls_start(struct initiator_queue *queue, const char *key_file, const char *hostnqn,
			const char *subnqn);
void initiator_tls_end(struct initiator_queue *queue);

#endif
