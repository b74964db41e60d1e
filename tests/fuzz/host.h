/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host's end of a connection that sends anything and checks everything: it reads along what it
 * sends itself, so that it knows the commands under way however broken the stream is, and holds
 * what comes back against the rules that a strict host has (TCP transport 1.0). A broken rule ends
 * the process.
 */
#ifndef NVMETD_TESTS_FUZZ_HOST_H
#define NVMETD_TESTS_FUZZ_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/nvme_tcp.h"

#define HOST_COMMANDS   1024 /* under way at once; what is more is not sent */
#define HOST_HEADER_MAX 256

/* A command that was sent and not answered. */
struct host_command {
	struct nvme_sqe sqe;
	bool duplicate;      /* another one with its CID was under way */
	uint32_t in_capsule; /* bytes that came with it */
	uint32_t got;        /* bytes of data that came back */
	uint32_t asked;      /* bytes that R2Ts asked for */
};

struct host_r2t {
	le16 cccid, ttag;
	uint32_t offset, left;
};

/* One direction of the stream, cut into PDUs. */
struct host_stream {
	_Alignas(8) uint8_t header[HOST_HEADER_MAX]; /* what was seen of the PDU: its beginning */
	uint32_t seen;                               /* bytes of the PDU */
	uint32_t crc;                                /* of its data */
	uint8_t ddgst[NVME_TCP_DIGEST_SIZE];
};

struct host {
	int fd; /* -1: closed */
	bool deaf;
	void (*between)(void); /* what is sent is sent in two parts, with this between them */
	bool asked;            /* ICReq was sent */
	bool established;      /* ICResp came */
	bool over;             /* C2HTermReq came, or what we send can no longer be understood */
	bool terminated;
	bool hdgst, ddgst;
	uint8_t hpda;
	uint8_t asked_dgst, asked_hpda;
	bool flow_control;
	uint16_t entries, sqhd; /* entries 0: not connected */
	uint16_t cntlid;        /* of the last Connect */
	struct host_command commands[HOST_COMMANDS];
	unsigned n_commands;
	unsigned n_failed; /* answered, with a status other than success */
	struct host_r2t r2ts[16];
	unsigned n_r2ts;
	bool noted; /* the command in the PDU that is being sent */
	struct host_stream tx, rx;
};

void host_open(struct host *host, int fd);
void host_close(struct host *host);

/* Sends bytes as they are; what the socket does not take is lost with the connection. */
void host_send(struct host *host, const void *bytes, size_t len);
/* Reads and checks all that has come. True: there was something. */
bool host_receive(struct host *host);
bool host_receive_all(struct host *hosts, unsigned n);

/*
 * Sends a PDU of `type` whose header is `header` (its common part is filled in here), with data and
 * the digests of the connection. `spoil`: bit 0 breaks the header digest, bit 1 the data digest.
 */
void host_send_pdu(struct host *host, uint8_t type, uint8_t flags, void *header, size_t hlen,
		   const void *data, size_t data_len, unsigned spoil);
void host_send_icreq(struct host *host, uint8_t dgst, uint8_t hpda);
/* `data`: in the capsule. */
void host_send_command(struct host *host, const struct nvme_sqe *sqe, const void *data, size_t len,
		       unsigned spoil);
/* An I/O command for blocks of 512 bytes from LBA 0 of namespace 1 on; `data`: in the capsule. */
void host_send_io(struct host *host, uint8_t opcode, uint16_t cid, uint32_t len, const void *data);

struct host_connect {
	const char *hostnqn, *subnqn;
	uint16_t qid, cntlid, sqsize; /* cntlid: of an I/O queue */
	uint8_t dgst, cattr;
	uint32_t kato; /* ms */
};
void host_send_connect(struct host *host, const struct host_connect *how);
/* A new connection, ICReq and Connect; `settle` is called after each, for the answer. */
void host_connect(struct host *host, int fd, const struct host_connect *how, void (*settle)(void));
/* Sets CC.EN of the controller whose admin queue this is, with 64 and 16 byte entries; `settle` is
 * called for the answer. */
void host_enable(struct host *host, void (*settle)(void));

#endif
