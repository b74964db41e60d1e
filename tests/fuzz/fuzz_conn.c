/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PDU stream of whole connections. An input is a script for up to four connections of one host;
 * its records say what is sent, and how much of it is wrong:
 *
 *   one byte   3:0 what (below), 5:4 which connection, 6: more follows in the same wake-up, 7: its
 *              bytes come in two parts
 *   the rest   the fields that its function reads
 *
 * Everything that comes back is checked (host.h); afterwards the daemon must have nothing left of
 * the connections.
 */
#include "pcie/ctrl_internal.h"
#include "target/ctrl.h"
#include "target/nvmf.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "util/num.h"

#define HOSTS       4
#define RECORDS_MAX 600
#define OPENS_MAX   16
/* An SSD that does not answer for longer is given up: admin commands; I/O commands, for which it is
 * reset a few times before. */
#define ADMIN_HELD_MAX_MS 8000
#define HELD_MAX_MS       30000
#define DATA_MAX          65536

static struct host hosts[HOSTS];
static uint8_t pattern[DATA_MAX];
static unsigned n_records, n_opens, held_ms, admin_held_ms, cid_add;
static bool batch, held, admin_held;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + (i >> 8));
	/* Fewer queue pairs than hosts: one is shared. Few pages: commands wait for them. Little
	 * memory to receive into: writes with their data fill all of it. */
	rig_init("emulated:size=1M,queues=1,depth=256,mdts=128K,fused=1");
	rig_conf.dma_memory = 10u << 20;
	rig_receive_memory = true;
	rig_conf.limits.connections = HOSTS - 1;
	rig_conf.limits.controllers = 2;
	rig_start();
	for (unsigned i = 0; i < HOSTS; i++)
		hosts[i].fd = -1;
	return 0;
}

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, HOSTS));
}

static void open_host(struct host *host)
{
	host_close(host);
	if (++n_opens > OPENS_MAX)
		return; /* the dearest record: an input full of them is a slow one */
	settle();       /* its place is free again */
	host_open(host, rig_connect());
}

/* --- Records ---------------------------------------------------------------------------------- */

static void send_raw(struct host *host, struct input *input)
{
	size_t len = input_u16(input);
	const uint8_t *bytes = input_bytes(input, len, &len);

	host_send(host, bytes, len);
}

/* Any type, the common header filled in. */
static void send_pdu(struct host *host, struct input *input)
{
	_Alignas(8) uint8_t header[128] = { 0 };
	uint8_t type = input_u8(input), flags = input_u8(input);
	size_t hlen = input_u8(input), data_len = input_u16(input), got;
	const uint8_t *bytes;

	hlen = num_max(num_min(hlen, sizeof(header)), sizeof(struct nvme_tcp_ch));
	bytes = input_bytes(input, hlen - sizeof(struct nvme_tcp_ch), &got);
	memcpy(header + sizeof(struct nvme_tcp_ch), bytes, got);
	host_send_pdu(host, type, flags, header, hlen, pattern, data_len, 0);
}

static void send_icreq(struct host *host, struct input *input)
{
	uint8_t dgst = input_u8(input), hpda = input_u8(input);

	host_send_icreq(host, dgst, hpda);
}

/* Any command; `how`: 1:0 digests that are wrong, 2 data in the capsule, 3 other flags, 7:4 SGL
 * type. */
static void send_command(struct host *host, struct input *input)
{
	static const uint8_t types[] = { 0,    0x00, 0x02, 0x0f, 0x10, 0x20, 0x30, 0x40,
					 0x50, 0x5b, 0x60, 0xf0, 0x01, 0x5a, 0x5a, 0x5a };
	struct nvme_sqe sqe = { .opcode = input_u8(input) };
	uint8_t how = input_u8(input), nsid;
	size_t in_capsule = how & 4 ? input_u16(input) : 0;

	sqe.cid = le16_set((uint16_t)(input_u16(input) + cid_add));
	nsid = input_u8(input);
	sqe.nsid = le32_set(nsid == 0xff ? NVME_NSID_ALL : nsid);
	sqe.flags = (uint8_t)(0x40 ^ (how & 8 ? input_u8(input) : 0));
	sqe.sgl.length = le32_set((uint32_t)input_number(input, 3));
	sqe.sgl.type = how >> 4 ? types[how >> 4] : how & 4 ? 0x01 : 0x5a;
	sqe.cdw10 = le32_set(input_u32(input));
	sqe.cdw11 = le32_set(input_u32(input));
	sqe.cdw12 = le32_set(input_u32(input));
	sqe.cdw13 = le32_set(input_u16(input));
	host_send_command(host, &sqe, pattern, in_capsule, how & 3);
}

