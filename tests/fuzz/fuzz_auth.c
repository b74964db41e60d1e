/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DH-HMAC-CHAP from a host that has the keys and computes with them, but says what the input wants:
 * right messages, right ones with bytes changed, and others, in any order. An input is a list of
 * records:
 *
 *   one byte: 3:0 what (enum act); 4 the other one of two connections
 *   NEGOTIATE: a byte, SC_C; a byte, 2:0 hashes, 4:3 groups; then changes
 *   RECEIVE: 2 bytes of length, 0: enough
 *   REPLY: a byte, bit 0 a challenge for the target, 1 sequence number 0, 2 a key that is none,
 *   3 the older key; then changes
 *   SUCCESS2, FAILURE2: changes
 *   RAW: 2 bytes of length and as much of a message
 *   TIME: a byte, in 100 ms
 *   OTHER: a byte, which command of others[]
 *   RIGHT: a whole authentication; a byte as REPLY's
 *   changes: a byte, 1:0 how many, 3:2 what becomes of the length; each 2 bytes of place and a
 *   byte to XOR; and a byte of length
 *
 * What must hold, besides direct.h: a queue is trusted only after a reply that proves a key, gets
 * nothing but Authentication Required before, and is trusted after an authentication that was right
 * to the end; what the target proves is right, too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/conf.h"
#include "security/dhchap.h"
#include "security/keyring.h"
#include "target/auth_msg.h"
#include "target/nvmf.h"
#include "target/nvmf_auth.h"
#include "tests/fuzz/direct.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"
#include "util/check.h"
#include "util/num.h"

#define ROOM   2048 /* of a Receive: any message fits */
#define N_KEYS 2

enum act {
	NEGOTIATE,
	RECEIVE,
	REPLY,
	SUCCESS2,
	FAILURE2,
	RAW,
	TIME,
	OTHER,
	RIGHT,
	HANG_UP,
};

enum reply_flags { ASK_BACK = 1, NO_SEQNUM = 2, NO_KEY = 4, OLDER_KEY = 8 };

/* What the host of a queue knows. */
struct exchange {
	uint16_t t_id;
	uint8_t sc_c;
	_Alignas(8) uint8_t said[ROOM]; /* the target's last message */
	uint16_t status;                /* of the last command */
	bool proved;                    /* since Connect, a reply had the response of a key */
	bool asked_back;
	uint8_t c2[HASH_MAX];
	uint8_t ks[HASH_MAX];
	uint32_t s2;
	unsigned key; /* that the last reply used */
};

static struct exchange exchanges[2];
static struct secret host_keys[N_KEYS], ctrl_keys[N_KEYS], no_key;

/* --- Messages --------------------------------------------------------------------------------- */

static void answered(struct direct_queue *dq, const struct nvmet_req *req)
{
	struct exchange *ex = &exchanges[dq - direct_queues];
	const struct nvmf_auth_cmd *cmd = (const void *)&req->cmd;

	ex->status = nvme_cqe_status(&req->cqe);
	if (cmd->opcode == NVME_OPCODE_FABRICS && cmd->fctype == NVMF_AUTH_RECV && !ex->status)
		memcpy(ex->said, req->data.va, num_min(req->transfer_len, (uint32_t)ROOM));
}

/* One command, to its end; each has a CID of its own. */
static void run(struct direct_queue *dq, const void *cmd, bool in_capsule, const void *data,
		size_t len)
{
	static uint16_t next_cid;
	struct nvme_sqe sqe;

	memcpy(&sqe, cmd, sizeof(sqe));
	sqe.cid = le16_set(next_cid++);
	direct_run(dq, &sqe, in_capsule, data, len);
	rig_settle();
}

static void auth_command(struct direct_queue *dq, uint8_t fctype, const void *msg, size_t len)
{
	struct nvmf_auth_cmd cmd = {
		.opcode = NVME_OPCODE_FABRICS,
		.flags = 0x40,
		.fctype = fctype,
		.secp = NVMF_AUTH_SECP,
		.spsp0 = NVMF_AUTH_SPSP,
		.spsp1 = NVMF_AUTH_SPSP,
		.len = le32_set((uint32_t)len),
	};

	cmd.sgl.length = le32_set((uint32_t)len);
	cmd.sgl.type = 0x5a; /* transport SGL data block */
	run(dq, &cmd, false, msg, len);
}

/* Changes a message as the input wants; returns its new length. */
static size_t change(struct input *input, uint8_t *msg, size_t len)
{
	uint8_t how = input_u8(input);

	for (unsigned i = 0; i < (how & 3u); i++) {
		size_t at = input_u16(input) % len;

		msg[at] ^= input_u8(input);
	}
	if ((how >> 2 & 3) == 1)
		len -= input_u8(input) % len;
	else if ((how >> 2 & 3) == 2)
		len += input_u8(input);
	return len;
}

