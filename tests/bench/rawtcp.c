/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What TCP alone can do: the rate of requests and answers of the sizes of NVMe/TCP, with nothing
 * behind them. It is the limit that targets are measured by, so it does as little as can be done.
 *
 *   rawtcp [read|write] [bytes] [depth] [seconds] [server CPU] [client CPU] [spin|sleep]
 *          [congestion control] [zerocopy|copy]
 *
 * Two processes, each pinned to a CPU. Both have the same congestion control, cubic unless another
 * one is named, whatever the system's is. The client keeps `depth` requests outstanding and sleeps
 * in recv, or tries it again and again. The server sleeps in epoll, takes up to 64 KiB with one
 * recv, and answers all requests in it with one sendmsg. Read: requests of 72 bytes, answers of 24
 * + bytes. Write: requests of 72 + bytes, answers of 24. With a depth of 1 it is the echo of a
 * server that sleeps. With zerocopy the server sends with MSG_ZEROCOPY, and takes what the kernel
 * tells it about that (which over loopback is that it has copied after all). With copy the server
 * has a gigabyte of memory as medium: it copies a block from a random place of it into each answer,
 * or what it received to one; that is the limit for a target whose SSD is memory.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/hist.h"

#define REQUEST    72u
#define ANSWER     24u
#define SERVER_BUF (64u << 10)
#define CLIENT_BUF (256u << 10)
#define BATCH      512u /* iovecs: two a message */
#define DEPTH_MAX  1024u
#define MEDIUM     (UINT64_C(1) << 30)

struct raw {
	bool write, spin, zerocopy;
	size_t request, answer; /* bytes on the wire */
	unsigned depth;
	double seconds;
	size_t bytes;
	uint8_t *message; /* the longer of the two; what is in it means nothing */
	uint8_t *medium;  /* NULL: none; then there is a message for each request */
	uint64_t random;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("pin");
}

static uint8_t *message(const struct raw *raw, unsigned i)
{
	return raw->message + (raw->medium ? i * (REQUEST + raw->bytes) : 0);
}

/* A block's place on the medium. */
static uint8_t *place(struct raw *raw)
{
	raw->random ^= raw->random << 13;
	raw->random ^= raw->random >> 7;
	raw->random ^= raw->random << 17;
	return raw->medium + raw->random % (MEDIUM / raw->bytes) * raw->bytes;
}

static void copy_blocks(struct raw *raw, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (raw->write)
			memcpy(place(raw), message(raw, i), raw->bytes);
		else
			memcpy(message(raw, i) + ANSWER, place(raw), raw->bytes);
	}
}

/* Sends `n` messages of `len` bytes; blocks while the socket is full. */
static void send_messages(const struct raw *raw, int fd, unsigned n, size_t len, int flags)
{
	struct iovec iov[BATCH];

	while (n) {
		unsigned batch = n < BATCH ? n : BATCH;
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = batch };
		size_t left = batch * len;

		for (unsigned i = 0; i < batch; i++)
			iov[i] = (struct iovec){ message(raw, i), len };
		while (left) {
			ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL | flags);

			if (sent < 0)
				die("sendmsg");
			left -= (size_t)sent;
			while (left && (size_t)sent >= msg.msg_iov->iov_len) {
				sent -= (ssize_t)msg.msg_iov->iov_len;
				msg.msg_iov++;
				msg.msg_iovlen--;
			}
			if (left) {
				msg.msg_iov->iov_base = (uint8_t *)msg.msg_iov->iov_base + sent;
				msg.msg_iov->iov_len -= (size_t)sent;
			}
		}
		n -= batch;
	}
}

/* A real server may use its buffers again from then on. */
static void take_notices(int fd)
{
	uint8_t control[128];
	struct msghdr msg = { .msg_control = control };

	do
		msg.msg_controllen = sizeof(control);
	while (recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0);
}

static void serve(struct raw *raw, int fd)
{
	int flags = raw->zerocopy ? MSG_ZEROCOPY : 0;
	const int on = 1;
	static uint8_t buf[SERVER_BUF];
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(0);
	size_t have = 0;

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll");
	if (flags && setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)) < 0)
		die("SO_ZEROCOPY");
	for (;;) {
		ssize_t n;

		if (epoll_wait(epoll, &event, 1, -1) < 0)
			die("epoll_wait");
		if (flags && (event.events & EPOLLERR)) {
			take_notices(fd);
			if (!(event.events & EPOLLIN))
				continue;
		}
		n = recv(fd, buf, sizeof(buf), 0);
		if (n <= 0)
			exit(0);
		have += (size_t)n;
		if (raw->medium)
			copy_blocks(raw, (unsigned)(have / raw->request));
		if (have >= raw->request)
			send_messages(raw, fd, (unsigned)(have / raw->request), raw->answer, flags);
		have %= raw->request;
	}
}

struct result {
	uint64_t ended, ns;
	struct hist hist;
};

