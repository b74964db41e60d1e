/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All keys that the daemon has: for each host, at one subsystem or at all, the files that its keys
 * are in; and the PSKs that authentication has generated.
 *
 * Entries are added before threads start. Files may be read again at any time. Looking up is for
 * any thread and copies: no handshake sees half of a change, none is held up by one. A lock covers
 * the keys; handshakes take it, the I/O path does not.
 */
#ifndef NVMETD_SECURITY_KEYRING_H
#define NVMETD_SECURITY_KEYRING_H

#include "security/key_file.h"
#include "security/psk.h"

/* What a file's keys are for. */
enum key_use {
	KEY_USE_TLS,         /* PSKs of a host */
	KEY_USE_DHCHAP_HOST, /* prove the host to us */
	KEY_USE_DHCHAP_CTRL, /* prove us to the host; line for line beside the host's */
};
#define KEY_N_USES 3

struct keyring;

/* NULL: no memory. */
struct keyring *keyring_new(void);
/* Wipes all keys. NULL is allowed. */
void keyring_free(struct keyring *ring);

/* Names a file for a host; `subnqn` "": at every subsystem that has no own one. 0 or -ENOMEM. */
int keyring_add(struct keyring *ring, const char *hostnqn, const char *subnqn, enum key_use use,
		const char *path);

/*
 * Reads all files (again). A file that cannot be used keeps the keys that it had; it is logged, and
 * the result is -EINVAL; or, if all that failed is the machine's fault and may go well the next
 * time (no descriptor, an I/O error), -errno.
 */
int keyring_load(struct keyring *ring);

/* Copies the host's keys at a subsystem. Returns how many there are; without a keyring, none. */
unsigned keyring_get(struct keyring *ring, enum key_use use, const char *hostnqn,
		     const char *subnqn, struct key_set *ret_set);
bool keyring_has(struct keyring *ring, enum key_use use, const char *hostnqn, const char *subnqn);
/* A PSK that DH-HMAC-CHAP has generated: replaces an older one of the same host and subsystem, and
 * is good for ten minutes. `now_ns` as of clock_now_ns(). */
int keyring_set_generated(struct keyring *ring, const struct psk_identity *identity,
			  const struct secret *psk, uint64_t now_ns);

/*
 * TLS PSKs that an identity may stand for: one for each key of the host that has this digest, in
 * the form of the specification and in the older one. Each has hash_len(identity->hash) bytes.
 * Returns how many there are.
 */
#define KEYRING_MAX_PSKS (2 * KEY_SET_MAX)
unsigned keyring_tls_psks(struct keyring *ring, const struct psk_identity *identity,
			  uint64_t now_ns, uint8_t psks[static KEYRING_MAX_PSKS][HASH_MAX]);

#endif
