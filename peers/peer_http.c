/* SPDX-License-Identifier: Apache-2.0
 *
 * The peer's HTTP side: one request at a time, in order. A peer that has said it is a
 * parley takes batches at /messages; to any other each envelope goes to /message by
 * itself, at the pace that an older receiver takes. The pace has a burst, and one answer is
 * enough to know a parley by: it is not slowed. The HTTP worker carries the request and posts
 * the call back as a control message; peer_answer.c goes on from there.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "peers/auth.h"
#include "peers/envelope.h"
#include "peers/payload.h"
#include "peers/peer.h"
#include "peers/signature.h"
#include "runtime/clock.h"

/* What the older service takes, with room to spare: it blocks whoever sends more than 1 a
 * second after a burst of 10, 60 a minute, 1000 an hour. */
#define OLD_BURST   10
#define OLD_PER_MIN 15

static void init_older(struct peer *peer, const parley_peer_options *options)
{
    struct post *post = &peer->post;

    pace_init(&post->pace, options->rate_burst != 0 ? options->rate_burst : OLD_BURST,
              options->rate_per_min != 0 ? options->rate_per_min : OLD_PER_MIN);
    post->paced = options->pace;
    post->configured = options->envelope_version;
    post->version = post->configured == PARLEY_ENVELOPE_0_3 ? POST_0_3 : POST_1_0;
}

parley_status post_init(struct peer *peer, const parley_peer_options *options)
{
    const struct alloc *alloc = &peer->runtime->alloc;
    char url[URL_PATH_MAX + URL_HOST_MAX + 64];
    struct post *post = &peer->post;

    post->next_ns = CLOCK_NEVER;
    post->parley = peer->dialect == PARLEY_DIALECT_PARLEY;
    post->batch_bytes = peer->runtime->options.batch_bytes_max;
    post->call.reply_to = &peer->actor;
    post_headers(peer);
    init_older(peer, options);
    if (!peer->has_url)
        return PARLEY_OK;
    if (url_http(&peer->url, "/messages", url, sizeof(url)) == 0)
        return PARLEY_EURL;
    post->url_messages = alloc_string(alloc, url);
    url_http(&peer->url, "/message", url, sizeof(url));
    post->url_message = alloc_string(alloc, url);
    return post->url_messages != NULL && post->url_message != NULL ? PARLEY_OK : PARLEY_ENOMEM;
}

void post_fini(struct peer *peer)
{
    const struct alloc *alloc = &peer->runtime->alloc;

    if (peer->post.call.response != NULL)
        http_call_clear(peer->runtime->http, &peer->post.call);
    post_unsecure(peer);
    alloc_free(alloc, peer->post.body);
    alloc_free(alloc, peer->post.url_message);
    alloc_free(alloc, peer->post.url_messages);
}

/* ---- The request ---- */

/* @return false: out of memory */
static bool write_single(struct peer *peer, struct message *message, uint64_t number,
                         struct json_out *out)
{
    uint8_t nonce[16];
    struct envelope_fields fields;
    struct signed_texts texts;
    char message_id[37], *encrypted;
    bool written;

    peer_fields(peer, message, number, clock_wall_us(), &fields);
    random_bytes(&peer->bench->random, nonce, sizeof(nonce));
    fields.nonce = nonce;
    peer_message_id(peer, number, message_id);
    fields.version = peer->post.version == POST_1_0 ? "1.0" : "0.3";
    fields.message_id = message_id;
    assert(fields.payload != NULL); /* nothing is outstanding: the front is never a void */
    if (!payload_encrypt_for(peer, &fields, &encrypted))
        return false;
    written = peer_sign(peer, &fields, &texts);
    if (written)
        envelope_write(out, &fields);
    alloc_free(&peer->runtime->alloc, encrypted);
    if (!written || out->overflow)
        return false;
    delivery_take(&peer->delivery, &message->delivery);
    peer->post.last = number;
    return true;
}

static bool keep_body(struct peer *peer, const struct json_out *out)
{
    const struct alloc *alloc = &peer->runtime->alloc;
    struct post *post = &peer->post;

    if (post->body_bytes < out->len) {
        char *body = alloc_resize(alloc, post->body, out->len);

        if (body == NULL)
            return false;
        post->body = body;
        post->body_bytes = out->len;
    }
    memcpy(post->body, out->buffer, out->len);
    return true;
}

static size_t body_room(const struct peer *peer, const struct message *message)
{
    size_t alone = message->delivery.bytes + FRAME_OVERHEAD +
                   payload_bytes_for(peer, message->payload_len) - message->payload_len;
    size_t most = peer->post.batch_bytes > alone ? peer->post.batch_bytes : alone;

    return most < peer->bench->scratch_bytes ? most : peer->bench->scratch_bytes;
}

void post_wait(struct peer *peer, uint64_t wait_ms)
{
    peer->post.next_ns = worker_now_ns(peer->bench->worker) + wait_ms * NS_PER_MS;
}

/* ---- What the breaker learns ---- */

void post_succeeded(struct peer *peer)
{
    peer->health.answered_ns = worker_now_ns(peer->bench->worker);
    breaker_succeeded(&peer->post.breaker, &peer->runtime->breakers);
}

void post_failed(struct peer *peer)
{
    breaker_failed(&peer->post.breaker, &peer->runtime->breakers,
                   worker_now_ns(peer->bench->worker));
}

void post_undone(struct peer *peer)
{
    breaker_undone(&peer->post.breaker);
}

/* ---- Older peers ---- */

