/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file on tmpfs, mapped for reading. The page cache is all there is of such a file, so a read is
 * a copy and needs no system call. Hosts see what preadv would give them, and preadv (uring.c) does
 * whatever cannot be done here.
 *
 * Writes use pwritev. A process can be killed between any two instructions, and would leave half a
 * block in the file, where an SSD writes a block as a whole or not at all (AWUPF); the kernel
 * finishes a page first. It also means that no mistake here can change the file.
 *
 * Reading a hole through a mapping gives it memory, and a host may read all of a sparse file. So a
 * page is read here only if it is known to have memory. It becomes known when it is written, when
 * preadv has read it and it is not empty, or at the start, if the file has no hole. It is forgotten
 * before a hole is made there. This is only a hint, and nothing orders it with the file: a write
 * may note its pages after a Deallocate has forgotten them and before the kernel makes the hole, a
 * worker may be copying meanwhile, and other processes may make holes, too. A hole that is taken
 * for a known page reads as zeroes, as it should; a page that is not known costs a system call. The
 * data is right either way, because what is copied is what the file has at that moment.
 *
 * A page that cannot be had (the file was cut; there is a hole again, and no room; memory is
 * broken) raises SIGBUS, where a system call would return an errno. The handler jumps back to
 * before the copy, and all of the read is left to preadv, which says what is wrong. Any other
 * SIGBUS does what it would have done without this handler.
 *
 * One difference remains: of a file that was cut within a page, the rest of that page reads as
 * zeroes here. To notice, each read would have to touch the page behind it as well, which a file
 * that was cut does not have; and only if that is known, for it may be a hole. That is a cache miss
 * for every read, and a system call for each that ends at a hole, for a fault that makes itself
 * heard as soon as any block behind that page is read.
 */
#include "pcie/emul/mapping.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <ucontext.h>

#include "pcie/emul/media.h"
#include "pcie/emul/words.h"
#include "pcie/nvme.h"
#include "util/log.h"
#include "util/num.h"

/* --- SIGBUS ----------------------------------------------------------------------------------- */

/* Where a copy goes back to. */
struct pad {
	const struct emul_mapping *mapping;
	sigjmp_buf env;
};

static _Thread_local struct pad *volatile landing; /* of the copy under way */
static struct sigaction before;                    /* what we came to the place of */

static bool is_within(const struct emul_mapping *mapping, const void *address)
{
	return (uintptr_t)address - (uintptr_t)mapping->base < mapping->len;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	ucontext_t *interrupted = context;
	bool sent = info->si_code <= 0; /* by a process: it is no fault */

	if (landing && !sent && is_within(landing->mapping, info->si_addr)) {
		pthread_sigmask(SIG_SETMASK, &interrupted->uc_sigmask, NULL);
		siglongjmp(landing->env, 1);
	}
	/* Not ours: the instruction is run again, and meets what was there before. A worker may not
	 * change handlers, but a fault whose signal is blocked kills, too. */
	if (sigaction(number, &before, NULL) == 0) {
		if (sent)
			raise(number);
		return;
	}
	if (sent)
		abort();
	sigaddset(&interrupted->uc_sigmask, number);
}

/* It stays when the file is closed. */
static int catch_sigbus(void)
{
	const struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	struct sigaction was;

	if (sigaction(SIGBUS, &action, &was) < 0)
		return -errno;
	if (was.sa_sigaction != on_sigbus)
		before = was;
	return 0;
}

/* --- What is known ---------------------------------------------------------------------------- */

/* The pages of [offset, offset + len), as far as they are mapped. */
static uint64_t pages_of(const struct emul_mapping *mapping, uint64_t offset, uint64_t len,
			 uint64_t *ret_first)
{
	uint64_t end = offset < mapping->len ? offset + num_min(len, mapping->len - offset) : 0;

	*ret_first = offset / NVME_PAGE_SIZE;
	return end > offset ? (end - 1) / NVME_PAGE_SIZE - *ret_first + 1 : 0;
}

static bool is_known(const struct emul_mapping *mapping, uint64_t offset, uint64_t len)
{
	uint64_t first, n = pages_of(mapping, offset, len, &first);

	if (offset >= mapping->len || len > mapping->len - offset)
		return false;
	while (n) {
		const _Atomic uint64_t *word = &mapping->known[first / EMUL_WORD_BITS];
		uint64_t bits = emul_take_word(&first, &n);

		if ((atomic_load_explicit(word, memory_order_relaxed) & bits) != bits)
			return false;
	}
	return true;
}

