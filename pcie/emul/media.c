/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the emulated SSD stores its blocks on: memory, a file, or a block device.
 *
 * A file is opened with O_DIRECT when it takes transfers of one block that way (the page cache
 * would only be a second copy); otherwise through the page cache. Either way a write is durable
 * only after a flush (fdatasync) or when it was sent with FUA: the SSD reports a volatile write
 * cache.
 */
#include "pcie/emul/media.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "pcie/emul/cache.h"
#include "pcie/emul/emul.h"
#include "pcie/nvme.h"
#include "util/log.h"
#include "util/num.h"

#define ALONE_WAIT_MS 3000
#define ALONE_LOOK_MS 20

static int open_ram(const struct emul_options *options, struct emul_media *media)
{
	media->size = options->size;
	media->ram = mmap(NULL, media->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (media->ram == MAP_FAILED) {
		media->ram = NULL;
		log_err("emulated SSD: no address space for %llu bytes",
			(unsigned long long)media->size);
		return -ENOMEM;
	}
	(void)madvise(media->ram, media->size, MADV_HUGEPAGE);
	return 0;
}

/* Tried on a block that is not at a 4 KiB boundary. */
static bool block_is_read(int fd, unsigned lba_shift)
{
	const size_t block = (size_t)1 << lba_shift;
	void *page = NULL;
	bool works = false;

	if (posix_memalign(&page, NVME_PAGE_SIZE, block) == 0)
		works = pread(fd, page, block, (off_t)block) == (ssize_t)block;
	free(page);
	return works;
}

/* Whether O_DIRECT works for single blocks, and what it asks of the address of data. That only the
 * kernel (6.1) and the file system can tell, for reading a hole asks for nothing. Where they do
 * not, it is tried, and a page is good. */
static bool direct_works(int fd, unsigned lba_shift, uint32_t *ret_align)
{
	struct statx stx;

	*ret_align = NVME_PAGE_SIZE;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN)) {
		if (!num_is_pow2(stx.stx_dio_mem_align) || stx.stx_dio_mem_align > NVME_PAGE_SIZE ||
		    !stx.stx_dio_offset_align || stx.stx_dio_offset_align > 1u << lba_shift)
			return false;
		*ret_align = num_max(stx.stx_dio_mem_align, (uint32_t)sizeof(le32));
	}
	return block_is_read(fd, lba_shift);
}

/* O_DIRECT, if it works here. 0 or -errno. */
static int go_direct(struct emul_media *media, unsigned lba_shift)
{
	int flags = fcntl(media->fd, F_GETFL);
	uint32_t align;

	if (fcntl(media->fd, F_SETFL, flags | O_DIRECT) < 0)
		return 0;
	if (direct_works(media->fd, lba_shift, &align))
		media->data_align = align;
	else if (fcntl(media->fd, F_SETFL, flags) < 0)
		return -errno;
	return 0;
}

static int medium_size(int fd, const struct emul_options *options, uint64_t *ret_size)
{
	struct stat st;
	uint64_t bytes;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
			return -errno;
	} else if (S_ISREG(st.st_mode)) {
		bytes = (uint64_t)st.st_size;
		if (options->size > bytes) {
			if (ftruncate(fd, (off_t)options->size) < 0)
				return -errno;
			bytes = options->size;
		}
	} else {
		return -EINVAL;
	}
	*ret_size = options->size ? options->size : bytes;
	return *ret_size > bytes ? -ENOSPC : 0;
}

/*
 * Opens it for us alone: two daemons on one medium, or one that somebody has mounted, would destroy
 * what is on it. Of a process that was killed the kernel lets go only when its last request has
 * ended.
 */
static int open_alone(const char *path, int flags, unsigned wait_ms)
{
	const struct timespec pause = { .tv_nsec = ALONE_LOOK_MS * 1000000L };
	int fd = -1, err = -EBUSY;
	struct stat st;

	/* A block device: no file system, no swap, no device mapper may have it. */
	if (stat(path, &st) == 0 && S_ISBLK(st.st_mode))
		flags = (flags & ~O_CREAT) | O_EXCL;
	for (unsigned waited = 0; err == -EBUSY && waited <= wait_ms; waited += ALONE_LOOK_MS) {
		if (waited)
			nanosleep(&pause, NULL);
		fd = open(path, flags, 0600);
		err = fd < 0 ? -errno : 0;
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
			err = errno == EWOULDBLOCK ? -EBUSY : -errno; /* no lock, no SSD */
			close(fd);
		}
	}
	return err ? err : fd;
}

