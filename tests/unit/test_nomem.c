/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory runs out: hosts come, work and go while every single allocation of ours, of libevent's or
 * from the DMA pools fails in its turn. Something is refused then; nothing crashes, and nothing is
 * left when the hosts are gone.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pcie/ctrl.h"
#include "pcie/device.h"
#include "pcie/dma.h"
#include "pcie/emul/emul.h"
#include "target/ns.h"
#include "target/nvmf.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/worker.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "transport/tcp.h"

#define HOSTS 4

static struct host hosts[HOSTS];
static unsigned n_requests, fail_from, fail_to; /* requests for memory; those that fail */

static bool fails(void)
{
	n_requests++;
	return n_requests >= fail_from && n_requests < fail_to;
}

/* --- In the way of every allocation (--wrap) -------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
bool __real_dma_alloc(struct dma_pool *pool, size_t len, struct dma_buf *buf);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
bool __wrap_dma_alloc(struct dma_pool *pool, size_t len, struct dma_buf *buf);
struct nvmet_latency *__real_nvmet_latency_new(void);
struct nvmet_latency *__wrap_nvmet_latency_new(void);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

struct nvmet_latency *__wrap_nvmet_latency_new(void) /* by mmap */
{
	return fails() ? NULL : __real_nvmet_latency_new();
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

bool __wrap_dma_alloc(struct dma_pool *pool, size_t len, struct dma_buf *buf)
{
	return !fails() && __real_dma_alloc(pool, len, buf);
}

/* --- What hosts do ---------------------------------------------------------------------------- */

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, HOSTS));
}

static void connect_queue(struct host *host, uint16_t qid, const char *subnqn)
{
	const struct host_connect how = { .hostnqn = RIG_FRIEND,
					  .subnqn = subnqn,
					  .qid = qid,
					  .cntlid = hosts[0].cntlid,
					  .sqsize = 15,
					  .dgst = 3,
					  .cattr = NVMF_CATTR_DISABLE_SQFC,
					  .kato = qid ? 0 : 60000 };

	host_connect(host, rig_connect(), &how, settle);
}

static void command(struct host *host, uint8_t opcode, uint32_t nsid, uint32_t length,
		    uint32_t cdw10, uint32_t cdw11, uint32_t cdw12)
{
	static uint16_t cid;
	const struct nvme_sqe sqe = { .opcode = opcode,
				      .flags = 0x40,
				      .cid = le16_set(++cid),
				      .nsid = le32_set(nsid),
				      .sgl = { .length = le32_set(length),
					       .type = NVMF_SGL_TRANSPORT },
				      .cdw10 = le32_set(cdw10),
				      .cdw11 = le32_set(cdw11),
				      .cdw12 = le32_set(cdw12) };

	host_send_command(host, &sqe, NULL, 0, 0);
	settle();
}

static void write_by_r2t(struct host *host)
{
	static const uint8_t bytes[8192];
	struct nvme_tcp_data pdu = { .datal = le32_set(sizeof(bytes)) };

	command(host, NVME_IO_WRITE, 1, sizeof(bytes), 0, 0, 15);
	if (!host->n_r2ts)
		return;
	pdu.cccid = host->r2ts[0].cccid;
	pdu.ttag = host->r2ts[0].ttag;
	host_send_pdu(host, NVME_TCP_H2C_DATA, NVME_TCP_F_LAST, &pdu, sizeof(pdu), bytes,
		      sizeof(bytes), 0);
	settle();
}

static void write_in_capsule(struct host *host)
{
	static const uint8_t bytes[4096];
	const struct nvme_sqe sqe = { .opcode = NVME_IO_WRITE,
				      .flags = 0x40,
				      .cid = le16_set(0x7777),
				      .nsid = le32_set(1),
				      .sgl = { .length = le32_set(sizeof(bytes)),
					       .type = NVMF_SGL_DATA_OFFSET },
				      .cdw12 = le32_set(7) };

	/* Twice, in one wake-up: the second is already read while the first waits for pages. */
	host_send_command(host, &sqe, bytes, sizeof(bytes), 0);
	host_send_command(host, &sqe, bytes, sizeof(bytes), 0);
	settle();
}

/* A host that is deaf until its socket is full. */
static void read_without_listening(struct host *host)
{
	host->deaf = true;
	for (unsigned i = 0; i < 8; i++)
		command(host, NVME_IO_READ, 1, 65536, 0, 0, 127);
	host->deaf = false;
	settle();
}

