/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulated SSD's media against a model of their bytes, through a driver of the test's own that
 * has other habits than ours: PRPs in any order and from any place in a page, a completion queue
 * that is smaller than the submission queue, doorbells rung for some of the commands and for some
 * of the completions. What is under way at the same time does not overlap; all else is drawn from
 * fixed seeds.
 *
 * Beside it somebody changes the file: with the SSD idle, where the model can follow, and from
 * another thread during reads, where each byte is the old one or zero.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pcie/device.h"
#include "pcie/emul/emul.h"
#include "pcie/nvme.h"
#include "util/num.h"

#define PAGE       4096u
#define IOVA       UINT64_C(0x200000000)
#define SQ_SIZE    32u
#define CQ_SIZE    5u /* less than is under way */
#define ADMIN_SIZE 16u
#define SLOTS      8u /* commands of one round, each with its own part of the medium and of memory */
#define MAX_BYTES  (64u << 10)
#define DATA_PAGES (MAX_BYTES / PAGE + 1)    /* data may begin in the middle of a page */
#define SLOT_MEM   ((DATA_PAGES + 1) * PAGE) /* and a list */
#define MEM_SIZE   (16 * PAGE + SLOTS * SLOT_MEM)
#define BLOCK      512u
#define PART       (128u << 10)               /* of the medium, a slot's */
#define SIZE       (SLOTS * PART + 5 * BLOCK) /* no multiple of a page */

struct command {
	bool busy;
	uint8_t opcode;
	uint32_t block, blocks, from;   /* of a Copy: from where */
	bool fails;                     /* it must */
	uint32_t offset;                /* of the data in the first page */
	unsigned pages[DATA_PAGES + 1]; /* where they are in the slot's memory; the list */
};

static uint8_t memory[MEM_SIZE] __attribute__((aligned(PAGE)));
static struct pcie_device *device;
static struct command commands[SLOTS];
static uint8_t model[SIZE], bytes[MAX_BYTES];
static bool held[SIZE / PAGE + 1]; /* pages that may have memory */
static uint32_t sq_tail, sq_rung, cq_head, cq_rung;
static bool phase;
static int fd;
static uint64_t random_state;
static unsigned n_admin;
static bool disturbed; /* what is read may be what was there, zeroes, or nothing */

static uint32_t draw(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 20) % n;
}

/* --- The driver ------------------------------------------------------------------------------- */

static struct nvme_sqe *const asq = (void *)memory, *const sq = (void *)(memory + 2 * PAGE);
static struct nvme_cqe *const acq = (void *)(memory + PAGE), *const cq =
								     (void *)(memory + 3 * PAGE);

static void reg(uint32_t off, unsigned size, uint64_t value)
{
	device->ops->write(device, off, size, value);
}

/* Fewer than the queue holds, in all: a wrap is other tests' business. */
static void admin(const struct nvme_sqe *sqe)
{
	must(n_admin < ADMIN_SIZE - 1);
	asq[n_admin] = *sqe;
	reg(NVME_REG_DOORBELLS, 4, n_admin + 1);
	assert_true(le16_get(acq[n_admin].status) & NVME_CQE_PHASE);
	assert_int_equal(nvme_cqe_status(&acq[n_admin]), 0);
	n_admin++;
}

static void set_up(const char *spec)
{
	const struct nvme_sqe create_cq = { .opcode = NVME_ADMIN_CREATE_CQ,
					    .prp1 = le64_set(IOVA + 3 * PAGE),
					    .cdw10 = le32_set((CQ_SIZE - 1) << 16 | 1),
					    .cdw11 = le32_set(1) };
	const struct nvme_sqe create_sq = { .opcode = NVME_ADMIN_CREATE_SQ,
					    .prp1 = le64_set(IOVA + 2 * PAGE),
					    .cdw10 = le32_set((SQ_SIZE - 1) << 16 | 1),
					    .cdw11 = le32_set(1 << 16 | 1) };
	const struct nvme_sqe queues = { .opcode = NVME_ADMIN_SET_FEATURES,
					 .cdw10 = le32_set(NVME_FEAT_NUM_QUEUES) };
	struct emul_options options;
	char err[128];

	memset(memory, 0, MEM_SIZE);
	memset(commands, 0, sizeof(commands));
	sq_tail = sq_rung = cq_head = cq_rung = n_admin = 0;
	phase = true;
	assert_int_equal(emul_options_parse(spec, &options, err, sizeof(err)), 0);
	assert_int_equal(emul_device_open(&options, &device), 0);
	assert_int_equal(device->ops->map_dma(device, memory, IOVA, MEM_SIZE), 0);
	reg(NVME_REG_AQA, 4, (ADMIN_SIZE - 1) << 16 | (ADMIN_SIZE - 1));
	reg(NVME_REG_ASQ, 8, IOVA);
	reg(NVME_REG_ACQ, 8, IOVA + PAGE);
	reg(NVME_REG_CC, 4,
	    NVME_SQE_SHIFT << NVME_CC_IOSQES_SHIFT | NVME_CQE_SHIFT << NVME_CC_IOCQES_SHIFT |
		    NVME_CC_EN);
	admin(&queues);
	admin(&create_cq);
	admin(&create_sq);
}

