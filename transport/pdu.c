/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PDU headers; see pdu.h. TCP Transport 1.0: 3.6.1 (common header), 3.5.1 (errors), 3.6.2 (PDUs).
 *
 * Framing comes from PLEN and PDO alone. Everything else that can be wrong with a command is a
 * status of that command, so a bad SGL never costs the connection.
 */
#include "transport/pdu.h"

#include <string.h>

#include "transport/digest.h"
#include "util/num.h"

static const struct pdu_verdict fine = { .term = false };

static struct pdu_verdict term(enum nvme_tcp_fes fes, uint32_t fei)
{
	return (struct pdu_verdict){ .term = true, .fes = (uint16_t)fes, .fei = fei };
}

#define BAD_CH(field) term(NVME_TCP_FES_INVALID_HEADER, offsetof(struct nvme_tcp_ch, field))

const char *pdu_fes_name(uint16_t fes)
{
	static const char *const names[] = {
		[0] = "an unknown reason",
		[NVME_TCP_FES_INVALID_HEADER] = "invalid PDU header field",
		[NVME_TCP_FES_SEQUENCE] = "PDU sequence error",
		[NVME_TCP_FES_HDGST] = "header digest error",
		[NVME_TCP_FES_RANGE] = "data transfer out of range",
		[NVME_TCP_FES_LIMIT] = "data transfer limit exceeded",
		[NVME_TCP_FES_UNSUPPORTED] = "unsupported parameter",
	};

	return fes < ARRAY_SIZE(names) ? names[fes] : names[0];
}

/* Length that HLEN must have for a type that hosts send; 0 for every other type. */
static uint8_t header_size(uint8_t type)
{
	switch (type) {
	case NVME_TCP_ICREQ:
		return sizeof(struct nvme_tcp_icreq);
	case NVME_TCP_H2C_TERM:
		return sizeof(struct nvme_tcp_term);
	case NVME_TCP_CAPSULE_CMD:
		return sizeof(struct nvme_tcp_capsule_cmd);
	case NVME_TCP_H2C_DATA:
		return sizeof(struct nvme_tcp_data);
	default:
		return 0;
	}
}

/* Commands and data: digests, PDO, and what PLEN leaves for data. */
static struct pdu_verdict check_data_pdu(const struct nvme_tcp_ch *ch,
					 const struct pdu_limits *limits, struct pdu_shape *shape)
{
	uint32_t plen = le32_get(ch->plen);
	uint32_t header = ch->hlen + (limits->hdgst ? NVME_TCP_DIGEST_SIZE : 0);
	uint32_t ddgst = limits->ddgst ? NVME_TCP_DIGEST_SIZE : 0;
	uint32_t max = ch->type == NVME_TCP_CAPSULE_CMD ? limits->in_capsule_max : UINT32_MAX;

	if (!!(ch->flags & NVME_TCP_F_HDGST) != limits->hdgst)
		return BAD_CH(flags);
	if (plen < header)
		return BAD_CH(plen);
	*shape = (struct pdu_shape){ .header_len = header };
	if (plen == header && ch->type == NVME_TCP_CAPSULE_CMD) {
		if (ch->flags & NVME_TCP_F_DDGST && !limits->ddgst)
			return BAD_CH(flags);
		return ch->pdo ? BAD_CH(pdo) : fine;
	}
	if (!!(ch->flags & NVME_TCP_F_DDGST) != limits->ddgst)
		return BAD_CH(flags);
	if (ch->pdo < header || (ch->pdo & 3) || ch->pdo > plen)
		return BAD_CH(pdo);
	if (plen - ch->pdo <= ddgst || plen - ch->pdo - ddgst > max)
		return BAD_CH(plen);
	shape->header_len = ch->pdo;
	shape->data_len = plen - ch->pdo - ddgst;
	shape->has_ddgst = limits->ddgst;
	return fine;
}

struct pdu_verdict pdu_check_ch(const struct nvme_tcp_ch *ch, const struct pdu_limits *limits,
				struct pdu_shape *shape)
{
	uint8_t hlen = header_size(ch->type);
	uint32_t plen = le32_get(ch->plen);

	if (!hlen)
		return BAD_CH(type);
	if (ch->type == NVME_TCP_ICREQ ? limits->established
				       : !limits->established && ch->type != NVME_TCP_H2C_TERM)
		return term(NVME_TCP_FES_SEQUENCE, 0);
	if (ch->hlen != hlen)
		return BAD_CH(hlen);
	switch (ch->type) {
	case NVME_TCP_ICREQ:
		*shape = (struct pdu_shape){ .header_len = hlen };
		return plen == hlen ? fine : BAD_CH(plen);
	case NVME_TCP_H2C_TERM:
		*shape = (struct pdu_shape){ .header_len = hlen, .data_len = plen - hlen };
		return plen >= hlen && plen <= hlen + NVME_TCP_TERM_DATA_MAX ? fine : BAD_CH(plen);
	default:
		return check_data_pdu(ch, limits, shape);
	}
}

struct pdu_verdict pdu_check_icreq(const struct nvme_tcp_icreq *icreq)
{
	if (le16_get(icreq->pfv) != 0)
		return term(NVME_TCP_FES_UNSUPPORTED, offsetof(struct nvme_tcp_icreq, pfv));
	if (icreq->hpda > NVME_TCP_HPDA_MAX)
		return term(NVME_TCP_FES_INVALID_HEADER, offsetof(struct nvme_tcp_icreq, hpda));
	return fine;
}

