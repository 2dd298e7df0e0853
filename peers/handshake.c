/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/handshake.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <string.h>

#include "peers/base64.h"
#include "peers/wire.h"

#define KEY_B64         44
#define CHALLENGE_BYTES 128
#define INFO            "peer-v1.1-session-key"
#define BY_INITIATOR    "parley/1 init"
#define BY_RESPONDER    "parley/1 resp"

const char *handshake_state_name(enum handshake_state state)
{
    static const char *const texts[] = {
#define NAME(name) #name,
        HANDSHAKE_STATE_MAP(NAME)
#undef NAME
    };

    return texts[state];
}

const char *handshake_error_name(enum handshake_error error)
{
    static const char *const texts[] = {
#define NAME(name) #name,
        HANDSHAKE_ERROR_MAP(NAME)
#undef NAME
    };

    return texts[error];
}

void handshake_init(struct handshake *handshake)
{
    memset(handshake, 0, sizeof(*handshake));
}

void handshake_fini(struct handshake *handshake)
{
    OPENSSL_cleanse(handshake, sizeof(*handshake));
}

static enum handshake_result fail(struct handshake *handshake, enum handshake_error error)
{
    OPENSSL_cleanse(handshake->ephemeral, sizeof(handshake->ephemeral));
    OPENSSL_cleanse(&handshake->keys.secret, sizeof(handshake->keys.secret));
    handshake->state = HANDSHAKE_ERROR;
    handshake->error = error;
    return HANDSHAKE_FAILED;
}

bool handshake_expire(struct handshake *handshake, uint64_t now_ns)
{
    if (handshake->state == HANDSHAKE_READY || handshake->state == HANDSHAKE_ERROR ||
        handshake->state == HANDSHAKE_INITIAL)
        return false;
    if (now_ns < handshake->until_ns)
        return handshake->state == HANDSHAKE_EXPIRED;
    fail(handshake, HANDSHAKE_E_CHALLENGE_EXPIRED);
    handshake->state = HANDSHAKE_EXPIRED;
    return true;
}

/* ---- What the steps have in common ---- */

/** One call's surroundings. */
struct turn {
    struct handshake *handshake;
    const struct handshake_parties *parties;
    const struct handshake_message *message;
    const struct handshake_random *random;
    uint64_t wall_us;
    struct json_out *out;
};

static enum handshake_result say(const struct turn *turn, enum handshake_step step,
                                 const struct json_out *payload)
{
    struct handshake *handshake = turn->handshake;
    const struct handshake_fields fields = {
        .step = step,
        .sender_id = turn->parties->own_id,
        .recipient_id = turn->parties->peer_id,
        .session_id = handshake->keys.session_id,
        .payload = payload->buffer,
        .payload_len = payload->len,
        .number = handshake->number,
        .timestamp_us = turn->wall_us,
        .nonce = turn->random->nonce,
    };

    if (payload->overflow ||
        handshake_message_write(turn->out, turn->parties->canonical, turn->parties->identity,
                                &fields) != PARLEY_OK)
        return HANDSHAKE_NO_MEMORY;
    handshake->number++;
    return step >= STEP_CONFIRM ? HANDSHAKE_SAY_SEALED : HANDSHAKE_SAY;
}

static void put_base64(struct json_out *out, const char *key, const uint8_t bytes[32])
{
    char text[KEY_B64 + 1] = "";

    base64_encode((const char *)bytes, 32, text);
    json_put_text(out, key);
    wire_put(out, text);
}

static void put_own(struct json_out *out, const struct turn *turn)
{
    char hex[IDENTITY_KEY_HEX + 1];

    put_base64(out, ",\"ephemeral_public_key\":", turn->handshake->public_key);
    json_put_text(out, ",\"handshake_version\":\"" HANDSHAKE_VERSION "\",\"identity_key\":\"");
    identity_hex(identity_public(turn->parties->identity), hex);
    json_put_text(out, hex);
    json_put_text(out, "\",\"limits\":{\"max_batch_bytes\":");
    json_put_u64(out, turn->parties->limits.max_batch_bytes);
    json_put_text(out, ",\"max_in_flight\":");
    json_put_u64(out, turn->parties->limits.max_in_flight);
    json_put_text(out, ",\"max_message_bytes\":");
    json_put_u64(out, turn->parties->limits.max_message_bytes);
    json_put_text(out, "}");
}