/* Answers come in order, so the oldest request is the one that ended. */
static void ask(const struct raw *raw, int fd, struct result *result)
{
	static uint8_t buf[CLIENT_BUF];
	static uint64_t begun[DEPTH_MAX];
	uint64_t start = clock_now_ns(), now = start, end = start + (uint64_t)(raw->seconds * 1e9);
	unsigned oldest = 0;
	size_t have = 0;

	for (unsigned i = 0; i < raw->depth; i++)
		begun[i] = start;
	send_messages(raw, fd, raw->depth, raw->request, 0);
	while (now < end) {
		ssize_t n = recv(fd, buf, sizeof(buf), raw->spin ? MSG_DONTWAIT : 0);
		unsigned answers;

		if (n < 0 && errno == EAGAIN)
			continue;
		if (n <= 0)
			die("recv");
		have += (size_t)n;
		answers = (unsigned)(have / raw->answer);
		have %= raw->answer;
		if (!answers)
			continue;
		now = clock_now_ns();
		for (unsigned i = 0; i < answers; i++) {
			hist_add(&result->hist, now - begun[oldest], 1);
			begun[oldest] = now;
			oldest = oldest + 1 == raw->depth ? 0 : oldest + 1;
		}
		result->ended += answers;
		send_messages(raw, fd, answers, raw->request, 0);
	}
	result->ns = now - start;
}

/* Before it is connected: if the system's paces, it has the socket paced for good from then on. */
static void set_congestion(int fd, const char *name)
{
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) < 0)
		die("TCP_CONGESTION");
}

static void make_pair(int fds[2], const char *congestion)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(addr);
	const int on = 1;

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || fds[0] < 0)
		die("socket");
	set_congestion(listener, congestion);
	set_congestion(fds[0], congestion);
	if (bind(listener, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&addr, &len) < 0 ||
	    connect(fds[0], (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("loopback");
	fds[1] = accept(listener, NULL, NULL);
	if (fds[1] < 0)
		die("accept");
	close(listener);
	for (unsigned i = 0; i < 2; i++)
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void make_medium(struct raw *raw)
{
	raw->medium =
		mmap(NULL, MEDIUM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (raw->medium == MAP_FAILED)
		die("memory");
	(void)madvise(raw->medium, MEDIUM, MADV_HUGEPAGE); /* as the emulated SSD has it */
	memset(raw->medium, 1, MEDIUM);
}

int main(int argc, char **argv)
{
	size_t bytes = argc > 2 ? (size_t)atol(argv[2]) : 4096;
	struct raw raw = {
		.write = argc > 1 && strcmp(argv[1], "write") == 0,
		.depth = argc > 3 ? (unsigned)atoi(argv[3]) : 32,
		.seconds = argc > 4 ? atof(argv[4]) : 2,
		.spin = argc > 7 && strcmp(argv[7], "spin") == 0,
		.zerocopy = argc > 9 && strcmp(argv[9], "zerocopy") == 0,
		.bytes = bytes,
		.random = 88172645463325252,
	};
	bool copy = argc > 9 && strcmp(argv[9], "copy") == 0;
	int server_cpu = argc > 5 ? atoi(argv[5]) : 0, client_cpu = argc > 6 ? atoi(argv[6]) : 1;
	static struct result result;
	int fds[2];
	pid_t server;
	char ready;

	if (!raw.depth || raw.depth > DEPTH_MAX || !bytes || bytes > 1 << 20) {
		fprintf(stderr, "usage: rawtcp [read|write] [bytes] [depth] [seconds] "
				"[server CPU] [client CPU] [spin|sleep] [congestion control] "
				"[zerocopy|copy]\n");
		return 2;
	}
	raw.request = REQUEST + (raw.write ? bytes : 0);
	raw.answer = ANSWER + (raw.write ? 0 : bytes);
	raw.message = malloc((REQUEST + bytes) * raw.depth);
	if (!raw.message)
		die("memory");
	memset(raw.message, 1, (REQUEST + bytes) * raw.depth);
	make_pair(fds, argc > 8 ? argv[8] : "cubic");
	server = fork();
	if (server < 0)
		die("fork");
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[0]);
		pin(server_cpu);
		/* Its own: what the parent had written, each first write here would copy (fork). */
		if (copy)
			make_medium(&raw);
		if (send(fds[1], "", 1, 0) != 1)
			die("send");
		serve(&raw, fds[1]);
	}
	close(fds[1]);
	pin(client_cpu);
	if (recv(fds[0], &ready, 1, 0) != 1)
		die("the server");
	ask(&raw, fds[0], &result);
	printf("per_second=%.0f mb_per_second=%.1f p50_us=%.1f p99_us=%.1f\n",
	       (double)result.ended * 1e9 / (double)result.ns,
	       (double)result.ended * (double)bytes * 1e3 / (double)result.ns,
	       (double)hist_percentile(&result.hist, 0.5) / 1e3,
	       (double)hist_percentile(&result.hist, 0.99) / 1e3);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	free(raw.message);
	return 0;
}
