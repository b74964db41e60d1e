/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulated SSD: an NVMe controller in software behind the device seam (pcie/device.h).
 *
 * It has no thread. A doorbell write moves the queue on, on the thread of the queue pair's owner:
 * on memory the command is done there and then; on a file it becomes an io_uring request whose
 * completion signals the queue pair's interrupt eventfd, and `poll` turns it into a CQE.
 *
 * SPEC: "emulated:" and keys with commas between:
 *   size=BYTES       K, M, G, T allowed; needed unless file= names something that has a size
 *   file=PATH        a regular file (made, sparse, when missing) or a block device; default: memory
 *   lba=512|4096     block size; default 512
 *   queues=N         I/O queue pairs, 1 .. 256; default 16
 *   depth=N          entries of a queue, 2 .. 65536; default 1024
 *   mdts=BYTES       largest transfer, 8K .. 1M, power of two; default 1M
 *   wzsl=N           Write Zeroes covers up to 2^N pages of 4 KiB, 1 .. 20; default 0: no limit
 *   dmrl=N           Dataset Management looks at N ranges, 1 .. 255; default 0: at all
 *   dmrsl=N, dmsl=N  … and at N blocks of each, at N blocks in all; default 0: no limit
 *   awun=N           AWUN and AWUPF, 0's based, 0 .. 255; said only; default 0
 *   namespaces=N     the medium is split evenly, 1 .. 32; default 1
 *   vectors=N        interrupt vectors; default queues + 1; 0: none, the driver polls
 *   serial=TEXT      up to 20 characters; default follows from the machine and the file
 *   dbbuf=0|1        offer shadow doorbells; default 0
 *   ms=BYTES         metadata of each block, 0 .. 128; memory only; default 0
 *   separate=0|1     it is transferred in a buffer of its own, not behind the block; default 0
 *   pi=0|1|2|3       type of the protection information in its first 8 bytes; default 0: none
 *   fna=0|1|2|3      Format reaches all namespaces: always (1), when it erases securely (2), both;
 *                    default 0
 *   fused=0|1        offer fused Compare and Write; memory only; default 0
 *   cache=0|1        on a file, for tests: what is written reaches it with Flush, FUA or an orderly
 *                    end only, and is lost otherwise; default 0
 *
 * Faults, each counted on every I/O queue by itself, so that they repeat exactly:
 *   fault.op=read|write|compare|flush|any
 *                       which I/O commands count; default any
 *   fault.error=N       every Nth ends with fault.status and is not done
 *   fault.status=CODE   SCT and SC as one number, default 0x281 (Unrecovered Read Error)
 *   fault.delay=N       every Nth is answered fault.delay_ms later (default 100)
 *   fault.delay_ms=N
 *   fault.unknown_cid=N every Nth is followed by a completion that nobody asked for
 *   fault.hang=N        every Nth is not answered, until it is aborted or the SSD is reset
 *   fault.abort=obey|late|refuse|silent
 *                       what Abort does to it: ends it (default); comes too late, it ends by
 *                       itself; nothing; not even an answer
 *   fault.mute_after=N  after N commands of one queue: no interrupts from it any more
 *   fault.doorbell_after=N
 *                       after N commands of one queue: its doorbell is stuck
 *   fault.cfs_after=N   after N commands of one queue: CSTS.CFS, nothing is answered any more
 *   fault.internal_after=N
 *                       after N commands of one queue: an event tells of a persistent internal
 *                       error, once
 *   fault.smart_after=N after N commands of one queue: too hot, told by an asynchronous event and
 *                       in SMART
 *   fault.shrink_after=N, fault.detach_after=N, fault.attach_after=N
 *                       after N commands of one queue: namespaces have half their size, the last
 *                       one is gone, the last one (that was not there) comes; told by an event
 *   fault.gone_after=N  after N commands of one queue: the device is gone, registers read all ones
 *   fault.back_ms=N     it returns after that time, as after power-on; default: never
 *   fault.back_when=PATH  … and when there is such a file
 *   fault.back_as=TEXT  it returns with another serial number
 *   fault.never_ready=N from the Nth time it is enabled on, it does not get ready
 *   fault.ready_again=N … and from the Nth time on it does again
 *   fault.times=N       hang, doorbell_after, cfs_after and gone_after strike N times in all
 * A reset cures them, and begins the counts anew.
 */
#ifndef NVMETD_PCIE_EMUL_EMUL_H
#define NVMETD_PCIE_EMUL_EMUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pcie_device;

/* What an Abort does. */
enum emul_abort { EMUL_ABORT_OBEY, EMUL_ABORT_LATE, EMUL_ABORT_REFUSE, EMUL_ABORT_SILENT };

/* 0: not at all. */
struct emul_faults {
	int op; /* an enum nvme_io_opcode, or -1 for any */
	unsigned error, status, delay, delay_ms, unknown_cid;
	unsigned hang, mute_after, doorbell_after, cfs_after, smart_after, internal_after,
		gone_after, back_ms;
	unsigned shrink_after, detach_after, attach_after;
	unsigned never_ready, ready_again, times;
	enum emul_abort abort;
	char back_as[21];
	char back_when[256];
};

struct emul_options {
	uint64_t size;
	char file[256]; /* empty: memory */
	unsigned lba_shift;
	unsigned queues;
	unsigned depth;
	size_t mdts;
	unsigned namespaces;
	unsigned vectors;
	unsigned wzsl;
	unsigned dmrl, dmrsl, dmsl;
	unsigned awun;
	unsigned fna; /* Identify Controller's */
	char serial[21];
	bool dbbuf;
	bool fused;
	unsigned ms;   /* metadata bytes of a block */
	unsigned pi;   /* protection information: type 1 .. 3, or 0 */
	bool separate; /* metadata has a buffer of its own */
	bool cache;
	bool at_once; /* a file that somebody else has is not waited for; not in SPEC */
	struct emul_faults faults;
};

/* Parses "emulated:…". 0, or -EINVAL with a sentence in err (what was found, what was expected). */
int emul_options_parse(const char *spec, struct emul_options *ret, char *err, size_t err_size);

/* Whether its file is there, or in a folder that we may not look into; true without one:
 * emul_device_open() is worth trying. Logs nothing. */
bool emul_device_present(const struct emul_options *options);

/* Makes the device. 0 or -errno (logged). */
int emul_device_open(const struct emul_options *options, struct pcie_device **ret_dev);

#endif
