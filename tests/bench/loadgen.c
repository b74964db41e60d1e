/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Load on an NVMe/TCP target: a pattern at a depth for a time, then the rate and the latencies.
 * Every block that is written says which block it is, and every block that is read is checked for
 * it (a block that was never written reads as zeroes).
 *
 *   loadgen [options] ADDRESS PORT NQN [read|write|mixed|PERCENT] [bytes] [depth] [seconds]
 *           [connections]
 *
 * PERCENT: of writes. --fill writes the whole namespace once, in order, before it begins.
 */
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/bench/initiator.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/hist.h"
#include "util/num.h"

#define NSID        1
#define CONNECTIONS 64
#define WAIT_MS     30000
#define FILL_BYTES  (128u << 10)
#define FILL_DEPTH  16
#define IDLE_QUEUES 32u /* of one controller */

struct options {
	struct initiator_params params;
	int percent_writes;
	size_t bytes;
	unsigned depth, connections;
	double seconds;
	unsigned rate;   /* commands a second in all; 0: as many as the depth allows */
	unsigned idle;   /* more connections that do nothing */
	unsigned beside; /* depth of one more connection, which is not counted; 0: none */
	bool sequential, fill, spin;
};

/* One connection's load. */
struct load {
	struct initiator_queue *queue;
	unsigned depth, blocks, block_size;
	uint64_t nsze, seed, next;
	int percent_writes;
	bool sequential, paced, spin, arrival;
	unsigned allowed; /* paced: commands that may begin */
	uint64_t now;     /* ns: the wake-up's */
	bool stopping;
	unsigned busy, free[INITIATOR_DEPTH_MAX], n_free;
	struct {
		uint64_t slba, begun;
		bool write, wrong;
		uint64_t number; /* of a block, as far as it has come */
	} slots[INITIATOR_DEPTH_MAX];
	uint8_t *out; /* depth places of blocks * block_size bytes */
	uint64_t ended, errors, wrong;
	struct hist hist;
};

/* --- One connection --------------------------------------------------------------------------- */

static uint64_t next_random(struct load *load)
{
	load->seed ^= load->seed << 13;
	load->seed ^= load->seed >> 7;
	load->seed ^= load->seed << 17;
	return load->seed;
}

static uint64_t next_slba(struct load *load)
{
	uint64_t places = load->nsze / load->blocks;

	return (load->sequential ? load->next++ : next_random(load)) % places * load->blocks;
}

static uint8_t *mark(struct load *load, unsigned slot, uint64_t slba)
{
	uint8_t *out = load->out + (size_t)slot * load->blocks * load->block_size;

	for (unsigned i = 0; i < load->blocks; i++) {
		uint64_t number = slba + i + 1;

		memcpy(out + (size_t)i * load->block_size, &number, sizeof(number));
	}
	return out;
}

static void issue(struct load *load, unsigned slot)
{
	uint64_t slba = next_slba(load);
	bool write = (int)(next_random(load) % 100) < load->percent_writes;

	load->slots[slot].slba = slba;
	load->slots[slot].write = write;
	load->slots[slot].wrong = false;
	load->slots[slot].begun = load->now;
	load->busy++;
	initiator_rw(load->queue, slot, write, NSID, slba, load->blocks,
		     write ? mark(load, slot, slba) : NULL,
		     (size_t)load->blocks * load->block_size);
}

static void issue_allowed(struct load *load)
{
	while (load->n_free && !load->stopping && (!load->paced || load->allowed)) {
		load->allowed -= load->paced;
		issue(load, load->free[--load->n_free]);
	}
}

/* The number at the start of each block, which may come in two parts. */
static void on_data(void *arg, unsigned slot, size_t offset, const uint8_t *bytes, size_t len)
{
	struct load *load = arg;
	size_t at = 0;

	while (at < len) {
		size_t in_block = (offset + at) % load->block_size,
		       block = (offset + at) / load->block_size, part;
		uint64_t *number = &load->slots[slot].number;

		if (in_block >= sizeof(*number)) {
			at += load->block_size - in_block;
			continue;
		}
		part = num_min(sizeof(*number) - in_block, len - at);
		memcpy((uint8_t *)number + in_block, bytes + at, part);
		if (in_block + part == sizeof(*number) && *number &&
		    *number != load->slots[slot].slba + block + 1)
			load->slots[slot].wrong = true;
		at += part;
	}
}