static void take_down(void)
{
	const struct nvme_sqe delete_sq = { .opcode = NVME_ADMIN_DELETE_SQ, .cdw10 = le32_set(1) };
	const struct nvme_sqe delete_cq = { .opcode = NVME_ADMIN_DELETE_CQ, .cdw10 = le32_set(1) };

	admin(&delete_sq);
	admin(&delete_cq);
	reg(NVME_REG_CC, 4, 0);
	assert_int_equal(device->ops->unmap_dma(device, IOVA, MEM_SIZE), 0);
	device->ops->close(device);
}

/* --- Data ------------------------------------------------------------------------------------- */

static size_t place_of(unsigned slot, unsigned page)
{
	return 16 * PAGE + (size_t)slot * SLOT_MEM + (size_t)commands[slot].pages[page] * PAGE;
}

/* To or from `bytes`, page by page as the PRPs say. */
static void move(unsigned slot, size_t len, bool in)
{
	size_t at = 0, part, off = commands[slot].offset;

	for (unsigned page = 0; at < len; at += part, off = 0, page++) {
		uint8_t *place = memory + place_of(slot, page) + off;

		part = num_min(len - at, PAGE - off);
		memcpy(in ? place : bytes + at, in ? bytes + at : place, part);
	}
}

static void set_prps(unsigned slot, struct nvme_sqe *sqe, size_t len)
{
	size_t list = place_of(slot, DATA_PAGES), end = commands[slot].offset + len;

	sqe->prp1 = le64_set(IOVA + place_of(slot, 0) + commands[slot].offset);
	if (end > 2 * PAGE)
		sqe->prp2 = le64_set(IOVA + list);
	else if (end > PAGE)
		sqe->prp2 = le64_set(IOVA + place_of(slot, 1));
	for (unsigned page = 1; page * PAGE < end; page++)
		((le64 *)(void *)(memory + list))[page - 1] = le64_set(IOVA + place_of(slot, page));
}

static void shuffle(struct command *command, uint32_t align)
{
	command->offset = draw(2) ? draw(PAGE / align) * align : 0;
	command->pages[DATA_PAGES] = DATA_PAGES;
	for (unsigned i = 0; i < DATA_PAGES; i++) {
		unsigned j = draw(i + 1);

		command->pages[i] = command->pages[j];
		command->pages[j] = i;
	}
}

/* --- Commands --------------------------------------------------------------------------------- */

static uint8_t *in_model(uint32_t block)
{
	return model + (size_t)block * BLOCK;
}

/* Of a hole, whole pages have no memory; what is only part of one keeps it. */
static void clear(size_t offset, size_t len)
{
	memset(model + offset, 0, len);
	for (size_t page = (offset + PAGE - 1) / PAGE; (page + 1) * PAGE <= offset + len; page++)
		held[page] = 0;
}

static void hold(size_t offset, size_t len)
{
	memset(held + offset / PAGE, 1, (offset + len - 1) / PAGE - offset / PAGE + 1);
}

