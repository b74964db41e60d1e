/* SPDX-License-Identifier: BSD-3-Clause */
/* A host that checks what it is sent; see host.h. */
#include "tests/fuzz/host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "target/nvmf.h"
#include "tests/fuzz/fuzz.h"
#include "transport/digest.h"
#include "util/num.h"

#define NEED(cond, ...)                         \
	do {                                    \
		if (!(cond))                    \
			fuzz_fail(__VA_ARGS__); \
	} while (0)

/* Bits 1:0 of an opcode, and of a fabrics command's type: 01b host to controller, 10b back. */
enum { TO_CONTROLLER = 1, TO_HOST = 2 };

static unsigned direction(const struct nvme_sqe *sqe)
{
	const struct nvmf_cmd *fabrics = (const struct nvmf_cmd *)sqe;

	return (sqe->opcode == NVME_OPCODE_FABRICS ? fabrics->fctype : sqe->opcode) & 3;
}

static uint32_t sgl_length(const struct host_command *command)
{
	return le32_get(command->sqe.sgl.length);
}

void host_open(struct host *host, int fd)
{
	*host = (struct host){ .fd = fd };
}

void host_close(struct host *host)
{
	if (host->fd >= 0)
		close(host->fd);
	host->fd = -1;
}

/* --- Commands under way ----------------------------------------------------------------------- */

static void note_command(struct host *host)
{
	const struct nvme_tcp_capsule_cmd *pdu = (const void *)host->tx.header;
	struct host_command *command;
	uint32_t plen = le32_get(pdu->ch.plen), data_at = pdu->ch.pdo ? pdu->ch.pdo : plen;
	uint32_t ddgst = pdu->ch.pdo && (host->asked_dgst & 2) ? NVME_TCP_DIGEST_SIZE : 0;

	if (host->n_commands == HOST_COMMANDS) {
		host->over = true; /* its answers could not be told from wrong ones */
		return;
	}
	command = &host->commands[host->n_commands];
	*command = (struct host_command){ .sqe = pdu->sqe };
	for (unsigned i = 0; i < host->n_commands; i++)
		command->duplicate = command->duplicate ||
				     host->commands[i].sqe.cid.raw == pdu->sqe.cid.raw;
	host->n_commands++;
	if (plen >= data_at + ddgst)
		command->in_capsule = plen - data_at - ddgst;
}

/* The oldest of that CID; for a refusal because of its CID, the newest. */
static struct host_command *find(struct host *host, le16 cid, bool newest)
{
	struct host_command *found = NULL;

	for (unsigned i = 0; i < host->n_commands; i++) {
		if (host->commands[i].sqe.cid.raw == cid.raw && (!found || newest))
			found = &host->commands[i];
	}
	NEED(found, "an answer to CID %04xh, which no command under way has", le16_get(cid));
	return found;
}

static void forget_r2ts(struct host *host, le16 cid)
{
	unsigned n = 0;

	for (unsigned i = 0; i < host->n_r2ts; i++) {
		if (host->r2ts[i].cccid.raw != cid.raw)
			host->r2ts[n++] = host->r2ts[i];
	}
	host->n_r2ts = n;
}

static void connected(struct host *host, const struct host_command *command,
		      const struct nvme_cqe *cqe)
{
	const struct nvmf_connect_cmd *connect = (const void *)&command->sqe;

	if (command->sqe.opcode != NVME_OPCODE_FABRICS || connect->fctype != NVMF_CONNECT)
		return;
	host->cntlid = (uint16_t)le32_get(cqe->dw0);
	host->flow_control = !(connect->cattr & NVMF_CATTR_DISABLE_SQFC);
	host->entries = (uint16_t)(le16_get(connect->sqsize) + 1);
	host->sqhd = 0;
}

static void check_sqhd(struct host *host, const struct nvme_cqe *cqe)
{
	if (!host->entries || !host->flow_control)
		return;
	host->sqhd = (uint16_t)((host->sqhd + 1) % host->entries);
	NEED(le16_get(cqe->sqhd) == host->sqhd, "SQHD %u instead of %u", le16_get(cqe->sqhd),
	     host->sqhd);
}

