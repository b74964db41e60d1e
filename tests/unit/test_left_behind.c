/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A write lies in the socket of a connection that is not read, for lack of pages; its host closes
 * that and comes back by way of another worker, before anybody has seen the end of the old one.
 * Once it is connected the old write must not be done any more: it could come after a newer one.
 * The clock is the rig's.
 */
#include "tests/unit/unit.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "pcie/dma.h"
#include "target/worker.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"

#define PAGES_MAX 16384
#define NEW_IO    6 /* queues: the workers have some each */
#define HOSTS     (3 + NEW_IO)

static struct host hosts[HOSTS];
static struct host *const admin = &hosts[0], *const io = &hosts[1];
static struct host *const new_admin = &hosts[2], *const new_io = &hosts[3]; /* and more */
static struct dma_buf pages[PAGES_MAX];
static unsigned n_pages;

/* The rig's connections are socket pairs, which have no state of TCP; when the other side has
 * closed, that is the one of a TCP socket. */
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	struct pollfd end = { .fd = fd, .events = POLLRDHUP };
	struct tcp_info *info = value;

	if (level != IPPROTO_TCP || name != TCP_INFO)
		return __real_getsockopt(fd, level, name, value, len);
	assert_true(poll(&end, 1, 0) >= 0);
	info->tcpi_state = end.revents ? TCP_CLOSE_WAIT : TCP_ESTABLISHED;
	return 0;
}

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, HOSTS));
}

static void connect_queue(struct host *host, uint16_t cntlid, uint16_t qid)
{
	rig_connect_queue(host, cntlid, qid, 16, settle);
	assert_int_equal(host->entries, 16);
}

/* One block at LBA 0, with its data in the capsule. */
static void send_io(struct host *host, uint8_t opcode, const uint8_t block[512])
{
	host_send_io(host, opcode, 0, 512, block);
	settle();
}

/* The worker that has the connection, as its pages say while the SSD takes its time. */
static struct worker *worker_of(struct host *host)
{
	static const uint8_t zeroes[512];
	size_t used = dma_pool_used(rig.workers[0].pool);
	bool is_first;

	rig_hold_ssd(false);
	send_io(host, NVME_IO_WRITE, zeroes);
	is_first = dma_pool_used(rig.workers[0].pool) > used;
	rig_release_ssd();
	settle();
	assert_int_equal(host->n_commands, 0);
	return &rig.workers[is_first ? 0 : 1];
}

static void take_all_pages(struct dma_pool *pool)
{
	while (n_pages < PAGES_MAX && dma_alloc(pool, DMA_PAGE_SIZE, &pages[n_pages]))
		n_pages++;
	assert_in_range(n_pages, 1, PAGES_MAX - 1);
}

static void give_back(struct dma_pool *pool)
{
	while (n_pages)
		dma_free(pool, &pages[--n_pages]);
}

static void expect_block(struct host *host, const uint8_t block[512])
{
	unsigned failed = host->n_failed;

	send_io(host, NVME_IO_COMPARE, block);
	assert_int_equal(host->n_commands, 0);
	assert_int_equal(host->n_failed, failed);
}

static void left_in_the_socket(void **state)
{
	static const uint8_t zeroes[512], ones[512] = { 1 };
	struct worker *full;

	(void)state;
	connect_queue(admin, 0, 0);
	host_enable(admin, settle);
	connect_queue(io, admin->cntlid, 1);
	full = worker_of(io);
	take_all_pages(full->pool);
	send_io(io, NVME_IO_WRITE,
		ones); /* waits for pages, and is not even in the receiver yet: */
	send_io(io, NVME_IO_WRITE, ones); /* this one */
	assert_int_equal(io->n_commands, 2);
	host_close(io);

	connect_queue(new_admin, 0, 0);
	give_back(full->pool);
	settle();
	host_enable(new_admin, settle);
	for (uint16_t i = 0; i < NEW_IO; i++)
		connect_queue(&new_io[i], new_admin->cntlid, i + 1);
	/* Pages that are given back are what the old one waits for. */
	for (unsigned i = 0; i < 2 * NEW_IO; i++)
		expect_block(&new_io[i % NEW_IO], zeroes);
	for (unsigned i = 0; i < NEW_IO; i++)
		host_close(&new_io[i]);
	host_close(new_admin);
	host_close(admin);
	rig_expect_clean();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(left_in_the_socket) };
	int failed;

	for (unsigned i = 0; i < HOSTS; i++)
		hosts[i].fd = -1;
	rig_init("emulated:size=1M,queues=8");
	rig_conf.poll_us = 0; /* the clock stands still */
	rig_conf.workers = 2;
	rig_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
