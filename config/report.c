/* SPDX-License-Identifier: BSD-3-Clause */
/* Reports on the daemon; see report.h. */
#include "config/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include "config/daemon.h"
#include "config/measures.h"
#include "pcie/ctrl.h"
#include "pcie/dma.h"
#include "pcie/numa.h"
#include "pcie/qpair.h"
#include "target/auth.h"
#include "target/ctrl.h"
#include "target/queue.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/worker.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/num.h"
#include "util/version.h"

/* A field that is padded with spaces and not terminated. */
static json_t *padded(const char *text, size_t size)
{
	char clean[64];
	size_t len = num_min(nvme_text_len(text, size), sizeof(clean) - 1);

	for (size_t i = 0; i < len; i++)
		clean[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
	return json_stringn(clean, len);
}

json_t *report_error(const char *why)
{
	return json_pack("{s:s}", "error", why);
}

json_t *report_text(const char *name)
{
	json_t *value = json_string(name);
	char *escaped, *to;

	if (value)
		return value;
	escaped = to = malloc(4 * strlen(name) + 1);
	if (!escaped)
		return json_string("?");
	for (; *name; name++)
		to += snprintf(to, 5, (*name & 0x80) ? "\\x%02x" : "%c", (unsigned char)*name);
	value = json_string(escaped);
	free(escaped);
	return value;
}

static json_t *addresses(const struct daemon *daemon)
{
	json_t *list = json_array();
	const struct nvmet_port *port;

	TAILQ_FOREACH (port, &daemon->target.ports, link)
		json_array_append_new(list,
				      json_pack("{s:i, s:s, s:s}", "portid", port->portid, "traddr",
						port->traddr, "trsvcid", port->trsvcid));
	return list;
}

/* --- status ----------------------------------------------------------------------------------- */

static json_t *ssd_status(const struct daemon_ssd *ssd)
{
	const struct nvme_ctrl_info *info = nvme_ctrl_info(ssd->ctrl);
	struct nvme_qpair_stats stats = { 0 };

	if (ssd->ssd)
		nvmet_ssd_stats(ssd->ssd, &stats);
	return json_pack(
		"{s:o, s:o, s:s, s:o, s:b, s:s, s:s?, s:i, s:i, s:i, s:o, s:o, s:o, s:i, s:i, s:I, "
		"s:I, s:i}",
		"name", report_text(ssd->conf->name), "spec", report_text(ssd->conf->spec),
		"device", nvme_ctrl_name(ssd->ctrl), "numa_node",
		ssd->numa_node == NUMA_NO_NODE ? json_null() : json_integer(ssd->numa_node),
		"ready", nvme_ctrl_is_ready(ssd->ctrl), "state", nvme_ctrl_state_name(ssd->ctrl),
		"why", nvme_ctrl_why(ssd->ctrl), "resets", nvme_ctrl_n_resets(ssd->ctrl), "retries",
		nvme_ctrl_n_retries(ssd->ctrl), "aborts", nvme_ctrl_n_aborts(ssd->ctrl), "model",
		padded(info->id.mn, sizeof(info->id.mn)), "serial",
		padded(info->id.sn, sizeof(info->id.sn)), "firmware",
		padded(info->id.fr, sizeof(info->id.fr)), "queue_pairs", info->n_queues,
		"queue_pairs_used", ssd->ssd ? ssd->ssd->n_shares : 0, "interrupts",
		(json_int_t)counter_get(&stats.interrupts), "cq_polls",
		(json_int_t)counter_get(&stats.polls), "namespaces", nvme_ctrl_n_ns(ssd->ctrl));
}

/* Where it may run, "0-3,8". */
static json_t *cpus_of(const struct worker *worker)
{
	char text[128];
	cpu_set_t cpus;

	if (worker_cpus(worker, &cpus))
		return json_null();
	numa_format_list(&cpus, text, sizeof(text));
	return json_string(text);
}

static json_t *worker_status(const struct worker *worker)
{
	const struct loop_stats *loop = &worker->loop.stats;

	return json_pack("{s:i, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "index", worker->index,
			 "cpus", cpus_of(worker), "connections",
			 (json_int_t)counter_get(&worker->stats.connections), "dma_pages_used",
			 (json_int_t)dma_pool_used(worker->pool), "dma_pages_total",
			 (json_int_t)dma_pool_total(worker->pool), "page_waits",
			 (json_int_t)counter_get(&worker->stats.page_waits), "sleeps",
			 (json_int_t)counter_get(&loop->sleeps), "looks",
			 (json_int_t)counter_get(&loop->looks), "polled",
			 (json_int_t)counter_get(&loop->polled));
}

static json_t *report_status(const struct daemon *daemon, const json_t *request)
{
	json_t *ssds = json_array(), *workers = json_array();

	(void)request;
	for (unsigned i = 0; i < daemon->n_ssds; i++)
		json_array_append_new(ssds, ssd_status(&daemon->ssds[i]));
	for (unsigned i = 0; i < daemon->n_workers; i++)
		json_array_append_new(workers, worker_status(&daemon->workers[i]));
	return json_pack("{s:s, s:i, s:I, s:o, s:o, s:o}", "version", NVMETD_VERSION, "pid",
			 (int)getpid(), "uptime_s",
			 (json_int_t)((clock_now_ns() - daemon->started_ns) / NSEC_PER_SEC),
			 "listen", addresses(daemon), "ssds", ssds, "workers", workers);
}

/* --- list ------------------------------------------------------------------------------------- */

static json_t *ns_item(const struct nvmet_ns *ns)
{
	char uuid[UUID_STR_LEN];

	uuid_unparse_lower(ns->uuid, uuid);
	return json_pack("{s:i, s:b, s:I, s:i, s:s, s:o, s:I}", "nsid", ns->nsid, "active",
			 nvmet_ns_is_active(ns), "blocks", (json_int_t)nvmet_ns_blocks(ns),
			 "block_size", 1 << ns->format.lba_shift, "uuid", uuid, "ssd",
			 report_text(ns->ssd->name), "ssd_nsid", (json_int_t)ns->nvme_ns->nsid);
}

/* One that is configured and not there: its SSD was never seen, or has no such namespace. */
static json_t *missing_ns_item(const struct daemon *daemon, const struct conf_ns *conf)
{
	return json_pack("{s:i, s:b, s:n, s:n, s:n, s:o, s:I}", "nsid", conf->nsid, "active", false,
			 "blocks", "block_size", "uuid", "ssd",
			 report_text(daemon->conf->ssds[conf->ssd].name), "ssd_nsid",
			 (json_int_t)conf->ssd_nsid);
}

/* What is configured for the subsystem, by NSID; NULL: nothing. */
static void find_configured(const struct daemon *daemon, const struct nvmet_subsystem *subsys,
			    const struct conf_ns *configured[NVMET_MAX_NSID + 1])
{
	for (unsigned i = 0; i < daemon->conf->n_subsystems; i++) {
		const struct conf_subsystem *conf = &daemon->conf->subsystems[i];

		if (strcmp(conf->nqn, subsys->nqn) != 0)
			continue;
		for (unsigned n = 0; n < conf->n_ns; n++)
			configured[conf->ns[n].nsid] = &conf->ns[n];
	}
}

static json_t *namespaces_of(const struct daemon *daemon, const struct nvmet_subsystem *subsys)
{
	const struct conf_ns *configured[NVMET_MAX_NSID + 1] = { NULL };
	json_t *list = json_array();

	find_configured(daemon, subsys, configured);
	for (uint32_t nsid = 1; nsid <= NVMET_MAX_NSID; nsid++) {
		if (subsys->ns[nsid] != NULL)
			json_array_append_new(list, ns_item(subsys->ns[nsid]));
		else if (configured[nsid])
			json_array_append_new(list, missing_ns_item(daemon, configured[nsid]));
	}
	return list;
}

static json_t *queue_item(const struct nvmet_queue *queue)
{
	json_t *item = json_pack("{s:i, s:i, s:s, s:i, s:s, s:s}", "qid", queue->qid, "entries",
				 queue->entries, "peer", queue->peer, "worker",
				 queue->worker->index, "tls", queue->tls ? queue->tls_how : "none",
				 "authentication", nvmet_auth_state(queue));

	if (queue->qid)
		json_object_set_new(item, "latency", measures_queue_latency(queue));
	return item;
}

static json_t *ctrl_item(const struct nvmet_ctrl *ctrl)
{
	json_t *queues = json_array();

	for (unsigned qid = 0; qid <= NVMET_MAX_QUEUES; qid++) {
		if (ctrl->queues[qid])
			json_array_append_new(queues, queue_item(ctrl->queues[qid]));
	}
	return json_pack("{s:i, s:o, s:b, s:I, s:o}", "cntlid", ctrl->cntlid, "hostnqn",
			 report_text(ctrl->hostnqn), "ending", ctrl->dead, "kato_ms",
			 (json_int_t)ctrl->kato_ms, "queues", queues);
}

static json_t *subsystem_item(const struct daemon *daemon, const struct nvmet_subsystem *subsys)
{
	json_t *ctrls = json_array(), *hosts = json_array();
	const struct nvmet_host_entry *host;
	const struct nvmet_ctrl *ctrl;

	TAILQ_FOREACH (ctrl, &subsys->ctrls, link)
		json_array_append_new(ctrls, ctrl_item(ctrl));
	TAILQ_FOREACH (host, &subsys->hosts, link)
		json_array_append_new(hosts, report_text(host->nqn));
	return json_pack("{s:o, s:b, s:o, s:o, s:o}", "nqn", report_text(subsys->nqn),
			 "allow_any_host", subsys->allow_any_host || subsys->discovery, "hosts",
			 hosts, "namespaces", namespaces_of(daemon, subsys), "controllers", ctrls);
}

static json_t *report_list(const struct daemon *daemon, const json_t *request)
{
	const struct nvmet_subsystem *subsys;
	json_t *list = json_array();

	(void)request;
	TAILQ_FOREACH (subsys, &daemon->target.subsystems, link)
		json_array_append_new(list, subsystem_item(daemon, subsys));
	return json_pack("{s:o}", "subsystems", list);
}

/* --- counters --------------------------------------------------------------------------------- */

struct totals {
	uint64_t connections, requests, commands, bytes_in, bytes_out, protocol_errors, page_waits;
	uint64_t pages_used, pages_total, queue_pairs, queue_users, unknown_cids, interrupts;
	uint64_t tls_failures, cq_polls, lost_interrupts, recvs, sends, sleeps, looks, polled;
};

static void add_worker(struct totals *totals, const struct worker *worker)
{
	totals->connections += counter_get(&worker->stats.connections);
	totals->requests += counter_get(&worker->stats.requests);
	totals->commands += counter_get(&worker->stats.commands);
	totals->bytes_in += counter_get(&worker->stats.bytes_in);
	totals->bytes_out += counter_get(&worker->stats.bytes_out);
	totals->protocol_errors += counter_get(&worker->stats.protocol_errors);
	totals->tls_failures += counter_get(&worker->stats.tls_failures);
	totals->page_waits += counter_get(&worker->stats.page_waits);
	totals->recvs += counter_get(&worker->stats.recvs);
	totals->sends += counter_get(&worker->stats.sends);
	totals->sleeps += counter_get(&worker->loop.stats.sleeps);
	totals->looks += counter_get(&worker->loop.stats.looks);
	totals->polled += counter_get(&worker->loop.stats.polled);
	totals->pages_used += dma_pool_used(worker->pool);
	totals->pages_total += dma_pool_total(worker->pool);
}

static void add_ssd(struct totals *totals, const struct nvmet_ssd *ssd)
{
	const struct nvmet_qpair_share *share;
	struct nvme_qpair_stats stats;

	totals->queue_pairs += ssd->n_shares;
	TAILQ_FOREACH (share, &ssd->shares, link)
		totals->queue_users += share->n_users;
	nvmet_ssd_stats(ssd, &stats);
	totals->unknown_cids += counter_get(&stats.unknown_cids);
	totals->interrupts += counter_get(&stats.interrupts);
	totals->cq_polls += counter_get(&stats.polls);
	totals->lost_interrupts += counter_get(&stats.lost_interrupts);
}

static struct totals add_up(const struct daemon *daemon)
{
	struct totals totals = { 0 };

	for (unsigned i = 0; i < daemon->n_workers; i++)
		add_worker(&totals, &daemon->workers[i]);
	for (unsigned i = 0; i < daemon->n_ssds; i++) {
		if (daemon->ssds[i].ssd)
			add_ssd(&totals, daemon->ssds[i].ssd);
	}
	return totals;
}

static json_t *report_counters(const struct daemon *daemon, const json_t *request)
{
	const struct nvmet_refusals *refused = &daemon->target.refused;
	const struct totals totals = add_up(daemon);
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "connections", totals.connections },
		{ "controllers", daemon->target.n_ctrls },
		{ "queue_pairs", totals.queue_pairs },
		{ "queue_pair_users", totals.queue_users },
		{ "requests", totals.requests },
		{ "dma_pages_used", totals.pages_used },
		{ "dma_pages_total", totals.pages_total },
		{ "dma_pages_main", dma_pool_used(daemon->pool) },
		{ "commands", totals.commands },
		{ "bytes_in", totals.bytes_in },
		{ "bytes_out", totals.bytes_out },
		{ "protocol_errors", totals.protocol_errors },
		{ "connections_refused", refused->connections },
		{ "tls_failures", totals.tls_failures },
		{ "connects_refused", refused->connects },
		{ "authentication_failures", refused->authentications },
		{ "page_waits", totals.page_waits },
		{ "unknown_cids", totals.unknown_cids },
		{ "interrupts", totals.interrupts },
		{ "cq_polls", totals.cq_polls },
		{ "lost_interrupts", totals.lost_interrupts },
		{ "recvs", totals.recvs },
		{ "sends", totals.sends },
		{ "sleeps", totals.sleeps },
		{ "looks", totals.looks },
		{ "polled", totals.polled },
	};
	json_t *object = json_object();

	(void)request;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		json_object_set_new(object, rows[i].name, json_integer((json_int_t)rows[i].value));
	return object;
}

json_t *report(const struct daemon *daemon, const char *name, const json_t *request)
{
	static const struct {
		const char *name;
		json_t *(*make)(const struct daemon *daemon, const json_t *request);
	} reports[] = {
		{ "status", report_status },     { "list", report_list },
		{ "counters", report_counters }, { "queues", measures_queues },
		{ "latency", measures_latency }, { "histograms", measures_histograms },
		{ "pairs", measures_pairs },
	};

	for (size_t i = 0; i < ARRAY_SIZE(reports); i++) {
		if (strcmp(name, reports[i].name) == 0)
			return reports[i].make(daemon, request);
	}
	return NULL;
}
