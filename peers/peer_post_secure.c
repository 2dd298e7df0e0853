/* SPDX-License-Identifier: Apache-2.0
 *
 * The security session of a peer's HTTP requests. We post, so we begin: steps 1 and 3 go to
 * /message and are answered with 2 and 4, step 5 is the first sealed body of /messages. Then
 * batches go sealed, each answer sealed with its request's counter. New keys are a new
 * session; so is what follows when the peer does not know ours any more. An answer that is not
 * sealed decides nothing: whatever it says, the messages stay ours.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "peers/auth.h"
#include "peers/peer.h"
#include "peers/secure.h"
#include "runtime/clock.h"

#define HTTP_EPOCH     1
#define SESSION_HEADER "Parley-Session: "
#define BINARY_HEADER  "Content-Type: application/octet-stream"

struct post_secure {
    struct handshake handshake; /* wiped once it is ready */
    struct seal in, out;
    uint8_t peer_key[IDENTITY_KEY_BYTES]; /* that the peer has proven to have, once ready */
    uint64_t keyed_ns;
    uint32_t counter; /* of the request under way */
    bool ready;
    size_t say_len; /* the next step */
    char header[sizeof(SESSION_HEADER) + ENVELOPE_SESSION_MAX];
    char say[HANDSHAKE_MESSAGE_MAX];
};

static uint64_t now_ns(const struct peer *peer)
{
    return worker_now_ns(peer->bench->worker);
}

void post_unsecure(struct peer *peer)
{
    struct post_secure *secure = peer->post.secure;

    peer->post.secure = NULL;
    if (secure == NULL)
        return;
    seal_fini(&secure->in);
    seal_fini(&secure->out);
    OPENSSL_cleanse(secure, sizeof(*secure));
    alloc_free(&peer->runtime->alloc, secure);
}

/* Not while a request is under way: its answer is opened with it. */
void post_review(struct peer *peer)
{
    const struct post_secure *secure = peer->post.secure;

    if (secure != NULL && secure->ready && !peer->post.busy &&
        !secure_trusted(peer->runtime, peer->id, secure->peer_key))
        post_unsecure(peer);
}

/* ---- When ---- */

static bool wanted(const struct peer *peer)
{
    return peer_may_seal(peer) && (peer->security_min == PARLEY_SECURITY_SEALED ||
                                   now_ns(peer) >= peer->post.unsecured_until_ns);
}

/* Its keys are not too old, and have not sealed too much. */
static bool fresh(const struct peer *peer, const struct post_secure *secure)
{
    return secure->out.next < peer->runtime->options.rekey_frames &&
           now_ns(peer) < secure->keyed_ns + secure_rekey_ns(peer->runtime);
}

bool post_seals(const struct peer *peer)
{
    return peer->post.secure != NULL && peer->post.secure->ready;
}

bool post_step_due(const struct peer *peer)
{
    const struct post_secure *secure = peer->post.secure;

    return wanted(peer) && (secure == NULL || !secure->ready || !fresh(peer, secure));
}

bool post_goes_in_batches(const struct peer *peer)
{
    const struct post_secure *secure = peer->post.secure;

    if (peer->post.kind != POST_STEP)
        return peer->post.batch;
    return secure->out.context != NULL; /* step 5 */
}

void post_headers(struct peer *peer)
{
    struct post *post = &peer->post;
    const char *token = auth_request_header(peer);
    size_t count = 0;

    memset(post->call.headers, 0, sizeof(post->call.headers));
    if (token != NULL)
        post->call.headers[count++] = token;
    if (post->secure == NULL || post->secure->out.context == NULL || post->kind == POST_PLAIN)
        return;
    post->call.headers[count++] = post->secure->header;
    post->call.headers[count] = BINARY_HEADER;
}

/* ---- Steps ---- */

static bool make_keys(struct peer *peer, struct post_secure *secure)
{
    const struct crypto *crypto = &peer->runtime->crypto;
    const struct seal_keys *keys = &secure->handshake.keys;

    snprintf(secure->header, sizeof(secure->header), SESSION_HEADER "%s", keys->session_id);
    return seal_init(&secure->out, crypto, keys, SEAL_BY_INITIATOR, SEAL_HTTP, HTTP_EPOCH,
                     true) == PARLEY_OK &&
           seal_init(&secure->in, crypto, keys, SEAL_BY_RESPONDER, SEAL_HTTP, HTTP_EPOCH,
                     false) == PARLEY_OK;
}

static bool begin(struct peer *peer)
{
    struct handshake_parties parties;
    struct handshake_random random;
    struct post_secure *secure;
    struct json_out out = {.capacity = HANDSHAKE_MESSAGE_MAX};
    enum handshake_result result;

    post_unsecure(peer);
    secure = peer->post.secure = alloc_zeroed(&peer->runtime->alloc, sizeof(*secure));
    if (secure == NULL || !secure_parties(peer->bench, peer->id, &parties))
        return false;
    handshake_init(&secure->handshake);
    out.buffer = secure->say;
    secure_random(&random, sizeof(random));
    result = handshake_start(&secure->handshake, &parties, &random, now_ns(peer),
                             clock_wall_us(), &out);
    OPENSSL_cleanse(&random, sizeof(random));
    secure->say_len = out.len;
    return result == HANDSHAKE_SAY;
}