static void negotiate(struct direct_queue *dq, uint8_t sc_c, uint8_t offer, struct input *input)
{
	struct exchange *ex = &exchanges[dq - direct_queues];
	_Alignas(8) uint8_t msg[512] = { 0 };
	struct nvmf_auth_negotiate *head = (void *)msg;
	struct nvmf_auth_protocol *protocol = (void *)(head + 1);
	size_t len = sizeof(*head) + sizeof(*protocol);

	ex->t_id++;
	ex->sc_c = sc_c;
	head->header = (struct nvmf_auth_header){ .auth_id = NVMF_AUTH_NEGOTIATE,
						  .t_id = le16_set(ex->t_id) };
	head->sc_c = sc_c;
	head->napd = 1;
	protocol->authid = 1;
	for (uint8_t id = HASH_SHA256; id <= HASH_SHA512; id++) {
		if (offer >> (id - 1) & 1)
			protocol->hashes[protocol->halen++] = id;
	}
	for (uint8_t id = DH_NULL; id <= DH_FFDHE2048; id++) {
		if (offer >> (3 + id) & 1)
			protocol->groups[protocol->dhlen++] = id;
	}
	auth_command(dq, NVMF_AUTH_SEND, msg, input ? change(input, msg, len) : len);
}

static void receive(struct direct_queue *dq, size_t room)
{
	memset(exchanges[dq - direct_queues].said, 0, ROOM);
	auth_command(dq, NVMF_AUTH_RECV, NULL, room ? room : ROOM);
}

/* The response to a challenge: the host's to ours, or the target's to the host's. */
static void respond(const struct exchange *ex, enum dhchap_role role, const struct secret *key,
		    const uint8_t *challenge, uint32_t seqnum, uint8_t *out)
{
	const struct nvmf_auth_challenge *asked = (const void *)ex->said;
	struct secret transformed;
	const struct dhchap_proof proof = {
		.role = role,
		.hash = (enum hash_id)asked->hash,
		.key = &transformed,
		.challenge = challenge,
		.ks = asked->group == DH_NULL ? NULL : ex->ks,
		.seqnum = seqnum,
		.t_id = ex->t_id,
		.sc_c = ex->sc_c,
		.hostnqn = RIG_FRIEND,
		.subnqn = RIG_NQN_CLOSED,
	};

	must(dhchap_transform(key, role == DHCHAP_HOST ? RIG_FRIEND : RIG_NQN_CLOSED,
			      &transformed) == 0);
	must(dhchap_response(&proof, out) == 0);
}

/* Our half of the group; the session key goes to ex->ks. */
static void agree(struct exchange *ex, uint8_t *public)
{
	const struct nvmf_auth_challenge *asked = (const void *)ex->said;
	const uint8_t *theirs = (const uint8_t *)(asked + 1) + asked->hl;
	struct dh *dh;

	must(dh_new((enum dh_group)asked->group, &dh) == 0);
	must(dh_public(dh, public) == 0);
	if (dh_session_key(dh, (enum hash_id)asked->hash, theirs, le16_get(asked->dhvlen), ex->ks))
		fuzz_fail("the target's public value is none");
	dh_free(dh);
}

/* Whether what we hold is a challenge that the target may send. */
static bool challenged(const struct exchange *ex)
{
	const struct nvmf_auth_challenge *asked = (const void *)ex->said;

	return asked->header.auth_type == NVMF_AUTH_DHCHAP &&
	       asked->header.auth_id == NVMF_AUTH_CHALLENGE && asked->hl &&
	       asked->hl == hash_len((enum hash_id)asked->hash) &&
	       le16_get(asked->dhvlen) == dh_len((enum dh_group)asked->group);
}