static void choose(unsigned slot, uint32_t align, int opcode)
{
	static const uint8_t opcodes[] = { NVME_IO_READ,    NVME_IO_READ,         NVME_IO_READ,
					   NVME_IO_WRITE,   NVME_IO_WRITE,        NVME_IO_COMPARE,
					   NVME_IO_COMPARE, NVME_IO_WRITE_ZEROES, NVME_IO_DSM,
					   NVME_IO_COPY,    NVME_IO_FLUSH,        NVME_IO_VERIFY };
	struct command *command = &commands[slot];
	uint32_t first = slot * (PART / BLOCK);
	uint32_t n = slot == SLOTS - 1 ? SIZE / BLOCK - first : PART / BLOCK;

	*command = (struct command){ .busy = true };
	command->opcode = opcode >= 0 ? (uint8_t)opcode : opcodes[draw(ARRAY_SIZE(opcodes))];
	command->blocks = 1 + (draw(2) ? draw(12) : draw(MAX_BYTES / BLOCK));
	command->block = first + draw(n - command->blocks + 1);
	command->from = command->block;
	if (command->opcode == NVME_IO_COPY) { /* from one half of it to the other */
		command->blocks = num_min(command->blocks, n / 2);
		command->from = first + draw(n / 2 - command->blocks + 1);
		command->block = command->from + n / 2;
	}
	shuffle(command, align);
}

static void fill(unsigned slot, struct nvme_sqe *sqe)
{
	struct command *command = &commands[slot];
	size_t len = (size_t)command->blocks * BLOCK;
	struct nvme_dsm_range range = { .nlb = le32_set(command->blocks),
					.slba = le64_set(command->block) };
	struct nvme_copy_range source = { .slba = le64_set(command->from),
					  .nlb = le16_set((uint16_t)(command->blocks - 1)) };

	switch (command->opcode) {
	case NVME_IO_WRITE:
		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)(random_state >> (i % 57)) ^ (uint8_t)i;
		if (draw(8) == 0)
			memset(bytes, 0, len);
		break;
	case NVME_IO_COMPARE:
		memcpy(bytes, in_model(command->block), len);
		command->fails = draw(2);
		if (command->fails)
			bytes[draw((uint32_t)len)] ^= 0x10;
		break;
	case NVME_IO_DSM:
		len = sizeof(range);
		memcpy(bytes, &range, len);
		sqe->cdw11 = le32_set(NVME_DSM_AD);
		return;
	case NVME_IO_COPY:
		memcpy(bytes, &source, sizeof(source));
		sqe->cdw12 = le32_set(le32_get(sqe->cdw12) & ~UINT32_C(0xffff)); /* one range */
		return;
	default:
		memset(bytes, 0xee, len);
	}
}

/* `opcode`: any, when it is negative; `flags`: of CDW12. */
static void put(unsigned slot, uint32_t align, int opcode, uint32_t flags)
{
	struct command *command = &commands[slot];
	struct nvme_sqe sqe = { .cid = le16_set((uint16_t)(0x7000 + slot)), .nsid = le32_set(1) };
	size_t len;

	choose(slot, align, opcode);
	sqe.opcode = command->opcode;
	sqe.cdw10 = le32_set(command->block);
	sqe.cdw12 = le32_set((command->blocks - 1) | flags);
	if (command->opcode == NVME_IO_DSM)
		sqe.cdw10 = sqe.cdw12 = le32_set(0);
	fill(slot, &sqe);
	len = command->opcode == NVME_IO_DSM    ? sizeof(struct nvme_dsm_range)
	      : command->opcode == NVME_IO_COPY ? sizeof(struct nvme_copy_range)
						: (size_t)command->blocks * BLOCK;
	move(slot, len, true);
	set_prps(slot, &sqe, len);
	sq[sq_tail] = sqe;
	sq_tail = (sq_tail + 1) % SQ_SIZE;
}

static void check_read(unsigned slot, size_t len)
{
	const uint8_t *expected = in_model(commands[slot].block);

	move(slot, len, false);
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != expected[i] && !(disturbed && bytes[i] == 0))
			fail_msg("byte %zu of %zu at block %u: %02x instead of %02x", i, len,
				 commands[slot].block, bytes[i], expected[i]);
	}
}

static void ended(unsigned slot, uint16_t status)
{
	struct command *command = &commands[slot];
	size_t len = (size_t)command->blocks * BLOCK, offset = (size_t)command->block * BLOCK;

	command->busy = false;
	if (disturbed && status == NVME_SC_UNRECOVERED_READ)
		return;
	assert_int_equal(status, command->fails ? NVME_SC_COMPARE_FAILURE : 0);
	switch (command->opcode) {
	case NVME_IO_READ:
		check_read(slot, len);
		break;
	case NVME_IO_WRITE:
		move(slot, len, false);
		memcpy(model + offset, bytes, len);
		hold(offset, len);
		break;
	case NVME_IO_COPY:
		memcpy(model + offset, in_model(command->from), len);
		hold(offset, len);
		break;
	case NVME_IO_WRITE_ZEROES:
	case NVME_IO_DSM:
		clear(offset, len);
		break;
	default:
		break;
	}
}

