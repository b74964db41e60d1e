/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon in one thread; see rig.h. */
#include "tests/fuzz/rig.h"

#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "config/conf_hosts.h"
#include "pcie/ctrl_internal.h"
#include "pcie/device.h"
#include "pcie/dma.h"
#include "pcie/emul/emul.h"
#include "pcie/qpair.h"
#include "target/aen.h"
#include "target/ctrl.h"
#include "target/ns.h"
#include "target/nvmf.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/worker.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"
#include "transport/inbox.h"
#include "transport/internal.h"
#include "transport/tcp.h"
#include "util/check.h"
#include "util/clock.h"

#define MAX_TURNS     10000
#define RECEIVE_BYTES (INBOX_PARTS * (INBOX_ROOM + 16384)) /* parts full after a few commands */
_Static_assert(RECEIVE_BYTES <= DMA_BLOCK_SIZE, "it is of one block");

struct daemon rig;
struct conf rig_conf;
bool rig_ssd_may_fail, rig_receive_memory;

static struct nvmet_port port = { .adrfam = NVMF_ADRFAM_IPV4, .wildcard = false };
static struct dma_buf receive_blocks[2]; /* workers' */
static uint64_t base_pages, base_queues, receive_pages;

void fuzz_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

/* --- Time ------------------------------------------------------------------------------------- */

static uint64_t now_ns = 1000 * NSEC_PER_SEC;

/* Takes the place of the C library's, for us and for libevent. */
int clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
		return (int)syscall(SYS_clock_gettime, clock, ts);
	ts->tv_sec = (time_t)(now_ns / NSEC_PER_SEC);
	ts->tv_nsec = (long)(now_ns % NSEC_PER_SEC);
	return 0;
}

void rig_clock_forward(uint64_t ns)
{
	now_ns += ns;
}

/* --- The SSD, which can be held --------------------------------------------------------------- */

static struct pcie_device_ops ops;
static const struct pcie_device_ops *ssd_ops;
static bool held, admin_held;

static bool is_io_doorbell(uint32_t off)
{
	return off >= NVME_REG_DOORBELLS + 8;
}

static void ssd_write(struct pcie_device *dev, uint32_t off, unsigned size, uint64_t value)
{
	if (off < NVME_REG_DOORBELLS || (is_io_doorbell(off) ? !held : !admin_held))
		ssd_ops->write(dev, off, size, value);
}

void rig_hold_ssd(bool admin)
{
	held = true;
	admin_held = admin_held || admin;
}

/* What the driver has rung meanwhile, and what an interrupt would lead to. */
static void ring_again(struct nvme_qpair *qp)
{
	ssd_ops->write(qp->dev, qp->cq_doorbell, 4, qp->cq_head_rung);
	ssd_ops->write(qp->dev, qp->sq_doorbell, 4, qp->sq_tail_rung);
	if (qp->loop)
		loop_defer(qp->loop, &qp->work);
}

uint64_t rig_doorbells(void)
{
	struct nvmet_qpair_share *share = TAILQ_FIRST(&rig.ssds[0].ssd->shares);

	return counter_get(&share->qpair->stats.doorbells);
}

void rig_release_ssd(void)
{
	struct nvmet_qpair_share *share;

	if (!held)
		return;
	held = admin_held = false;
	ring_again(rig.ssds[0].ctrl->adminq);
	TAILQ_FOREACH (share, &rig.ssds[0].ssd->shares, link) {
		if (share->qpair)
			ring_again(share->qpair);
	}
}

/* --- Start and stop --------------------------------------------------------------------------- */

static void on_ready(struct nvme_ctrl *ctrl, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	ssd->ready = true;
}

static void on_failed(struct nvme_ctrl *ctrl, const char *why, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	if (!rig_ssd_may_fail)
		fuzz_fail("the SSD failed: %s", why);
	ssd->stopped = true;
}

static void on_stopped(struct nvme_ctrl *ctrl, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	ssd->stopped = true;
}

static void on_event(struct nvme_ctrl *ctrl, uint32_t dw0, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	if (ssd->ssd)
		nvmet_aen_from_ssd(ssd->ssd, dw0);
}

static void on_namespaces(struct nvme_ctrl *ctrl, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	if (ssd->ssd)
		nvmet_ssd_namespaces_changed(ssd->ssd);
}