static void learn(const struct emul_mapping *mapping, uint64_t offset, uint64_t len)
{
	uint64_t first, n = pages_of(mapping, offset, len, &first);

	while (n) {
		_Atomic uint64_t *word = &mapping->known[first / EMUL_WORD_BITS];

		atomic_fetch_or_explicit(word, emul_take_word(&first, &n), memory_order_relaxed);
	}
}

/* Words that are empty are only looked at: a hole may be as large as the file. */
void emul_mapping_forget(const struct emul_mapping *mapping, uint64_t offset, uint64_t len)
{
	uint64_t first, n = pages_of(mapping, offset, len, &first);

	while (n) {
		_Atomic uint64_t *word = &mapping->known[first / EMUL_WORD_BITS];
		uint64_t bits = emul_take_word(&first, &n);

		if (atomic_load_explicit(word, memory_order_relaxed) & bits)
			atomic_fetch_and_explicit(word, ~bits, memory_order_relaxed);
	}
}

static bool is_empty(const uint8_t *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

void emul_mapping_learn(const struct emul_mapping *mapping, uint8_t opcode, uint64_t offset,
			const struct iovec *iov, size_t len)
{
	size_t at = 0, part;

	if (opcode == NVME_IO_WRITE) {
		learn(mapping, offset, len);
		return;
	}
	for (; len && offset < mapping->len; len -= part, offset += part, at += part) {
		if (at == iov->iov_len) {
			iov++;
			at = 0;
		}
		part = num_min(iov->iov_len - at, NVME_PAGE_SIZE - offset % NVME_PAGE_SIZE);
		part = num_min(part, len);
		if (!is_empty((const uint8_t *)iov->iov_base + at, part))
			learn(mapping, offset, part);
	}
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* By itself, so that no variable of it lives in the function that a jump comes back to. */
__attribute__((noinline)) static void copy(const uint8_t *medium, const struct iovec *iov,
					   unsigned n)
{
	for (unsigned i = 0; i < n; medium += iov[i++].iov_len)
		emul_ram_read(medium, iov[i].iov_base, iov[i].iov_len);
}

/* False: a page could not be had. */
static bool try_copy(const struct emul_mapping *mapping, uint64_t offset, const struct iovec *iov,
		     unsigned n)
{
	struct pad pad;

	pad.mapping = mapping;
	if (sigsetjmp(pad.env, 0)) { /* to save the mask would be a system call */
		landing = NULL;
		return false;
	}
	landing = &pad;
	atomic_signal_fence(memory_order_seq_cst); /* not before the pad is there, */
	copy(mapping->base + offset, iov, n);
	atomic_signal_fence(memory_order_seq_cst); /* nor after it has gone */
	landing = NULL;
	return true;
}

bool emul_mapping_read(const struct emul_mapping *mapping, uint64_t offset, uint64_t len,
		       const struct iovec *iov, unsigned n)
{
	if (!is_known(mapping, offset, len))
		return false;
	if (try_copy(mapping, offset, iov, n))
		return true;
	emul_mapping_forget(mapping, offset, len);
	return false;
}

/* --- Opening ---------------------------------------------------------------------------------- */

static int map(struct emul_mapping *mapping, int fd, uint64_t size)
{
	struct stat st;
	void *va;
	int err = catch_sigbus();

	if (!err && fstat(fd, &st) < 0)
		err = -errno;
	if (err)
		return err;
	mapping->known_bytes = (size / NVME_PAGE_SIZE / EMUL_WORD_BITS + 1) * sizeof(uint64_t);
	va = mmap(NULL, mapping->known_bytes, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (va == MAP_FAILED)
		return -errno;
	mapping->known = va;
	va = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (va == MAP_FAILED)
		return -errno;
	mapping->base = va;
	mapping->len = size;
	if ((uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size)
		learn(mapping, 0, size);
	return 0;
}

void emul_mapping_open(struct emul_mapping *mapping, int fd, uint64_t size)
{
	int err;

	*mapping = (struct emul_mapping){ 0 };
	size -= size % NVME_PAGE_SIZE;
	err = size ? map(mapping, fd, size) : 0;
	if (err) {
		log_info("emulated SSD: its file is slower than it could be: it cannot be mapped: "
			 "%s",
			 strerror(-err));
		emul_mapping_close(mapping);
	}
}

void emul_mapping_close(struct emul_mapping *mapping)
{
	if (mapping->base)
		munmap((void *)(uintptr_t)mapping->base, mapping->len);
	if (mapping->known)
		munmap(mapping->known, mapping->known_bytes);
	*mapping = (struct emul_mapping){ 0 };
}