static const char capabilities[] =
    "\"capabilities\":[\"e2e_encryption\",\"aes_256_gcm\",\"x25519\",\"6step_handshake\","
    "\"" PARLEY_CAPABILITY "\"]";

/* Payloads of steps 1 and 2 are written with sorted keys: as they stand they are canonical. */
static void write_init(struct json_out *out, const struct turn *turn)
{
    json_put_text(out, "{");
    json_put_text(out, capabilities);
    put_own(out, turn);
    json_put_text(out, ",\"step\":1,\"supported_versions\":[\"1.0\",\"1.1\"]}");
}

static void write_init_ack(struct json_out *out, const struct turn *turn)
{
    json_put_text(out, "{\"accepted_version\":\"" HANDSHAKE_VERSION "\",");
    json_put_text(out, capabilities);
    put_base64(out, ",\"challenge\":", turn->random->challenge);
    put_own(out, turn);
    json_put_text(out, ",\"step\":2}");
}

/* ---- Checking a payload ---- */

static bool read_key(const struct turn *turn, const char *name, uint8_t ret_key[32])
{
    const struct json_doc *doc = turn->message->doc;
    const struct json_item *item = wire_member(doc, turn->message->payload, name);
    char text[KEY_B64 + 1], bytes[KEY_B64 / 4 * 3];
    size_t len;

    if (item == NULL || json_string(doc, item, text, sizeof(text)) < 0 ||
        !base64_decode(text, strlen(text), bytes, &len) || len != 32)
        return false;
    memcpy(ret_key, bytes, 32);
    return true;
}

static bool trusted_identity(const struct turn *turn)
{
    const struct json_doc *doc = turn->message->doc;
    const struct json_item *item = wire_member(doc, turn->message->payload, "identity_key");
    char hex[IDENTITY_KEY_HEX + 1];
    uint8_t key[IDENTITY_KEY_BYTES];

    return item != NULL && json_string(doc, item, hex, sizeof(hex)) >= 0 &&
           identity_from_hex(hex, strlen(hex), key) &&
           memcmp(key, identity_key_bytes(turn->parties->peer_key), sizeof(key)) == 0;
}

static uint64_t read_limit(const struct turn *turn, const struct json_item *limits,
                           const char *name)
{
    const struct json_item *item = wire_member(turn->message->doc, limits, name);
    uint64_t value;

    return item != NULL && json_u64(turn->message->doc, item, false, &value) ? value : 0;
}

static void read_limits(const struct turn *turn)
{
    struct handshake_limits *peer = &turn->handshake->peer;
    const struct json_item *limits =
        wire_member(turn->message->doc, turn->message->payload, "limits");

    if (limits != NULL && limits->type != JSON_OBJECT)
        limits = NULL;
    peer->max_batch_bytes = read_limit(turn, limits, "max_batch_bytes");
    peer->max_in_flight = read_limit(turn, limits, "max_in_flight");
    peer->max_message_bytes = read_limit(turn, limits, "max_message_bytes");
}

static bool speaks_our_version(const struct turn *turn)
{
    const struct json_doc *doc = turn->message->doc;
    const struct json_item *payload = turn->message->payload;

    return strcmp(turn->message->version, HANDSHAKE_VERSION) == 0 &&
           wire_is(doc, wire_member(doc, payload, "handshake_version"), HANDSHAKE_VERSION);
}

static bool is_true(const struct turn *turn, const char *name)
{
    const struct json_item *item =
        wire_member(turn->message->doc, turn->message->payload, name);

    return item != NULL && item->type == JSON_TRUE;
}

/* ---- T, the secret, and what is signed over T ---- */

static void put_length(uint8_t bytes[4], size_t len)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(len >> (24 - 8 * i));
}

