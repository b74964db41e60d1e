/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that fail on demand: an LD_PRELOAD in front of the daemon's libraries and of the C library,
 * whose own calls are not counted.
 *
 * A test and the process share a file ($NVMETD_FAILING): a struct plan for each function that the
 * test is interested in, and what the process has seen. A plan says which calls fail, of any
 * thread, and how: those with these numbers, or the first one of each place that has not failed
 * with this error yet. (A place is the daemon's own part of the call stack.) Both sides may look at
 * it, and the test may change it, at any time.
 *
 * tests/py/failing.py has the same layout.
 */
#undef _FILE_OFFSET_BITS /* both names of a function are here, each for itself */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define ONE_BYTE (-1) /* instead of an errno: all is well, but for the length */
#define PLANS    64
#define PLACES   8192
#define DEPTH    5  /* frames that make a place */
#define STACK    32 /* frames of which these are */
#define GONE     2  /* in place of a hash, which is odd */

struct plan {
	char function[40];
	uint64_t calls;    /* until now */
	uint64_t from, to; /* calls that fail, the first one being 1; without `to` */
	uint64_t places;   /* not 0: so many calls of new places fail, instead */
	int64_t error;     /* errno, or ONE_BYTE */
	uint64_t fired;    /* calls that have failed */
};
struct shared {
	struct plan plans[PLANS];
	uint64_t seen[PLACES]; /* hashes of places that have failed, and how; GONE; 0: free */
	uint64_t where[DEPTH]; /* the last one: offsets in the program, or 0 */
};

static struct shared *shared; /* NULL: nothing fails */
static uintptr_t program;     /* where it lies */
static __thread bool inside __attribute__((tls_model("initial-exec")));

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("NVMETD_FAILING");
	void *frame;
	void *map;
	int fd;

	if (!path)
		return;
	inside = true;
	backtrace(&frame, 1); /* loads what it needs */
	program = _r_debug.r_map->l_addr;
	fd = open(path, O_RDWR | O_CLOEXEC);
	map = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	close(fd);
	shared = map;
	inside = false;
}

/* --- Whose call it is ------------------------------------------------------------------------- */

/* "function", or "function in libssl". false: of the C library, a sanitizer, or unknown. */
static bool name_call(char name[40], const char *function, void *caller)
{
	static const char *const others[] = { "libc",     "ld-linux-x86-64", "libasan",
					      "libubsan", "libtsan",         "libgcc_s" };
	const char *base;
	Dl_info info;

	if (!dladdr(caller, &info) || !info.dli_fname)
		return false;
	if ((uintptr_t)info.dli_fbase == program) {
		snprintf(name, 40, "%s", function);
		return true;
	}
	base = strrchr(info.dli_fname, '/');
	base = base ? base + 1 : info.dli_fname;
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (!strncmp(base, others[i], strlen(others[i])) && base[strlen(others[i])] == '.')
			return false;
	}
	snprintf(name, 40, "%s in %.*s", function, (int)strcspn(base, ".-"), base);
	return true;
}

static struct plan *find(const char *function, void *caller)
{
	char name[40];

	if (!name_call(name, function, caller))
		return NULL;
	for (unsigned i = 0; i < PLANS; i++) {
		if (!strcmp(shared->plans[i].function, name))
			return &shared->plans[i];
	}
	return NULL;
}

/* --- Whether it fails ------------------------------------------------------------------------- */

static void look_up_stack(uint64_t where[DEPTH])
{
	void *frames[STACK];
	int n = backtrace(frames, STACK);

	memset(where, 0, DEPTH * sizeof(where[0]));
	for (int i = 0, to = 0; i < n && to < DEPTH; i++) {
		uintptr_t at = (uintptr_t)frames[i] - program;

		if ((uintptr_t)frames[i] > program && at < 1u << 27)
			where[to++] = at;
	}
}

