/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/O path asks for no memory and takes no lock: with every function that could do either
 * wrapped, reads and writes of all kinds go through the daemon after a warm-up, and none is called.
 * Nor does it copy payload, but for a write's that comes in pieces, and a deep queue costs few
 * system calls and doorbells: copies and calls are counted in the same way. All of it on
 * an SSD in memory, and, as `test_iopath file`, on one that is a file there.
 */
#include "tests/unit/unit.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "target/nvmf.h"
#include "target/worker.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "util/sanitize.h"

#define DEPTH      15 /* what a socket holds in either direction */
#define BLOCK      4096
#define PAYLOAD    512 /* bytes: what is copied at once and is no header */
#define MAX_TURNS  100
#define CALLS_PART 5 /* one system call for so many commands: 0.2 */

/* Of payload, how much of it the emulated SSD copies with memcpy(). */
#define SSD_COPIES (1 - SANITIZE_THREAD) /* it has a function of its own there */

static struct host admin, io;
static unsigned n_calls;    /* of the memory allocator, and of locks */
static unsigned n_syscalls; /* on sockets and the file, by the daemon */
static size_t n_copied;     /* bytes of payload, the emulated SSD's own copies included */
static bool counting;
static bool on_file; /* reads are copies there, too, and writes are system calls */

/* --- In the way (--wrap) ---------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *memory);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *memory);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

void *__wrap_malloc(size_t size)
{
	n_calls += counting;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	n_calls += counting;
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	n_calls += counting;
	return __real_realloc(old, size);
}

void __wrap_free(void *memory)
{
	n_calls += counting && memory;
	__real_free(memory);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	n_calls += counting;
	return __real_pthread_mutex_lock(mutex);
}

ssize_t __real_readv(int fd, const struct iovec *iov, int n);
ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
void *__real_memcpy(void *to, const void *from, size_t len);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
void *__wrap_memcpy(void *to, const void *from, size_t len);

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
	n_syscalls += counting;
	return __real_readv(fd, iov, n);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	n_syscalls += counting;
	return __real_sendmsg(fd, msg, flags);
}

/* As they are called by programs with and without large files. */
#define COUNT_TRANSFERS(function)                                                   \
	ssize_t __real_##function(int, const struct iovec *, int, off_t);           \
	ssize_t __wrap_##function(int, const struct iovec *, int, off_t);           \
	ssize_t __wrap_##function(int fd, const struct iovec *iov, int n, off_t at) \
	{                                                                           \
		n_syscalls += counting;                                             \
		return __real_##function(fd, iov, n, at);                           \
	}
COUNT_TRANSFERS(preadv)
COUNT_TRANSFERS(preadv64)
COUNT_TRANSFERS(pwritev)
COUNT_TRANSFERS(pwritev64)

void *__wrap_memcpy(void *to, const void *from, size_t len)
{
	if (counting && len >= PAYLOAD)
		n_copied += len;
	return __real_memcpy(to, from, len);
}

/* --- Commands --------------------------------------------------------------------------------- */

/* Turns the worker only: what needs the main thread is not the I/O path. */
static void settle_io(void)
{
	do {
		for (unsigned i = 0; i < 4; i++)
			loop_turn(&rig.workers[0].loop, false);
	} while (host_receive(&io));
}

static void settle(void)
{
	bool more;

	do {
		rig_settle();
		more = host_receive(&admin);
		more = host_receive(&io) || more;
	} while (more);
}

static void connect_queue(struct host *host, uint16_t qid, uint8_t digests)
{
	const struct host_connect how = { .hostnqn = RIG_FRIEND,
					  .subnqn = RIG_NQN,
					  .qid = qid,
					  .cntlid = admin.cntlid,
					  .sqsize = 31,
					  .dgst = digests,
					  .cattr = NVMF_CATTR_DISABLE_SQFC };

	host_connect(host, rig_connect(), &how, settle);
	assert_int_equal(host->entries, 32);
}

