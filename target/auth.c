/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state machine of DH-HMAC-CHAP on our side (NVM Express Base Specification 2.0, 8.13.5):
 *
 *   host sends      then it receives     step while we wait
 *                                        IDLE
 *   AUTH_Negotiate                       CHALLENGE
 *                   Challenge            REPLY
 *   Reply                                SUCCESS1
 *                   Success1             IDLE, or if it wants proof of us: SUCCESS2
 *   Success2                             IDLE
 *
 * A Negotiate begins anew at any step, but not the time that there is for all of it, and not for
 * ever: each may cost us a key of a group. Whatever is wrong leads to FAILURE, where Receive gets
 * AUTH_Failure1; from the first of those on the connection has FAILED_REST_MS left. Commands arrive
 * one after the other on the main thread, so there is never more than one message at work.
 */
#include "target/auth.h"

#include <errno.h>
#include <event2/event.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "security/keyring.h"
#include "target/auth_msg.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/num.h"

#define BUFFER_MAX     16384 /* of a Send or Receive: hosts offer more than messages need */
#define FAILED_REST_MS 1000  /* also what a guess costs */
#define NEGOTIATES_MAX 8     /* of one authentication */

enum auth_step {
	AUTH_IDLE,
	AUTH_CHALLENGE,
	AUTH_REPLY,
	AUTH_SUCCESS1,
	AUTH_SUCCESS2,
	AUTH_FAILURE,
};

struct nvmet_auth {
	struct nvmet_queue *queue;
	struct event *timer;
	enum auth_step step;
	bool done;             /* the host has authenticated, and nothing has gone wrong since */
	bool both;             /* with `done`: we have proved ourselves to the host, too */
	bool told;             /* the host has received AUTH_Failure1: it is closed soon */
	unsigned n_negotiates; /* since the last success */
	auth_failure failure;

	/* One transaction. */
	uint16_t t_id;
	uint8_t sc_c;
	enum hash_id hash;
	enum dh_group group;
	struct dh *dh;
	uint32_t seqnum;
	uint8_t c1[HASH_MAX];
	uint8_t ks[HASH_MAX];       /* session key, with a group */
	bool respond;               /* the host asked us for proof */
	uint8_t response[HASH_MAX]; /* that proof */
	struct secret psk;          /* with concatenation: the keyring's once both sides believe */
};

static struct log_limit success_limit = LOG_LIMIT_INIT(500); /* main thread only */
static struct log_limit failure_limit = LOG_LIMIT_INIT(20);

/* --- Life ------------------------------------------------------------------------------------- */

static void rewind_to(struct nvmet_auth *auth, enum auth_step step)
{
	dh_free(auth->dh);
	auth->dh = NULL;
	auth->respond = false;
	secret_wipe(auth->c1, sizeof(auth->c1));
	secret_wipe(auth->ks, sizeof(auth->ks));
	secret_wipe(auth->response, sizeof(auth->response));
	secret_wipe(&auth->psk, sizeof(auth->psk));
	auth->step = step;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct nvmet_auth *auth = arg;

	(void)fd;
	(void)what;
	nvmet_queue_close(auth->queue, auth->step == AUTH_FAILURE
					       ? "its authentication failed"
					       : "it did not authenticate in time");
}

static void arm(struct nvmet_auth *auth, unsigned ms)
{
	const struct timeval timeout = clock_timeval(ms);

	evtimer_add(auth->timer, &timeout);
}

int nvmet_auth_prepare(struct nvmet_queue *queue)
{
	struct nvmet_auth *auth;

	if (queue->auth)
		return 0;
	auth = calloc(1, sizeof(*auth));
	if (!auth)
		return -ENOMEM;
	auth->queue = queue;
	auth->timer = evtimer_new(queue->target->loop->base, on_timer, auth);
	if (!auth->timer) {
		free(auth);
		return -ENOMEM;
	}
	queue->auth = auth;
	return 0;
}

void nvmet_auth_expect(struct nvmet_queue *queue)
{
	arm(queue->auth, queue->target->limits.handshake_timeout_ms);
}

/* Most often it has no key: such a host closes the connection, and never says why. */
static void left_early(const struct nvmet_auth *auth)
{
	const struct nvmet_queue *queue = auth->queue;

	queue->target->refused.authentications++;
	log_limited(&failure_limit, LOG_LEVEL_WARN,
		    "%s: queue %u: its host left before it had authenticated (has it a key for "
		    "DH-HMAC-CHAP?)",
		    queue->peer, queue->qid);
}