static void command_ended(struct host *host, const struct nvme_cqe *cqe)
{
	uint16_t status = nvme_cqe_status(cqe);
	bool conflict = (status & 0x7ff) == NVME_SC_CID_CONFLICT;
	struct host_command *command = find(host, cqe->cid, conflict);
	unsigned index = (unsigned)(command - host->commands);

	NEED(!conflict || command->duplicate, "CID %04xh is no other command's",
	     le16_get(cqe->cid));
	NEED(!status || !command->got, "data for a command that ended with status %03xh", status);
	if (!status && direction(&command->sqe) == TO_HOST)
		NEED(command->got == sgl_length(command),
		     "success of opcode %02xh with %u of %u bytes", command->sqe.opcode,
		     command->got, sgl_length(command));
	if (!status && direction(&command->sqe) == TO_CONTROLLER)
		NEED(command->asked + command->in_capsule == sgl_length(command),
		     "success of opcode %02xh after %u of %u bytes", command->sqe.opcode,
		     command->asked + command->in_capsule, sgl_length(command));
	host->n_failed += status != 0;
	if (!status)
		connected(host, command, cqe);
	check_sqhd(host, cqe);
	if (!conflict)
		forget_r2ts(host, cqe->cid);
	memmove(command, command + 1, (host->n_commands - index - 1) * sizeof(*command));
	host->n_commands--;
}

/* --- What comes ------------------------------------------------------------------------------- */

static void check_resp(struct host *host)
{
	const struct nvme_tcp_capsule_resp *pdu = (const void *)host->rx.header;

	NEED(!(le16_get(pdu->cqe.status) & NVME_CQE_PHASE), "phase bit in a response");
	NEED(le16_get(pdu->cqe.sqid) == 0, "SQID in a response");
	command_ended(host, &pdu->cqe);
}

static void check_data(struct host *host)
{
	const struct nvme_tcp_data *pdu = (const void *)host->rx.header;
	struct host_command *command = find(host, pdu->cccid, false);
	uint32_t ddgst = host->ddgst ? NVME_TCP_DIGEST_SIZE : 0, len = le32_get(pdu->datal);
	bool whole;

	NEED(direction(&command->sqe) == TO_HOST, "C2HData for opcode %02xh", command->sqe.opcode);
	NEED(le16_get(pdu->ttag) == 0, "TTAG in C2HData");
	NEED(len == le32_get(pdu->ch.plen) - pdu->ch.pdo - ddgst, "DATAL %u", len);
	NEED(len && le32_get(pdu->datao) == command->got &&
		     len <= sgl_length(command) - command->got,
	     "C2HData of %u at %u of %u bytes", len, command->got, sgl_length(command));
	if (host->ddgst)
		NEED(le32_load(host->rx.ddgst) == digest_final(host->rx.crc), "data digest");
	command->got += len;
	whole = command->got == sgl_length(command);
	NEED(!!(pdu->ch.flags & NVME_TCP_F_LAST) == whole, "LAST flag");
	if (pdu->ch.flags & NVME_TCP_F_SUCCESS) {
		const struct nvme_cqe cqe = { .cid = pdu->cccid };

		NEED(whole && host->entries && !host->flow_control, "SUCCESS flag");
		command_ended(host, &cqe);
	}
}

static void check_r2t(struct host *host)
{
	const struct nvme_tcp_r2t *pdu = (const void *)host->rx.header;
	struct host_command *command = find(host, pdu->cccid, false);
	uint32_t len = le32_get(pdu->r2tl);

	NEED(direction(&command->sqe) == TO_CONTROLLER, "R2T for opcode %02xh",
	     command->sqe.opcode);
	NEED(!command->in_capsule && len && le32_get(pdu->r2to) == command->asked &&
		     len <= sgl_length(command) - command->asked,
	     "R2T for %u at %u of %u bytes", len, command->asked, sgl_length(command));
	command->asked += len;
	if (host->n_r2ts < ARRAY_SIZE(host->r2ts))
		host->r2ts[host->n_r2ts++] = (struct host_r2t){ .cccid = pdu->cccid,
								.ttag = pdu->ttag,
								.offset = le32_get(pdu->r2to),
								.left = len };
}