/* Notes it, if it is new. NULL: it is not. */
static uint64_t *note_new(const struct plan *plan, const uint64_t where[DEPTH])
{
	uint64_t hash = (uint64_t)(plan - shared->plans) + 1;

	hash = (hash ^ (uint64_t)plan->error) * UINT64_C(0x9E3779B97F4A7C15);
	for (unsigned i = 0; i < DEPTH; i++)
		hash = (hash ^ where[i]) * UINT64_C(0x9E3779B97F4A7C15);
	for (unsigned i = 0; i < PLACES; i++) {
		uint64_t *seen = &shared->seen[(hash + i) % PLACES], none = 0;

		if (__atomic_compare_exchange_n(seen, &none, hash | 1, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return seen;
		if (none == (hash | 1))
			return NULL;
	}
	return NULL;
}

/* Another thread, or the test, may be faster: then this place has not failed. What was noted behind
 * it in the table still has, and is found: its slot is not free again. */
static bool is_next_place(struct plan *plan, const uint64_t where[DEPTH])
{
	uint64_t n = __atomic_load_n(&plan->places, __ATOMIC_ACQUIRE), *noted;

	noted = n ? note_new(plan, where) : NULL;
	if (!noted)
		return false;
	if (__atomic_compare_exchange_n(&plan->places, &n, n - 1, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED))
		return true;
	__atomic_store_n(noted, GONE, __ATOMIC_RELEASE);
	return false;
}

static bool is_due(struct plan *plan, uint64_t n)
{
	uint64_t where[DEPTH];

	if (__atomic_load_n(&plan->places, __ATOMIC_ACQUIRE)) {
		look_up_stack(where);
		if (!is_next_place(plan, where))
			return false;
	} else if (n >= __atomic_load_n(&plan->from, __ATOMIC_ACQUIRE) &&
		   n < __atomic_load_n(&plan->to, __ATOMIC_ACQUIRE)) {
		look_up_stack(where);
	} else {
		return false;
	}
	memcpy(shared->where, where, sizeof(where));
	return true;
}

/* 0: it goes its way; otherwise an errno, which is set, or ONE_BYTE. */
static int64_t fails(const char *function, void *caller)
{
	const int before = errno;
	struct plan *plan;
	int64_t error = 0;

	if (!shared || inside)
		return 0;
	inside = true;
	plan = find(function, caller);
	if (plan && is_due(plan, __atomic_add_fetch(&plan->calls, 1, __ATOMIC_RELAXED))) {
		error = plan->error;
		__atomic_add_fetch(&plan->fired, 1, __ATOMIC_RELEASE);
	}
	inside = false;
	errno = error > 0 ? (int)error : before;
	return error;
}

/* Declares `real`, the function of that name behind this one, and `error`. */
#define ASK(symbol, function)                                         \
	static __typeof__(&symbol) real;                              \
	int64_t error = fails(function, __builtin_return_address(0)); \
	real = real ? real : (__typeof__(&symbol))dlsym(RTLD_NEXT, #symbol)

#define WRAP(type, symbol, function, params, args, failed) \
	type symbol params;                                \
	type symbol params                                 \
	{                                                  \
		ASK(symbol, function);                     \
		return error > 0 ? (failed) : real args;   \
	}

/* --- Memory ----------------------------------------------------------------------------------- */

#define MMAP_PARAMS (void *at, size_t n, int prot, int flags, int fd, off_t off)

WRAP(void *, malloc, "malloc", (size_t n), (n), NULL)
WRAP(void *, calloc, "malloc", (size_t n, size_t size), (n, size), NULL)
WRAP(void *, realloc, "malloc", (void *old, size_t n), (old, n), NULL)
WRAP(char *, strdup, "malloc", (const char *text), (text), NULL)
WRAP(int, posix_memalign, "malloc", (void **to, size_t align, size_t n), (to, align, n), ENOMEM)
WRAP(void *, mmap, "mmap", MMAP_PARAMS, (at, n, prot, flags, fd, off), MAP_FAILED)
WRAP(void *, mmap64, "mmap", MMAP_PARAMS, (at, n, prot, flags, fd, off), MAP_FAILED)
WRAP(int, memfd_create, "memfd_create", (const char *name, unsigned flags), (name, flags), -1)

/* --- Descriptors ------------------------------------------------------------------------------ */

WRAP(int, socket, "socket", (int family, int type, int protocol), (family, type, protocol), -1)
WRAP(int, accept4, "accept4", (int fd, struct sockaddr *addr, socklen_t *len, int flags),
     (fd, addr, len, flags), -1)
WRAP(int, setsockopt, "setsockopt", (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len), -1)
WRAP(int, getsockname, "getsockname", (int fd, struct sockaddr *addr, socklen_t *len),
     (fd, addr, len), -1)
WRAP(int, bind, "bind", (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len), -1)
WRAP(int, listen, "listen", (int fd, int backlog), (fd, backlog), -1)
WRAP(int, eventfd, "eventfd", (unsigned n, int flags), (n, flags), -1)
WRAP(int, epoll_ctl, "epoll_ctl", (int ep, int op, int fd, struct epoll_event *event),
     (ep, op, fd, event), -1)
WRAP(int, epoll_wait, "epoll_wait", (int ep, struct epoll_event *events, int n, int ms),
     (ep, events, n, ms), -1)
WRAP(int, fstat64, "fstat", (int fd, struct stat64 *st), (fd, st), -1)
WRAP(int, ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size), -1)

static mode_t mode_of(int flags, va_list args)
{
	return flags & O_CREAT ? va_arg(args, mode_t) : 0;
}
#define OPEN(symbol)                                             \
	int symbol(const char *path, int flags, ...)             \
	{                                                        \
		va_list args;                                    \
		mode_t mode;                                     \
		ASK(symbol, "open");                             \
		va_start(args, flags);                           \
		mode = mode_of(flags, args);                     \
		va_end(args);                                    \
		return error > 0 ? -1 : real(path, flags, mode); \
	}
OPEN(open)
OPEN(open64)

/* --- Threads ---------------------------------------------------------------------------------- */

WRAP(int, pthread_create, "pthread_create",
     (pthread_t *restrict thread, const pthread_attr_t *restrict attr, void *(*run)(void *),
      void *restrict arg),
     (thread, attr, run, arg), (int)error)

/* --- Data ------------------------------------------------------------------------------------- */

static size_t at_most(int64_t error, size_t n)
{
	return error == ONE_BYTE && n ? 1 : n;
}

/* Eight bytes are those of an eventfd, which is read and written whole and without waiting. */
#define DATA(symbol, params, args)                                                        \
	ssize_t symbol params                                                             \
	{                                                                                 \
		static __typeof__(&symbol) real;                                          \
		int64_t error = n == 8 ? 0 : fails(#symbol, __builtin_return_address(0)); \
		real = real ? real : (__typeof__(&symbol))dlsym(RTLD_NEXT, #symbol);      \
		return error > 0 ? -1 : real args;                                        \
	}
DATA(read, (int fd, void *to, size_t n), (fd, to, at_most(error, n)))
DATA(write, (int fd, const void *from, size_t n), (fd, from, at_most(error, n)))

static struct iovec first_byte(const struct iovec *iov, int n)
{
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len)
			return (struct iovec){ iov[i].iov_base, 1 };
	}
	return (struct iovec){ 0 };
}
#define VECTOR(symbol, function, params, whole, one)                               \
	ssize_t symbol params                                                      \
	{                                                                          \
		struct iovec byte = first_byte(iov, n);                            \
		ASK(symbol, function);                                             \
		return error > 0 ? -1 : error == ONE_BYTE ? real one : real whole; \
	}
VECTOR(readv, "readv", (int fd, const struct iovec *iov, int n), (fd, iov, n), (fd, &byte, 1))
VECTOR(writev, "writev", (int fd, const struct iovec *iov, int n), (fd, iov, n), (fd, &byte, 1))
VECTOR(pwritev64, "pwritev", (int fd, const struct iovec *iov, int n, off64_t at), (fd, iov, n, at),
       (fd, &byte, 1, at))

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct iovec byte = first_byte(msg->msg_iov, (int)msg->msg_iovlen);
	struct msghdr one = *msg;
	ASK(sendmsg, "sendmsg");

	one.msg_iov = &byte;
	one.msg_iovlen = 1;
	return error > 0 ? -1 : real(fd, error == ONE_BYTE ? &one : msg, flags);
}

/* --- Of libraries ----------------------------------------------------------------------------- */

struct io_uring;

WRAP(int, io_uring_queue_init, "io_uring_queue_init",
     (unsigned n, struct io_uring *ring, unsigned flags), (n, ring, flags), -(int)error)
WRAP(int, io_uring_submit, "io_uring_submit", (struct io_uring * ring), (ring), -(int)error)
WRAP(int, io_uring_register_eventfd, "io_uring_register_eventfd", (struct io_uring * ring, int fd),
     (ring, fd), -(int)error)
WRAP(int, io_uring_register_files, "io_uring_register_files",
     (struct io_uring * ring, const int *fds, unsigned n), (ring, fds, n), -(int)error)
WRAP(int, RAND_bytes, "RAND_bytes", (unsigned char *to, int n), (to, n), 0)