void nvmet_auth_forget(struct nvmet_queue *queue)
{
	struct nvmet_auth *auth = queue->auth;

	queue->auth = NULL;
	if (!auth)
		return;
	if (!auth->done && auth->step != AUTH_FAILURE && evtimer_pending(auth->timer, NULL))
		left_early(auth);
	rewind_to(auth, AUTH_IDLE);
	event_free(auth->timer);
	free(auth);
}

bool nvmet_auth_required(const struct nvmet_subsystem *subsys, const char *hostnqn)
{
	return (!subsys->discovery || subsys->target->auth_policy.discovery) &&
	       keyring_has(subsys->target->keys, KEY_USE_DHCHAP_HOST, hostnqn, subsys->nqn);
}

bool nvmet_auth_done(const struct nvmet_queue *queue)
{
	return !queue->must_authenticate || (queue->auth && queue->auth->done);
}

const char *nvmet_auth_state(const struct nvmet_queue *queue)
{
	const struct nvmet_auth *auth = queue->auth;

	if (!queue->must_authenticate)
		return "none";
	if (!auth || !auth->done)
		return auth && auth->step == AUTH_FAILURE ? "failed" : "pending";
	return auth->both ? "both ways" : "one way";
}

/* --- What the host sends ---------------------------------------------------------------------- */

/* The first of ours that is among theirs; false: none. */
static bool choose(const uint8_t *ours, unsigned n_ours, const uint8_t *theirs, unsigned n_theirs,
		   uint8_t *ret_id)
{
	for (unsigned i = 0; i < n_ours; i++) {
		if (memchr(theirs, ours[i], n_theirs)) {
			*ret_id = ours[i];
			return true;
		}
	}
	return false;
}

/* A generated PSK needs DH, a hash that TLS has, and an admin queue with or without TLS. */
static bool concat_fits(const struct nvmet_auth *auth)
{
	const bool tls = auth->queue->tls != NULL;

	if (auth->sc_c == NVMF_AUTH_SC_NONE)
		return true;
	if (auth->queue->qid != 0 || !auth->queue->target->tls)
		return false;
	return (auth->sc_c == NVMF_AUTH_SC_NEW_PSK && !tls) ||
	       (auth->sc_c == NVMF_AUTH_SC_REPLACE_PSK && tls);
}

/* The preferred identifiers, without those that cannot generate a PSK when one is wanted. */
static unsigned usable(const struct nvmet_auth *auth, const uint8_t *ids, unsigned n,
		       uint8_t excluded, uint8_t *ret_ids)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (auth->sc_c == NVMF_AUTH_SC_NONE || ids[i] != excluded)
			ret_ids[kept++] = ids[i];
	}
	return kept;
}

static auth_failure take_negotiate(struct nvmet_auth *auth, const void *msg, size_t len)
{
	const struct nvmet_auth_policy *policy = &auth->queue->target->auth_policy;
	uint8_t hashes[3], groups[6], hash, group;
	struct auth_offer offer;
	auth_failure failure;
	unsigned n;

	if (!evtimer_pending(auth->timer, NULL)) /* it authenticates again, without being asked */
		arm(auth, auth->queue->target->limits.handshake_timeout_ms);
	failure = auth_parse_negotiate(msg, len, &offer);
	if (failure)
		return failure;
	auth->t_id = offer.t_id;
	auth->sc_c = offer.sc_c;
	if (++auth->n_negotiates > NEGOTIATES_MAX)
		return NVMF_AUTH_INCORRECT_MESSAGE;
	if (!auth->queue->must_authenticate)
		return NVMF_AUTH_NOT_USABLE; /* there is no key to do it with */
	if (!concat_fits(auth))
		return NVMF_AUTH_CONCAT_MISMATCH;
	n = usable(auth, policy->hashes, policy->n_hashes, HASH_SHA512, hashes);
	if (!choose(hashes, n, offer.hashes, offer.n_hashes, &hash))
		return NVMF_AUTH_HASH_UNUSABLE;
	n = usable(auth, policy->groups, policy->n_groups, DH_NULL, groups);
	if (!choose(groups, n, offer.groups, offer.n_groups, &group))
		return NVMF_AUTH_GROUP_UNUSABLE;
	auth->hash = (enum hash_id)hash;
	auth->group = (enum dh_group)group;
	auth->step = AUTH_CHALLENGE;
	return 0;
}

