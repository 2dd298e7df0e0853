/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer's part in handshakes with an older service: its steps are posted to /message between
 * other requests, each in an envelope of its own that is always signed. Where payloads are to
 * be encrypted in a session, messages wait until there is one, as long as their deadlines let
 * them; an attempt that fails is made again after a pause that grows. New keys are a new
 * session, begun when the old one is old enough and something is to be sent; until it is
 * there the old one serves on.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "peers/auth.h"
#include "peers/base64.h"
#include "peers/payload.h"
#include "peers/peer.h"
#include "peers/secure.h"
#include "peers/threeway.h"
#include "peers/trust.h"
#include "peers/wire.h"
#include "runtime/clock.h"

#define ANSWER_NS    (10 * NS_PER_S) /* an ack that has not come by then comes no more */
#define NONCE_BYTES  16
#define PAUSES_MAX   6
#define SIGNED_CHARS 88

static uint64_t now_ns(const struct peer *peer)
{
    return worker_now_ns(peer->bench->worker);
}

/* ---- Sessions ---- */

static bool has_session(const struct peer *peer, uint64_t age_s)
{
    bool found;

    registry_lock(&peer->runtime->registry);
    found = threeway_newest(peer, now_ns(peer), age_s) != NULL;
    registry_unlock(&peer->runtime->registry);
    return found;
}

bool threeway_ready(const struct peer *peer)
{
    return peer->encryption != PARLEY_ENCRYPTION_SESSION ||
           has_session(peer, peer->runtime->options.secure_session_s);
}

bool threeway_out(const struct peer *peer, struct old_session *ret_session)
{
    const struct threeway_session *session;

    registry_lock(&peer->runtime->registry);
    session = threeway_newest(peer, now_ns(peer), peer->runtime->options.secure_session_s);
    if (session != NULL)
        *ret_session = session->keys;
    registry_unlock(&peer->runtime->registry);
    return session != NULL;
}

void threeway_forget(struct peer *peer)
{
    registry_lock(&peer->runtime->registry);
    for (unsigned i = 0; peer->threeway != NULL && i < THREEWAY_SESSIONS; i++)
        peer->threeway->sessions[i].confirmed = false;
    registry_unlock(&peer->runtime->registry);
}

void threeway_free(struct peer *peer)
{
    if (peer->threeway == NULL)
        return;
    OPENSSL_cleanse(peer->threeway, sizeof(*peer->threeway));
    alloc_free(&peer->runtime->alloc, peer->threeway);
    peer->threeway = NULL;
}

/* ---- Writing ---- */

static const char *const names[THREEWAY_STEPS] = {HANDSHAKE_OLD_TYPE, HANDSHAKE_OLD_ACK,
                                                  HANDSHAKE_OLD_CONFIRM};

static bool sign(const struct peer *peer, const struct canonical_message *message,
                 char text[SIGNED_CHARS + 1])
{
    const struct identity *identity = trust_identity(peer->runtime);
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    const char *bytes;
    size_t len;

    if (identity == NULL ||
        canonical_message(&peer->bench->canonical, message, &bytes, &len) != PARLEY_OK ||
        identity_sign(identity, bytes, len, signature) != PARLEY_OK)
        return false;
    base64_encode((const char *)signature, sizeof(signature), text);
    text[SIGNED_CHARS] = '\0';
    return true;
}

static void put_member(struct json_out *out, const char *key, const char *text)
{
    json_put_text(out, key);
    wire_put(out, text);
}

static void put_envelope(struct json_out *out, const struct canonical_message *message,
                         const char *signature, const char *recipient, const char *session_id,
                         enum threeway_step step)
{
    json_put_text(out, "{\"payload\":");
    json_put(out, message->payload, message->payload_len);
    json_put_text(out, ",\"timestamp\":");
    json_put(out, message->timestamp, message->timestamp_len);
    put_member(out, ",\"nonce\":", message->nonce);
    put_member(out, ",\"signature\":", signature);
    json_put_text(out, ",\"encrypted_payload\":null,\"sender_public_key\":null,"
                       "\"jwt_token\":null");
    put_member(out, ",\"sender_id\":", message->sender_id);
    put_member(out, ",\"recipient_id\":", recipient);
    put_member(out, ",\"session_id\":", session_id);
    json_put_text(out,
                  step == THREEWAY_CONFIRM ? ",\"sequence_num\":2" : ",\"sequence_num\":1");
    put_member(out, ",\"version\":", message->version);
    put_member(out, ",\"msg_type\":", message->msg_type);
    json_put_text(out, "}");
}

