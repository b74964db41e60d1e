/* SPDX-License-Identifier: BSD-3-Clause */
/* All keys; see keyring.h. */
#include "security/keyring.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "util/check.h"
#include "util/clock.h"
#include "util/list.h"
#include "util/log.h"

#define MAX_GENERATED  1024                 /* then the oldest one goes */
#define GENERATED_LIFE (600 * NSEC_PER_SEC) /* TCP 3.6.1.4 */

struct entry {
	TAILQ_ENTRY(entry) link;
	char hostnqn[NVMF_NQN_MAX + 1];
	char subnqn[NVMF_NQN_MAX + 1]; /* "": any */
	enum key_use use;
	char *path;
	struct key_set set; /* under the lock */
};

struct generated {
	TAILQ_ENTRY(generated) link;
	struct psk_identity identity;
	struct secret psk;
	uint64_t made_ns;
};

struct keyring {
	TAILQ_HEAD(, entry) entries;
	pthread_mutex_t lock;         /* covers every entry's set, and: */
	TAILQ_HEAD(, generated) psks; /* oldest first */
	unsigned n_psks;
};

struct keyring *keyring_new(void)
{
	struct keyring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return NULL;
	TAILQ_INIT(&ring->entries);
	TAILQ_INIT(&ring->psks);
	pthread_mutex_init(&ring->lock, NULL);
	return ring;
}

static void forget_generated(struct keyring *ring, struct generated *psk)
{
	TAILQ_REMOVE(&ring->psks, psk, link);
	ring->n_psks--;
	secret_wipe(psk, sizeof(*psk));
	free(psk);
}

void keyring_free(struct keyring *ring)
{
	struct entry *entry;

	if (!ring)
		return;
	while ((entry = TAILQ_FIRST(&ring->entries)) != NULL) {
		TAILQ_REMOVE(&ring->entries, entry, link);
		free(entry->path);
		secret_wipe(entry, sizeof(*entry));
		free(entry);
	}
	while (!TAILQ_EMPTY(&ring->psks))
		forget_generated(ring, TAILQ_FIRST(&ring->psks)); /* NOLINT: it left the list */
	pthread_mutex_destroy(&ring->lock);
	free(ring);
}

int keyring_add(struct keyring *ring, const char *hostnqn, const char *subnqn, enum key_use use,
		const char *path)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return -ENOMEM;
	entry->path = strdup(path);
	if (!entry->path) {
		free(entry);
		return -ENOMEM;
	}
	snprintf(entry->hostnqn, sizeof(entry->hostnqn), "%s", hostnqn);
	snprintf(entry->subnqn, sizeof(entry->subnqn), "%s", subnqn);
	entry->use = use;
	TAILQ_INSERT_TAIL(&ring->entries, entry, link);
	return 0;
}

/* Whether the file, its place or its mode must change; other failures are the machine's, and may be
 * over the next time. */
static bool is_of_the_file(int err)
{
	return err != -EMFILE && err != -ENFILE && err != -ENOMEM && err != -EIO && err != -EINTR;
}

int keyring_load(struct keyring *ring)
{
	struct entry *entry;
	int result = 0;

	TAILQ_FOREACH (entry, &ring->entries, link) {
		enum key_kind kind = entry->use == KEY_USE_TLS ? KEY_TLS : KEY_DHCHAP;
		struct key_set set;
		char why[512];
		int err;

		err = key_file_read(entry->path, kind, &set, why, sizeof(why));
		if (err) {
			log_err("keys of host %s: %s", entry->hostnqn, why);
			if (result != -EINVAL)
				result = is_of_the_file(err) ? -EINVAL : err;
			continue;
		}
		pthread_mutex_lock(&ring->lock);
		entry->set = set;
		pthread_mutex_unlock(&ring->lock);
		secret_wipe(&set, sizeof(set));
	}
	return result;
}

/* The host's own entry at the subsystem goes before the one for all. */
static struct entry *find(struct keyring *ring, enum key_use use, const char *hostnqn,
			  const char *subnqn)
{
	struct entry *entry, *any = NULL;

	if (!ring)
		return NULL;
	TAILQ_FOREACH (entry, &ring->entries, link) {
		if (entry->use != use || strcmp(entry->hostnqn, hostnqn) != 0)
			continue;
		if (strcmp(entry->subnqn, subnqn) == 0)
			return entry;
		if (!entry->subnqn[0])
			any = entry;
	}
	return any;
}