static bool make_transcript(const struct turn *turn, const char *second, size_t second_len)
{
    struct handshake *handshake = turn->handshake;
    const char *ids[2] = {turn->parties->own_id, turn->parties->peer_id};
    const char *first_id = ids[handshake->initiator ? 0 : 1];
    const char *second_id = ids[handshake->initiator ? 1 : 0];
    uint8_t lengths[4][4];
    const struct crypto_bytes parts[] = {
        {lengths[0], 4}, {handshake->first, handshake->first_len},
        {lengths[1], 4}, {second, second_len},
        {lengths[2], 4}, {first_id, strlen(first_id)},
        {lengths[3], 4}, {second_id, strlen(second_id)},
    };

    for (size_t i = 0; i < 4; i++)
        put_length(lengths[i], parts[2 * i + 1].len);
    return crypto_sha256(turn->parties->crypto, parts, 8, handshake->transcript);
}

static parley_status make_secret(const struct turn *turn, const uint8_t peer_public[32])
{
    struct handshake *handshake = turn->handshake;
    const struct crypto *crypto = turn->parties->crypto;
    uint8_t shared[32], prk[32];
    parley_status status = crypto_x25519(handshake->ephemeral, peer_public, shared);

    if (status == PARLEY_OK &&
        (!crypto_hkdf_extract(crypto, handshake->transcript, 32, shared, 32, prk) ||
         !crypto_hkdf_expand(crypto, prk, INFO, strlen(INFO), handshake->keys.secret, 32)))
        status = PARLEY_ENOMEM;
    OPENSSL_cleanse(shared, sizeof(shared));
    OPENSSL_cleanse(prk, sizeof(prk));
    return status;
}

/* What a challenge_signature is over. @return its length */
static size_t write_challenge(const struct handshake *handshake, bool by_initiator,
                              uint8_t bytes[CHALLENGE_BYTES])
{
    struct json_out out = {.buffer = (char *)bytes, .capacity = CHALLENGE_BYTES};

    json_put_text(&out, by_initiator ? BY_INITIATOR : BY_RESPONDER);
    json_put(&out, (const char *)handshake->transcript, sizeof(handshake->transcript));
    if (!by_initiator)
        json_put_text(&out, handshake->keys.session_id);
    assert(!out.overflow);
    return out.len;
}

static bool put_challenge_signature(const struct turn *turn, struct json_out *out)
{
    uint8_t bytes[CHALLENGE_BYTES], signature[IDENTITY_SIGNATURE_BYTES];
    char text[HANDSHAKE_SIGNATURE_B64 + 1] = "";
    size_t len = write_challenge(turn->handshake, turn->handshake->initiator, bytes);

    if (identity_sign(turn->parties->identity, bytes, len, signature) != PARLEY_OK)
        return false;
    base64_encode((const char *)signature, sizeof(signature), text);
    json_put_text(out, "{\"challenge_signature\":");
    wire_put(out, text);
    return true;
}

static bool challenge_met(const struct turn *turn)
{
    const struct json_doc *doc = turn->message->doc;
    const struct json_item *item =
        wire_member(doc, turn->message->payload, "challenge_signature");
    char text[HANDSHAKE_SIGNATURE_B64 + 1], signature[HANDSHAKE_SIGNATURE_B64 / 4 * 3];
    uint8_t bytes[CHALLENGE_BYTES];
    size_t len;

    if (item == NULL || json_string(doc, item, text, sizeof(text)) < 0 ||
        !base64_decode(text, strlen(text), signature, &len) || len != IDENTITY_SIGNATURE_BYTES)
        return false;
    len = write_challenge(turn->handshake, !turn->handshake->initiator, bytes);
    return identity_verify(turn->parties->peer_key, bytes, len, (const uint8_t *)signature);
}

/* ---- The steps ---- */

static bool make_ephemeral(const struct turn *turn)
{
    memcpy(turn->handshake->ephemeral, turn->random->ephemeral, 32);
    return crypto_x25519_public(turn->handshake->ephemeral, turn->handshake->public_key);
}