static void on_done(void *arg, unsigned slot, uint16_t status, const struct nvme_cqe *cqe)
{
	struct load *load = arg;

	(void)cqe;
	load->busy--;
	load->ended++;
	hist_add(&load->hist,
		 (load->arrival ? initiator_arrived(load->queue) : load->now) -
			 load->slots[slot].begun,
		 1);
	if (status)
		load->errors++;
	else if (load->slots[slot].wrong)
		load->wrong++;
	load->free[load->n_free++] = slot;
}

static int load_init(struct load *load, const struct options *options, const struct nvme_id_ns *ns,
		     unsigned qid, uint16_t cntlid)
{
	struct initiator_params params = options->params;

	params.qid = qid;
	params.depth = options->depth;
	load->queue = initiator_connect(&params, &cntlid);
	load->depth = options->depth;
	load->block_size = 1u << ns->lbaf[ns->flbas & 0xf].lbads;
	load->blocks = (unsigned)(options->bytes / load->block_size);
	load->nsze = le64_get(ns->nsze);
	load->seed = 88172645463325252u + qid;
	load->percent_writes = options->percent_writes;
	load->sequential = options->sequential;
	load->spin = options->spin;
	load->arrival = options->params.arrival;
	load->paced = options->rate;
	load->out = calloc(options->depth, options->bytes);
	for (unsigned i = 0; i < options->depth; i++)
		load->free[load->n_free++] = options->depth - 1 - i;
	return load->queue && load->out && load->blocks && load->nsze >= load->blocks ? 0 : -1;
}

static void load_fini(struct load *load)
{
	initiator_close(load->queue);
	free(load->out);
}

/* --- All of them ------------------------------------------------------------------------------ */

/* A timer that expires `rate` times a second, or -1. */
static int make_pace(unsigned rate)
{
	const uint64_t ns = NSEC_PER_SEC / rate;
	const struct itimerspec period = { .it_interval = { .tv_sec = (time_t)(ns / NSEC_PER_SEC),
							    .tv_nsec = (long)(ns % NSEC_PER_SEC) },
					   .it_value.tv_nsec = 1 };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

	if (fd >= 0)
		timerfd_settime(fd, 0, &period, NULL);
	return fd;
}

/* Spreads what the timer allows over the connections. */
static void take_pace(struct load *loads, unsigned n, int fd)
{
	static unsigned turn;
	uint64_t ticks;

	if (read(fd, &ticks, sizeof(ticks)) != (ssize_t)sizeof(ticks))
		return;
	for (ticks = num_min(ticks, (uint64_t)n * loads[0].depth); ticks; ticks--)
		loads[turn++ % n].allowed++;
}

/* One wake-up: sends, sleeps, receives. Returns the commands under way, or -1. */
static int turn(struct load *loads, unsigned n, int pace)
{
	struct pollfd fds[CONNECTIONS + 2];
	unsigned busy = 0;
	uint64_t now = clock_now_ns();

	for (unsigned i = 0; i < n; i++) {
		loads[i].now = now;
		issue_allowed(&loads[i]);
		if (initiator_flush(loads[i].queue))
			return -1;
		fds[i].fd = initiator_fd(loads[i].queue);
		fds[i].events = POLLIN;
		if (initiator_wants_write(loads[i].queue))
			fds[i].events |= POLLOUT;
		busy += loads[i].busy;
	}
	fds[n] = (struct pollfd){ .fd = loads[0].stopping ? -1 : pace, .events = POLLIN };
	if (loads[0].spin) {
		for (unsigned i = 0; i < n; i++)
			fds[i].revents = POLLIN;
	} else if ((busy || fds[n].fd >= 0) && poll(fds, n + 1, WAIT_MS) <= 0) {
		fprintf(stderr, "loadgen: %u commands got no answer\n", busy);
		return -1;
	}
	now = clock_now_ns();
	for (unsigned i = 0; i < n && busy; i++) {
		const struct initiator_events events = { on_data, on_done, &loads[i] };

		loads[i].now = now;
		if ((fds[i].revents & POLLIN) && initiator_receive(loads[i].queue, &events))
			return -1;
	}
	if (fds[n].fd >= 0)
		take_pace(loads, n, pace);
	return (int)busy;
}

/* Runs for a time, or until `commands` were done by each. Returns the seconds it took, or -1. */
static double run(struct load *loads, unsigned n, double seconds, uint64_t commands, unsigned rate)
{
	uint64_t start = clock_now_ns(), end = start + (uint64_t)(seconds * 1e9);
	int pace = rate ? make_pace(rate) : -1, busy = 1;

	while (busy > 0 || !loads[0].stopping) {
		uint64_t now = clock_now_ns();

		for (unsigned i = 0; i < n; i++)
			loads[i].stopping = commands ? loads[i].next >= commands : now >= end;
		busy = turn(loads, n, pace);
		if (busy < 0)
			break;
	}
	if (pace >= 0)
		close(pace);
	return busy < 0 ? -1 : (double)(clock_now_ns() - start) / 1e9;
}