bool post_step_write(struct peer *peer, struct json_out *out)
{
    struct post_secure *secure = peer->post.secure;

    peer->post.kind = POST_STEP;
    if ((secure == NULL || secure->handshake.state == HANDSHAKE_INITIAL) && !begin(peer))
        return false;
    secure = peer->post.secure;
    if (secure->out.context == NULL) {
        json_put(out, secure->say, secure->say_len);
        return !out->overflow;
    }
    memcpy(out->buffer + SEAL_HEADER_BYTES, secure->say, secure->say_len);
    out->len = secure->say_len + SEAL_OVERHEAD;
    return post_seal(peer, out->buffer, secure->say_len);
}

static enum handshake_result hear(struct peer *peer, bool proven)
{
    struct post_secure *secure = peer->post.secure;
    const struct http_call *call = &peer->post.call;
    struct json_doc *doc = &peer->bench->doc;
    struct json_out out = {.buffer = secure->say, .capacity = sizeof(secure->say)};
    struct handshake_parties parties;
    struct handshake_message message;
    struct handshake_random random;
    enum handshake_result result;

    if (bench_scan(peer->bench, call->response, call->response_len, HANDSHAKE_RECORD_DEPTH,
                   BATCH_LEVELS) != PARLEY_OK ||
        handshake_message_read(doc, doc->items, &message) != PARLEY_OK ||
        !secure_parties(peer->bench, peer->id, &parties))
        return HANDSHAKE_FAILED;
    secure_random(&random, sizeof(random));
    result = handshake_receive(&secure->handshake, &parties, &message, proven, &random,
                               now_ns(peer), clock_wall_us(), &out);
    OPENSSL_cleanse(&random, sizeof(random));
    memcpy(secure->peer_key, identity_key_bytes(parties.peer_key), IDENTITY_KEY_BYTES);
    secure->say_len = out.len;
    return result;
}

/* It could not be done. Where it has to be, messages wait for the next attempt. */
static void fail(struct peer *peer, bool answered, const char *why)
{
    struct post *post = &peer->post;

    post_unsecure(peer);
    log_warn(&peer->runtime->log, "peer %s: handshake over HTTP: %s", peer->id, why);
    if (answered && peer->security_min != PARLEY_SECURITY_SEALED) {
        post->unsecured_until_ns = now_ns(peer) + PEER_UNSECURED_NS;
        post_succeeded(peer); /* it answers */
        return;
    }
    post_step_failed(peer, answered, why);
}

static void ready(struct peer *peer)
{
    struct post_secure *secure = peer->post.secure;
    const struct handshake_limits *limits = &secure->handshake.peer;

    secure->ready = true;
    secure->keyed_ns = now_ns(peer);
    /* proven, as no header of an answer is; post_learn() leaves them from now on */
    post_parley(peer, limits->max_batch_bytes);
    if (limits->max_message_bytes != 0)
        peer->link.message_bytes = limits->max_message_bytes;
    handshake_fini(&secure->handshake);
    post_succeeded(peer);
}

void post_stepped(struct peer *peer)
{
    const struct http_call *call = &peer->post.call;
    struct post_secure *secure = peer->post.secure;
    bool sealed = secure->out.context != NULL;

    post_learn(peer);
    if (call->status != PARLEY_OK) {
        fail(peer, false, call->detail);
        return;
    }
    if (sealed && !post_unseal(peer)) {
        fail(peer, true, "the peer does not take part in it");
        return;
    }
    switch (hear(peer, sealed)) {
    case HANDSHAKE_SAY_SEALED:
        if (!make_keys(peer, secure)) {
            fail(peer, false, "out of memory");
            return;
        }
        post_step_go(peer);
        break;
    case HANDSHAKE_SAY:
        post_step_go(peer);
        break;
    case HANDSHAKE_DONE:
        ready(peer);
        break;
    default:
        fail(peer, true,
             secure->handshake.error != HANDSHAKE_E_NONE
                 ? handshake_error_name(secure->handshake.error)
                 : "the peer does not take part in it");
        break;
    }
}

/* ---- Bodies ---- */

bool post_seal(struct peer *peer, char *frame, size_t text_len)
{
    struct post_secure *secure = peer->post.secure;

    secure->counter = (uint32_t)secure->out.next;
    if (seal_close_frame(&secure->out, frame, text_len) == PARLEY_OK)
        return true;
    post_unsecure(peer);
    return false;
}

bool post_unseal(struct peer *peer)
{
    struct post_secure *secure = peer->post.secure;
    struct http_call *call = &peer->post.call;
    uint32_t epoch, counter;
    char *text;
    size_t len;

    if (secure == NULL || call->response == NULL ||
        !seal_peek(call->response, call->response_len, &epoch, &counter) ||
        counter != secure->counter ||
        seal_open_frame(&secure->in, true, call->response, call->response_len, &text, &len) !=
            PARLEY_OK)
        return false;
    memmove(call->response, text, len + 1);
    call->response_len = len;
    return true;
}