enum handshake_result handshake_start(struct handshake *handshake,
                                      const struct handshake_parties *parties,
                                      const struct handshake_random *random, uint64_t now_ns,
                                      uint64_t wall_us, struct json_out *out)
{
    const struct turn turn = {handshake, parties, NULL, random, wall_us, out};
    struct json_out payload = {.buffer = handshake->first,
                               .capacity = sizeof(handshake->first)};
    enum handshake_result result;

    assert(handshake->state == HANDSHAKE_INITIAL);
    uuid_write(handshake->keys.session_id, random->session);
    if (!make_ephemeral(&turn))
        return HANDSHAKE_NO_MEMORY;
    write_init(&payload, &turn);
    handshake->first_len = payload.len;
    result = say(&turn, STEP_INIT, &payload);
    if (result != HANDSHAKE_SAY)
        return result;
    handshake->initiator = true;
    handshake->until_ns = now_ns + HANDSHAKE_NS_MAX;
    handshake->state = HANDSHAKE_HANDSHAKE_INIT_SENT;
    return result;
}

/* Common to what receives step 1 and 2. @return FAILED, or DONE: go on */
static enum handshake_result check_hello(const struct turn *turn, uint8_t peer_public[32])
{
    struct handshake *handshake = turn->handshake;

    if (!speaks_our_version(turn))
        return fail(handshake, HANDSHAKE_E_INVALID_VERSION);
    if (!trusted_identity(turn) || !read_key(turn, "ephemeral_public_key", peer_public))
        return fail(handshake, HANDSHAKE_E_AUTHENTICATION_FAILED);
    read_limits(turn);
    return HANDSHAKE_DONE;
}

static enum handshake_result agree(const struct turn *turn, const uint8_t peer_public[32],
                                   const char *second, size_t second_len)
{
    if (!make_transcript(turn, second, second_len))
        return HANDSHAKE_NO_MEMORY;
    switch (make_secret(turn, peer_public)) {
    case PARLEY_OK:
        return HANDSHAKE_DONE;
    case PARLEY_EREFUSED:
        return fail(turn->handshake, HANDSHAKE_E_AUTHENTICATION_FAILED);
    default:
        return HANDSHAKE_NO_MEMORY;
    }
}

static enum handshake_result canonical_payload(const struct turn *turn, const char **ret_bytes,
                                               size_t *ret_len)
{
    const struct handshake_message *message = turn->message;
    parley_status status =
        canonical_text(turn->parties->canonical, message->doc->text + message->payload->value,
                       message->payload->value_len, ret_bytes, ret_len);

    if (status == PARLEY_ENOMEM)
        return HANDSHAKE_NO_MEMORY;
    if (status != PARLEY_OK || *ret_len > HANDSHAKE_PAYLOAD_MAX)
        return fail(turn->handshake, HANDSHAKE_E_MESSAGE_TOO_LARGE);
    return HANDSHAKE_DONE;
}

static enum handshake_result on_init(const struct turn *turn)
{
    struct handshake *handshake = turn->handshake;
    char buffer[HANDSHAKE_PAYLOAD_MAX];
    struct json_out payload = {.buffer = buffer, .capacity = sizeof(buffer)};
    uint8_t peer_public[32];
    enum handshake_result result = check_hello(turn, peer_public);
    const char *bytes;

    if (result == HANDSHAKE_DONE)
        result = canonical_payload(turn, &bytes, &handshake->first_len);
    if (result != HANDSHAKE_DONE)
        return result;
    memcpy(handshake->first, bytes, handshake->first_len);
    memcpy(handshake->keys.session_id, turn->message->session_id,
           sizeof(handshake->keys.session_id));
    handshake->initiator = false;
    if (!make_ephemeral(turn))
        return HANDSHAKE_NO_MEMORY;
    write_init_ack(&payload, turn);
    result = agree(turn, peer_public, payload.buffer, payload.len);
    if (result != HANDSHAKE_DONE)
        return result;
    handshake->state = HANDSHAKE_CHALLENGE_SENT;
    return say(turn, STEP_INIT_ACK, &payload);
}

static enum handshake_result on_init_ack(const struct turn *turn)
{
    struct handshake *handshake = turn->handshake;
    char buffer[256];
    struct json_out payload = {.buffer = buffer, .capacity = sizeof(buffer)};
    uint8_t peer_public[32];
    enum handshake_result result = check_hello(turn, peer_public);
    const char *bytes;
    size_t len;