static int make_proof(const struct nvmet_auth *auth, enum dhchap_role role,
		      const struct secret *key, const uint8_t *challenge, uint32_t seqnum,
		      uint8_t *out)
{
	const struct nvmet_ctrl *ctrl = auth->queue->ctrl;
	const char *nqn = role == DHCHAP_HOST ? ctrl->hostnqn : ctrl->subsys->nqn;
	struct secret transformed;
	const struct dhchap_proof proof = {
		.role = role,
		.hash = auth->hash,
		.key = &transformed,
		.challenge = challenge,
		.ks = auth->group == DH_NULL ? NULL : auth->ks,
		.seqnum = seqnum,
		.t_id = auth->t_id,
		.sc_c = auth->sc_c,
		.hostnqn = ctrl->hostnqn,
		.subnqn = ctrl->subsys->nqn,
	};
	int err = dhchap_transform(key, nqn, &transformed);

	if (!err)
		err = dhchap_response(&proof, out);
	secret_wipe(&transformed, sizeof(transformed));
	return err;
}

/* Which of the host's keys made this response; -1: none. All are tried, in any case. */
static int find_key(const struct nvmet_auth *auth, const uint8_t *response)
{
	const struct nvmet_ctrl *ctrl = auth->queue->ctrl;
	uint8_t expected[HASH_MAX];
	struct key_set set;
	int found = -1;

	keyring_get(auth->queue->target->keys, KEY_USE_DHCHAP_HOST, ctrl->hostnqn,
		    ctrl->subsys->nqn, &set);
	for (unsigned i = 0; i < set.n; i++) {
		if (make_proof(auth, DHCHAP_HOST, &set.keys[i], auth->c1, auth->seqnum, expected) ==
			    0 &&
		    secret_equal(expected, response, hash_len(auth->hash)))
			found = (int)i;
	}
	secret_wipe(&set, sizeof(set));
	secret_wipe(expected, sizeof(expected));
	return found;
}

/* Our proof for the host, by the key that stands beside the one that it used. */
static auth_failure prove_us(struct nvmet_auth *auth, unsigned index,
			     const struct auth_reply *reply)
{
	const struct nvmet_ctrl *ctrl = auth->queue->ctrl;
	struct key_set set;
	int err = -ENOENT;

	keyring_get(auth->queue->target->keys, KEY_USE_DHCHAP_CTRL, ctrl->hostnqn,
		    ctrl->subsys->nqn, &set);
	if (set.n)
		err = make_proof(auth, DHCHAP_CONTROLLER, &set.keys[num_min(index, set.n - 1)],
				 reply->challenge, reply->seqnum, auth->response);
	secret_wipe(&set, sizeof(set));
	auth->respond = !err;
	return err ? NVMF_AUTH_FAILED : 0;
}

static auth_failure take_reply(struct nvmet_auth *auth, const void *msg, size_t len)
{
	struct auth_reply reply;
	auth_failure failure =
		auth_parse_reply(msg, len, hash_len(auth->hash), dh_len(auth->group), &reply);
	int index;

	if (failure)
		return failure;
	if (auth->group != DH_NULL &&
	    dh_session_key(auth->dh, auth->hash, reply.public, dh_len(auth->group), auth->ks))
		return NVMF_AUTH_INCORRECT_PAYLOAD;
	index = find_key(auth, reply.response);
	if (index < 0)
		return NVMF_AUTH_FAILED;
	if (auth->sc_c != NVMF_AUTH_SC_NONE && !reply.challenge)
		return NVMF_AUTH_CONCAT_MISMATCH;
	if (auth->sc_c != NVMF_AUTH_SC_NONE &&
	    psk_generated(auth->hash, auth->ks, auth->c1, reply.challenge, &auth->psk))
		return NVMF_AUTH_FAILED;
	if (reply.challenge && reply.seqnum)
		failure = prove_us(auth, (unsigned)index, &reply);
	if (!failure)
		auth->step = AUTH_SUCCESS1;
	return failure;
}

/* --- The verdict ------------------------------------------------------------------------------ */

/* Base 8.13.5.9: from now on host and subsystem share this PSK for TLS. Not before the host has
 * said that it believes us, or the one that it goes on using would be gone. */
static int share_psk(struct nvmet_auth *auth)
{
	const struct nvmet_ctrl *ctrl = auth->queue->ctrl;
	struct psk_identity identity = { .version = 1, .type = 'G', .hash = auth->hash };
	int err;

	memcpy(identity.hostnqn, ctrl->hostnqn, sizeof(identity.hostnqn));
	memcpy(identity.subnqn, ctrl->subsys->nqn, sizeof(identity.subnqn));
	err = psk_set_digest(&identity, &auth->psk);
	return err ? err
		   : keyring_set_generated(auth->queue->target->keys, &identity, &auth->psk,
					   clock_now_ns());
}
_Static_assert(sizeof(((struct psk_identity *)0)->hostnqn) ==
		       sizeof(((struct nvmet_ctrl *)0)->hostnqn),
	       "names have one size everywhere");