static void hosts_come_and_go(void)
{
	n_requests = 0;
	connect_queue(&hosts[0], 0, RIG_NQN);
	command(&hosts[0], NVME_OPCODE_FABRICS, NVMF_PROPERTY_SET, 0, 0, NVME_REG_CC, 0x00460001);
	connect_queue(&hosts[1], 1, RIG_NQN);
	connect_queue(&hosts[2], 2, RIG_NQN);
	connect_queue(&hosts[3], 0, NVMF_DISCOVERY_NQN);
	command(&hosts[3], NVME_OPCODE_FABRICS, NVMF_PROPERTY_SET, 0, 0, NVME_REG_CC, 0x00460001);
	command(&hosts[3], NVME_ADMIN_GET_LOG_PAGE, 0, 4096, NVME_LOG_DISCOVERY | 1023 << 16, 0, 0);
	command(&hosts[0], NVME_ADMIN_AER, 0, 0, 0, 0, 0);
	command(&hosts[0], NVME_ADMIN_IDENTIFY, 1, 4096, NVME_CNS_NS, 0, 0);
	command(&hosts[0], NVME_ADMIN_GET_LOG_PAGE, NVME_NSID_ALL, 512, NVME_LOG_SMART | 127 << 16,
		0, 0);
	command(&hosts[0], NVME_ADMIN_GET_FEATURES, 0, 0, NVME_FEAT_VWC, 0, 0);
	command(&hosts[1], NVME_IO_READ, 1, 8192, 0, 0, 15);
	write_by_r2t(&hosts[1]);
	write_in_capsule(&hosts[2]);
	read_without_listening(&hosts[2]);
	rig_hold_ssd(false);
	command(&hosts[1], NVME_IO_READ, 1, 8192, 0, 0, 15);
	host_close(&hosts[1]);
	settle();
	rig_hold_ssd(true); /* the next association waits for the end of this one */
	host_close(&hosts[0]);
	settle();
	connect_queue(&hosts[0], 0, RIG_NQN);
	rig_release_ssd();
	settle();
	for (unsigned i = 0; i < HOSTS; i++)
		host_close(&hosts[i]);
	rig_expect_clean();
}

/* --- Tests ------------------------------------------------------------------------------------ */

static unsigned count_requests(void)
{
	fail_from = fail_to = UINT32_MAX;
	hosts_come_and_go();
	assert_int_equal(hosts[1].entries, 16); /* all went well */
	assert_int_equal(hosts[2].entries, 16);
	return n_requests;
}

static void each_fails(void **state)
{
	unsigned n = count_requests();

	(void)state;
	for (unsigned i = 1; i <= n; i++) {
		fail_from = i;
		fail_to = i + 1;
		hosts_come_and_go();
	}
	/* Afterwards all is as it was. */
	assert_int_equal(count_requests(), n);
}

static void all_fail_for_a_while(void **state)
{
	unsigned n = count_requests();

	(void)state;
	for (unsigned i = 1; i <= n; i++) {
		fail_from = i;
		fail_to = i + 8;
		hosts_come_and_go();
	}
	assert_int_equal(count_requests(), n);
}

/* A Connect that was refused, however late, leaves nothing on its connection: the next one begins
 * as a first one would (host.c looks at SQHD). */
static void refused_and_sent_again(void **state)
{
	struct host *admin = &hosts[0], *io = &hosts[1];
	const struct host_connect first = { .hostnqn = RIG_FRIEND,
					    .subnqn = RIG_NQN,
					    .sqsize = 15 };
	struct host_connect how = first;
	unsigned n = 0, n_refused = 0;

	(void)state;
	host_connect(admin, rig_connect(), &first, settle);
	host_enable(admin, settle);
	how.qid = 1;
	how.cntlid = admin->cntlid;
	do {
		int fd = rig_connect();

		n_requests = 0;
		fail_from = ++n;
		fail_to = n + 1;
		host_connect(io, fd, &how, settle);
		if (io->n_failed) {
			n_refused++;
			host_send_connect(io, &how);
			settle();
			assert_int_equal(io->entries, 16);
		}
		host_close(io);
		settle();
	} while (n_requests >= n);
	assert_true(n_refused > 1);
	fail_from = fail_to = UINT32_MAX;
	host_close(admin);
	rig_expect_clean();
}

/* --- Makers, each until it finds all that it needs -------------------------------------------- */

static int make_subsystem(void)
{
	struct nvmet_subsystem *subsys;
	int err = nvmet_subsystem_new(&rig.target, "nqn.new", &subsys);

	if (err)
		return err;
	err = nvmet_subsystem_allow_host(subsys, "nqn.h", NULL);
	if (!err)
		err = nvmet_subsystem_add_ns(subsys, 0, rig.ssds[0].ssd,
					     nvme_ctrl_ns(rig.ssds[0].ctrl, 0));
	nvmet_subsystem_free(subsys);
	return err;
}

static int make_ssd(void)
{
	struct nvmet_ssd *ssd = NULL;
	int err = nvmet_ssd_new(&rig.target, rig.ssds[0].ctrl, "b", &ssd);

	nvmet_ssd_free(ssd);
	return err;
}

static int make_target(void)
{
	struct nvmet_target target;
	int err = nvmet_target_init(&target, &rig.loop, rig.workers, rig.n_workers);

	if (!err)
		nvmet_target_fini(&target);
	return err;
}