/* Writes the whole namespace once, so that no read finds memory that was never touched. */
static int fill(const struct options *options, const struct nvme_id_ns *ns, uint16_t cntlid)
{
	struct options fill = *options;
	struct load *load = calloc(1, sizeof(*load));
	int err = -1;

	fill.bytes = FILL_BYTES;
	fill.depth = FILL_DEPTH;
	fill.percent_writes = 100;
	fill.sequential = true;
	fill.rate = 0;
	if (load && load_init(load, &fill, ns, 1, cntlid) == 0 &&
	    run(load, 1, 0, load->nsze / load->blocks, 0) >= 0 && !load->errors)
		err = 0;
	if (load)
		load_fini(load);
	free(load);
	return err;
}

static double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int print(const struct load *loads, unsigned n, const struct options *options,
		 double seconds, double cpu)
{
	static const struct {
		const char *name;
		double part;
	} columns[] = { { "p50_us", 0.5 }, { "p99_us", 0.99 }, { "p999_us", 0.999 } };
	uint64_t ended = 0, errors = 0, wrong = 0;
	static struct hist hist;

	for (unsigned i = 0; i < n; i++) {
		ended += loads[i].ended;
		errors += loads[i].errors;
		wrong += loads[i].wrong;
		hist_merge(&hist, &loads[i].hist);
	}
	printf("commands=%llu per_second=%.0f mb_per_second=%.1f ", (unsigned long long)ended,
	       (double)ended / seconds, (double)ended * (double)options->bytes / seconds / 1e6);
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		printf("%s=%.1f ", columns[i].name,
		       (double)hist_percentile(&hist, columns[i].part) / 1e3);
	printf("cpu_percent=%.1f errors=%llu wrong=%llu\n", cpu / seconds * 100,
	       (unsigned long long)errors, (unsigned long long)wrong);
	return errors || wrong || !ended ? 1 : 0;
}

/* --- The command line ------------------------------------------------------------------------- */

static int percent_of(const char *pattern)
{
	if (strcmp(pattern, "read") == 0)
		return 0;
	if (strcmp(pattern, "write") == 0)
		return 100;
	return strcmp(pattern, "mixed") == 0 ? 50 : atoi(pattern);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		perror("loadgen: pin");
}

static int usage(void)
{
	fprintf(stderr,
		"usage: loadgen [options] ADDRESS PORT NQN [read|write|mixed|PERCENT] [bytes]\n"
		"               [depth] [seconds] [connections]\n"
		"  --fill         write the whole namespace first\n"
		"  --sequential   blocks in order (default: at random)\n"
		"  --spin         never sleep\n"
		"  --digests      of headers and data\n"
		"  --tls FILE     over TLS with the key in this file\n"
		"  --rate N       commands a second (default: as many as the depth allows)\n"
		"  --idle N       connections beside, with queues of 128 entries, that do nothing\n"
		"  --beside N     one more connection at depth N, which is not counted\n"
		"  --arrival      latencies end when the answer has come to this host's kernel,\n"
		"                 not when this process has had a CPU to see it; not with --tls\n"
		"  --congestion NAME  congestion control of its sockets (default: the system's)\n"
		"  --cpu N        run on this CPU\n");

	return 2;
}