bool rig_bring_up(struct pcie_device *dev)
{
	static const struct nvme_ctrl_events events = { .ready = on_ready,
							.failed = on_failed,
							.stopped = on_stopped,
							.async_event = on_event,
							.namespaces = on_namespaces };
	struct daemon_ssd *ssd = &rig.ssds[0];
	const struct nvme_ctrl_params params = {
		.loop = &rig.loop,
		.dev = dev,
		.pool = rig.pool,
		.max_transfer = rig_conf.max_transfer,
		.max_queues = rig_conf.ssds[0].max_queues,
		.command_timeout_ms = rig_conf.ssds[0].command_timeout_ms,
		.io_timeout_ms = rig_conf.ssds[0].io_timeout_ms,
		.patience_ms = rig_conf.ssds[0].recovery_timeout_ms,
		.events = &events,
		.arg = ssd,
	};

	*ssd = (struct daemon_ssd){ .daemon = &rig, .conf = &rig_conf.ssds[0], .dev = dev };
	rig.n_ssds = 1;
	must(dma_arena_map(rig.arena, dev) == 0);
	ssd->mapped = true;
	must(nvme_ctrl_new(&params, &ssd->ctrl) == 0);
	nvme_ctrl_start(ssd->ctrl);
	for (unsigned ms = 0; !ssd->ready && !ssd->stopped && ms < 100000; ms += 50)
		rig_sleep(50);
	return ssd->ready && !ssd->stopped && apply_exports(&rig) == 0;
}

void rig_take_down(void)
{
	struct daemon_ssd *ssd = &rig.ssds[0];
	struct nvmet_subsystem *subsys, *next;

	rig_settle();
	if (!ssd->stopped)
		nvme_ctrl_shutdown(ssd->ctrl);
	for (unsigned ms = 0; !ssd->stopped; ms += 50) {
		if (ms > 100000)
			fuzz_fail("the SSD is neither stopped nor failed");
		rig_sleep(50);
	}
	for (subsys = TAILQ_FIRST(&rig.target.subsystems); subsys; subsys = next) {
		next = TAILQ_NEXT(subsys, link);
		if (!subsys->discovery)
			nvmet_subsystem_free(subsys);
	}
	nvmet_ssd_free(ssd->ssd);
	nvme_ctrl_free(ssd->ctrl);
	dma_arena_unmap(rig.arena, ssd->dev);
	ssd->dev->ops->close(ssd->dev);
	*ssd = (struct daemon_ssd){ .conf = &rig_conf.ssds[0] };
	rig.n_ssds = 0;
}

void rig_init(const char *spec)
{
	static struct conf_ns ns[2][2];
	struct conf_subsystem *subsys;

	log_set_level(LOG_LEVEL_ERR);
	conf_init(&rig_conf);
	rig_conf.workers = 1;
	rig_conf.dma_memory = 16u << 20;
	rig_conf.n_ssds = 1;
	rig_conf.ssds[0] = (struct conf_ssd){ .name = "a", CONF_SSD_DEFAULTS };
	snprintf(rig_conf.ssds[0].spec, sizeof(rig_conf.ssds[0].spec), "%s", spec ? spec : "");
	rig_conf.n_subsystems = 2;
	subsys = &rig_conf.subsystems[0];
	*subsys = (struct conf_subsystem){ .nqn = RIG_NQN,
					   .allow_any_host = true,
					   .max_queues = NVMET_MAX_QUEUES,
					   .all_of_ssd = -1,
					   .ns = ns[0],
					   .n_ns = 1 };
	ns[0][0] = (struct conf_ns){ .nsid = 1, .ssd_nsid = 1 };
	subsys = &rig_conf.subsystems[1];
	*subsys = (struct conf_subsystem){
		.nqn = RIG_NQN_CLOSED, .max_queues = 4, .all_of_ssd = -1, .ns = ns[1], .n_ns = 1
	};
	ns[1][0] = (struct conf_ns){ .nsid = 5, .ssd_nsid = 1 };
	must(conf_hosts_add(&subsys->hosts, RIG_FRIEND) == 0);
}

static struct pcie_device *open_ssd(void)
{
	struct emul_options options;
	struct pcie_device *dev;
	char why[256];

	must(emul_options_parse(rig_conf.ssds[0].spec, &options, why, sizeof(why)) == 0);
	must(emul_device_open(&options, &dev) == 0);
	ssd_ops = dev->ops;
	ops = *ssd_ops;
	ops.write = ssd_write;
	dev->ops = &ops;
	return dev;
}

/* A block of their pages; worker_init() cuts it off the arena, and only where much is left. */
static void give_receive_memory(void)
{
	for (unsigned i = 0; i < rig.n_workers; i++) {
		struct worker *worker = &rig.workers[i];

		must(!worker->recv_mem.va && i < ARRAY_SIZE(receive_blocks) &&
		     dma_alloc(worker->pool, DMA_BLOCK_SIZE, &receive_blocks[i]));
		receive_pages = dma_pool_used(worker->pool);
		worker->recv_mem = receive_blocks[i];
		worker->recv_mem.len = RECEIVE_BYTES;
	}
}

static void take_receive_memory(void)
{
	for (unsigned i = 0; i < rig.n_workers && receive_pages; i++)
		dma_free(rig.workers[i].pool, &receive_blocks[i]);
	receive_pages = 0;
}

