/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/payload.h"

#include <openssl/crypto.h>

#include "peers/payload_crypt.h"
#include "peers/secure.h"
#include "peers/trust.h"
#include "peers/wire.h"

/* ---- Keys ---- */

/* @return PARLEY_OK; PARLEY_EREFUSED: there is none; PARLEY_ENOMEM */
static parley_status key_with(struct parley *runtime, const char *entity_id,
                              uint8_t key[CRYPTO_KEY_BYTES])
{
    const struct identity *identity = trust_identity(runtime);
    const struct identity_key *peer_key = trust_find(runtime, entity_id);
    uint8_t shared[IDENTITY_SHARED_BYTES];
    parley_status status;

    if (identity == NULL || peer_key == NULL)
        return PARLEY_EREFUSED;
    status = identity_shared(identity, identity_key_bytes(peer_key), shared);
    if (status == PARLEY_OK && !payload_key_by_identity(&runtime->crypto, shared, key))
        status = PARLEY_ENOMEM;
    OPENSSL_cleanse(shared, sizeof(shared));
    return status == PARLEY_EINVAL ? PARLEY_EREFUSED : status;
}

/* ---- Out ---- */

bool payload_possible(const struct peer *peer)
{
    switch (peer->encryption) {
    case PARLEY_ENCRYPTION_NONE:
        return true;
    case PARLEY_ENCRYPTION_PAYLOAD:
        return trust_identity(peer->runtime) != NULL &&
               trust_find(peer->runtime, peer->id) != NULL;
    case PARLEY_ENCRYPTION_SESSION: /* sessions with older peers are not set up yet */
        break;
    }
    return false;
}

size_t payload_bytes_for(const struct peer *peer, size_t len)
{
    return peer->encryption != PARLEY_ENCRYPTION_NONE ? payload_encrypted_bytes(len) : len;
}

bool payload_encrypt_for(const struct peer *peer, struct envelope_fields *fields,
                         char **ret_buffer)
{
    const struct alloc *alloc = &peer->runtime->alloc;
    uint8_t key[CRYPTO_KEY_BYTES], nonce[PAYLOAD_NONCE_BYTES];
    struct json_out out = {.capacity = payload_encrypted_bytes(fields->payload_len)};
    bool encrypted;

    *ret_buffer = NULL;
    if (peer->encryption == PARLEY_ENCRYPTION_NONE)
        return true;
    if (!payload_possible(peer) || key_with(peer->runtime, peer->id, key) != PARLEY_OK)
        return false;
    out.buffer = alloc_bytes(alloc, out.capacity);
    secure_random(nonce, sizeof(nonce));
    encrypted = out.buffer != NULL &&
                payload_encrypt(&peer->runtime->crypto, PAYLOAD_BY_IDENTITY, key, nonce, NULL,
                                fields->payload, fields->payload_len, &out);
    OPENSSL_cleanse(key, sizeof(key));
    if (!encrypted) {
        alloc_free(alloc, out.buffer);
        return false;
    }
    fields->payload = *ret_buffer = out.buffer;
    fields->payload_len = out.len;
    return true;
}

/* ---- In ---- */

static parley_status open_sealed(struct session *session, const struct json_doc *doc,
                                 const struct payload_sealed *sealed, char *buffer,
                                 size_t *ret_len)
{
    const struct json_limits limits = {
        .depth_max = session->runtime->options.json_depth_max,
        .bytes_max = (uint32_t)payload_buffer_bytes(sealed),
    };
    uint8_t key[CRYPTO_KEY_BYTES];
    struct json_error error;
    parley_status status = key_with(session->runtime, session->sender, key);

    if (status == PARLEY_OK)
        status = payload_decrypt(&session->runtime->crypto, key, doc, sealed, buffer, ret_len);
    OPENSSL_cleanse(key, sizeof(key));
    if (status == PARLEY_OK)
        status = json_check_object(&session->bench->doc, buffer, *ret_len, &limits, &error);
    return status == PARLEY_OK || status == PARLEY_ENOMEM ? status : PARLEY_EREFUSED;
}

parley_status payload_decrypt_from(struct session *session, const struct json_doc *doc,
                                   struct envelope *envelope, char **ret_buffer)
{
    const struct alloc *alloc = &session->runtime->alloc;
    const struct json_item *payload = wire_payload(doc, doc->items);
    struct payload_sealed sealed;
    parley_status status;
    char *buffer;
    size_t len;

    *ret_buffer = NULL;
    if (payload == NULL)
        return PARLEY_OK;
    if (payload_sealed_read(doc, payload, &sealed) != PARLEY_OK)
        return PARLEY_EREFUSED;
    if (sealed.form == PAYLOAD_PLAIN)
        return PARLEY_OK;
    if (sealed.form == PAYLOAD_BY_SESSION) /* we have set none up */
        return PARLEY_EREFUSED;
    buffer = alloc_bytes(alloc, payload_buffer_bytes(&sealed));
    if (buffer == NULL)
        return PARLEY_ENOMEM;
    status = open_sealed(session, doc, &sealed, buffer, &len);
    if (status != PARLEY_OK) {
        alloc_free(alloc, buffer);
        return status;
    }
    envelope->payload = *ret_buffer = buffer;
    envelope->payload_len = len;
    return PARLEY_OK;
}
