/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/payload.h"

#include <openssl/crypto.h>
#include <string.h>

#include "peers/payload_crypt.h"
#include "peers/secure.h"
#include "peers/threeway.h"
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
    case PARLEY_ENCRYPTION_SESSION: /* its steps come as messages of their own */
        return peer->runtime->options.sessions == PARLEY_SESSIONS_AUTO && peer->has_url &&
               peer->runtime->listen_host != NULL && trust_identity(peer->runtime) != NULL &&
               trust_find(peer->runtime, peer->id) != NULL;
    }
    return false;
}

size_t payload_bytes_for(const struct peer *peer, size_t len)
{
    return peer->encryption != PARLEY_ENCRYPTION_NONE ? payload_encrypted_bytes(len) : len;
}

/* By the identities: a session without an id. */
static bool key_for(const struct peer *peer, struct old_session *ret_session)
{
    if (peer->encryption == PARLEY_ENCRYPTION_SESSION)
        return threeway_out(peer, ret_session);
    return key_with(peer->runtime, peer->id, ret_session->key) == PARLEY_OK;
}

bool payload_encrypt_for(const struct peer *peer, struct envelope_fields *fields,
                         char **ret_buffer)
{
    const struct alloc *alloc = &peer->runtime->alloc;
    struct old_session session = {0};
    uint8_t nonce[PAYLOAD_NONCE_BYTES];
    struct json_out out = {.capacity = payload_encrypted_bytes(fields->payload_len)};
    bool encrypted;

    *ret_buffer = NULL;
    if (peer->encryption == PARLEY_ENCRYPTION_NONE)
        return true;
    if (!payload_possible(peer) || !key_for(peer, &session))
        return false;
    out.buffer = alloc_bytes(alloc, out.capacity);
    secure_random(nonce, sizeof(nonce));
    encrypted =
        out.buffer != NULL &&
        payload_encrypt(&peer->runtime->crypto,
                        session.id[0] != '\0' ? PAYLOAD_BY_SESSION : PAYLOAD_BY_IDENTITY,
                        session.key, nonce, session.id, fields->payload, fields->payload_len,
                        &out);
    OPENSSL_cleanse(&session, sizeof(session));
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
    parley_status status =
        sealed->form == PAYLOAD_BY_SESSION
            ? threeway_key(session->bench, session->sender, sealed->session_id, key)
            : key_with(session->runtime, session->sender, key);

    if (status == PARLEY_OK)
        status = payload_decrypt(&session->runtime->crypto, key, doc, sealed, buffer, ret_len);
    OPENSSL_cleanse(key, sizeof(key));
    if (status == PARLEY_OK)
        status = json_check_object(&session->bench->doc, buffer, *ret_len, &limits, &error);
    return status == PARLEY_OK || status == PARLEY_ENOMEM ? status : PARLEY_EREFUSED;
}

parley_status payload_decrypt_from(struct session *session, const struct json_doc *doc,
                                   struct envelope *envelope,
                                   struct payload_opened *ret_opened)
{
    const struct alloc *alloc = &session->runtime->alloc;
    const struct json_item *payload = wire_payload(doc, doc->items);
    struct payload_sealed sealed;
    parley_status status;
    char *buffer;
    size_t len;

    memset(ret_opened, 0, sizeof(*ret_opened));
    if (payload == NULL)
        return PARLEY_OK;
    if (payload_sealed_read(doc, payload, &sealed) != PARLEY_OK)
        return PARLEY_EREFUSED;
    if (sealed.form == PAYLOAD_PLAIN)
        return PARLEY_OK;
    buffer = alloc_bytes(alloc, payload_buffer_bytes(&sealed));
    if (buffer == NULL)
        return PARLEY_ENOMEM;
    status = open_sealed(session, doc, &sealed, buffer, &len);
    if (status != PARLEY_OK) {
        alloc_free(alloc, buffer);
        return status;
    }
    memcpy(ret_opened->session_id, sealed.session_id, sizeof(sealed.session_id));
    envelope->payload = ret_opened->buffer = buffer;
    envelope->payload_len = len;
    return PARLEY_OK;
}