void rig_start(void)
{
	rig = (struct daemon){ .conf = &rig_conf, .started_ns = clock_now_ns() };
	must(loop_init(&rig.loop) == 0);
	rig.loop_made = true;
	must(conf_load_keys(&rig_conf, &rig.keys) == 0);
	must(apply_memory(&rig) == 0);
	if (rig_receive_memory)
		give_receive_memory();
	must(nvme_tcp_new(&rig.target, &rig.tcp) == 0);
	snprintf(port.traddr, sizeof(port.traddr), "192.0.2.1");
	snprintf(port.trsvcid, sizeof(port.trsvcid), "4420");
	nvmet_target_add_port(&rig.target, &port);
	rig.state = DAEMON_LIVE;
	if (rig_conf.ssds[0].spec[0])
		must(rig_bring_up(open_ssd()));
	rig_settle();
	base_pages = dma_pool_used(rig.pool);
	base_queues = rig.n_ssds ? nvme_ctrl_queues_free(rig.ssds[0].ctrl) : 0;
}

void rig_stop(void)
{
	rig_expect_clean();
	if (rig.n_ssds)
		rig_take_down();
	nvmet_target_remove_port(&rig.target, &port);
	take_receive_memory();
	apply_undo(&rig);
	loop_fini(&rig.loop);
	conf_hosts_fini(&rig_conf.subsystems[1].hosts);
}

/* --- Running ---------------------------------------------------------------------------------- */

int rig_connect(void)
{
	const struct sockaddr_in addr = { .sin_family = AF_INET,
					  .sin_port = htons(50000),
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_storage peer = { 0 };
	int fds[2];

	memcpy(&peer, &addr, sizeof(addr));
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	if (tcp_admit(rig.tcp, &port, fds[1], &peer) == 0)
		return fds[0];
	close(fds[0]);
	close(fds[1]);
	return -1;
}

void rig_connect_queue(struct host *host, uint16_t cntlid, uint16_t qid, uint16_t entries,
		       void (*settle)(void))
{
	const struct host_connect how = { .hostnqn = RIG_FRIEND,
					  .subnqn = RIG_NQN,
					  .qid = qid,
					  .cntlid = cntlid,
					  .sqsize = (uint16_t)(entries - 1),
					  .cattr = NVMF_CATTR_DISABLE_SQFC };

	host_connect(host, rig_connect(), &how, settle);
}

/* True: there was something to do, and so there may be more. */
static bool turn(struct loop *loop)
{
	int active = event_base_get_num_events(loop->base, EVENT_BASE_COUNT_ACTIVE);

	event_base_get_max_events(loop->base, EVENT_BASE_COUNT_ACTIVE, 1);
	loop_turn(loop, false);
	return active + event_base_get_max_events(loop->base, EVENT_BASE_COUNT_ACTIVE, 0) > 0;
}

bool rig_turn(void)
{
	bool more = false;

	for (unsigned i = 0; i < rig.n_workers; i++)
		more = turn(&rig.workers[i].loop) || more;
	more = turn(&rig.loop) || more;
	for (unsigned i = 0; i < rig.n_workers; i++)
		more = more || !STAILQ_EMPTY(&rig.workers[i].loop.mail) ||
		       !TAILQ_EMPTY(&rig.workers[i].loop.late);
	return more || !STAILQ_EMPTY(&rig.loop.mail);
}

void rig_settle(void)
{
	unsigned turns = 0;

	while (rig_turn()) {
		if (++turns == MAX_TURNS)
			fuzz_fail("the daemon does not come to rest");
	}
}

void rig_sleep(unsigned ms)
{
	rig_clock_forward(ms * NSEC_PER_MSEC);
	rig_settle();
}

static bool is_clean(void)
{
	for (unsigned i = 0; i < rig.n_workers; i++) {
		if (counter_get(&rig.workers[i].stats.connections) ||
		    counter_get(&rig.workers[i].stats.requests) ||
		    dma_pool_used(rig.workers[i].pool) != receive_pages)
			return false;
	}
	if (rig.target.n_ctrls)
		return false;
	return !base_queues || (nvme_ctrl_queues_free(rig.ssds[0].ctrl) == base_queues &&
				dma_pool_used(rig.pool) == base_pages);
}

void rig_expect_clean(void)
{
	const struct worker *worker = &rig.workers[0];
	struct nvmet_subsystem *subsys;

	rig_settle();
	for (unsigned ms = 0; !is_clean(); ms += 500) {
		if (ms > 60000)
			fuzz_fail("left over: %llu connections, %llu requests, %llu pages, "
				  "%u controllers, %u queue pairs, %llu pages of the main pool",
				  (unsigned long long)counter_get(&worker->stats.connections),
				  (unsigned long long)counter_get(&worker->stats.requests),
				  (unsigned long long)dma_pool_used(worker->pool),
				  rig.target.n_ctrls,
				  rig.ssds[0].ssd ? rig.ssds[0].ssd->n_shares : 0,
				  (unsigned long long)dma_pool_used(rig.pool));
		rig_sleep(500);
	}
	TAILQ_FOREACH (subsys, &rig.target.subsystems, link)
		subsys->next_cntlid = 1; /* the next input begins where this one began */
}
