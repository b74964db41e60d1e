/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Answering the first half of a batch early. A host that keeps so many commands under way, and a
 * worker that takes all that has come and answers it at once, soon take turns: each has the whole
 * batch, while the other waits for it. When the worker had to wait for a batch longer than it takes
 * to wake a host up, it answers the first half before it looks at the second; from then on both
 * have something to do. What the SSD does not complete at once cannot be answered early: then it is
 * not tried again for some batches. Commands with data in their capsules stay together, for the
 * host sends them while we receive. Worker.
 * Inline, for it is asked with every recv.
 */
#ifndef NVMETD_TRANSPORT_EARLY_H
#define NVMETD_TRANSPORT_EARLY_H

#include "target/io.h"
#include "target/worker.h"
#include "transport/conn.h"
#include "transport/share.h"

#define EARLY_WAIT_NS  10000u /* about what it takes to wake a host up */
#define EARLY_COMMANDS 4u     /* the smallest batch that is worth a sendmsg more */
#define EARLY_SKIP     255u   /* batches left whole after the SSD did not complete one at once */

/* Of `len` bytes that came after the worker had waited for them, those of the first half; 0: the
 * batch stays whole. */
static inline size_t early_bytes(struct nvme_tcp_conn *conn, size_t len, uint64_t waited_ns)
{
	if (waited_ns < EARLY_WAIT_NS || !share_counts(conn) ||
	    len < EARLY_COMMANDS * sizeof(struct nvme_tcp_capsule_cmd))
		return 0;
	if (conn->early_skip) {
		conn->early_skip--;
		return 0;
	}
	return len / 2;
}

/* The first half was parsed. The connection may be closed after it. */
static inline void early_answer(struct nvme_tcp_conn *conn)
{
	if (conn->shape.data_len)
		return;
	nvmet_io_advance(&conn->queue);
	if (!conn->tx_task.queued)
		conn->early_skip = EARLY_SKIP;
	loop_advance(&conn->queue.worker->loop, &conn->tx_task);
}

#endif