/* --- Rounds ----------------------------------------------------------------------------------- */

static unsigned reap(unsigned most)
{
	unsigned n = 0;

	if (device->ops->poll)
		device->ops->poll(device, 1);
	for (; n < most; n++) {
		const struct nvme_cqe *cqe = &cq[cq_head];
		unsigned slot = le16_get(cqe->cid) - 0x7000u;

		if ((le16_get(cqe->status) & NVME_CQE_PHASE) != phase)
			break;
		assert_in_range(slot, 0, SLOTS - 1);
		assert_true(commands[slot].busy);
		assert_int_equal(le16_get(cqe->sqid), 1);
		assert_in_range(le16_get(cqe->sqhd), 0, SQ_SIZE - 1);
		ended(slot, nvme_cqe_status(cqe));
		cq_head = (cq_head + 1) % CQ_SIZE;
		phase ^= cq_head == 0;
	}
	return n;
}

static void ring_some(bool all)
{
	if (sq_rung != sq_tail) {
		sq_rung = all ? sq_tail : (sq_rung + 1) % SQ_SIZE;
		reg(NVME_REG_DOORBELLS + 8, 4, sq_rung);
	}
	if (cq_rung != cq_head && (all || draw(3) == 0)) {
		cq_rung = cq_head;
		reg(NVME_REG_DOORBELLS + 12, 4, cq_rung);
	}
}

/* As many commands as there are slots, or fewer, and all to their end. */
static void one_round(uint32_t align, int opcode)
{
	unsigned n = 1 + draw(SLOTS), left = n;

	for (unsigned i = 0; i < n; i++)
		put(i, align, opcode, 0);
	while (left) {
		ring_some(draw(4) == 0);
		left -= reap(1 + draw(4));
	}
}

/* Somebody else, while the SSD is idle. */
static void meddle(void)
{
	size_t len = 1 + draw(3 * PAGE), offset = draw((uint32_t)(SIZE - len + 1));

	switch (draw(4)) {
	case 0:
		assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   (off_t)offset, (off_t)len),
				 0);
		clear(offset, len);
		break;
	case 1:
		assert_int_equal(ftruncate(fd, (off_t)offset), 0);
		assert_int_equal(ftruncate(fd, SIZE), 0);
		clear(offset, SIZE - offset);
		break;
	default:
		memset(bytes, (int)draw(256), len);
		assert_int_equal(pwrite(fd, bytes, len, (off_t)offset), len);
		memcpy(model + offset, bytes, len);
		hold(offset, len);
	}
}

static void run_rounds(unsigned rounds, uint32_t align, bool others)
{
	for (unsigned i = 0; i < rounds; i++) {
		one_round(align, -1);
		if (others && draw(8) == 0)
			meddle();
	}
}

/* --- Tests ------------------------------------------------------------------------------------ */

static unsigned n_held(void)
{
	unsigned n = 0;

	for (size_t page = 0; page < ARRAY_SIZE(held); page++)
		n += held[page];
	return n;
}

static void check_file(void)
{
	static uint8_t found[SIZE];

	assert_int_equal(pread(fd, found, SIZE, 0), SIZE);
	assert_memory_equal(found, model, SIZE);
}

static void on_file(uint32_t align, bool others, unsigned rounds)
{
	char spec[128];
	struct stat st;

	memset(model, 0, sizeof(model));
	memset(held, 0, sizeof(held));
	snprintf(spec, sizeof(spec), "emulated:file=/proc/self/fd/%d,queues=1,depth=32", fd);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	for (random_state = 1; random_state < 4; random_state++) {
		uint64_t seed = random_state;

		random_state *= UINT64_C(0x9e3779b97f4a7c15);
		set_up(spec);
		run_rounds(rounds, align, others);
		take_down();
		check_file();
		assert_int_equal(fstat(fd, &st), 0);
		if (align == 4 && !others && sysconf(_SC_PAGESIZE) == PAGE)
			assert_in_range(st.st_blocks, 0, n_held() * (PAGE / 512));
		random_state = seed;
	}
}

