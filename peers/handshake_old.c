/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/handshake_old.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "peers/base64.h"
#include "peers/payload_crypt.h"
#include "peers/wire.h"

#define KEY_B64       44
#define SIGNATURE_B64 88

void handshake_old_fini(struct handshake_old *handshake)
{
    OPENSSL_cleanse(handshake, sizeof(*handshake));
}

/* ---- Fields ---- */

static void put_text(struct json_out *out, const char *key, const char *text)
{
    json_put_text(out, key);
    wire_put(out, text);
}

static void put_public_key(struct json_out *out, const struct handshake_old_parties *parties)
{
    char hex[IDENTITY_KEY_HEX + 1];

    identity_hex(identity_public(parties->identity), hex);
    put_text(out, ",\"public_key\":", hex);
}

static bool put_ephemeral(struct json_out *out, const uint8_t private_key[32])
{
    uint8_t public_key[32];
    char text[KEY_B64 + 1] = "";

    if (!crypto_x25519_public(private_key, public_key))
        return false;
    base64_encode((const char *)public_key, sizeof(public_key), text);
    put_text(out, ",\"e2e_ephemeral_key\":", text);
    return true;
}

static bool read_text(const struct json_doc *doc, const struct json_item *payload,
                      const char *key, char *text, size_t len)
{
    const struct json_item *item = wire_member(doc, payload, key);

    return item != NULL && json_string(doc, item, text, len) > 0;
}

static bool read_bytes(const struct json_doc *doc, const struct json_item *payload,
                       const char *key, uint8_t *bytes, size_t expected)
{
    char text[SIGNATURE_B64 + 1], decoded[SIGNATURE_B64 / 4 * 3];
    size_t len;

    if (!read_text(doc, payload, key, text, sizeof(text)) ||
        !base64_decode(text, strlen(text), decoded, &len) || len != expected)
        return false;
    memcpy(bytes, decoded, expected);
    return true;
}

/* Nothing that would have to be escaped where it is put. */
static bool read_id(const struct json_doc *doc, const struct json_item *payload,
                    const char *key, char id[ENVELOPE_SESSION_MAX + 1])
{
    return read_text(doc, payload, key, id, ENVELOPE_SESSION_MAX + 1) && entity_id_valid(id);
}

static bool is_trusted(const struct handshake_old_parties *parties, const struct json_doc *doc,
                       const struct json_item *payload)
{
    char hex[IDENTITY_KEY_HEX + 1];
    uint8_t key[IDENTITY_KEY_BYTES];

    return read_text(doc, payload, "public_key", hex, sizeof(hex)) &&
           identity_from_hex(hex, strlen(hex), key) &&
           memcmp(key, identity_key_bytes(parties->peer_key), sizeof(key)) == 0;
}

static bool is_false(const struct json_doc *doc, const struct json_item *payload,
                     const char *key)
{
    const struct json_item *item = wire_member(doc, payload, key);

    return item == NULL || item->type != JSON_TRUE;
}

/* What a challenge_response signs: the challenge as JSON. @return its length */
static size_t quote(const char *challenge, char text[HANDSHAKE_OLD_HEX + 3])
{
    return (size_t)snprintf(text, HANDSHAKE_OLD_HEX + 3, "\"%s\"", challenge);
}

/* ---- The initiator's first message ---- */

bool handshake_old_start(struct handshake_old *handshake,
                         const struct handshake_old_parties *parties,
                         const struct handshake_old_random *random, struct json_out *out)
{
    char e2e_session[37];

    uuid_write(handshake->session_id, random->session);
    uuid_write(e2e_session, random->e2e_session);
    identity_hex(random->challenge, handshake->challenge);
    memcpy(handshake->ephemeral, random->ephemeral, sizeof(handshake->ephemeral));
    put_text(out, "{\"version\":\"1.0\",\"session_id\":", handshake->session_id);
    put_text(out, ",\"challenge\":", handshake->challenge);
    put_public_key(out, parties);
    json_put_text(out, ",\"supported_versions\":[\"1.0\",\"0.3\"],\"capabilities\":["
                       "\"e2e_encryption\",\"aes_256_gcm\",\"x25519\"],\"e2e_enabled\":true");
    put_text(out, ",\"e2e_session_id\":", e2e_session);
    if (!put_ephemeral(out, handshake->ephemeral))
        return false;
    json_put_text(out, "}");
    return !out->overflow;
}

/* ---- The responder's ---- */

