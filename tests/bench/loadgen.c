/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Load on an NVMe/TCP target: a pattern at a depth for a time, then the rate and the latencies.
 * Every block that is written says which block it is, and every block that is read is checked for
 * it (a block that was never written reads as zeroes).
 *
 *   loadgen ADDRESS PORT NQN [read|write|mixed] [bytes] [depth] [seconds] [connections]
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/initiator.h"
#include "util/check.h"
#include "util/clock.h"

#define NSID        1
#define BUCKETS     4096 /* of 1 us, the last takes the rest */
#define CONNECTIONS 64

struct load {
	struct initiator_queue *queue;
	unsigned depth, blocks, block_size;
	uint64_t nsze, seed;
	int percent_writes;
	bool stopping;
	unsigned busy;
	struct {
		uint64_t slba, begun_ns;
		bool write;
	} slots[INITIATOR_DEPTH_MAX];
	uint8_t *out;
	uint64_t ended, errors, wrong;
	uint32_t histogram[BUCKETS];
};

static uint64_t next_random(struct load *load)
{
	load->seed ^= load->seed << 13;
	load->seed ^= load->seed >> 7;
	load->seed ^= load->seed << 17;
	return load->seed;
}

static void mark(struct load *load, uint64_t slba)
{
	for (unsigned i = 0; i < load->blocks; i++) {
		uint64_t number = slba + i + 1;

		memcpy(load->out + (size_t)i * load->block_size, &number, sizeof(number));
	}
}

static bool marked(const struct load *load, uint64_t slba, const uint8_t *data)
{
	for (unsigned i = 0; i < load->blocks; i++) {
		uint64_t number;

		memcpy(&number, data + (size_t)i * load->block_size, sizeof(number));
		if (number != 0 && number != slba + i + 1)
			return false;
	}
	return true;
}

static void issue(struct load *load, unsigned slot)
{
	uint64_t places = load->nsze / load->blocks,
		 slba = next_random(load) % places * load->blocks;
	bool write = (int)(next_random(load) % 100) < load->percent_writes;

	if (write)
		mark(load, slba);
	load->slots[slot].slba = slba;
	load->slots[slot].write = write;
	load->slots[slot].begun_ns = clock_now_ns();
	load->busy++;
	initiator_rw(load->queue, slot, write, NSID, slba, load->blocks, load->out,
		     (size_t)load->blocks * load->block_size);
}

static void on_done(void *arg, unsigned slot, uint16_t status, const uint8_t *data)
{
	struct load *load = arg;
	uint64_t us = (clock_now_ns() - load->slots[slot].begun_ns) / 1000;

	load->busy--;
	load->ended++;
	load->histogram[us < BUCKETS ? us : BUCKETS - 1]++;
	if (status)
		load->errors++;
	else if (!load->slots[slot].write && !marked(load, load->slots[slot].slba, data))
		load->wrong++;
	if (!load->stopping)
		issue(load, slot);
}

static int run(struct load *loads, unsigned n, double seconds)
{
	uint64_t end = clock_now_ns() + (uint64_t)(seconds * 1e9);
	struct pollfd fds[CONNECTIONS];
	unsigned busy = 1;

	for (unsigned i = 0; i < n; i++) {
		for (unsigned slot = 0; slot < loads[i].depth; slot++)
			issue(&loads[i], slot);
	}
	while (busy) {
		bool over = clock_now_ns() >= end;

		busy = 0;
		for (unsigned i = 0; i < n; i++) {
			loads[i].stopping = over;
			if (initiator_flush(loads[i].queue))
				return -1;
			fds[i].fd = initiator_fd(loads[i].queue);
			fds[i].events = POLLIN;
			if (initiator_wants_write(loads[i].queue))
				fds[i].events |= POLLOUT;
			busy += loads[i].busy;
		}
		if (busy && poll(fds, n, 10000) <= 0) {
			fprintf(stderr, "loadgen: %u commands got no answer\n", busy);
			return -1;
		}
		for (unsigned i = 0; i < n; i++) {
			if ((fds[i].revents & POLLIN) &&
			    initiator_receive(loads[i].queue, on_done, &loads[i]))
				return -1;
		}
	}
	return 0;
}

