/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS of the host for load: a client's handshake with a PSK (RFC 8446) whose identity is of version
 * 1, and then the same code for records that the daemon has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "security/key_file.h"
#include "tests/bench/initiator_internal.h"
#include "transport/tls_internal.h"

/* OpenSSL asks for the PSK to offer. */
static int on_use_session(SSL *ssl, const EVP_MD *md, const unsigned char **text, size_t *len,
			  SSL_SESSION **ret)
{
	const struct tls *tls = SSL_get_app_data(ssl);

	(void)md;
	*ret = tls_psk_session(tls);
	if (!*ret)
		return 0;
	*text = (const unsigned char *)tls->identity_text;
	*len = strlen(tls->identity_text);
	return 1;
}

static int derive(struct tls *tls, const char *key_file, const char *hostnqn, const char *subnqn)
{
	struct secret retained;
	struct key_set set;
	char why[256];

	if (key_file_read(key_file, KEY_TLS, &set, why, sizeof(why)))
		return initiator_broken(why);
	tls->identity = (struct psk_identity){ .version = 1, .type = 'R' };
	tls->identity.hash = psk_default_hash(&set.keys[0]);
	tls->suite = tls->identity.hash == HASH_SHA384 ? TLS_SUITE_AES_256 : TLS_SUITE_AES_128;
	snprintf(tls->identity.hostnqn, sizeof(tls->identity.hostnqn), "%s", hostnqn);
	snprintf(tls->identity.subnqn, sizeof(tls->identity.subnqn), "%s", subnqn);
	if (psk_retained(&set.keys[0], hostnqn, false, &retained) ||
	    psk_set_digest(&tls->identity, &retained) ||
	    psk_tls(&tls->identity, &retained, false, tls->psk))
		return initiator_broken("no PSK");
	psk_identity_format(&tls->identity, tls->identity_text);
	return 0;
}

int initiator_tls_start(struct initiator_queue *queue, const char *key_file, const char *hostnqn,
			const char *subnqn)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	queue->tls = calloc(1, sizeof(*queue->tls));
	if (!ctx || !queue->tls || derive(queue->tls, key_file, hostnqn, subnqn))
		return initiator_broken("no TLS");
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_psk_use_session_callback(ctx, on_use_session);
	queue->tls->fd = queue->fd;
	queue->tls->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	if (!queue->tls->ssl || SSL_set_fd(queue->tls->ssl, queue->fd) != 1)
		return initiator_broken("no TLS");
	SSL_set_app_data(queue->tls->ssl, queue->tls);
	if (SSL_connect(queue->tls->ssl) != 1)
		return initiator_broken("the target refuses TLS: its log says why");
	return 0;
}

void initiator_tls_end(struct initiator_queue *queue)
{
	if (queue->tls)
		SSL_free(queue->tls->ssl);
	free(queue->tls);
}