static void check_icresp(struct host *host)
{
	const struct nvme_tcp_icresp *pdu = (const void *)host->rx.header;

	NEED(!host->established, "a second ICResp");
	NEED(le16_get(pdu->pfv) == 0 && pdu->cpda == 0, "PFV or CPDA of ICResp");
	NEED(pdu->dgst == host->asked_dgst, "digests %u instead of %u", pdu->dgst,
	     host->asked_dgst);
	NEED(le32_get(pdu->maxh2cdata) >= 4096 && le32_get(pdu->maxh2cdata) % 4 == 0,
	     "MAXH2CDATA %u", le32_get(pdu->maxh2cdata));
	host->established = true;
	host->hdgst = pdu->dgst & 1;
	host->ddgst = pdu->dgst & 2;
	host->hpda = host->asked_hpda;
}

static void check_hdgst(const struct host *host)
{
	const struct nvme_tcp_ch *ch = (const void *)host->rx.header;

	if (host->hdgst && ch->type != NVME_TCP_C2H_TERM)
		NEED(le32_load(host->rx.header + ch->hlen) == digest_of(ch, ch->hlen),
		     "header digest of type %02xh", ch->type);
}

static void check_pdu(struct host *host)
{
	switch (host->rx.header[0]) {
	case NVME_TCP_ICRESP:
		check_icresp(host);
		return;
	case NVME_TCP_C2H_TERM:
		host->terminated = host->over = true;
		return;
	case NVME_TCP_CAPSULE_RESP:
		check_hdgst(host);
		check_resp(host);
		return;
	case NVME_TCP_C2H_DATA:
		check_hdgst(host);
		check_data(host);
		return;
	default:
		check_hdgst(host);
		check_r2t(host);
	}
}

/* A PDU with data: where it begins. */
static void check_pdo(const struct host *host, const struct nvme_tcp_ch *ch)
{
	uint32_t header = ch->hlen + (host->hdgst ? NVME_TCP_DIGEST_SIZE : 0);

	NEED(!!(ch->flags & NVME_TCP_F_DDGST) == host->ddgst, "DDGST flag");
	NEED(ch->pdo >= header && ch->pdo % ((host->hpda + 1) * 4) == 0, "PDO %u with HPDA %u",
	     ch->pdo, host->hpda);
	NEED(le32_get(ch->plen) > ch->pdo, "C2HData without data");
}

static void check_ch(const struct host *host)
{
	const struct nvme_tcp_ch *ch = (const void *)host->rx.header;
	uint32_t plen = le32_get(ch->plen), digest = host->hdgst ? NVME_TCP_DIGEST_SIZE : 0;

	NEED(!host->terminated, "something behind a C2HTermReq");
	if (ch->type == NVME_TCP_C2H_TERM) {
		NEED(ch->hlen == 24 && ch->pdo == 0 && ch->flags == 0 && plen >= 24 && plen <= 152,
		     "C2HTermReq of HLEN %u, PLEN %u", ch->hlen, plen);
		return;
	}
	if (ch->type == NVME_TCP_ICRESP) {
		NEED(ch->hlen == 128 && plen == 128 && ch->flags == 0, "ICResp");
		return;
	}
	NEED(ch->type == NVME_TCP_CAPSULE_RESP || ch->type == NVME_TCP_C2H_DATA ||
		     ch->type == NVME_TCP_R2T,
	     "PDU type %02xh to a host", ch->type);
	NEED(host->established, "PDU type %02xh before ICResp", ch->type);
	NEED(ch->hlen == 24, "HLEN %u in a PDU of type %02xh", ch->hlen, ch->type);
	NEED(!!(ch->flags & NVME_TCP_F_HDGST) == host->hdgst, "HDGST flag");
	if (ch->type == NVME_TCP_C2H_DATA)
		check_pdo(host, ch);
	else
		NEED(ch->pdo == 0 && plen == 24 + digest &&
			     !(ch->flags & ~(unsigned)NVME_TCP_F_HDGST),
		     "PDO %u, PLEN %u, flags %02xh in type %02xh", ch->pdo, plen, ch->flags,
		     ch->type);
}

/* --- The streams ------------------------------------------------------------------------------ */

/* How much of a PDU is kept: all but its data. */
static uint32_t header_part(const struct nvme_tcp_ch *ch)
{
	uint32_t plen = le32_get(ch->plen);

	return num_min(ch->pdo ? (uint32_t)ch->pdo : plen, (uint32_t)HOST_HEADER_MAX);
}