static void send_io(uint8_t opcode, uint16_t cid, uint32_t len, uint8_t sgl, const void *data)
{
	const struct nvme_sqe sqe = { .opcode = opcode,
				      .flags = 0x40,
				      .cid = le16_set(cid),
				      .nsid = le32_set(1),
				      .sgl = { .length = le32_set(len), .type = sgl },
				      .cdw10 = le32_set(cid * 8u),
				      .cdw12 = le32_set(len ? len / 512 - 1 : 0) };

	host_send_command(&io, &sqe, data, data ? len : 0, 0);
}

static void answer_r2ts(const void *data)
{
	while (io.n_r2ts) {
		const struct host_r2t r2t = io.r2ts[0];
		struct nvme_tcp_data pdu = { .cccid = r2t.cccid,
					     .ttag = r2t.ttag,
					     .datao = le32_set(r2t.offset),
					     .datal = le32_set(r2t.left) };

		host_send_pdu(&io, NVME_TCP_H2C_DATA, NVME_TCP_F_LAST, &pdu, sizeof(pdu), data,
			      r2t.left, 0);
		settle_io();
	}
}

/* Batches and single commands, in the capsule, by R2T, large and small, and a flush. */
static void work(void)
{
	static const uint8_t bytes[32768];

	for (uint16_t cid = 0; cid < 16; cid++)
		send_io(NVME_IO_READ, cid, 4096, NVMF_SGL_TRANSPORT, NULL);
	settle_io();
	for (uint16_t cid = 0; cid < 8; cid++)
		send_io(NVME_IO_WRITE, cid, 4096, NVMF_SGL_DATA_OFFSET, bytes);
	settle_io();
	for (uint16_t cid = 0; cid < 4; cid++)
		send_io(NVME_IO_WRITE, cid, sizeof(bytes), NVMF_SGL_TRANSPORT, NULL);
	settle_io();
	answer_r2ts(bytes);
	send_io(NVME_IO_READ, 1, 65536, NVMF_SGL_TRANSPORT, NULL);
	settle_io();
	send_io(NVME_IO_FLUSH, 2, 0, NVMF_SGL_TRANSPORT, NULL);
	settle_io();
	assert_int_equal(io.n_commands, 0);
}

static void connect_queues(uint8_t digests)
{
	connect_queue(&admin, 0, 0);
	host_enable(&admin, settle);
	connect_queue(&io, 1, digests);
	rig_sleep(1000); /* who has just come is modest, and others make room for it (share.h) */
}

static void close_queues(void)
{
	host_close(&io);
	host_close(&admin);
	rig_expect_clean();
}

static void no_memory_no_lock(uint8_t digests)
{
	uint64_t commands, before;

	connect_queues(digests);
	work(); /* libevent makes its tables */
	before = counter_get(&rig.workers[0].stats.commands);
	n_calls = 0;
	counting = true;
	work();
	work();
	counting = false;
	commands = counter_get(&rig.workers[0].stats.commands) - before;
	assert_int_equal(commands, 60);
	assert_int_equal(n_calls, 0);
	close_queues();
}

/* One wake-up, of the daemon's side only: the host copies, too. */
static void turn_counted(void)
{
	n_syscalls++; /* libevent's epoll_wait */
	counting = true;
	loop_turn(&rig.workers[0].loop, false);
	counting = false;
}

static void settle_counted(void)
{
	do
		turn_counted();
	while (host_receive(&io));
}

static void begin_counting(void)
{
	n_syscalls = 0;
	n_copied = 0;
}

static size_t written(size_t len)
{
	return on_file ? 0 : SSD_COPIES * len;
}

/* All that a host sends at once, while the worker is busy, is found by one epoll_wait, taken with
 * one readv, told to the SSD with one doorbell (one more is allowed for) and answered with one
 * sendmsg. (When it has nothing else to do it answers earlier: early.h.) */