unsigned keyring_get(struct keyring *ring, enum key_use use, const char *hostnqn,
		     const char *subnqn, struct key_set *ret_set)
{
	const struct entry *entry = find(ring, use, hostnqn, subnqn);

	*ret_set = (struct key_set){ .n = 0 };
	if (!entry)
		return 0;
	pthread_mutex_lock(&ring->lock);
	*ret_set = entry->set;
	pthread_mutex_unlock(&ring->lock);
	return ret_set->n;
}

bool keyring_has(struct keyring *ring, enum key_use use, const char *hostnqn, const char *subnqn)
{
	return find(ring, use, hostnqn, subnqn) != NULL;
}

/* --- PSKs ------------------------------------------------------------------------------------- */

static bool same_names(const struct psk_identity *a, const struct psk_identity *b)
{
	return strcmp(a->hostnqn, b->hostnqn) == 0 && strcmp(a->subnqn, b->subnqn) == 0;
}

/* Those that have lived for long enough. Under the lock, which has been waited for: one may have
 * been made after `now_ns`. */
static void expire_generated(struct keyring *ring, uint64_t now_ns)
{
	struct generated *psk, *next;

	TAILQ_FOREACH_SAFE (psk, &ring->psks, link, next) {
		if (now_ns < psk->made_ns + GENERATED_LIFE)
			break;
		forget_generated(ring, psk);
	}
}

int keyring_set_generated(struct keyring *ring, const struct psk_identity *identity,
			  const struct secret *psk, uint64_t now_ns)
{
	struct generated *generated = calloc(1, sizeof(*generated)), *old;

	if (!generated)
		return -ENOMEM;
	generated->identity = *identity;
	generated->psk = *psk;
	generated->made_ns = now_ns;
	pthread_mutex_lock(&ring->lock);
	expire_generated(ring, now_ns);
	TAILQ_FOREACH (old, &ring->psks, link) {
		if (same_names(&old->identity, identity))
			break;
	}
	if (!old && ring->n_psks == MAX_GENERATED)
		old = TAILQ_FIRST(&ring->psks);
	if (old)
		forget_generated(ring, old);
	TAILQ_INSERT_TAIL(&ring->psks, generated, link);
	ring->n_psks++;
	pthread_mutex_unlock(&ring->lock);
	return 0;
}

/* Adds the TLS PSK of an input PSK, if the identity's digest is this one's. */
static unsigned add_psk(const struct psk_identity *identity, const struct secret *psk, bool legacy,
			uint8_t to[HASH_MAX])
{
	struct psk_identity own = *identity;

	if (psk_set_digest(&own, psk) || strcmp(own.digest, identity->digest) != 0)
		return 0;
	return psk_tls(identity, psk, legacy, to) ? 0 : 1;
}

static unsigned generated_psks(struct keyring *ring, const struct psk_identity *identity,
			       uint64_t now_ns, uint8_t to[HASH_MAX])
{
	struct secret psk = { .len = 0 };
	const struct generated *generated;
	unsigned n = 0;

	pthread_mutex_lock(&ring->lock);
	expire_generated(ring, now_ns);
	TAILQ_FOREACH (generated, &ring->psks, link) {
		if (same_names(&generated->identity, identity) &&
		    generated->identity.hash == identity->hash) /* NOLINT: it left the list */
			psk = generated->psk;
	}
	pthread_mutex_unlock(&ring->lock);
	if (psk.len)
		n = add_psk(identity, &psk, false, to);
	secret_wipe(&psk, sizeof(psk));
	return n;
}

unsigned keyring_tls_psks(struct keyring *ring, const struct psk_identity *identity,
			  uint64_t now_ns, uint8_t psks[static KEYRING_MAX_PSKS][HASH_MAX])
{
	struct key_set set;
	unsigned n = 0;

	if (identity->type == 'G')
		return generated_psks(ring, identity, now_ns, psks[0]);
	keyring_get(ring, KEY_USE_TLS, identity->hostnqn, identity->subnqn, &set);
	for (unsigned i = 0; i < set.n; i++) {
		for (unsigned legacy = 0; legacy < 2; legacy++) {
			struct secret retained;

			if (psk_retained(&set.keys[i], identity->hostnqn, legacy, &retained) == 0)
				n += add_psk(identity, &retained, legacy, psks[n]);
			secret_wipe(&retained, sizeof(retained));
		}
	}
	secret_wipe(&set, sizeof(set));
	return n;
}