static bool put_response(struct json_out *out, const struct handshake_old_parties *parties,
                         const char *challenge)
{
    char quoted[HANDSHAKE_OLD_HEX + 3], text[SIGNATURE_B64 + 1] = "";
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];

    if (identity_sign(parties->identity, quoted, quote(challenge, quoted), signature) !=
        PARLEY_OK)
        return false;
    base64_encode((const char *)signature, sizeof(signature), text);
    put_text(out, ",\"challenge_response\":", text);
    return true;
}

static bool write_ack(struct json_out *out, const struct handshake_old_parties *parties,
                      const struct handshake_old_random *random, const char *session_id,
                      const char *e2e_session, const char *challenge)
{
    put_text(out, "{\"session_id\":", session_id);
    put_public_key(out, parties);
    if (!put_response(out, parties, challenge))
        return false;
    json_put_text(out, ",\"selected_version\":\"1.0\",\"confirm\":true,\"e2e_accepted\":true");
    put_text(out, ",\"e2e_session_id\":", e2e_session);
    if (!put_ephemeral(out, random->ephemeral))
        return false;
    json_put_text(out, "}");
    return !out->overflow;
}

parley_status handshake_old_answer(const struct handshake_old_parties *parties,
                                   const struct handshake_old_random *random,
                                   const struct json_doc *doc, const struct json_item *payload,
                                   struct old_session *ret_session,
                                   char ret_session_id[ENVELOPE_SESSION_MAX + 1],
                                   struct json_out *out)
{
    char challenge[HANDSHAKE_OLD_HEX + 1];
    struct old_session session;
    uint8_t bytes[32], public_key[32];
    parley_status status;

    if (!read_id(doc, payload, "session_id", ret_session_id) ||
        !read_id(doc, payload, "e2e_session_id", session.id) ||
        is_false(doc, payload, "e2e_enabled") ||
        !read_text(doc, payload, "challenge", challenge, sizeof(challenge)) ||
        !identity_from_hex(challenge, strlen(challenge), bytes) ||
        !read_bytes(doc, payload, "e2e_ephemeral_key", public_key, sizeof(public_key)))
        return PARLEY_EPROTO;
    if (!is_trusted(parties, doc, payload))
        return PARLEY_EREFUSED;
    status =
        payload_key_by_session(parties->crypto, random->ephemeral, public_key, session.key);
    if (status == PARLEY_OK &&
        !write_ack(out, parties, random, ret_session_id, session.id, challenge))
        status = PARLEY_ENOMEM;
    if (status == PARLEY_OK)
        *ret_session = session;
    OPENSSL_cleanse(&session, sizeof(session));
    return status;
}

/* ---- The initiator's last ---- */

bool handshake_old_is_answer(const struct handshake_old *handshake, const struct json_doc *doc,
                             const struct json_item *payload)
{
    return handshake->session_id[0] != '\0' &&
           wire_is(doc, wire_member(doc, payload, "session_id"), handshake->session_id);
}

static bool challenge_met(const struct handshake_old *handshake,
                          const struct handshake_old_parties *parties,
                          const struct json_doc *doc, const struct json_item *payload)
{
    char quoted[HANDSHAKE_OLD_HEX + 3];
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];

    return read_bytes(doc, payload, "challenge_response", signature, sizeof(signature)) &&
           identity_verify(parties->peer_key, quoted, quote(handshake->challenge, quoted),
                           signature);
}

parley_status handshake_old_finish(struct handshake_old *handshake,
                                   const struct handshake_old_parties *parties,
                                   const struct json_doc *doc, const struct json_item *payload,
                                   uint64_t wall_us, struct old_session *ret_session,
                                   struct json_out *out)
{
    struct old_session session;
    uint8_t public_key[32];
    parley_status status;

    if (!handshake_old_is_answer(handshake, doc, payload) ||
        is_false(doc, payload, "e2e_accepted") ||
        !read_id(doc, payload, "e2e_session_id", session.id) ||
        !read_bytes(doc, payload, "e2e_ephemeral_key", public_key, sizeof(public_key)))
        return PARLEY_EPROTO;
    if (!is_trusted(parties, doc, payload) || !challenge_met(handshake, parties, doc, payload))
        return PARLEY_EREFUSED;
    status =
        payload_key_by_session(parties->crypto, handshake->ephemeral, public_key, session.key);
    if (status == PARLEY_OK) {
        put_text(out, "{\"session_id\":", handshake->session_id);
        json_put_text(out, ",\"confirm\":true,\"timestamp\":");
        wire_put_iso(out, wall_us);
        json_put_text(out, "}");
        if (out->overflow)
            status = PARLEY_ENOMEM;
    }
    if (status == PARLEY_OK) {
        *ret_session = session;
        handshake_old_fini(handshake);
    }
    OPENSSL_cleanse(&session, sizeof(session));
    return status;
}