/* Connect; `how`: 1:0 whose name, 3:2 which subsystem, 4 not in the capsule, 5 another host ID, 6
 * keep-alive, 7 a bit of its data is wrong. */
static void send_connect(struct host *host, struct input *input)
{
	static const char *const names[] = { RIG_FRIEND, "nqn.2014-08.org.nvmexpress:other", "",
					     "no name" };
	static const char *const subsystems[] = { RIG_NQN, NVMF_DISCOVERY_NQN, RIG_NQN_CLOSED,
						  "nqn.2026-11.io.nvmetd:none" };
	struct nvmf_connect_data data = { .hostid = { 1 } };
	uint8_t how = input_u8(input), qid = input_u8(input), cattr = input_u8(input);
	struct nvmf_connect_cmd cmd = {
		.opcode = NVME_OPCODE_FABRICS,
		.flags = 0x40,
		.cid = le16_set(input_u8(input)),
		.fctype = NVMF_CONNECT,
		.sgl = { .length = le32_set(sizeof(data)), .type = how & 16 ? 0x5a : 0x01 },
		.qid = le16_set(qid),
		.cattr = cattr,
		.sqsize = le16_set(input_u16(input)),
		.kato = le32_set(how & 64 ? 1000 : 0),
	};

	data.cntlid = le16_set(qid ? input_u16(input) : NVMF_CNTLID_DYNAMIC);
	data.hostid[15] = how & 32 ? 1 : 0;
	strcpy(data.hostnqn, names[how & 3]);
	strcpy(data.subnqn, subsystems[how >> 2 & 3]);
	if (how & 128) {
		size_t at = input_u16(input) % sizeof(data);

		((uint8_t *)&data)[at] ^= input_u8(input);
	}
	host_send_command(host, (const struct nvme_sqe *)&cmd, &data, how & 16 ? 0 : sizeof(data),
			  0);
}

/* Data that an R2T asked for; `how`: 1:0 digests that are wrong, 2 a part only, 3 LAST is wrong,
 * 4 offset is wrong, 5 CID is wrong, 6 TTAG is wrong, 7 the newest R2T. */
static void send_data(struct host *host, struct input *input)
{
	uint8_t how = input_u8(input), by = how & 0x70 ? input_u8(input) : 0;
	struct host_r2t *r2t;
	struct nvme_tcp_data pdu = { .rsvd20 = { 0 } };
	uint32_t len = how & 4 ? input_u16(input) + 1u : 32768u;
	bool last;

	if (!host->n_r2ts)
		return;
	r2t = &host->r2ts[how & 128 ? host->n_r2ts - 1 : 0];
	len = num_min(r2t->left, len);
	last = (len == r2t->left) == !(how & 8);
	pdu.cccid = le16_set((uint16_t)(le16_get(r2t->cccid) ^ (how & 32 ? by : 0)));
	pdu.ttag = le16_set((uint16_t)(le16_get(r2t->ttag) ^ (how & 64 ? by : 0)));
	pdu.datao = le32_set(r2t->offset + (how & 16 ? by : 0));
	pdu.datal = le32_set(len);
	host_send_pdu(host, NVME_TCP_H2C_DATA, last ? NVME_TCP_F_LAST : 0, &pdu, sizeof(pdu),
		      pattern, len, how & 3);
	r2t->offset += len;
	r2t->left -= len;
	if (!r2t->left)
		*r2t = host->r2ts[--host->n_r2ts];
}

/* Connected and enabled: host 0 as admin queue, the others as I/O queues, whatever the SSD has. */
static void send_good(struct host *host, uint8_t opcode, uint8_t fctype, uint64_t cdw10,
		      uint32_t cdw12)
{
	struct nvme_sqe sqe = { .opcode = opcode,
				.flags = 0x40,
				.cid = le16_set(0x1000),
				.nsid = le32_set(fctype),
				.sgl = { .type = 0x5a },
				.cdw10 = le32_set((uint32_t)cdw10),
				.cdw11 = le32_set((uint32_t)(cdw10 >> 32)),
				.cdw12 = le32_set(cdw12) };

	host_send_command(host, &sqe, NULL, 0, 0);
	settle();
}