static void in_memory(void **state)
{
	char spec[64];

	(void)state;
	memset(model, 0, sizeof(model));
	snprintf(spec, sizeof(spec), "emulated:size=%u,queues=1,depth=32", (unsigned)SIZE);
	random_state = 99;
	set_up(spec);
	run_rounds(700, 4, false);
	take_down();
}

/* Also: no memory for what was only read, as long as nobody else makes holes. */
static void on_tmpfs(void **state)
{
	(void)state;
	fd = memfd_create("medium", MFD_CLOEXEC);
	on_file(4, false, 250);
	close(fd);
	fd = memfd_create("medium", MFD_CLOEXEC);
	on_file(4, true, 250);
	close(fd);
}

static atomic_bool over;

/* Somebody else, at any time: cuts the file, makes it as long as it was, makes holes. */
static void *meddler(void *arg)
{
	uint64_t r = 7;

	(void)arg;
	while (!atomic_load(&over)) {
		off_t offset;

		r = r * UINT64_C(6364136223846793005) + 1442695040888963407u;
		offset = (off_t)((r >> 33) % SIZE);
		if (r >> 60 < 3) {
			if (ftruncate(fd, offset) || ftruncate(fd, SIZE))
				break;
		} else if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
				     9000)) {
			break;
		}
	}
	return NULL;
}

/* Nothing but data, zeroes and errors comes of it; and no SIGBUS. */
static void while_it_is_cut(void **state)
{
	char spec[128];
	pthread_t thread;

	(void)state;
	fd = memfd_create("medium", MFD_CLOEXEC);
	snprintf(spec, sizeof(spec), "emulated:file=/proc/self/fd/%d,queues=1,depth=32", fd);
	random_state = 5;
	for (size_t i = 0; i < SIZE; i++)
		model[i] = (uint8_t)(i * 7 + 1);
	assert_int_equal(pwrite(fd, model, SIZE, 0), SIZE);
	set_up(spec);
	disturbed = true;
	assert_int_equal(pthread_create(&thread, NULL, meddler, NULL), 0);
	for (unsigned i = 0; i < 700; i++) {
		one_round(4, NVME_IO_READ);
		if (i % 64 == 0)
			assert_int_equal(pwrite(fd, model, SIZE, 0), SIZE);
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	disturbed = false;
	take_down();
	close(fd);
}

static void open_disk(void)
{
	fd = open("test_media.disk", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	memset(model, 0, sizeof(model));
}

static void on_disk(void **state)
{
	(void)state;
	open_disk();
	on_file(512, false, 60);
	close(fd);
	unlink("test_media.disk");
}

int __real_io_uring_submit(struct io_uring *uring);
int __wrap_io_uring_submit(struct io_uring *uring);
static unsigned n_durable; /* requests that end when what they changed is on the disk */

int __wrap_io_uring_submit(struct io_uring *uring)
{
	for (unsigned i = uring->sq.sqe_head; i != uring->sq.sqe_tail; i++) {
		const struct io_uring_sqe *sqe = &uring->sq.sqes[i & *uring->sq.kring_mask];

		n_durable += sqe->opcode == IORING_OP_FSYNC ||
			     (sqe->rw_flags & RWF_DSYNC && sqe->opcode != IORING_OP_FALLOCATE);
	}
	return __real_io_uring_submit(uring);
}

/* Whatever changes or reads blocks is durable before it is answered, if the host says so. */
static void forced_unit_access(void **state)
{
	static const int opcodes[] = { NVME_IO_WRITE, NVME_IO_WRITE_ZEROES, NVME_IO_COPY,
				       NVME_IO_READ, NVME_IO_COMPARE };
	char spec[128];
	bool fails;

	(void)state;
	open_disk();
	snprintf(spec, sizeof(spec), "emulated:file=/proc/self/fd/%d,size=%d,queues=1", fd, SIZE);
	random_state = 3;
	set_up(spec);
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(opcodes); i++) {
		uint32_t flags = i % 2 ? NVME_IO_FUA : 0;

		n_durable = 0;
		put(0, BLOCK, opcodes[i / 2], flags);
		fails = commands[0].fails;
		while (!reap(1))
			ring_some(true);
		assert_int_equal(n_durable, flags && !fails);
	}
	take_down();
	close(fd);
	unlink("test_media.disk");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_memory),          cmocka_unit_test(on_tmpfs),
		cmocka_unit_test(while_it_is_cut),    cmocka_unit_test(on_disk),
		cmocka_unit_test(forced_unit_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