static int parse(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {
		{ "fill", no_argument, NULL, 'f' },
		{ "sequential", no_argument, NULL, 's' },
		{ "spin", no_argument, NULL, 'S' },
		{ "digests", no_argument, NULL, 'D' },
		{ "arrival", no_argument, NULL, 'A' },
		{ "tls", required_argument, NULL, 'T' },
		{ "rate", required_argument, NULL, 'r' },
		{ "idle", required_argument, NULL, 'i' },
		{ "beside", required_argument, NULL, 'b' },
		{ "congestion", required_argument, NULL, 'C' },
		{ "cpu", required_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == '?')
			return usage();
		if (option == 'c')
			pin(atoi(optarg));
		options->fill |= option == 'f';
		options->spin |= option == 'S';
		options->sequential |= option == 's';
		options->params.digests |= option == 'D';
		options->params.arrival |= option == 'A';
		if (option == 'T')
			options->params.tls_key = optarg;
		if (option == 'C')
			options->params.congestion = optarg;
		options->rate = option == 'r' ? (unsigned)atoi(optarg) : options->rate;
		options->beside = option == 'b' ? (unsigned)atoi(optarg) : options->beside;
		options->idle = option == 'i' ? (unsigned)atoi(optarg) : options->idle;
	}
	argv += optind;
	argc -= optind;
	if (argc < 3)
		return usage();
	options->params.addr = argv[0];
	options->params.port = argv[1];
	options->params.nqn = argv[2];
	options->percent_writes = percent_of(argc > 3 ? argv[3] : "mixed");
	options->bytes = argc > 4 ? (size_t)atol(argv[4]) : 4096;
	options->depth = argc > 5 ? (unsigned)atoi(argv[5]) : 32;
	options->seconds = argc > 6 ? atof(argv[6]) : 3;
	options->connections = argc > 7 ? (unsigned)atoi(argv[7]) : 1;
	if (!options->connections || options->connections > CONNECTIONS || !options->depth ||
	    options->depth > INITIATOR_DEPTH_MAX || options->beside > INITIATOR_DEPTH_MAX ||
	    !options->bytes || options->bytes > 1 << 20 ||
	    (options->params.arrival && options->params.tls_key))
		return usage();
	return 0;
}

/* I/O queues that nothing is sent on; idle[] ends with the admin queues that they belong to. */
static int connect_idle(const struct options *options, struct initiator_queue **idle)
{
	struct initiator_queue **admin = &idle[options->idle];
	struct initiator_params params = options->params;
	int left = 0; /* queues that the last controller was granted */
	uint16_t cntlid = 0;

	for (unsigned i = 0; i < options->idle; i++, left--) {
		if (!left) {
			params.qid = 0;
			params.depth = 32;
			*admin = initiator_connect(&params, &cntlid);
			if (!*admin || initiator_enable(*admin))
				return -1;
			left = initiator_set_queues(*admin++, IDLE_QUEUES);
			if (left < 1)
				return -1;
		}
		params.qid++;
		params.depth = 128;
		idle[i] = initiator_connect(&params, &cntlid);
		if (!idle[i])
			return -1;
	}
	return 0;
}

/* A greedy neighbour: behind the loads that count. */
static int add_neighbour(const struct options *options, struct load *load,
			 const struct nvme_id_ns *ns, uint16_t cntlid)
{
	struct options greedy = *options;

	greedy.depth = options->beside;
	greedy.rate = 0;
	return load_init(load, &greedy, ns, options->connections + 1, cntlid);
}

static int measure(struct options *options, struct load *loads, struct initiator_queue *admin,
		   uint16_t cntlid)
{
	struct nvme_id_ns ns;
	unsigned neighbours = options->beside ? 1 : 0;
	double seconds, cpu;
	int granted;

	if (initiator_enable(admin) || initiator_identify_ns(admin, NSID, &ns))
		return 1;
	granted = initiator_set_queues(admin, options->connections + neighbours) - (int)neighbours;
	if (granted < 1 || (options->fill && fill(options, &ns, cntlid)))
		return 1;
	/* The SSD may have fewer left. */
	options->connections = num_min(options->connections, (unsigned)granted);
	for (unsigned i = 0; i < options->connections; i++) {
		if (load_init(&loads[i], options, &ns, i + 1, cntlid))
			return 1;
	}
	if (neighbours && add_neighbour(options, &loads[options->connections], &ns, cntlid))
		return 1;
	cpu = cpu_seconds();
	seconds = run(loads, options->connections + neighbours, options->seconds, 0, options->rate);
	if (seconds < 0)
		return 1;
	return print(loads, options->connections, options, seconds, cpu_seconds() - cpu);
}

int main(int argc, char **argv)
{
	struct options options = { .connections = 1 };
	int status = parse(argc, argv, &options);
	struct initiator_queue *admin, **idle;
	struct initiator_params params;
	struct load *loads;
	uint16_t cntlid;

	if (status)
		return status;
	params = options.params;
	params.depth = 32;
	loads = calloc(options.connections + 1, sizeof(*loads));
	idle = calloc(2 * options.idle + 1, sizeof(idle[0]));
	admin = initiator_connect(&params, &cntlid);
	status = 1;
	if (loads && idle && admin && connect_idle(&options, idle) == 0) {
		unsigned n = options.connections + 1;

		status = measure(&options, loads, admin, cntlid);
		for (unsigned i = 0; i < n; i++)
			load_fini(&loads[i]);
		for (unsigned i = 0; i < 2 * options.idle; i++)
			initiator_close(idle[i]);
	}
	initiator_close(admin);
	free(idle);
	free(loads);
	return status;
}
