/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/endpoints_secure.h"

#include <openssl/crypto.h>
#include <string.h>

#include "peers/secure.h"
#include "peers/secure_table.h"
#include "runtime/clock.h"

#define HTTP_EPOCH 1 /* each use of HTTP has a security session of its own */

static void refuse(struct bench *bench, struct secure_answer *answer, const char *why)
{
    struct json_out out = {.buffer = answer->text, .capacity = sizeof(answer->text)};

    bench->counts.protocol_errors++;
    detail_write(&out, why);
    answer->code = 400;
    answer->sealed = false;
    answer->body = answer->text;
    answer->len = out.len;
}

/* ---- Steps ---- */

static bool make_keys(struct bench *bench, struct secure_session *session)
{
    const struct crypto *crypto = &bench->runtime->crypto;
    const struct seal_keys *keys = &session->handshake.keys;

    return seal_init(&session->in, crypto, keys, SEAL_BY_INITIATOR, SEAL_HTTP, HTTP_EPOCH,
                     false) == PARLEY_OK &&
           seal_init(&session->out, crypto, keys, SEAL_BY_RESPONDER, SEAL_HTTP, HTTP_EPOCH,
                     true) == PARLEY_OK;
}

/* Anybody can post a step in another's name. What is not its peer's changes nothing; what was
 * sealed is. */
static enum handshake_result receive(struct bench *bench, struct secure_session *session,
                                     const struct handshake_parties *parties,
                                     const struct handshake_message *message, bool proven,
                                     struct json_out *out)
{
    struct handshake before = session->handshake;
    struct handshake_random random;
    enum handshake_result result;

    secure_random(&random, sizeof(random));
    result = handshake_receive(&session->handshake, parties, message, proven, &random,
                               worker_now_ns(bench->worker), clock_wall_us(), out);
    if (result == HANDSHAKE_FAILED && !proven && before.state != HANDSHAKE_INITIAL &&
        session->handshake.state == HANDSHAKE_ERROR) {
        before.error = session->handshake.error;
        session->handshake = before;
    }
    OPENSSL_cleanse(&before, sizeof(before));
    OPENSSL_cleanse(&random, sizeof(random));
    return result;
}

/* With the session's mutex. The answer's text begins behind the room for a header. */
static enum handshake_result hear(struct bench *bench, struct secure_session *session,
                                  const struct handshake_message *message, bool proven,
                                  struct secure_answer *answer)
{
    struct handshake_parties parties;
    struct json_out out = {.buffer = answer->text + SEAL_HEADER_BYTES,
                           .capacity = HANDSHAKE_MESSAGE_MAX};
    enum handshake_result result;

    if (!secure_parties(bench, session->entity, &parties))
        return HANDSHAKE_FAILED;
    result = receive(bench, session, &parties, message, proven, &out);
    memcpy(session->peer_key, identity_key_bytes(parties.peer_key), IDENTITY_KEY_BYTES);
    if (result == HANDSHAKE_SAY && message->step == STEP_CHALLENGE_RESPONSE &&
        !make_keys(bench, session))
        result = HANDSHAKE_NO_MEMORY;
    answer->code = 200;
    answer->sealed = false;
    answer->body = out.buffer;
    answer->len = out.len;
    return result;
}

static const char *why(const struct secure_session *session)
{
    return session->handshake.error != HANDSHAKE_E_NONE
               ? handshake_error_name(session->handshake.error)
               : "AUTHENTICATION_FAILED";
}

static uint64_t old_ns(const struct bench *bench)
{
    uint64_t now = worker_now_ns(bench->worker);
    uint64_t life = bench->runtime->options.secure_session_s * NS_PER_S;

    return now > life ? now - life : 0;
}

static void begin(struct bench *bench, const struct handshake_message *message,
                  struct secure_answer *answer)
{
    struct secure_table *table = &bench->runtime->secured;
    struct secure_session *session = secure_session_new(
        table, message->session_id, message->sender_id, worker_now_ns(bench->worker));
    bool heard;

    if (session == NULL) {
        refuse(bench, answer, "RATE_LIMIT_EXCEEDED");
        return;
    }
    heard = hear(bench, session, message, false, answer) == HANDSHAKE_SAY;
    if (!heard) {
        refuse(bench, answer, why(session));
        secure_table_release(table, session);
    } else if (secure_table_add(table, session, old_ns(bench))) {
        secure_table_release(table, session);
    } else {
        refuse(bench, answer, "HANDSHAKE_IN_PROGRESS");
    }
}

void endpoints_step(struct bench *bench, const struct handshake_message *message,
                    struct secure_answer *ret_answer)
{
    struct secure_table *table = &bench->runtime->secured;
    struct secure_session *session;