static int make_worker(void)
{
	struct dma_arena *arena;
	struct worker worker;
	int err = dma_arena_new(2u << 20, &arena);

	if (err)
		return err;
	err = worker_init(&worker, 0, arena, 2u << 20);
	if (!err) {
		err = worker_start(&worker);
		worker_fini(&worker);
	}
	dma_arena_free(arena);
	return err;
}

static int make_transport(void)
{
	struct nvme_tcp *tcp = NULL;
	int err = nvme_tcp_new(&rig.target, &tcp);

	if (!err)
		err = nvme_tcp_listen(tcp, "127.0.0.1", "0", NVMET_TLS_OFF);
	if (tcp)
		nvme_tcp_free(tcp);
	return err;
}

static void makers(void **state)
{
	static int (*const make[])(void) = { make_subsystem, make_ssd, make_target, make_worker,
					     make_transport };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(make); i++) {
		unsigned n = 0;
		int err;

		do {
			n_requests = 0;
			fail_from = ++n;
			fail_to = n + 1;
			err = make[i]();
			assert_true(err == 0 || err == -ENOMEM);
		} while (n_requests >= n);
		assert_int_equal(err, 0);
		assert_true(n > 1);
	}
	fail_from = fail_to = UINT32_MAX;
}

/* --- Timers ----------------------------------------------------------------------------------- */

static event_callback_fn conn_timer; /* NULL: the next timer is a connection's */
static unsigned n_armed, arm_fails;  /* how often it was armed; when that fails, from 1 */

int __real_event_add(struct event *event, const struct timeval *after);
int __wrap_event_add(struct event *event, const struct timeval *after);

int __wrap_event_add(struct event *event, const struct timeval *after)
{
	if (after && !conn_timer)
		conn_timer = event_get_callback(event);
	if (after && event_get_callback(event) == conn_timer && ++n_armed == arm_fails)
		return -1;
	return __real_event_add(event, after);
}

/* A connection that has no deadline could stay for ever: it ends, whenever that is found. */
static void no_timer(void **state)
{
	unsigned n;
	char byte;
	int fd;

	(void)state;
	conn_timer = NULL;
	n_armed = 0;
	arm_fails = 1;
	fd = rig_connect();
	settle();
	assert_int_equal(n_armed, 1);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
	n_armed = arm_fails = 0;
	hosts_come_and_go();
	n = n_armed;
	assert_true(n > HOSTS);
	for (arm_fails = 1; arm_fails <= n; arm_fails++) {
		n_armed = 0;
		hosts_come_and_go();
	}
	arm_fails = 0;
}

static int flock_errno;

int __wrap_flock(int fd, int operation);

int __wrap_flock(int fd, int operation)
{
	(void)fd;
	(void)operation;
	errno = flock_errno;
	return flock_errno ? -1 : 0;
}

/* A medium that the kernel has no lock for could be somebody else's too: it is not used. */
static void no_lock(void **state)
{
	struct emul_options options;
	struct pcie_device *dev;
	char why[128];

	(void)state;
	assert_int_equal(emul_options_parse("emulated:file=test_nomem.disk,size=1M", &options, why,
					    sizeof(why)),
			 0);
	flock_errno = ENOLCK;
	assert_int_equal(emul_device_open(&options, &dev), -ENOLCK);
	flock_errno = 0;
	assert_int_equal(emul_device_open(&options, &dev), 0);
	dev->ops->close(dev);
	unlink(options.file);
}

static int fopen_errno; /* for /etc/machine-id */

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);

FILE *__wrap_fopen(const char *path, const char *mode)
{
	errno = fopen_errno;
	return fopen_errno && strcmp(path, "/etc/machine-id") == 0 ? NULL
								   : __real_fopen(path, mode);
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	return __wrap_fopen(path, mode);
}

/* A machine may have no id; but one that cannot be read now would make another SSD of it. */
static void no_machine_id(void **state)
{
	struct emul_options options;
	struct pcie_device *dev;
	char why[128];

	(void)state;
	assert_int_equal(emul_options_parse("emulated:size=1M", &options, why, sizeof(why)), 0);
	fopen_errno = EMFILE;
	assert_int_equal(emul_device_open(&options, &dev), -EMFILE);
	fopen_errno = ENOENT;
	assert_int_equal(emul_device_open(&options, &dev), 0);
	dev->ops->close(dev);
	fopen_errno = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fails),
		cmocka_unit_test(all_fail_for_a_while),
		cmocka_unit_test(refused_and_sent_again),
		cmocka_unit_test(makers),
		cmocka_unit_test(no_timer),
		cmocka_unit_test(no_lock),
		cmocka_unit_test(no_machine_id),
	};
	int failed;

	fail_from = fail_to = UINT32_MAX;
	event_set_mem_functions(__wrap_malloc, __wrap_realloc, free);
	rig_init("emulated:size=1M,queues=1,mdts=128K");
	log_set_level(LOG_LEVEL_ERR);
	rig_start();
	for (unsigned i = 0; i < HOSTS; i++)
		hosts[i].fd = -1;
	hosts_come_and_go(); /* what is made once is made */
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