static void deep_queue(uint8_t opcode, const void *data)
{
	unsigned of_file = on_file && opcode == NVME_IO_WRITE ? DEPTH : 0;
	uint64_t rung;

	for (uint16_t cid = 0; cid < DEPTH; cid++)
		send_io(opcode, cid, BLOCK, data ? NVMF_SGL_DATA_OFFSET : NVMF_SGL_TRANSPORT, data);
	rung = rig_doorbells();
	begin_counting();
	for (unsigned i = 0; i < MAX_TURNS && io.n_commands; i++) {
		turn_counted();
		host_receive(&io);
	}
	assert_int_equal(io.n_commands, 0);
	assert_in_range(n_syscalls, 3 + of_file, DEPTH / CALLS_PART + of_file);
	assert_in_range(rig_doorbells() - rung, 1, 2);
}

static void few_calls(void **state)
{
	static const uint8_t bytes[BLOCK];

	(void)state;
	connect_queues(0);
	work(); /* just now */
	deep_queue(NVME_IO_READ, NULL);
	assert_int_equal(n_copied, SSD_COPIES * DEPTH * BLOCK);
	deep_queue(NVME_IO_WRITE, bytes);
	assert_int_equal(n_copied, written(DEPTH * BLOCK));
	close_queues();
}

/* Data that comes after its R2T is received where the SSD fetches it. */
static void no_copy(void **state)
{
	static const uint8_t bytes[32768];
	struct nvme_tcp_data pdu;

	(void)state;
	connect_queues(0);
	send_io(NVME_IO_WRITE, 1, sizeof(bytes), NVMF_SGL_TRANSPORT, NULL);
	settle_io();
	assert_int_equal(io.n_r2ts, 1);
	pdu = (struct nvme_tcp_data){ .cccid = io.r2ts[0].cccid,
				      .ttag = io.r2ts[0].ttag,
				      .datal = le32_set(sizeof(bytes)) };
	begin_counting();
	io.between = settle_counted; /* half of it comes with the header, half by itself */
	host_send_pdu(&io, NVME_TCP_H2C_DATA, NVME_TCP_F_LAST, &pdu, sizeof(pdu), bytes,
		      sizeof(bytes), 0);
	assert_in_range(n_copied, 1, sizeof(bytes) / 2);
	n_copied = 0;
	settle_counted();
	assert_int_equal(io.n_commands, 0);
	assert_int_equal(n_copied, written(sizeof(bytes)));
	close_queues();
}

static void plain(void **state)
{
	(void)state;
	no_memory_no_lock(0);
}

static void with_digests(void **state)
{
	(void)state;
	no_memory_no_lock(3);
}

/* The wrappers do see what is called. */
static void wrapped(void **state)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

	(void)state;
	n_calls = 0;
	counting = true;
	connect_queue(&admin, 0, 0);
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	counting = false;
	assert_true(n_calls > 10);
	host_close(&admin);
	rig_expect_clean();
}

/* It has a hole, so that what is in memory must be learned by the commands that come first. */
static void use_file(char *spec, size_t size)
{
	static uint8_t bytes[(1 << 20) - BLOCK];
	int fd = memfd_create("medium", MFD_CLOEXEC);

	memset(bytes, 'x', sizeof(bytes));
	must(write(fd, bytes, sizeof(bytes)) == sizeof(bytes));
	must(ftruncate(fd, sizeof(bytes) + BLOCK) == 0);
	snprintf(spec, size, "emulated:file=/proc/self/fd/%d,queues=1,mdts=128K", fd);
}

int main(int argc, char **argv)
{
	char spec[64] = "emulated:size=1M,queues=1,mdts=128K";
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrapped),      cmocka_unit_test(plain),
		cmocka_unit_test(with_digests), cmocka_unit_test(few_calls),
		cmocka_unit_test(no_copy),
	};
	int failed;

	event_set_mem_functions(__wrap_malloc, __wrap_realloc, __wrap_free);
	on_file = argc > 1 && strcmp(argv[1], "file") == 0;
	if (on_file)
		use_file(spec, sizeof(spec));
	rig_init(spec);
	log_set_level(LOG_LEVEL_ERR);
	rig_start();
	admin.fd = io.fd = -1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