/* Data and its digest, which is the last four bytes of the PDU. */
static void take_data(const struct host *host, struct host_stream *stream, const uint8_t *bytes,
		      size_t len)
{
	uint32_t plen = le32_get(((const struct nvme_tcp_ch *)stream->header)->plen);
	uint32_t end = plen - (host->ddgst ? NVME_TCP_DIGEST_SIZE : 0);
	size_t part = stream->seen < end ? num_min(len, (size_t)(end - stream->seen)) : 0;

	stream->crc = digest_update(stream->crc, bytes, part);
	for (size_t i = part; i < len; i++)
		stream->ddgst[stream->seen + i - end] = bytes[i];
}

/* Takes bytes up to the end of the PDU under way. True: it is whole. */
static bool take(const struct host *host, struct host_stream *stream, const uint8_t **bytes,
		 size_t *len)
{
	const struct nvme_tcp_ch *ch = (const void *)stream->header;
	bool judged = stream->seen >= sizeof(*ch);
	uint32_t keep = judged ? header_part(ch) : (uint32_t)sizeof(*ch);
	uint32_t until = stream->seen < keep ? keep : le32_get(ch->plen);
	size_t part = num_min(*len, (size_t)(until - stream->seen));

	if (stream->seen < keep) {
		memcpy(stream->header + stream->seen, *bytes, part);
		stream->crc = DIGEST_INIT;
	} else {
		take_data(host, stream, *bytes, part);
	}
	stream->seen += (uint32_t)part;
	*bytes += part;
	*len -= part;
	return stream->seen >= sizeof(*ch) && stream->seen >= le32_get(ch->plen);
}

static void read_along(struct host *host, const uint8_t *bytes, size_t len)
{
	struct host_stream *tx = &host->tx;
	const struct nvme_tcp_ch *ch = (const void *)tx->header;

	while (len && !host->over) {
		bool whole = take(host, tx, &bytes, &len);

		if (tx->seen == sizeof(*ch) &&
		    (le32_get(ch->plen) < sizeof(*ch) || (ch->pdo && ch->pdo < sizeof(*ch)))) {
			host->over = true;
			return;
		}
		/* From here on the target may know of it, whatever of its data is still to come. */
		if (ch->type == NVME_TCP_CAPSULE_CMD && tx->seen >= 72 && !host->noted) {
			note_command(host);
			host->noted = true;
		}
		if (!whole)
			continue;
		host->noted = false;
		if (ch->type == NVME_TCP_ICREQ && tx->seen >= 12 && !host->asked) {
			host->asked = true;
			host->asked_dgst = tx->header[11] & 3;
			host->asked_hpda = tx->header[10];
		}
		tx->seen = 0;
	}
}