    if (result == HANDSHAKE_DONE)
        result = canonical_payload(turn, &bytes, &len);
    if (result == HANDSHAKE_DONE)
        result = agree(turn, peer_public, bytes, len);
    if (result != HANDSHAKE_DONE)
        return result;
    if (!put_challenge_signature(turn, &payload))
        return HANDSHAKE_NO_MEMORY;
    json_put_text(&payload, ",\"session_id_ack\":");
    wire_put(&payload, handshake->keys.session_id);
    json_put_text(&payload, ",\"step\":3}");
    handshake->state = HANDSHAKE_HANDSHAKE_ACK_RECEIVED;
    return say(turn, STEP_CHALLENGE_RESPONSE, &payload);
}

static enum handshake_result on_response(const struct turn *turn)
{
    struct handshake *handshake = turn->handshake;
    char buffer[512];
    struct json_out payload = {.buffer = buffer, .capacity = sizeof(buffer)};

    if (!challenge_met(turn))
        return fail(handshake, HANDSHAKE_E_CHALLENGE_INVALID);
    if (!put_challenge_signature(turn, &payload))
        return HANDSHAKE_NO_MEMORY;
    json_put_text(&payload, ",\"encryption_ready\":true,\"established\":true,\"session_id\":");
    wire_put(&payload, handshake->keys.session_id);
    json_put_text(
        &payload,
        ",\"session_params\":{\"algorithm\":\"AES-256-GCM\",\"forward_secrecy\":true,"
        "\"key_exchange\":\"X25519\"},\"step\":4}");
    handshake->state = HANDSHAKE_SESSION_ESTABLISHED;
    return say(turn, STEP_ESTABLISHED, &payload);
}

static bool names_session(const struct turn *turn)
{
    const struct json_doc *doc = turn->message->doc;

    return wire_is(doc, wire_member(doc, turn->message->payload, "session_id"),
                   turn->handshake->keys.session_id);
}

static void write_closing(struct json_out *out, const struct turn *turn, const char *before,
                          const char *after)
{
    json_put_text(out, before);
    json_put_text(out, "\"session_id\":");
    wire_put(out, turn->handshake->keys.session_id);
    json_put_text(out, after);
}

static enum handshake_result on_established(const struct turn *turn)
{
    struct handshake *handshake = turn->handshake;
    char buffer[256];
    struct json_out payload = {.buffer = buffer, .capacity = sizeof(buffer)};

    if (!names_session(turn))
        return fail(handshake, HANDSHAKE_E_SESSION_NOT_FOUND);
    if (!challenge_met(turn))
        return fail(handshake, HANDSHAKE_E_CHALLENGE_INVALID);
    if (!is_true(turn, "established") || !is_true(turn, "encryption_ready"))
        return fail(handshake, HANDSHAKE_E_ENCRYPTION_NOT_READY);
    write_closing(&payload, turn, "{\"confirmed\":true,\"ready\":true,", ",\"step\":5}");
    handshake->state = HANDSHAKE_SESSION_CONFIRMED;
    return say(turn, STEP_CONFIRM, &payload);
}

static enum handshake_result on_confirm(const struct turn *turn)
{
    struct handshake *handshake = turn->handshake;
    char buffer[256];
    struct json_out payload = {.buffer = buffer, .capacity = sizeof(buffer)};

    if (!names_session(turn))
        return fail(handshake, HANDSHAKE_E_SESSION_NOT_FOUND);
    write_closing(&payload, turn, "{\"encryption_active\":true,",
                  ",\"status\":\"ready\",\"step\":6}");
    handshake->state = HANDSHAKE_READY;
    return say(turn, STEP_READY, &payload);
}

static enum handshake_result on_ready(const struct turn *turn)
{
    if (!names_session(turn))
        return fail(turn->handshake, HANDSHAKE_E_SESSION_NOT_FOUND);
    turn->handshake->state = HANDSHAKE_READY;
    return HANDSHAKE_DONE;
}

/* ---- Which step may come when ---- */