/* Both sides know: the worker lets the queue in with the answer to this command. */
static void believe(struct nvmet_auth *auth, struct nvmet_req *req, bool both)
{
	log_limited(&success_limit, LOG_LEVEL_INFO, "%s: queue %u of %s authenticated (%s, %s%s%s)",
		    auth->queue->peer, auth->queue->qid, nvmet_ctrl_name(auth->queue->ctrl),
		    hash_name(auth->hash), dh_name(auth->group), both ? ", both ways" : "",
		    auth->sc_c != NVMF_AUTH_SC_NONE ? ", PSK for TLS generated" : "");
	if (auth->psk.len && share_psk(auth))
		log_err("%s: no memory to keep the PSK for TLS: its host must authenticate again",
			auth->queue->peer);
	rewind_to(auth, AUTH_IDLE);
	auth->done = true;
	auth->both = both;
	auth->n_negotiates = 0;
	auth->queue->ctrl->proven = true;
	evtimer_del(auth->timer);
	req->trust = NVMET_TRUST_GIVEN;
}

/* The host is told when it receives the next message. */
static void disbelieve(struct nvmet_auth *auth, struct nvmet_req *req, auth_failure failure)
{
	auth->queue->target->refused.authentications++;
	log_limited(&failure_limit, LOG_LEVEL_WARN, "%s: queue %u of %s: %s", auth->queue->peer,
		    auth->queue->qid, nvmet_ctrl_name(auth->queue->ctrl),
		    auth_failure_name(failure));
	rewind_to(auth, AUTH_FAILURE);
	auth->failure = failure;
	auth->done = false;
	if (!evtimer_pending(auth->timer, NULL))
		arm(auth, auth->queue->target->limits.handshake_timeout_ms);
	req->trust = auth->queue->must_authenticate ? NVMET_TRUST_TAKEN : NVMET_TRUST_SAME;
}

static auth_failure take_message(struct nvmet_auth *auth, struct nvmet_req *req,
				 const struct nvmf_auth_header *header, size_t len)
{
	const bool common = header->auth_type == NVMF_AUTH_COMMON;

	if (auth->step == AUTH_FAILURE)
		return auth->failure; /* one try a connection */
	if (common && header->auth_id == NVMF_AUTH_NEGOTIATE) {
		rewind_to(auth, AUTH_IDLE);
		return take_negotiate(auth, header, len);
	}
	if (le16_get(header->t_id) != auth->t_id || auth->step == AUTH_IDLE)
		return NVMF_AUTH_INCORRECT_MESSAGE;
	if (common && header->auth_id == NVMF_AUTH_FAILURE2)
		return NVMF_AUTH_FAILED; /* the host does not believe us */
	if (header->auth_type != NVMF_AUTH_DHCHAP)
		return NVMF_AUTH_INCORRECT_MESSAGE;
	if (header->auth_id == NVMF_AUTH_REPLY && auth->step == AUTH_REPLY)
		return take_reply(auth, header, len);
	if (header->auth_id == NVMF_AUTH_SUCCESS2 && auth->step == AUTH_SUCCESS2) {
		if (len < sizeof(struct nvmf_auth_success2))
			return NVMF_AUTH_INCORRECT_PAYLOAD;
		believe(auth, req, true);
		return 0;
	}
	return NVMF_AUTH_INCORRECT_MESSAGE;
}

static void auth_send(struct nvmet_req *req)
{
	auth_failure failure = NVMF_AUTH_INCORRECT_PAYLOAD;

	if (nvmet_auth_prepare(req->queue)) {
		nvmet_req_complete(req, nvmet_status_from_errno(-ENOMEM));
		return;
	}
	if (req->transfer_len >= sizeof(struct nvmf_auth_header))
		failure = take_message(req->queue->auth, req, req->data.va, req->transfer_len);
	if (failure)
		disbelieve(req->queue->auth, req, failure);
	nvmet_req_complete(req, 0);
}

/* --- What the host receives ------------------------------------------------------------------- */