static void set_up(struct input *input)
{
	uint8_t dgst = input_u8(input), hpda = input_u8(input) & 31, cattr = input_u8(input) & 4;
	uint16_t sqsize = input_u8(input) + 1u;
	const uint8_t admin[] = { 0, 0, cattr, 1, 31, 0 };

	for (unsigned i = 0; i < HOSTS - 1; i++) {
		struct host *host = &hosts[i];
		const uint8_t io[] = { 0,
				       (uint8_t)i,
				       cattr,
				       1,
				       (uint8_t)sqsize,
				       (uint8_t)(sqsize >> 8),
				       (uint8_t)hosts[0].cntlid,
				       (uint8_t)(hosts[0].cntlid >> 8) };
		struct input fields = { i ? io : admin, i ? sizeof(io) : sizeof(admin) };

		open_host(host);
		host_send_icreq(host, dgst & 3, hpda);
		settle();
		send_connect(host, &fields);
		settle();
		if (i)
			continue;
		send_good(host, NVME_OPCODE_FABRICS, NVMF_PROPERTY_SET, UINT64_C(0x14) << 32,
			  0x00460001);
	}
}

static void property(struct host *host, struct input *input)
{
	static const uint32_t offsets[] = { NVME_REG_CAP, NVME_REG_VS, NVME_REG_CC, NVME_REG_CSTS };
	uint8_t how = input_u8(input);
	struct nvmf_property_cmd cmd = {
		.opcode = NVME_OPCODE_FABRICS,
		.flags = 0x40,
		.cid = le16_set(0x2000),
		.fctype = how & 4 ? NVMF_PROPERTY_GET : NVMF_PROPERTY_SET,
		.attrib = how >> 4 & 7,
		.offset = le32_set(offsets[how & 3]),
		.value = le64_set(input_u32(input)),
	};

	cmd.rsvd5[34] = 0x5a; /* SGL type */
	host_send_command(host, (const struct nvme_sqe *)&cmd, NULL, 0, 0);
}

static void pass_time(struct input *input)
{
	unsigned ms = input_u8(input) * 100u;

	settle();
	if (held)
		ms = num_min(ms, HELD_MAX_MS - held_ms);
	if (admin_held)
		ms = num_min(ms, ADMIN_HELD_MAX_MS - admin_held_ms);
	held_ms += held ? ms : 0;
	admin_held_ms += admin_held ? ms : 0;
	rig_sleep(ms);
}

static void hold(bool admin)
{
	rig_hold_ssd(admin);
	held = true;
	admin_held |= admin;
}

static void release(void)
{
	rig_release_ssd();
	held = admin_held = false;
}

static void run_record(struct input *input);

/* The next record, up to 256 times, with other CIDs. */
static void repeat(struct input *input)
{
	unsigned times = input_u8(input);
	struct input once = *input;

	for (unsigned i = 0; i <= times && !cid_add; i++) {
		once = *input;
		cid_add = i;
		run_record(&once);
		cid_add = 0;
	}
	*input = once;
}

static void run_record(struct input *input)
{
	uint8_t head = input_u8(input);
	struct host *host = &hosts[head >> 4 & 3];

	if (++n_records > RECORDS_MAX)
		return;
	batch = head & 64;
	host->between = head & 128 ? settle : NULL;
	switch (head & 15) {
	case 0:
		send_raw(host, input);
		break;
	case 1:
		send_pdu(host, input);
		break;
	case 2:
		send_command(host, input);
		break;
	case 3:
		send_connect(host, input);
		break;
	case 4:
		send_data(host, input);
		break;
	case 5:
		open_host(host);
		break;
	case 6:
		send_icreq(host, input);
		break;
	case 7:
		host_close(host);
		break;
	case 8:
		pass_time(input);
		break;
	case 9:
		hold(false);
		break;
	case 10:
		release();
		break;
	case 11:
		host->deaf = !host->deaf;
		break;
	case 12:
		set_up(input);
		break;
	case 13:
		property(host, input);
		break;
	case 14:
		repeat(input);
		break;
	default:
		hold(true);
	}
	if (!batch)
		settle();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	n_records = n_opens = held_ms = admin_held_ms = 0;
	while (input.left)
		run_record(&input);
	settle();
	for (unsigned i = 0; i < HOSTS; i++)
		host_close(&hosts[i]);
	rig_settle();
	release();
	rig_expect_clean();
	if (held_ms)
		rig_sleep(NVME_RESETS_S * 1000); /* the next input's resets are not these */
	return 0;
}