    if (!secure_wanted(bench->runtime, message->sender_id)) {
        refuse(bench, ret_answer, "AUTHENTICATION_FAILED");
        return;
    }
    if (message->step == STEP_INIT) {
        begin(bench, message, ret_answer);
        return;
    }
    session = secure_table_find(table, message->session_id);
    if (session == NULL) {
        refuse(bench, ret_answer, "SESSION_NOT_FOUND");
        return;
    }
    pthread_mutex_lock(&session->mutex);
    if (session->ready) /* nobody but its peer could set it back */
        refuse(bench, ret_answer, "INVALID_STATE");
    else if (hear(bench, session, message, false, ret_answer) != HANDSHAKE_SAY)
        refuse(bench, ret_answer, why(session));
    pthread_mutex_unlock(&session->mutex);
    secure_table_release(table, session);
}

/* ---- Sealed bodies ---- */

/* Nothing will be opened with it any more. */
static const char *what_ended(struct bench *bench, const struct secure_session *session)
{
    if (session->made_ns < old_ns(bench))
        return "SESSION_EXPIRED";
    if (session->ready && !secure_trusted(bench->runtime, session->entity, session->peer_key))
        return "SESSION_NOT_FOUND";
    return NULL;
}

static const char *open_body(struct secure_session *session, char *body, size_t *len,
                             uint32_t *ret_counter)
{
    uint32_t epoch;
    char *text;

    if (session->in.context == NULL)
        return "ENCRYPTION_NOT_READY";
    if (!seal_peek(body, *len, &epoch, ret_counter))
        return "DECRYPTION_FAILED";
    switch (seal_open_frame(&session->in, true, body, *len, &text, len)) {
    case PARLEY_OK:
        memmove(body, text, *len + 1);
        return NULL;
    case PARLEY_EINVAL:
        return "REPLAY_DETECTED";
    default:
        return "DECRYPTION_FAILED";
    }
}

/* Step 5, and with it the proof of the keys. */
static void confirm(struct bench *bench, struct secure_session *session, const char *body,
                    size_t len, uint32_t counter, struct secure_answer *answer)
{
    struct handshake_message message;

    if (bench_scan(bench, body, len, HANDSHAKE_RECORD_DEPTH, BATCH_LEVELS) != PARLEY_OK ||
        handshake_message_read(&bench->doc, bench->doc.items, &message) != PARLEY_OK ||
        hear(bench, session, &message, true, answer) != HANDSHAKE_SAY_SEALED ||
        seal_close_as(&session->out, counter, answer->text, answer->len) != PARLEY_OK) {
        refuse(bench, answer, why(session));
        return;
    }
    session->ready = true;
    handshake_fini(&session->handshake);
    answer->sealed = true;
    answer->body = answer->text;
    answer->len += SEAL_OVERHEAD;
}

bool endpoints_unseal(struct bench *bench, const char *session_id, char *body, size_t *len,
                      struct secure_reply *ret_reply, struct secure_answer *ret_answer)
{
    struct secure_table *table = &bench->runtime->secured;
    struct secure_session *session = secure_table_find(table, session_id);
    bool was_ready = false, is_ready = false;
    const char *ended, *wrong;
    uint32_t counter;

    if (session == NULL) {
        refuse(bench, ret_answer, "SESSION_NOT_FOUND");
        return false;
    }
    pthread_mutex_lock(&session->mutex);
    ended = what_ended(bench, session);
    wrong = ended != NULL ? ended : open_body(session, body, len, &counter);
    if (wrong == NULL) {
        was_ready = session->ready;
        if (!was_ready)
            confirm(bench, session, body, *len, counter, ret_answer);
        is_ready = session->ready;
    } else {
        refuse(bench, ret_answer, wrong);
    }
    pthread_mutex_unlock(&session->mutex);
    if (was_ready) {
        *ret_reply = (struct secure_reply){session, counter};
        return true;
    }
    if (is_ready)
        secure_table_ready(table, session);
    if (ended != NULL)
        secure_table_drop(table, session);
    secure_table_release(table, session);
    return false;
}

bool endpoints_seal(const struct secure_reply *reply, char *frame, size_t text_len)
{
    bool sealed;

    pthread_mutex_lock(&reply->session->mutex);
    sealed = seal_close_as(&reply->session->out, reply->counter, frame, text_len) == PARLEY_OK;
    pthread_mutex_unlock(&reply->session->mutex);
    return sealed;
}

void endpoints_sealed(struct bench *bench, struct secure_reply *reply)
{
    if (reply->session != NULL)
        secure_table_release(&bench->runtime->secured, reply->session);
    reply->session = NULL;
}