static unsigned percentile(const struct load *loads, unsigned n, uint64_t ended, double part)
{
	uint64_t seen = 0, wanted = (uint64_t)((double)ended * part);

	for (unsigned us = 0; us < BUCKETS; us++) {
		for (unsigned i = 0; i < n; i++)
			seen += loads[i].histogram[us];
		if (seen > wanted)
			return us;
	}
	return BUCKETS;
}

static int print(const struct load *loads, unsigned n, double seconds)
{
	uint64_t ended = 0, errors = 0, wrong = 0;
	size_t bytes = (size_t)loads[0].blocks * loads[0].block_size;

	for (unsigned i = 0; i < n; i++) {
		ended += loads[i].ended;
		errors += loads[i].errors;
		wrong += loads[i].wrong;
	}
	printf("commands=%llu per_second=%.0f MB_per_second=%.1f p50_us=%u p99_us=%u errors=%llu "
	       "wrong=%llu\n",
	       (unsigned long long)ended, (double)ended / seconds,
	       (double)ended * (double)bytes / seconds / 1e6, percentile(loads, n, ended, 0.5),
	       percentile(loads, n, ended, 0.99), (unsigned long long)errors,
	       (unsigned long long)wrong);
	return errors || wrong || !ended ? 1 : 0;
}

static int percent_of(const char *pattern)
{
	return strcmp(pattern, "read") == 0 ? 0 : strcmp(pattern, "write") == 0 ? 100 : 50;
}

int main(int argc, char **argv)
{
	const char *pattern = argc > 4 ? argv[4] : "mixed";
	size_t bytes = argc > 5 ? (size_t)atol(argv[5]) : 4096;
	unsigned depth = argc > 6 ? (unsigned)atoi(argv[6]) : 32;
	double seconds = argc > 7 ? atof(argv[7]) : 3;
	unsigned n = argc > 8 ? (unsigned)atoi(argv[8]) : 1;
	struct initiator_queue *admin;
	struct load *loads;
	struct nvme_id_ns ns;
	uint16_t cntlid;
	int granted, status;

	if (argc < 4 || !n || n > CONNECTIONS || depth < 2 || depth > INITIATOR_DEPTH_MAX ||
	    !bytes || bytes > 1 << 20) {
		fprintf(stderr,
			"usage: loadgen ADDRESS PORT NQN [read|write|mixed] [bytes] [depth] "
			"[seconds] [connections]\n");
		return 2;
	}
	loads = calloc(n, sizeof(*loads));
	admin = initiator_connect(argv[1], argv[2], argv[3], 0, 32, 4096, &cntlid);
	if (!loads || !admin || initiator_enable(admin) || initiator_identify_ns(admin, NSID, &ns))
		return 1;
	granted = initiator_set_queues(admin, n);
	if (granted < 1)
		return 1;
	n = (unsigned)granted < n ? (unsigned)granted : n; /* the SSD may have fewer left */
	for (unsigned i = 0; i < n; i++) {
		struct load *load = &loads[i];

		load->queue =
			initiator_connect(argv[1], argv[2], argv[3], i + 1, depth, bytes, &cntlid);
		load->depth = depth;
		load->block_size = 1u << ns.lbaf[ns.flbas & 0xf].lbads;
		load->blocks = (unsigned)(bytes / load->block_size);
		load->nsze = le64_get(ns.nsze);
		load->seed = 88172645463325252u + i;
		load->percent_writes = percent_of(pattern);
		load->out = calloc(1, bytes);
		if (!load->queue || !load->out || !load->blocks)
			return 1;
	}
	status = run(loads, n, seconds) ? 1 : print(loads, n, seconds);
	for (unsigned i = 0; i < n; i++) {
		initiator_close(loads[i].queue);
		free(loads[i].out);
	}
	initiator_close(admin);
	free(loads);
	return status;
}