static void reply(struct direct_queue *dq, uint8_t flags, struct input *input)
{
	struct exchange *ex = &exchanges[dq - direct_queues];
	const struct nvmf_auth_challenge *asked = (const void *)ex->said;
	_Alignas(8) uint8_t msg[AUTH_MSG_MAX + 256] = { 0 };
	uint8_t right[HASH_MAX];
	struct nvmf_auth_reply *head = (void *)msg;
	uint8_t *response = (uint8_t *)(head + 1);
	const size_t hl = asked->hl;
	size_t len = sizeof(*head) + 2 * hl + le16_get(asked->dhvlen);

	if (!challenged(ex))
		return;
	ex->key = flags & OLDER_KEY ? 1 : 0;
	ex->s2 = flags & NO_SEQNUM ? 0 : ex->t_id + 7u;
	ex->asked_back = flags & ASK_BACK && ex->s2;
	memset(ex->c2, ex->t_id ^ 0x5c, hl);
	*head = (struct nvmf_auth_reply){
		.header = { .auth_type = NVMF_AUTH_DHCHAP,
			    .auth_id = NVMF_AUTH_REPLY,
			    .t_id = le16_set(ex->t_id) },
		.hl = (uint8_t)hl,
		.cvalid = flags & ASK_BACK ? 1 : 0,
		.dhvlen = asked->dhvlen,
		.seqnum = le32_set(ex->s2),
	};
	if (asked->group != DH_NULL)
		agree(ex, response + 2 * hl);
	respond(ex, DHCHAP_HOST, flags & NO_KEY ? &no_key : &host_keys[ex->key],
		(const uint8_t *)(asked + 1), le32_get(asked->seqnum), response);
	memcpy(response + hl, ex->c2, hl);
	if (input)
		len = change(input, msg, len);
	for (unsigned i = 0; i < N_KEYS; i++) {
		respond(ex, DHCHAP_HOST, &host_keys[i], (const uint8_t *)(asked + 1),
			le32_get(asked->seqnum), right);
		ex->proved = ex->proved || memcmp(right, response, hl) == 0;
	}
	auth_command(dq, NVMF_AUTH_SEND, msg, len);
}

static void say(struct direct_queue *dq, uint8_t type, uint8_t id, struct input *input)
{
	struct exchange *ex = &exchanges[dq - direct_queues];
	_Alignas(8) uint8_t msg[sizeof(struct nvmf_auth_success2) + 256] = { 0 };
	struct nvmf_auth_header *head = (void *)msg;
	size_t len = sizeof(struct nvmf_auth_success2);

	*head = (struct nvmf_auth_header){ .auth_type = type,
					   .auth_id = id,
					   .t_id = le16_set(ex->t_id) };
	auth_command(dq, NVMF_AUTH_SEND, msg, input ? change(input, msg, len) : len);
}

/* --- A host's life ---------------------------------------------------------------------------- */

static void other_command(struct direct_queue *dq, unsigned which)
{
	static const struct nvme_sqe others[] = {
		{ .opcode = NVME_ADMIN_KEEP_ALIVE, .flags = 0x40 },
		{ .opcode = NVME_ADMIN_AER, .flags = 0x40 },
		{ .opcode = NVME_ADMIN_GET_FEATURES, .flags = 0x40, .cdw10.raw = 7 },
	};

	run(dq, &others[which % (sizeof(others) / sizeof(others[0]))], false, NULL, 0);
}

static void connect_queue(struct direct_queue *dq)
{
	static struct nvmf_connect_data data;
	struct nvmf_connect_cmd cmd = {
		.opcode = NVME_OPCODE_FABRICS,
		.flags = 0x40,
		.fctype = NVMF_CONNECT,
		.sqsize = le16_set(7),
		.cattr = NVMF_CATTR_DISABLE_SQFC,
	};

	exchanges[dq - direct_queues] = (struct exchange){ .status = 0xffff };
	cmd.sgl.length = le32_set(sizeof(data));
	cmd.sgl.type = 0x01; /* in the capsule */
	snprintf(data.subnqn, sizeof(data.subnqn), "%s", RIG_NQN_CLOSED);
	snprintf(data.hostnqn, sizeof(data.hostnqn), "%s", RIG_FRIEND);
	data.hostid[0] = (uint8_t)(1 + (dq - direct_queues));
	data.cntlid = le16_set(NVMF_CNTLID_DYNAMIC);
	run(dq, &cmd, true, &data, sizeof(data));
	if (exchanges[dq - direct_queues].status)
		fuzz_fail("Connect: status %03xh", exchanges[dq - direct_queues].status);
}

/* The target's proof, if we asked for it. */
static void check_success1(const struct exchange *ex, const uint8_t *expected)
{
	const struct nvmf_auth_success1 *success = (const void *)ex->said;

	if (success->header.auth_id != NVMF_AUTH_SUCCESS1 ||
	    success->rvalid != (ex->asked_back ? 1 : 0) ||
	    (ex->asked_back && memcmp(success + 1, expected, success->hl) != 0))
		fuzz_fail("the target does not prove itself");
}