struct pdu_verdict pdu_check_hdgst(const uint8_t *header)
{
	uint8_t hlen = ((const struct nvme_tcp_ch *)header)->hlen;
	uint32_t came = le32_load(header + hlen);

	return digest_of(header, hlen) == came ? fine : term(NVME_TCP_FES_HDGST, came);
}

struct pdu_verdict pdu_check_h2c_data(const struct nvme_tcp_data *data,
				      const struct pdu_shape *shape,
				      const struct pdu_limits *limits, le16 cccid,
				      uint32_t received, uint32_t total)
{
	uint32_t offset = le32_get(data->datao), len = le32_get(data->datal);
	bool last = data->ch.flags & NVME_TCP_F_LAST;

	if (data->cccid.raw != cccid.raw)
		return term(NVME_TCP_FES_INVALID_HEADER, offsetof(struct nvme_tcp_data, cccid));
	if (len != shape->data_len)
		return BAD_CH(plen);
	if (len > limits->maxh2cdata)
		return term(NVME_TCP_FES_LIMIT, 0);
	if (offset > total || len > total - offset)
		return term(NVME_TCP_FES_RANGE, 0);
	if (offset != received) /* within the R2T, but not what comes next */
		return term(NVME_TCP_FES_SEQUENCE, 0);
	if (last != (received + len == total))
		return BAD_CH(flags);
	return fine;
}

/* --- What we send ----------------------------------------------------------------------------- */

static size_t add_hdgst(void *to, size_t hlen, bool hdgst)
{
	if (!hdgst)
		return hlen;
	le32_store((uint8_t *)to + hlen, digest_of(to, hlen));
	return hlen + NVME_TCP_DIGEST_SIZE;
}

size_t pdu_build_icresp(void *to, uint8_t dgst, uint32_t maxh2cdata)
{
	struct nvme_tcp_icresp *icresp = to;

	*icresp = (struct nvme_tcp_icresp){
		.ch = { .type = NVME_TCP_ICRESP,
			.hlen = sizeof(*icresp),
			.plen = le32_set(sizeof(*icresp)) },
		.dgst = dgst,
		.maxh2cdata = le32_set(maxh2cdata),
	};
	return sizeof(*icresp);
}

size_t pdu_build_term(void *to, struct pdu_verdict verdict, const void *header, size_t header_len)
{
	struct nvme_tcp_term *pdu = to;
	size_t copied = num_min(header_len, (size_t)NVME_TCP_TERM_DATA_MAX);

	*pdu = (struct nvme_tcp_term){
		.ch = { .type = NVME_TCP_C2H_TERM,
			.hlen = sizeof(*pdu),
			.plen = le32_set((uint32_t)(sizeof(*pdu) + copied)) },
		.fes = le16_set(verdict.fes),
	};
	le32_store(pdu->fei, verdict.fei);
	memcpy(pdu + 1, header, copied);
	return sizeof(*pdu) + copied;
}

size_t pdu_build_resp(void *to, const struct nvme_cqe *cqe, bool hdgst)
{
	struct nvme_tcp_capsule_resp *resp = to;
	uint32_t plen = sizeof(*resp) + (hdgst ? NVME_TCP_DIGEST_SIZE : 0);

	*resp = (struct nvme_tcp_capsule_resp){
		.ch = { .type = NVME_TCP_CAPSULE_RESP,
			.flags = hdgst ? NVME_TCP_F_HDGST : 0,
			.hlen = sizeof(*resp),
			.plen = le32_set(plen) },
		.cqe = *cqe,
	};
	return add_hdgst(to, sizeof(*resp), hdgst);
}

size_t pdu_build_r2t(void *to, le16 cccid, uint16_t ttag, uint32_t offset, uint32_t len, bool hdgst)
{
	struct nvme_tcp_r2t *r2t = to;
	uint32_t plen = sizeof(*r2t) + (hdgst ? NVME_TCP_DIGEST_SIZE : 0);

	*r2t = (struct nvme_tcp_r2t){
		.ch = { .type = NVME_TCP_R2T,
			.flags = hdgst ? NVME_TCP_F_HDGST : 0,
			.hlen = sizeof(*r2t),
			.plen = le32_set(plen) },
		.cccid = cccid,
		.ttag = le16_set(ttag),
		.r2to = le32_set(offset),
		.r2tl = le32_set(len),
	};
	return add_hdgst(to, sizeof(*r2t), hdgst);
}

size_t pdu_build_c2h_data(void *to, le16 cccid, uint32_t len, uint8_t flags, uint8_t hpda)
{
	struct nvme_tcp_data *data = to;
	uint32_t align = (hpda + 1u) * 4;
	bool hdgst = flags & NVME_TCP_F_HDGST, ddgst = flags & NVME_TCP_F_DDGST;
	uint32_t header = sizeof(*data) + (hdgst ? NVME_TCP_DIGEST_SIZE : 0);
	/* What is aligned to 4 bytes is so already: nearly all hosts want no more. */
	uint32_t pdo = hpda ? (header + align - 1) / align * align : header;
	size_t end;

	*data = (struct nvme_tcp_data){
		.ch = { .type = NVME_TCP_C2H_DATA,
			.flags = flags | NVME_TCP_F_LAST,
			.hlen = sizeof(*data),
			.pdo = (uint8_t)pdo,
			.plen = le32_set(pdo + len + (ddgst ? NVME_TCP_DIGEST_SIZE : 0)) },
		.cccid = cccid,
		.datal = le32_set(len),
	};
	end = add_hdgst(to, sizeof(*data), hdgst);
	if (pdo > end)
		memset((uint8_t *)to + end, 0, pdo - end);
	return pdo;
}