static const char *why_not_opened(int err, const struct emul_options *options)
{
	switch (err) {
	case -EBUSY:
		return "it is in use: by another SSD, another process, or mounted (fuser -v, "
		       "lsblk)";
	case -EACCES:
		return "no permission: the user of the daemon must be able to read and write it";
	case -ENOENT:
		return options->size ? "its folder does not exist"
				     : "there is no such file (with size= it is made)";
	default:
		return strerror(-err);
	}
}

static int open_file(const struct emul_options *options, struct emul_media *media)
{
	int flags = O_RDWR | O_CLOEXEC | (options->size ? O_CREAT : 0), err;
	struct statfs fs;

	media->fd = open_alone(options->file, flags, options->at_once ? 0 : ALONE_WAIT_MS);
	if (media->fd < 0) {
		err = media->fd;
		log_err("emulated SSD: cannot open %s: %s", options->file,
			why_not_opened(err, options));
		return err;
	}
	err = medium_size(media->fd, options, &media->size);
	if (err || media->size >> options->lba_shift == 0) {
		log_err("emulated SSD: %s has no usable size: %s", options->file,
			!err             ? "it is empty; give size="
			: err == -EINVAL ? "it is neither a file nor a block device"
			: err == -ENOSPC ? "it has not as much as size= says"
					 : strerror(-err));
		return err ? err : -EINVAL;
	}
	media->volatile_cache = true;
	if (options->cache)
		return emul_cache_open(media);
	media->in_memory = fstatfs(media->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
	if (!media->in_memory)
		return go_direct(media, options->lba_shift);
	emul_mapping_open(&media->mapping, media->fd, media->size);
	return 0;
}

int emul_media_open(const struct emul_options *options, struct emul_media *media)
{
	*media = (struct emul_media){ .fd = -1, .data_align = sizeof(le32) };
	return options->file[0] ? open_file(options, media) : open_ram(options, media);
}

void emul_media_close(struct emul_media *media)
{
	if (media->ram)
		munmap(media->ram, media->size);
	emul_cache_close(media);
	emul_mapping_close(&media->mapping);
	if (media->fd >= 0)
		close(media->fd);
	*media = (struct emul_media){ .fd = -1 };
}

bool emul_media_resized(const struct emul_options *options, struct emul_media *media)
{
	uint64_t size = 0;

	if (media->ram || options->size || medium_size(media->fd, options, &size) ||
	    size >> options->lba_shift == 0 || size == media->size)
		return false;
	media->size = size;
	return true;
}

/*
 * Memory only: whole pages go back to the system, the rest is cleared. Pages of the machine, which
 * may be larger than the SSD's: madvise() would round the end up, and take other blocks along.
 */
void emul_media_deallocate(struct emul_media *media, uint64_t offset, uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t first = num_round_up(offset, page);
	uint64_t last = offset + len - (offset + len) % page;

	if (last <= first || media->dirty ||
	    madvise(media->ram + first, last - first, MADV_DONTNEED) < 0) {
		memset(media->ram + offset, 0, len);
		if (media->dirty)
			emul_cache_wrote(media, offset, len, false);
		return;
	}
	memset(media->ram + offset, 0, first - offset);
	memset(media->ram + last, 0, offset + len - last);
}

int emul_media_erase(struct emul_media *media, uint64_t offset, uint64_t len)
{
	int err;

	if (media->ram) {
		emul_media_deallocate(media, offset, len);
		return 0;
	}
	emul_mapping_forget(&media->mapping, offset, len);
	if (fallocate(media->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		      (off_t)len) == 0)
		return 0;
	err = -errno;
	log_err("emulated SSD: its medium could not be erased: %s", strerror(-err));
	return err;
}

#if SANITIZE_THREAD
/* Of the sanitizer's runtime. */
void __tsan_read_range(void *address, long len);
void __tsan_write_range(void *address, long len);

/* Byte by byte: memcpy is the sanitizer's own, whoever calls it. */
__attribute__((no_sanitize("thread"))) static void copy(void *to, const void *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
}

void emul_ram_write(uint8_t *ram, void *pages, size_t len)
{
	__tsan_read_range(pages, (long)len);
	copy(ram, pages, len);
}

void emul_ram_read(const uint8_t *ram, void *pages, size_t len)
{
	__tsan_write_range(pages, (long)len);
	copy(pages, ram, len);
}

__attribute__((no_sanitize("thread"))) bool emul_ram_equal(const uint8_t *ram, void *pages,
							   size_t len)
{
	__tsan_read_range(pages, (long)len);
	for (size_t i = 0; i < len; i++) {
		if (((const volatile uint8_t *)ram)[i] != ((volatile uint8_t *)pages)[i])
			return false;
	}
	return true;
}
#endif