/* As the older service writes them: the time in words, the nonce in hex. */
static bool write_step(struct peer *peer, enum threeway_step step,
                       const struct threeway_say *say, struct json_out *out)
{
    char nonce[2 * NONCE_BYTES + 1], time[64], signature[SIGNED_CHARS + 1];
    struct json_out timestamp = {.buffer = time, .capacity = sizeof(time)};
    uint8_t random[NONCE_BYTES];
    struct canonical_message message = {
        .msg_type = names[step],
        .nonce = nonce,
        .sender_id = peer->runtime->node_id,
        .version = peer->post.version == POST_1_0 ? "1.0" : "0.3",
        .payload = say->text,
        .payload_len = say->len,
    };

    secure_random(random, sizeof(random));
    for (unsigned i = 0; i < NONCE_BYTES; i++)
        snprintf(nonce + 2 * i, 3, "%02x", random[i]);
    wire_put_iso(&timestamp, clock_wall_us());
    message.timestamp = time;
    message.timestamp_len = timestamp.len;
    if (!sign(peer, &message, signature))
        return false;
    put_envelope(out, &message, signature, peer->id, say->session_id, step);
    return !out->overflow;
}

/* ---- Failing ---- */

/* The next attempt comes after a pause. */
static void fail(struct peer *peer, const char *why)
{
    const parley_options *options = &peer->runtime->options;
    struct threeway *threeway = peer->threeway;
    uint64_t wait_ms = (uint64_t)options->http_backoff_ms
                       << (threeway->failures < PAUSES_MAX ? threeway->failures : PAUSES_MAX);

    threeway->failures++;
    if (wait_ms > options->reconnect_max_ms)
        wait_ms = options->reconnect_max_ms;
    threeway->again_ns = now_ns(peer) + wait_ms * NS_PER_MS;
    snprintf(threeway->why, sizeof(threeway->why), "no encrypted session: %.*s",
             PARLEY_DETAIL_MAX - 32, why);
    log_warn(&peer->runtime->log, "peer %s: %s", peer->id, threeway->why);
}

/* @return whether a handshake of ours still waits for its answer */
static bool look_after(struct peer *peer)
{
    struct threeway *threeway = peer->threeway;
    const char *why = NULL;
    bool waits;

    registry_lock(&peer->runtime->registry);
    waits = threeway->handshake.session_id[0] != '\0';
    if (threeway->refused != NULL) {
        why = threeway->refused;
        threeway->refused = NULL;
    } else if (waits && now_ns(peer) >= threeway->answer_ns) {
        why = "the peer has answered with no handshake_ack";
        handshake_old_fini(&threeway->handshake);
        waits = false;
    }
    registry_unlock(&peer->runtime->registry);
    if (why != NULL)
        fail(peer, why);
    return waits;
}

const char *threeway_why(const struct peer *peer)
{
    if (threeway_ready(peer))
        return NULL;
    return peer->threeway->why[0] != '\0' ? peer->threeway->why
                                          : "no encrypted session with the peer yet";
}

/* ---- Posting ---- */

static bool start(struct peer *peer, struct threeway_say *ret_say)
{
    const struct handshake_old_parties parties = {
        .crypto = &peer->runtime->crypto,
        .identity = trust_identity(peer->runtime),
        .peer_key = trust_find(peer->runtime, peer->id),
    };
    struct json_out out = {.buffer = ret_say->text, .capacity = sizeof(ret_say->text)};
    struct handshake_old_random random;
    struct handshake_old handshake = {0};
    bool begun;

    secure_random(&random, sizeof(random));
    begun = handshake_old_start(&handshake, &parties, &random, &out);
    OPENSSL_cleanse(&random, sizeof(random));
    ret_say->len = out.len;
    snprintf(ret_say->session_id, sizeof(ret_say->session_id), "%s", handshake.session_id);
    if (begun) {
        registry_lock(&peer->runtime->registry);
        peer->threeway->handshake = handshake;
        registry_unlock(&peer->runtime->registry);
        peer->threeway->answer_ns = now_ns(peer) + ANSWER_NS;
    }
    handshake_old_fini(&handshake);
    return begun;
}

/* What has been heard asks for it. */
static bool take_word(struct peer *peer, enum threeway_step *ret_step,
                      struct threeway_say *ret_say)
{
    bool due = false;

    registry_lock(&peer->runtime->registry);
    for (unsigned step = 0; peer->threeway != NULL && !due && step < THREEWAY_STEPS; step++) {
        struct threeway_say *say = &peer->threeway->says[step];

        due = say->due;
        if (!due)
            continue;
        say->due = false;
        say->tries++;
        *ret_say = *say;
        *ret_step = (enum threeway_step)step;
    }
    registry_unlock(&peer->runtime->registry);
    return due;
}

static bool word_due(const struct peer *peer)
{
    bool due = false;

    registry_lock(&peer->runtime->registry);
    for (unsigned step = 0; peer->threeway != NULL && step < THREEWAY_STEPS; step++)
        due |= peer->threeway->says[step].due;
    registry_unlock(&peer->runtime->registry);
    return due;
}

static bool wants_session(const struct peer *peer)
{
    return peer->encryption == PARLEY_ENCRYPTION_SESSION && peer->delivery.cursor != NULL &&
           payload_possible(peer) && !has_session(peer, peer->runtime->options.rekey_s);
}

/* Whether to begin a handshake now. */
static bool start_due(struct peer *peer)
{
    struct threeway *threeway;

    if (!wants_session(peer))
        return false;
    registry_lock(&peer->runtime->registry);
    threeway = threeway_of(peer);
    registry_unlock(&peer->runtime->registry);
    return threeway != NULL && !look_after(peer) && now_ns(peer) >= threeway->again_ns;
}