void post_parley(struct peer *peer, uint64_t batch_bytes)
{
    struct post *post = &peer->post;

    if (peer->dialect == PARLEY_DIALECT_SERVICE || peer->dialect == PARLEY_DIALECT_MANAGER)
        return; /* so the host says */
    post->parley = true;
    if (post->configured == PARLEY_ENVELOPE_AUTO)
        post->version = POST_1_0; /* should it be an older one again some day */
    if (batch_bytes >= FRAME_OVERHEAD && batch_bytes < peer->runtime->options.batch_bytes_max)
        post->batch_bytes = (uint32_t)batch_bytes;
}

bool post_may_go(struct peer *peer)
{
    const struct breaker_limits *limits = &peer->runtime->breakers;
    struct post *post = &peer->post;
    uint64_t now_ns = worker_now_ns(peer->bench->worker);

    post->turn_taken = false;
    if (!breaker_take(&post->breaker, limits, now_ns, &post->next_ns))
        return false;
    post->turn_taken = !post->parley && post->paced;
    if (!post->turn_taken || pace_take(&post->pace, now_ns, &post->next_ns))
        return true;
    breaker_undone(&post->breaker);
    return false;
}

/* Whether an earlier attempt may have arrived. Others than ours went over the WebSocket. */
static void note_attempt(struct post *post, const struct message *message, uint64_t number)
{
    uint32_t read = (uint32_t)message->delivery.attempts - message->delivery.unread;

    if (post->tried_number != number) {
        post->tried_number = number;
        post->tried = 0;
        post->maybe_arrived = false;
    }
    if (read > post->tried)
        post->maybe_arrived = true;
    post->tried = read + 1;
}

/* ---- Sending ---- */

static bool write_sealed(struct peer *peer, struct json_out *out)
{
    struct json_out text = {.buffer = out->buffer + SEAL_HEADER_BYTES,
                            .capacity = out->capacity - SEAL_OVERHEAD};

    if (peer_write_batch(peer, ROUTE_HTTP, peer->post.single ? 1 : UINT32_MAX, &text,
                         &peer->post.last) == 0)
        return false;
    out->len = text.len + SEAL_OVERHEAD;
    return post_seal(peer, out->buffer, text.len);
}

/* @return false: out of memory, to be tried again */
static bool write_request(struct peer *peer, struct message *message, uint64_t number,
                          struct json_out *out)
{
    struct post *post = &peer->post;
    bool written;

    out->capacity = body_room(peer, message);
    post->kind = post_seals(peer) ? POST_SEALED : POST_PLAIN;
    post->batch = (post->parley || post->kind == POST_SEALED) &&
                  peer->encryption == PARLEY_ENCRYPTION_NONE &&
                  peer->runtime->options.parley_protocol;
    post->first = number;
    post->unnumbered = !post->batch && post->version != POST_1_0;
    peer->delivery.recognises = post->parley && !post->unnumbered;
    note_attempt(post, message, number);
    if (post->kind == POST_SEALED)
        written = write_sealed(peer, out);
    else if (post->batch)
        written = peer_write_batch(peer, ROUTE_HTTP, post->single ? 1 : UINT32_MAX, out,
                                   &post->last) > 0;
    else
        written = write_single(peer, message, number, out);
    if (written && keep_body(peer, out))
        return true;
    post_undone(peer);
    delivery_lost(&peer->delivery);
    post_wait(peer, peer->runtime->options.http_backoff_ms);
    return false;
}

static void submit(struct peer *peer, size_t len)
{
    struct post *post = &peer->post;

    http_call_clear(peer->runtime->http, &post->call);
    atomic_store_explicit(&post->call.cancelled, false, memory_order_relaxed); /* not shared */
    post->call.url = post_goes_in_batches(peer) ? post->url_messages : post->url_message;
    post_headers(peer);
    post->call.body = post->body;
    post->call.body_len = len;
    post->busy = true;
    peer->bench->counts.http_requests++;
    peer->bench->counts.wire_bytes_out += len;
    http_worker_submit(peer->runtime->http, &post->call);
}

void post_start(struct peer *peer)
{
    struct json_out out = {.buffer = peer->bench->scratch};
    uint64_t number;
    struct message *message = peer_next(peer, ROUTE_HTTP, &number);

    if (message != NULL && auth_renew(peer) != PARLEY_OK) {
        post_wait(peer, peer->runtime->options.http_backoff_ms);
        return;
    }
    post_review(peer);
    if (message == NULL || !post_may_go(peer))
        return;
    if (post_step_due(peer)) {
        out.capacity = peer->bench->scratch_bytes;
        if (!post_step_write(peer, &out) || !keep_body(peer, &out)) {
            post_unsecure(peer);
            post_undone(peer);
            post_wait(peer, peer->runtime->options.http_backoff_ms);
            return;
        }
    } else if (!write_request(peer, message, number, &out)) {
        return;
    }
    submit(peer, out.len);
}

/* The next step of a handshake: its turn is the first one's. */
void post_step_go(struct peer *peer)
{
    struct json_out out = {.buffer = peer->bench->scratch,
                           .capacity = peer->bench->scratch_bytes};

    if (post_step_write(peer, &out) && keep_body(peer, &out))
        submit(peer, out.len);
    else
        post_step_failed(peer, true, "out of memory");
}

bool post_apart(struct peer *peer, const struct json_out *out)
{
    if (!keep_body(peer, out))
        return false;
    peer->post.kind = POST_APART;
    peer->post.batch = false;
    submit(peer, out->len);
    return true;
}