static void right_to_the_end(struct direct_queue *dq, uint8_t flags)
{
	struct exchange *ex = &exchanges[dq - direct_queues];
	uint8_t expected[HASH_MAX];

	flags &= ASK_BACK | OLDER_KEY;
	negotiate(dq, NVMF_AUTH_SC_NONE, 0x1f, NULL);
	receive(dq, 0);
	if (!challenged(ex))
		return; /* it had failed before: one try a connection */
	reply(dq, flags, NULL);
	respond(ex, DHCHAP_CONTROLLER, &ctrl_keys[ex->key], ex->c2, ex->s2, expected);
	receive(dq, 0);
	check_success1(ex, expected);
	if (ex->asked_back)
		say(dq, NVMF_AUTH_DHCHAP, NVMF_AUTH_SUCCESS2, NULL);
	if (!dq->queue.trusted)
		fuzz_fail("it does not trust who has proved himself");
}

static void run_record(struct input *input)
{
	uint8_t head = input_u8(input);
	struct direct_queue *dq = &direct_queues[head >> 4 & 1];
	uint8_t raw[ROOM];
	const uint8_t *bytes;
	size_t len;

	if (!dq->open)
		connect_queue(dq);
	if (dq->releasing)
		return;
	switch (head & 15) {
	case NEGOTIATE: {
		uint8_t sc_c = input_u8(input);

		negotiate(dq, sc_c, input_u8(input), input);
		break;
	}
	case RECEIVE:
		receive(dq, input_u16(input) % (ROOM + 1));
		break;
	case REPLY:
		reply(dq, input_u8(input), input);
		break;
	case SUCCESS2:
		say(dq, NVMF_AUTH_DHCHAP, NVMF_AUTH_SUCCESS2, input);
		break;
	case FAILURE2:
		say(dq, NVMF_AUTH_COMMON, NVMF_AUTH_FAILURE2, input);
		break;
	case RAW:
		bytes = input_bytes(input, input_u16(input) % sizeof(raw), &len);
		auth_command(dq, NVMF_AUTH_SEND, bytes, len);
		break;
	case TIME:
		rig_sleep(input_u8(input) * 100u);
		break;
	case OTHER: {
		bool trusted = dq->queue.trusted;

		other_command(dq, input_u8(input));
		if (dq->open && !trusted &&
		    (exchanges[dq - direct_queues].status & 0x7ff) != NVME_SC_AUTH_REQUIRED)
			fuzz_fail("a command was taken before authentication");
		break;
	}
	case RIGHT:
		right_to_the_end(dq, input_u8(input));
		break;
	case HANG_UP:
		direct_close(dq);
		rig_settle();
		break;
	}
	if (dq->open && dq->queue.trusted && !exchanges[dq - direct_queues].proved)
		fuzz_fail("it trusts who has proved nothing");
}

/* --- Keys ------------------------------------------------------------------------------------- */

/* A file with both keys, the newer one first; gone after the start. */
static char *key_file(struct secret *keys)
{
	char *path = strdup("/tmp/fuzz_auth.XXXXXX"), text[KEY_TEXT_MAX];
	int fd;

	must(path != NULL);
	fd = mkstemp(path);
	must(fd >= 0);
	for (unsigned i = 0; i < N_KEYS; i++) {
		must(key_generate(KEY_DHCHAP, i ? HASH_NONE : HASH_SHA384, i ? 32 : 48, &keys[i]) ==
		     0);
		key_format(KEY_DHCHAP, &keys[i], text);
		dprintf(fd, "%s\n", text);
	}
	close(fd);
	return path;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct nvmet_auth_policy policy = { .hashes = { HASH_SHA384, HASH_SHA256,
								     HASH_SHA512 },
							 .n_hashes = 3,
							 .groups = { DH_FFDHE2048, DH_NULL },
							 .n_groups = 2 };
	struct conf_host *host;

	(void)argc;
	(void)argv;
	direct_init();
	direct_answered = answered;
	rig_init("emulated:size=1M,queues=3,depth=16,mdts=64K");
	host = &rig_conf.subsystems[1].hosts.host[0];
	host->key_files[KEY_USE_DHCHAP_HOST] = key_file(host_keys);
	host->key_files[KEY_USE_DHCHAP_CTRL] = key_file(ctrl_keys);
	must(key_generate(KEY_DHCHAP, HASH_NONE, 32, &no_key) == 0);
	rig_start();
	unlink(host->key_files[KEY_USE_DHCHAP_HOST]);
	unlink(host->key_files[KEY_USE_DHCHAP_CTRL]);
	rig.target.auth_policy = policy;
	rig.target.tls = true; /* PSKs may be generated */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	for (unsigned i = 0; i < 64 && input.left; i++)
		run_record(&input);
	direct_end();
	return 0;
}