static void post(struct peer *peer, enum threeway_step step, const struct threeway_say *say)
{
    struct json_out out = {.buffer = peer->bench->scratch,
                           .capacity = peer->bench->scratch_bytes};

    peer->threeway->posted = step;
    memcpy(peer->threeway->posted_id, say->session_id, sizeof(say->session_id));
    if (!write_step(peer, step, say, &out) || !post_apart(peer, &out)) {
        post_undone(peer);
        fail(peer, "out of memory");
    }
}

void threeway_pump(struct peer *peer)
{
    struct threeway_say say = {0};
    enum threeway_step step = THREEWAY_START;
    bool begin, word;

    if (peer->closing || !peer->has_url || peer->post.busy ||
        peer->post.next_ns != CLOCK_NEVER ||
        (peer->encryption != PARLEY_ENCRYPTION_SESSION && !peer->threeway_asked))
        return;
    word = word_due(peer);
    begin = !word && start_due(peer);
    if (!begin && !word) {
        peer->threeway_asked = false; /* the next word comes with the next control message */
        return;
    }
    if (auth_renew(peer) != PARLEY_OK) {
        post_wait(peer, peer->runtime->options.http_backoff_ms);
        return;
    }
    if (!post_may_go(peer))
        return;
    if (begin ? start(peer, &say) : take_word(peer, &step, &say)) {
        post(peer, step, &say);
        return;
    }
    post_undone(peer);
    fail(peer, "out of memory");
}

uint64_t threeway_next_ns(const struct peer *peer)
{
    const struct threeway *threeway;

    if (peer->encryption != PARLEY_ENCRYPTION_SESSION || peer->post.busy ||
        peer->post.next_ns != CLOCK_NEVER || !wants_session(peer))
        return CLOCK_NEVER;    /* something else pumps */
    threeway = peer->threeway; /* such a peer has it from the start */
    return now_ns(peer) < threeway->again_ns ? threeway->again_ns : threeway->answer_ns;
}

/* ---- What became of it ---- */

static void settled(struct peer *peer, bool taken, const char *why)
{
    struct threeway *threeway = peer->threeway;
    bool failed = false;

    registry_lock(&peer->runtime->registry);
    if (threeway->posted == THREEWAY_START && !taken &&
        strcmp(threeway->handshake.session_id, threeway->posted_id) == 0) {
        handshake_old_fini(&threeway->handshake);
        failed = true;
    }
    for (unsigned i = 0; threeway->posted == THREEWAY_CONFIRM && i < THREEWAY_SESSIONS; i++) {
        struct threeway_session *session = &threeway->sessions[i];

        if (strcmp(session->handshake_id, threeway->posted_id) != 0)
            continue;
        if (taken)
            session->confirmed = true;
        else
            OPENSSL_cleanse(session, sizeof(*session));
    }
    registry_unlock(&peer->runtime->registry);
    if (taken && threeway->posted == THREEWAY_CONFIRM) {
        threeway->failures = 0;
        threeway->why[0] = '\0';
    } else if (failed || (!taken && threeway->posted != THREEWAY_START)) {
        fail(peer, why);
    }
}

/* It may be said again. @return whether it will be */
static bool repeat(struct peer *peer)
{
    struct threeway *threeway = peer->threeway;
    struct threeway_say *say = &threeway->says[threeway->posted];
    bool again;

    registry_lock(&peer->runtime->registry);
    again = threeway->posted != THREEWAY_START &&
            strcmp(say->session_id, threeway->posted_id) == 0 &&
            say->tries < peer->runtime->options.http_attempts;
    say->due |= again;
    registry_unlock(&peer->runtime->registry);
    return again;
}

/* It was not read, or not now. */
static bool is_passing(const struct http_call *call)
{
    return call->status != PARLEY_OK || call->code >= 500 || call->code == 408 ||
           call->code == 429;
}

static void wait_a_while(struct peer *peer)
{
    const struct http_call *call = &peer->post.call;
    uint64_t wait_ms = peer->runtime->options.http_backoff_ms;
    uint64_t most_ms = peer->runtime->options.reconnect_max_ms;

    if (call->status == PARLEY_OK && call->retry_after_s != 0)
        wait_ms = (uint64_t)call->retry_after_s * 1000;
    post_wait(peer, wait_ms < most_ms ? wait_ms : most_ms);
}

static void learn(struct peer *peer)
{
    const struct http_call *call = &peer->post.call;

    if (call->status == PARLEY_OK && call->code < 500) {
        post_succeeded(peer);
        peer_alive(peer);
    } else {
        post_failed(peer);
        peer_failed(peer);
    }
}

void threeway_posted(struct peer *peer)
{
    const struct http_call *call = &peer->post.call;
    bool taken = call->status == PARLEY_OK && call->code >= 200 && call->code < 300;
    char why[PARLEY_DETAIL_MAX] = "";

    learn(peer);
    if (!taken)
        post_reason(peer, why, sizeof(why));
    if (is_passing(call)) {
        wait_a_while(peer);
        if (repeat(peer))
            return;
    }
    settled(peer, taken, why);
}
