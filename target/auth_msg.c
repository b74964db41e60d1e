/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages of DH-HMAC-CHAP; see auth_msg.h. Base 2.0, 8.13.5.1 to 8.13.5.7. */
#include "target/auth_msg.h"

#include <string.h>

#define AUTHID_DHCHAP 1

/* The first descriptor of DH-HMAC-CHAP; NULL: there is none. */
static const struct nvmf_auth_protocol *find_protocol(const struct nvmf_auth_negotiate *msg,
						      size_t len)
{
	const struct nvmf_auth_protocol *protocol = (const void *)(msg + 1);
	size_t fit = (len - sizeof(*msg)) / sizeof(*protocol);

	for (size_t i = 0; i < msg->napd && i < fit; i++) {
		if (protocol[i].authid == AUTHID_DHCHAP)
			return &protocol[i];
	}
	return NULL;
}

auth_failure auth_parse_negotiate(const void *msg, size_t len, struct auth_offer *ret_offer)
{
	const struct nvmf_auth_negotiate *negotiate = msg;
	const struct nvmf_auth_protocol *protocol;

	if (len < sizeof(*negotiate) ||
	    len - sizeof(*negotiate) < negotiate->napd * sizeof(*protocol))
		return NVMF_AUTH_INCORRECT_PAYLOAD;
	protocol = find_protocol(negotiate, len);
	if (!protocol)
		return NVMF_AUTH_NOT_USABLE;
	if (protocol->halen > NVMF_AUTH_MAX_IDS || protocol->dhlen > NVMF_AUTH_MAX_IDS)
		return NVMF_AUTH_INCORRECT_PAYLOAD;
	*ret_offer = (struct auth_offer){
		.t_id = le16_get(negotiate->header.t_id),
		.sc_c = negotiate->sc_c,
		.hashes = protocol->hashes,
		.groups = protocol->groups,
		.n_hashes = protocol->halen,
		.n_groups = protocol->dhlen,
	};
	return 0;
}

auth_failure auth_parse_reply(const void *msg, size_t len, size_t hl, size_t dhvlen,
			      struct auth_reply *ret_reply)
{
	const struct nvmf_auth_reply *reply = msg;
	const uint8_t *values = (const uint8_t *)(reply + 1);

	if (len < sizeof(*reply) + 2 * hl + dhvlen || reply->hl != hl ||
	    le16_get(reply->dhvlen) != dhvlen || reply->cvalid > 1)
		return NVMF_AUTH_INCORRECT_PAYLOAD;
	*ret_reply = (struct auth_reply){
		.response = values,
		.challenge = reply->cvalid ? values + hl : NULL,
		.public = values + 2 * hl,
		.seqnum = le32_get(reply->seqnum),
	};
	return 0;
}

static struct nvmf_auth_header header(enum nvmf_auth_type type, enum nvmf_auth_id id, uint16_t t_id)
{
	return (struct nvmf_auth_header){ .auth_type = type,
					  .auth_id = id,
					  .t_id = le16_set(t_id) };
}

size_t auth_build_failure(void *msg, uint16_t t_id, auth_failure failure)
{
	const struct nvmf_auth_failed failed = {
		.header = header(NVMF_AUTH_COMMON, NVMF_AUTH_FAILURE1, t_id),
		.reason = NVMF_AUTH_REASON_FAILED,
		.explanation = failure,
	};

	memcpy(msg, &failed, sizeof(failed));
	return sizeof(failed);
}

size_t auth_build_challenge(void *msg, uint16_t t_id, enum hash_id hash, const uint8_t *value,
			    uint32_t seqnum, enum dh_group group, const uint8_t *public)
{
	const size_t hl = hash_len(hash), dhvlen = dh_len(group);
	const struct nvmf_auth_challenge challenge = {
		.header = header(NVMF_AUTH_DHCHAP, NVMF_AUTH_CHALLENGE, t_id),
		.hl = (uint8_t)hl,
		.hash = (uint8_t)hash,
		.group = (uint8_t)group,
		.dhvlen = le16_set((uint16_t)dhvlen),
		.seqnum = le32_set(seqnum),
	};
	uint8_t *at = msg;

	memcpy(at, &challenge, sizeof(challenge));
	memcpy(at + sizeof(challenge), value, hl);
	if (dhvlen)
		memcpy(at + sizeof(challenge) + hl, public, dhvlen);
	return sizeof(challenge) + hl + dhvlen;
}

size_t auth_build_success1(void *msg, uint16_t t_id, enum hash_id hash, const uint8_t *response)
{
	const size_t hl = hash_len(hash);
	const struct nvmf_auth_success1 success = {
		.header = header(NVMF_AUTH_DHCHAP, NVMF_AUTH_SUCCESS1, t_id),
		.hl = (uint8_t)hl,
		.rvalid = response ? 1 : 0,
	};

	memcpy(msg, &success, sizeof(success));
	if (!response)
		return sizeof(success);
	memcpy((uint8_t *)msg + sizeof(success), response, hl);
	return sizeof(success) + hl;
}

const char *auth_failure_name(auth_failure failure)
{
	switch (failure) {
	case NVMF_AUTH_FAILED:
		return "authentication failed: the keys differ";
	case NVMF_AUTH_NOT_USABLE:
		return "no protocol, or no key, that both have";
	case NVMF_AUTH_CONCAT_MISMATCH:
		return "secure channel concatenation does not fit this queue";
	case NVMF_AUTH_HASH_UNUSABLE:
		return "no hash that both allow";
	case NVMF_AUTH_GROUP_UNUSABLE:
		return "no Diffie-Hellman group that both allow";
	case NVMF_AUTH_INCORRECT_PAYLOAD:
		return "a message's contents are wrong";
	case NVMF_AUTH_INCORRECT_MESSAGE:
		return "a message came out of turn";
	default:
		return "a reason of its own";
	}
}
