/* SPDX-License-Identifier: BSD-3-Clause */
/* Who has to be told that a cache was lost; see losses.h. */
#include "target/losses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/ctrl.h"
#include "target/queue.h"
#include "target/subsystem.h"
#include "util/bits.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/list.h"

static void set_all(struct nvmet_ns_set *set)
{
	memset(set, 0xff, sizeof(*set));
}

static bool is_empty(const struct nvmet_ns_set *set)
{
	for (size_t i = 0; i < ARRAY_SIZE(set->bits); i++) {
		if (set->bits[i])
			return false;
	}
	return true;
}

void nvmet_losses_init(struct nvmet_losses *losses)
{
	*losses = (struct nvmet_losses){ 0 };
	TAILQ_INIT(&losses->hosts);
}

static void forget(struct nvmet_losses *losses, struct nvmet_loss_host *host)
{
	losses->forgot = true;
	losses->untold = losses->untold || !is_empty(&host->untold);
	TAILQ_REMOVE(&losses->hosts, host, link);
	losses->n_hosts--;
	free(host);
}

void nvmet_losses_fini(struct nvmet_losses *losses)
{
	struct nvmet_loss_host *host, *next;

	TAILQ_FOREACH_SAFE (host, &losses->hosts, link, next)
		free(host);
	nvmet_losses_init(losses);
}

void nvmet_losses_add(struct nvmet_losses *losses)
{
	struct nvmet_loss_host *host;

	TAILQ_FOREACH (host, &losses->hosts, link)
		set_all(&host->untold);
	losses->untold = losses->forgot;
	atomic_fetch_add(&losses->count, 1);
}

/* --- Who was here ----------------------------------------------------------------------------- */

static struct nvmet_loss_host *find(const struct nvmet_losses *losses,
				    const struct nvmet_ctrl *ctrl)
{
	struct nvmet_loss_host *host;

	TAILQ_FOREACH (host, &losses->hosts, link) {
		if (host->subsys == ctrl->subsys &&
		    memcmp(host->hostid, ctrl->hostid, sizeof(host->hostid)) == 0 &&
		    strcmp(host->hostnqn, ctrl->hostnqn) == 0)
			return host;
	}
	return NULL;
}

/* The host that has been away for longest, of this NQN (NULL: any). NULL: none is away. */
static struct nvmet_loss_host *longest_away(const struct nvmet_losses *losses, const char *hostnqn)
{
	struct nvmet_loss_host *host;

	TAILQ_FOREACH (host, &losses->hosts, link) {
		if (host->n_paths == 0 && (!hostnqn || strcmp(host->hostnqn, hostnqn) == 0))
			return host;
	}
	return NULL;
}

/* Makes room for one more. A host can invent host IDs, so those of one NQN displace each other
 * first. */
static void make_room(struct nvmet_losses *losses, const char *hostnqn)
{
	struct nvmet_loss_host *host;

	if (losses->n_hosts < NVMET_LOSS_HOSTS)
		return;
	host = longest_away(losses, hostnqn);
	if (!host)
		host = longest_away(losses, NULL);
	if (host)
		forget(losses, host);
}

/* NULL: no memory. */
static struct nvmet_loss_host *remember(struct nvmet_losses *losses, const struct nvmet_ctrl *ctrl)
{
	struct nvmet_loss_host *host = calloc(1, sizeof(*host));

	if (!host)
		return NULL;
	make_room(losses, ctrl->hostnqn);
	host->subsys = ctrl->subsys;
	snprintf(host->hostnqn, sizeof(host->hostnqn), "%s", ctrl->hostnqn);
	memcpy(host->hostid, ctrl->hostid, sizeof(host->hostid));
	if (losses->untold) /* it may be one of those that were forgotten */
		set_all(&host->untold);
	TAILQ_INSERT_TAIL(&losses->hosts, host, link);
	losses->n_hosts++;
	return host;
}

/* --- Paths ------------------------------------------------------------------------------------ */

static bool is_of(const struct nvmet_ns *ns, const struct nvmet_path *path)
{
	return ns && ns->path == (unsigned)(path - path->queue->paths);
}

/* The queue has yet to tell of those namespaces of this path that are in `set`; NULL: all. */
static void owe(struct nvmet_path *path, const struct nvmet_subsystem *subsys,
		const struct nvmet_ns_set *set)
{
	struct nvmet_ns_set *untold = &path->queue->untold;

	for (uint32_t nsid = 1; nsid <= NVMET_MAX_NSID; nsid++) {
		if (!is_of(atomic_load(&subsys->ns[nsid]), path))
			continue;
		if (!set || bits_test(set->bits, nsid))
			bits_set(untold->bits, nsid);
		else
			bits_clear(untold->bits, nsid);
	}
}

void nvmet_losses_join(struct nvmet_losses *losses, struct nvmet_path *path,
		       const struct nvmet_ctrl *ctrl)
{
	struct nvmet_loss_host *host = find(losses, ctrl);

	path->losses_known = atomic_load(&losses->count);
	path->told_ns = 0;
	path->told_seen = false;
	if (!host)
		host = remember(losses, ctrl);
	path->loss_host = host;
	if (host)
		host->n_paths++;
	else
		losses->forgot = true;
	if (path->late) {
		/* queue->untold is its worker's: it takes whatever is owed for a loss of now. */
		path->losses_known -= host ? !is_empty(&host->untold) : losses->untold;
		return;
	}
	if (host)
		owe(path, ctrl->subsys, &host->untold);
	else if (losses->untold)
		owe(path, ctrl->subsys, NULL);
}

/* The host knows what this queue has told it. Once that is every namespace on this SSD nothing is
 * left: the set began with all NSIDs, also those on other SSDs and those that do not exist. */
static void settle(struct nvmet_loss_host *host, const struct nvmet_path *path)
{
	bool left = false;

	for (uint32_t nsid = 1; nsid <= NVMET_MAX_NSID; nsid++) {
		if (!is_of(atomic_load(&host->subsys->ns[nsid]), path))
			continue;
		if (!bits_test(path->queue->untold.bits, nsid))
			bits_clear(host->untold.bits, nsid);
		left = left || bits_test(host->untold.bits, nsid);
	}
	if (!left)
		host->untold = (struct nvmet_ns_set){ { 0 } };
}

void nvmet_losses_leave(struct nvmet_losses *losses, struct nvmet_path *path)
{
	struct nvmet_loss_host *host = path->loss_host;

	path->loss_host = NULL;
	if (!host)
		return;
	if (path->told_seen && path->losses_known == atomic_load(&losses->count))
		settle(host, path);
	host->n_paths--;
	TAILQ_REMOVE(&losses->hosts, host, link);
	TAILQ_INSERT_TAIL(&losses->hosts, host, link);
}

bool nvmet_losses_tell(const struct nvmet_losses *losses, struct nvmet_path *path,
		       const struct nvmet_ns *ns, uint64_t begun)
{
	uint64_t *untold = path->queue->untold.bits;
	uint32_t count = atomic_load(&losses->count);

	if (path->losses_known != count) {
		path->losses_known = count;
		owe(path, ns->subsys, NULL);
	}
	if (!bits_test(untold, ns->nsid)) {
		if (path->told_ns && begun >= path->told_ns + NVMET_LOSS_SEEN_NS)
			path->told_seen = true;
		return false;
	}
	bits_clear(untold, ns->nsid);
	path->told_seen = false;
	path->told_ns = clock_now_ns();
	return true;
}
