/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who uses which queue pair of an SSD; see ssd.h.
 *
 * A share is made with its first user and deleted when its last user gives it back. Three messages
 * cross to the worker and back: detach (before deletion), drain (others go on using the queue
 * pair), and the answers. `deleting` on the share makes late "drained" answers void.
 */
#include "target/ssd.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "pcie/ctrl.h"
#include "pcie/qpair.h"
#include "target/ns.h"
#include "target/queue.h"
#include "target/target.h"
#include "target/worker.h"
#include "util/log.h"

#define DRAIN_TIMEOUT_S 10

int nvmet_ssd_new(struct nvmet_target *target, struct nvme_ctrl *ctrl, const char *name,
		  struct nvmet_ssd **ret_ssd)
{
	struct nvmet_ssd *ssd = calloc(1, sizeof(*ssd));

	if (!ssd)
		return -ENOMEM;
	ssd->target = target;
	ssd->ctrl = ctrl;
	snprintf(ssd->name, sizeof(ssd->name), "%s", name);
	TAILQ_INIT(&ssd->shares);
	TAILQ_INIT(&ssd->waiters);
	nvmet_losses_init(&ssd->losses);
	TAILQ_INSERT_TAIL(&target->ssds, ssd, link);
	*ret_ssd = ssd;
	return 0;
}

void nvmet_ssd_free(struct nvmet_ssd *ssd)
{
	if (!ssd)
		return;
	must(TAILQ_EMPTY(&ssd->shares) && TAILQ_EMPTY(&ssd->waiters));
	TAILQ_REMOVE(&ssd->target->ssds, ssd, link);
	nvmet_losses_fini(&ssd->losses);
	free(ssd);
}

/* The share of this worker with the fewest users; NULL when it has none. */
static struct nvmet_qpair_share *least_used(struct nvmet_ssd *ssd, const struct worker *worker)
{
	struct nvmet_qpair_share *share, *best = NULL;

	TAILQ_FOREACH (share, &ssd->shares, link) {
		if (share->worker != worker || share->deleting || share->closing)
			continue;
		if (!best || share->n_users < best->n_users)
			best = share;
	}
	return best;
}

/* Workers other than `worker` that would be left without a queue pair if the last one went. */
static unsigned workers_without(struct nvmet_ssd *ssd, const struct worker *worker)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nvmet_target_n_usable_workers(ssd->target); i++) {
		const struct worker *other = &ssd->target->workers[i];

		if (other != worker && !least_used(ssd, other))
			n++;
	}
	return n;
}

unsigned nvmet_ssd_queues_available(const struct nvmet_ssd *ssd)
{
	unsigned n_free = nvme_ctrl_queues_free(ssd->ctrl);

	return n_free ? n_free : 1;
}

static bool any_deleting(const struct nvmet_ssd *ssd)
{
	const struct nvmet_qpair_share *share;

	TAILQ_FOREACH (share, &ssd->shares, link) {
		if (share->deleting || share->closing)
			return true;
	}
	return false;
}

/* A queue pair went: everybody who waits tries again, in order. */
static void serve_waiters(struct nvmet_ssd *ssd)
{
	TAILQ_HEAD(, nvmet_path) waiters = TAILQ_HEAD_INITIALIZER(waiters);
	struct nvmet_path *path;
	int err;

	TAILQ_CONCAT(&waiters, &ssd->waiters, link);
	while ((path = TAILQ_FIRST(&waiters)) != NULL) {
		nvmet_ssd_got_fn *got = path->got;

		TAILQ_REMOVE(&waiters, path, link);
		path->got = NULL;
		err = nvmet_ssd_get(ssd, path->queue, (unsigned)(path - path->queue->paths),
				    path->entries, got);
		if (err != -EINPROGRESS)
			got(path->queue, err);
	}
}

static void share_free(struct nvmet_qpair_share *share)
{
	TAILQ_REMOVE(&share->ssd->shares, share, link);
	if (--share->ssd->n_shares == 0)
		nvmet_ssd_namespaces_changed(share->ssd); /* what had to wait for this */
	event_free(share->drain_timer);
	free(share);
}

static void join(struct nvmet_qpair_share *share, struct nvmet_path *path)
{
	path->share = share;
	path->qpair = share->qpair;
	path->outstanding = 0;
	path->draining = false;
	path->putting = false;
	nvmet_losses_join(&share->ssd->losses, path, path->queue->ctrl);
	TAILQ_INSERT_TAIL(&share->users, path, link);
	share->n_users++;
}

void nvmet_ssd_cache_lost(struct nvmet_ssd *ssd)
{
	log_warn("%s: it was gone, and has a volatile write cache: the next Flush of each queue "
		 "fails, because writes before it may be lost; hosts that are away are told when "
		 "they come back",
		 nvme_ctrl_name(ssd->ctrl));
	nvmet_losses_add(&ssd->losses);
}

