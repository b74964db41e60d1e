/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PDU headers: what a host may send, judged before anything of it is used, and what we send. Pure:
 * no socket, no connection, no memory.
 */
#ifndef NVMETD_TRANSPORT_PDU_H
#define NVMETD_TRANSPORT_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/nvme_tcp.h"

#define PDU_HEADER_MAX      256u /* HLEN, header digest and padding: PDO is one byte */
#define PDU_SENT_HEADER_MAX 128u /* of what we send: HPDA, at most 31, is the largest alignment */

/* The outcome of a check: fine, or the TermReq that is due. */
struct pdu_verdict {
	bool term;
	uint16_t fes; /* enum nvme_tcp_fes */
	uint32_t fei;
};

/* What a connection has agreed on; what the next header is judged by. */
struct pdu_limits {
	bool established; /* ICResp was sent */
	bool hdgst, ddgst;
	uint32_t in_capsule_max; /* bytes of in-capsule data */
	uint32_t maxh2cdata;
};

/* What the common header says about the PDU, once it was judged. */
struct pdu_shape {
	uint32_t header_len; /* bytes up to the data: header, digest, padding */
	uint32_t data_len;
	bool has_ddgst;
};

/* Judges a common header. *shape is set when the verdict is fine. */
struct pdu_verdict pdu_check_ch(const struct nvme_tcp_ch *ch, const struct pdu_limits *limits,
				struct pdu_shape *shape);
/* Judges the rest of an ICReq. */
struct pdu_verdict pdu_check_icreq(const struct nvme_tcp_icreq *icreq);
/* Judges the header digest that follows a header of ch->hlen bytes at `header`. */
struct pdu_verdict pdu_check_hdgst(const uint8_t *header);

/*
 * Judges an H2CData header against the write it claims to belong to: the host's command identifier
 * in wire order, how much has come, how much there is in all.
 */
struct pdu_verdict pdu_check_h2c_data(const struct nvme_tcp_data *data,
				      const struct pdu_shape *shape,
				      const struct pdu_limits *limits, le16 cccid,
				      uint32_t received, uint32_t total);

/* "invalid PDU header field" … : for the log; any value is allowed. */
const char *pdu_fes_name(uint16_t fes);

/* --- What we send ----------------------------------------------------------------------------- */

/*
 * Each writes a header to `to`, which is aligned to 4 bytes, and returns the bytes written, digest
 * and padding included: at most PDU_SENT_HEADER_MAX, if nothing else is said. `cccid`: the host's
 * command identifier in wire order; `offset` and `len`: of the command's data, in bytes.
 */
size_t pdu_build_icresp(void *to, uint8_t dgst, uint32_t maxh2cdata);
/* Copies up to 128 bytes of the offending header: at most 152 bytes in all. */
size_t pdu_build_term(void *to, struct pdu_verdict verdict, const void *header, size_t header_len);
size_t pdu_build_resp(void *to, const struct nvme_cqe *cqe, bool hdgst);
size_t pdu_build_r2t(void *to, le16 cccid, uint16_t ttag, uint32_t offset, uint32_t len,
		     bool hdgst);
/*
 * A C2HData header for all of a read's data, padded for the host's alignment. `flags`: any of
 * NVME_TCP_F_HDGST, NVME_TCP_F_DDGST (the caller sends that digest) and NVME_TCP_F_SUCCESS.
 */
size_t pdu_build_c2h_data(void *to, le16 cccid, uint32_t len, uint8_t flags, uint8_t hpda);

#endif