void host_send(struct host *host, const void *bytes, size_t len)
{
	void (*between)(void) = host->between;
	ssize_t n;

	if (host->fd < 0)
		return;
	if (between && len > 1) {
		host->between = NULL;
		host_send(host, bytes, len / 2);
		between();
		host_send(host, (const uint8_t *)bytes + len / 2, len - len / 2);
		return;
	}
	n = send(host->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		read_along(host, bytes, (size_t)n);
	if (n < (ssize_t)len)
		host_close(host);
}

bool host_receive(struct host *host)
{
	uint8_t buf[65536];
	const uint8_t *bytes = buf;
	size_t len;
	ssize_t n;

	if (host->fd < 0 || host->deaf)
		return false;
	n = recv(host->fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			host_close(host);
		return false;
	}
	len = (size_t)n;
	while (len) {
		bool began = host->rx.seen < sizeof(struct nvme_tcp_ch);
		bool whole = take(host, &host->rx, &bytes, &len);

		if (began && host->rx.seen == sizeof(struct nvme_tcp_ch))
			check_ch(host);
		if (!whole)
			continue;
		check_pdu(host);
		host->rx.seen = 0;
	}
	return true;
}

/* --- PDUs that are right, but for what is asked to be wrong ----------------------------------- */

void host_send_pdu(struct host *host, uint8_t type, uint8_t flags, void *header, size_t hlen,
		   const void *data, size_t data_len, unsigned spoil)
{
	struct nvme_tcp_ch *ch = header;
	size_t pdo = hlen + (host->hdgst ? NVME_TCP_DIGEST_SIZE : 0);
	bool ddgst = host->ddgst && data_len;
	uint8_t whole[HOST_HEADER_MAX + 65536], *at = whole + hlen;

	data_len = num_min(data_len, (size_t)65536 - NVME_TCP_DIGEST_SIZE);
	*ch = (struct nvme_tcp_ch){
		.type = type,
		.flags = (uint8_t)(flags | (host->hdgst ? NVME_TCP_F_HDGST : 0) |
				   (ddgst ? NVME_TCP_F_DDGST : 0)),
		.hlen = (uint8_t)hlen,
		.pdo = data_len ? (uint8_t)pdo : 0,
		.plen = le32_set((uint32_t)(pdo + data_len + (ddgst ? NVME_TCP_DIGEST_SIZE : 0))),
	};
	memcpy(whole, header, hlen);
	if (host->hdgst) {
		le32_store(at, digest_of(whole, hlen) ^ (spoil & 1));
		at += NVME_TCP_DIGEST_SIZE;
	}
	if (data_len)
		memcpy(at, data, data_len);
	at += data_len;
	if (ddgst) {
		le32_store(at, digest_of(data, data_len) ^ (spoil >> 1 & 1));
		at += NVME_TCP_DIGEST_SIZE;
	}
	host_send(host, whole, (size_t)(at - whole));
}

void host_send_icreq(struct host *host, uint8_t dgst, uint8_t hpda)
{
	struct nvme_tcp_icreq icreq = { .dgst = dgst, .hpda = hpda };

	host_send_pdu(host, NVME_TCP_ICREQ, 0, &icreq, sizeof(icreq), NULL, 0, 0);
}

void host_send_command(struct host *host, const struct nvme_sqe *sqe, const void *data, size_t len,
		       unsigned spoil)
{
	struct nvme_tcp_capsule_cmd pdu = { .sqe = *sqe };

	host_send_pdu(host, NVME_TCP_CAPSULE_CMD, 0, &pdu, sizeof(pdu), data, len, spoil);
}

bool host_receive_all(struct host *hosts, unsigned n)
{
	bool some = false;

	for (unsigned i = 0; i < n; i++)
		some = host_receive(&hosts[i]) || some;
	return some;
}

void host_send_io(struct host *host, uint8_t opcode, uint16_t cid, uint32_t len, const void *data)
{
	const struct nvme_sqe sqe = {
		.opcode = opcode,
		.flags = 0x40,
		.cid = le16_set(cid),
		.nsid = le32_set(1),
		.sgl = { .length = le32_set(len),
			 .type = data ? NVMF_SGL_DATA_OFFSET : NVMF_SGL_TRANSPORT },
		.cdw12 = le32_set(len / 512 - 1),
	};

	host_send_command(host, &sqe, data, data ? len : 0, 0);
}

void host_send_connect(struct host *host, const struct host_connect *how)
{
	const struct nvmf_connect_cmd cmd = {
		.opcode = NVME_OPCODE_FABRICS,
		.flags = 0x40,
		.fctype = NVMF_CONNECT,
		.sgl = { .length = le32_set(sizeof(struct nvmf_connect_data)),
			 .type = NVMF_SGL_DATA_OFFSET },
		.qid = le16_set(how->qid),
		.sqsize = le16_set(how->sqsize),
		.cattr = how->cattr,
		.kato = le32_set(how->kato),
	};
	struct nvmf_connect_data data = { .cntlid = le16_set(NVMF_CNTLID_DYNAMIC) };

	if (how->qid)
		data.cntlid = le16_set(how->cntlid);
	snprintf(data.subnqn, sizeof(data.subnqn), "%s", how->subnqn);
	snprintf(data.hostnqn, sizeof(data.hostnqn), "%s", how->hostnqn);
	host_send_command(host, (const struct nvme_sqe *)&cmd, &data, sizeof(data), 0);
}

void host_connect(struct host *host, int fd, const struct host_connect *how, void (*settle)(void))
{
	host_open(host, fd);
	host_send_icreq(host, how->dgst, 0);
	settle();
	host_send_connect(host, how);
	settle();
}

void host_enable(struct host *host, void (*settle)(void))
{
	const struct nvme_sqe set_cc = { .opcode = NVME_OPCODE_FABRICS,
					 .flags = 0x40,
					 .nsid = le32_set(NVMF_PROPERTY_SET),
					 .cdw11 = le32_set(NVME_REG_CC),
					 .cdw12 = le32_set(0x00460001) };

	host_send_command(host, &set_cc, NULL, 0, 0);
	settle();
}