static void leave(struct nvmet_path *path)
{
	struct nvmet_qpair_share *share = path->share;

	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it is on the list once */
	nvmet_losses_leave(&share->ssd->losses, path);
	TAILQ_REMOVE(&share->users, path, link);
	share->n_users--;
	if (path->putting)
		share->n_putting--;
	path->share = NULL;
	path->qpair = NULL;
	path->putting = false;
}

/* The SSD has made the queue pair, or refused: all who waited for it are told. */
static void share_created(void *arg, int err, struct nvme_qpair *qpair)
{
	struct nvmet_qpair_share *share = arg;
	struct nvmet_path *path = TAILQ_FIRST(&share->users), *next;
	struct nvmet_ssd *ssd = share->ssd;

	share->qpair = qpair;
	if (err)
		share->deleting = true;
	for (; path; path = next) {
		nvmet_ssd_got_fn *got = path->got;
		struct nvmet_queue *queue = path->queue;

		next = TAILQ_NEXT(path, link);
		path->got = NULL;
		path->qpair = qpair;
		if (err)
			leave(path);
		if (!next && err)
			share_free(share);
		got(queue, err);
	}
	if (err)
		serve_waiters(ssd);
}

static void drain_timeout(evutil_socket_t fd, short what, void *arg);

static int share_create(struct nvmet_ssd *ssd, struct nvmet_path *path, uint32_t entries)
{
	struct nvmet_qpair_share *share = calloc(1, sizeof(*share));
	int err;

	if (!share)
		return -ENOMEM;
	share->drain_timer = evtimer_new(ssd->target->loop->base, drain_timeout, share);
	if (!share->drain_timer) {
		free(share);
		return -ENOMEM;
	}
	share->ssd = ssd;
	share->worker = path->queue->worker;
	TAILQ_INIT(&share->users);
	TAILQ_INSERT_TAIL(&ssd->shares, share, link);
	ssd->n_shares++;
	join(share, path);
	/* A ring of n entries holds n - 1 commands. */
	err = nvme_ctrl_create_qpair(ssd->ctrl, entries + 1, &share->worker->loop, share_created,
				     share);
	if (err) {
		leave(path);
		share_free(share);
	}
	return err;
}

int nvmet_ssd_get(struct nvmet_ssd *ssd, struct nvmet_queue *queue, unsigned index,
		  uint32_t entries, nvmet_ssd_got_fn *got)
{
	static struct log_limit refused = LOG_LIMIT_INIT(20); /* main thread only */
	struct nvmet_path *path = &queue->paths[index];
	struct nvmet_qpair_share *share = least_used(ssd, queue->worker);
	unsigned n_free = nvme_ctrl_queues_free(ssd->ctrl);
	bool refused_one = false;
	int err = -EBUSY;

	if (!nvme_ctrl_blocks_known(ssd->ctrl))
		return err; /* commands would be measured in blocks that are no more */
	if (n_free && (!share || n_free > workers_without(ssd, queue->worker))) {
		path->got = got;
		err = share_create(ssd, path, entries);
		if (!err)
			return -EINPROGRESS;
		path->got = NULL;
		refused_one = true;
		log_limited(&refused, LOG_LEVEL_WARN, "%s: no new queue pair: %s",
			    nvme_ctrl_name(ssd->ctrl), strerror(-err));
	}
	if (!share && any_deleting(ssd)) {
		path->got = got;
		path->entries = entries;
		TAILQ_INSERT_TAIL(&ssd->waiters, path, link);
		return -EINPROGRESS;
	}
	if (!share)
		return err;
	if (!refused_one && !ssd->sharing_logged) {
		ssd->sharing_logged = true;
		log_warn("%s: its %u I/O queue pairs are all in use or kept for other workers: "
			 "hosts' queues share them now",
			 nvme_ctrl_name(ssd->ctrl), nvme_ctrl_info(ssd->ctrl)->n_queues);
	}
	join(share, path);
	if (share->qpair)
		return 0;
	path->got = got; /* share_created() will tell */
	return -EINPROGRESS;
}

int nvmet_ssd_attach(struct nvmet_path *path)
{
	if (path->qpair->loop)
		return 0; /* another queue of this worker did */
	return nvme_qpair_attach(path->qpair, &path->queue->worker->loop);
}

static void add_stats(struct nvme_qpair_stats *to, const struct nvme_qpair_stats *from)
{
	counter_add(&to->submitted, counter_get(&from->submitted));
	counter_add(&to->completed, counter_get(&from->completed));
	counter_add(&to->doorbells, counter_get(&from->doorbells));
	counter_add(&to->interrupts, counter_get(&from->interrupts));
	counter_add(&to->polls, counter_get(&from->polls));
	counter_add(&to->unknown_cids, counter_get(&from->unknown_cids));
	counter_add(&to->lost_interrupts, counter_get(&from->lost_interrupts));
	counter_add(&to->overdue, counter_get(&from->overdue));
	counter_add(&to->reissued, counter_get(&from->reissued));
}