struct transition {
    enum handshake_state state;
    enum handshake_step step;
    bool sealed;
    enum handshake_result (*run)(const struct turn *turn);
};

static const struct transition transitions[] = {
    {HANDSHAKE_INITIAL, STEP_INIT, false, on_init},
    {HANDSHAKE_HANDSHAKE_INIT_SENT, STEP_INIT_ACK, false, on_init_ack},
    {HANDSHAKE_CHALLENGE_SENT, STEP_CHALLENGE_RESPONSE, false, on_response},
    {HANDSHAKE_HANDSHAKE_ACK_RECEIVED, STEP_ESTABLISHED, false, on_established},
    {HANDSHAKE_SESSION_ESTABLISHED, STEP_CONFIRM, true, on_confirm},
    {HANDSHAKE_SESSION_CONFIRMED, STEP_READY, true, on_ready},
};

static const struct transition *find(enum handshake_state state, enum handshake_step step)
{
    for (size_t i = 0; i < sizeof(transitions) / sizeof(transitions[0]); i++) {
        if (transitions[i].state == state && transitions[i].step == step)
            return &transitions[i];
    }
    return NULL;
}

/* Who it is from and for, and that it is signed: before anything else is looked at. */
static enum handshake_result check_envelope(const struct turn *turn, bool sealed, bool proven)
{
    struct handshake *handshake = turn->handshake;
    const struct handshake_message *message = turn->message;

    if (strcmp(message->sender_id, turn->parties->peer_id) != 0 ||
        strcmp(message->recipient_id, turn->parties->own_id) != 0 ||
        strcmp(turn->parties->peer_id, turn->parties->own_id) == 0)
        return fail(handshake, HANDSHAKE_E_AUTHENTICATION_FAILED);
    if (message->step != STEP_INIT &&
        strcmp(message->session_id, handshake->keys.session_id) != 0)
        return fail(handshake, HANDSHAKE_E_SESSION_NOT_FOUND);
    if (sealed != proven)
        return fail(handshake,
                    sealed ? HANDSHAKE_E_ENCRYPTION_NOT_READY : HANDSHAKE_E_INVALID_STATE);
    if (message->number != handshake->peer_number)
        return fail(handshake, HANDSHAKE_E_SEQUENCE_ERROR);
    switch (
        handshake_message_verify(turn->parties->canonical, message, turn->parties->peer_key)) {
    case PARLEY_OK:
        return HANDSHAKE_DONE;
    case PARLEY_ENOMEM:
        return HANDSHAKE_NO_MEMORY;
    default:
        return fail(handshake, HANDSHAKE_E_INVALID_SIGNATURE);
    }
}

/* Both have begun: the smaller id goes on, the other one forgets what it said. */
static bool both_began(const struct turn *turn)
{
    return turn->handshake->state == HANDSHAKE_HANDSHAKE_INIT_SENT &&
           turn->message->step == STEP_INIT &&
           strcmp(turn->message->sender_id, turn->parties->peer_id) == 0;
}

enum handshake_result handshake_receive(struct handshake *handshake,
                                        const struct handshake_parties *parties,
                                        const struct handshake_message *message, bool proven,
                                        const struct handshake_random *random, uint64_t now_ns,
                                        uint64_t wall_us, struct json_out *out)
{
    const struct turn turn = {handshake, parties, message, random, wall_us, out};
    const struct transition *transition;
    enum handshake_result result;

    if (handshake_expire(handshake, now_ns))
        return HANDSHAKE_FAILED;
    if (both_began(&turn)) {
        if (strcmp(parties->own_id, parties->peer_id) < 0)
            return HANDSHAKE_IGNORED;
        handshake_fini(handshake);
    }
    transition = find(handshake->state, message->step);
    if (transition == NULL)
        return fail(handshake, HANDSHAKE_E_INVALID_STATE);
    if (handshake->state == HANDSHAKE_INITIAL)
        handshake->until_ns = now_ns + HANDSHAKE_NS_MAX;
    result = check_envelope(&turn, transition->sealed, proven);
    if (result != HANDSHAKE_DONE)
        return result;
    handshake->peer_number++;
    return transition->run(&turn);
}