/* The challenge, with a new public value of ours. Returns its length, or -ENOMEM. */
static int build_challenge(struct nvmet_auth *auth, uint8_t *msg)
{
	struct nvmet_target *target = auth->queue->target;
	uint8_t public[DH_MAX];
	int err = secret_random(auth->c1, hash_len(auth->hash));

	while (!err && ++target->auth_seqnum <= 1)
		err = secret_random(&target->auth_seqnum, sizeof(target->auth_seqnum));
	auth->seqnum = target->auth_seqnum;
	if (!err && auth->group != DH_NULL)
		err = dh_new(auth->group, &auth->dh);
	if (!err && auth->group != DH_NULL)
		err = dh_public(auth->dh, public);
	if (err) { /* the host may ask once more */
		dh_free(auth->dh);
		auth->dh = NULL;
		return err;
	}
	auth->step = AUTH_REPLY;
	return (int)auth_build_challenge(msg, auth->t_id, auth->hash, auth->c1, auth->seqnum,
					 auth->group, public);
}

/* The message that is due. Returns its length; -EPROTO: none is; -ENOMEM. */
static int build_message(struct nvmet_auth *auth, uint8_t *msg)
{
	switch (auth->step) {
	case AUTH_CHALLENGE:
		return build_challenge(auth, msg);
	case AUTH_SUCCESS1:
		return (int)auth_build_success1(msg, auth->t_id, auth->hash,
						auth->respond ? auth->response : NULL);
	case AUTH_FAILURE:
		return (int)auth_build_failure(msg, auth->t_id, auth->failure);
	default:
		return -EPROTO;
	}
}

/* The bytes that the message has at least: a host with less room must not lose a step. */
static size_t due_len(const struct nvmet_auth *auth)
{
	if (auth->step == AUTH_CHALLENGE)
		return sizeof(struct nvmf_auth_challenge) + hash_len(auth->hash) +
		       dh_len(auth->group);
	if (auth->step == AUTH_SUCCESS1)
		return sizeof(struct nvmf_auth_success1) +
		       (auth->respond ? hash_len(auth->hash) : 0);
	return sizeof(struct nvmf_auth_failed);
}

static void received(struct nvmet_auth *auth, struct nvmet_req *req)
{
	if (auth->step == AUTH_FAILURE && !auth->told) {
		auth->told = true;
		arm(auth, FAILED_REST_MS);
	} else if (auth->step == AUTH_SUCCESS1 && auth->respond) {
		auth->step = AUTH_SUCCESS2;
	} else if (auth->step == AUTH_SUCCESS1) {
		believe(auth, req, false);
	}
}

static void auth_receive(struct nvmet_req *req)
{
	struct nvmet_auth *auth = req->queue->auth;
	uint8_t msg[AUTH_MSG_MAX];
	int len;

	memset(req->data.va, 0, req->transfer_len);
	if (auth && due_len(auth) > req->transfer_len) {
		nvmet_req_complete(
			req, nvmet_req_invalid_field(req, offsetof(struct nvmf_auth_cmd, len)));
		return;
	}
	len = auth ? build_message(auth, msg) : -EPROTO;
	if (len < 0) {
		nvmet_req_complete(req, len == -EPROTO ? NVME_SC_CMD_SEQUENCE | NVME_STATUS_DNR
						       : nvmet_status_from_errno(len));
		return;
	}
	memcpy(req->data.va, msg, (size_t)len);
	secret_wipe(msg, sizeof(msg));
	received(auth, req);
	nvmet_req_complete(req, 0);
}

/* --- Commands --------------------------------------------------------------------------------- */

uint16_t nvmet_parse_auth(struct nvmet_req *req)
{
	const struct nvmf_auth_cmd *cmd = (const struct nvmf_auth_cmd *)&req->cmd;
	const bool send = cmd->fctype == NVMF_AUTH_SEND;

	if (cmd->secp != NVMF_AUTH_SECP)
		return nvmet_req_invalid_field(req, offsetof(struct nvmf_auth_cmd, secp));
	if (cmd->spsp0 != NVMF_AUTH_SPSP || cmd->spsp1 != NVMF_AUTH_SPSP)
		return nvmet_req_invalid_field(req, offsetof(struct nvmf_auth_cmd, spsp0));
	if (le32_get(cmd->len) == 0 || le32_get(cmd->len) > BUFFER_MAX)
		return nvmet_req_invalid_field(req, offsetof(struct nvmf_auth_cmd, len));
	return nvmet_req_for_control(req, send ? auth_send : auth_receive,
				     send ? NVMET_DIR_WRITE : NVMET_DIR_READ, le32_get(cmd->len));
}