void nvmet_ssd_stats(const struct nvmet_ssd *ssd, struct nvme_qpair_stats *ret_stats)
{
	const struct nvmet_qpair_share *share;

	*ret_stats = ssd->ended;
	TAILQ_FOREACH (share, &ssd->shares, link) {
		if (share->qpair && !share->counted)
			add_stats(ret_stats, &share->qpair->stats);
	}
}

/* Tells all users that the queue pair is gone for them, and frees the share. */
static void share_deleted(void *arg)
{
	struct nvmet_qpair_share *share = arg;
	struct nvmet_ssd *ssd = share->ssd;
	struct nvmet_path *path;

	share->qpair = NULL;
	while ((path = TAILQ_FIRST(&share->users)) != NULL) {
		struct nvmet_queue *queue = path->queue;
		nvmet_ssd_put_fn *put = path->put;

		leave(path);
		put(queue);
	}
	share_free(share);
	serve_waiters(ssd);
}

static void share_detached(struct loop_msg *msg)
{
	struct nvmet_qpair_share *share = container_of(msg, struct nvmet_qpair_share, msg);

	add_stats(&share->ssd->ended, &share->qpair->stats);
	/* What is still under way ends with the deletion. */
	counter_add(&share->ssd->ended.completed, share->qpair->outstanding);
	share->counted = true;
	nvme_ctrl_delete_qpair(share->ssd->ctrl, share->qpair, share_deleted, share);
}

/* Worker. The main thread touches neither the list nor its paths while `deleting`. */
static void share_detach(struct loop_msg *msg)
{
	struct nvmet_qpair_share *share = container_of(msg, struct nvmet_qpair_share, msg);
	struct nvmet_path *path;

	/* The deletion ends their commands; nobody waits for each. */
	TAILQ_FOREACH (path, &share->users, link)
		path->draining = false;
	if (share->qpair->loop)
		nvme_qpair_detach(share->qpair);
	loop_post(share->ssd->target->loop, &share->msg, share_detached);
}

static void share_delete(struct nvmet_qpair_share *share)
{
	share->deleting = true;
	event_del(share->drain_timer);
	loop_post(&share->worker->loop, &share->msg, share_detach);
}

/* Main thread: a path has no command at the SSD any more. */
static void path_drained(struct loop_msg *msg)
{
	struct nvmet_path *path = container_of(msg, struct nvmet_path, msg);
	struct nvmet_qpair_share *share = path->share;
	struct nvmet_queue *queue = path->queue;

	if (share->deleting)
		return; /* share_deleted() will tell the queue */
	leave(path);
	if (share->n_putting == 0)
		event_del(share->drain_timer);
	if (share->n_putting == share->n_users)
		share_delete(share);
	path->put(queue);
}

void nvmet_ssd_drained(struct nvmet_path *path)
{
	path->outstanding--;
	if (path->draining && path->outstanding == 0) {
		path->draining = false;
		loop_post(path->queue->target->loop, &path->msg, path_drained);
	}
}

/* Worker. */
static void path_drain(struct loop_msg *msg)
{
	struct nvmet_path *path = container_of(msg, struct nvmet_path, msg);

	if (path->outstanding)
		path->draining = true;
	else
		loop_post(path->queue->target->loop, &path->msg, path_drained);
}

static void arm_drain_timer(struct nvmet_qpair_share *share);

static void drain_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct nvmet_qpair_share *share = arg;
	struct nvmet_path *path;

	(void)fd;
	(void)what;
	if (!nvme_ctrl_is_ready(share->ssd->ctrl)) {
		arm_drain_timer(share); /* they end when it is back, or given up */
		return;
	}
	log_err("%s: commands of a closed connection are still at the SSD after %u s: closing all "
		"%u connections that share its queue pair, to delete it",
		nvme_ctrl_name(share->ssd->ctrl), DRAIN_TIMEOUT_S, share->n_users);
	share->closing = true;
	TAILQ_FOREACH (path, &share->users, link) {
		if (!path->putting)
			nvmet_queue_close(path->queue, "its queue pair must be deleted");
	}
}

static void arm_drain_timer(struct nvmet_qpair_share *share)
{
	const struct timeval timeout = { .tv_sec = DRAIN_TIMEOUT_S };

	if (evtimer_add(share->drain_timer, &timeout) < 0)
		log_err("%s: no memory for a timer: a shared queue pair is drained without a limit",
			nvme_ctrl_name(share->ssd->ctrl));
}

void nvmet_ssd_put(struct nvmet_queue *queue, unsigned index, nvmet_ssd_put_fn *put)
{
	struct nvmet_path *path = &queue->paths[index];
	struct nvmet_qpair_share *share = path->share;

	path->put = put;
	path->putting = true;
	share->n_putting++;
	if (share->n_putting == share->n_users) {
		share_delete(share);
		return;
	}
	if (share->n_putting == 1)
		arm_drain_timer(share);
	loop_post(&queue->worker->loop, &path->msg, path_drain);
}
