/* SPDX-License-Identifier: Apache-2.0
 *
 * The peer's HTTP side: one request at a time, in order. A peer that has said it is a
 * parley takes batches at /messages; to any other each envelope goes to /message by
 * itself. The HTTP worker carries the request and posts the call back as a control message.
 *
 * What an answer means is one table, judge(); what follows from it is post_done().
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "peers/envelope.h"
#include "peers/peer.h"
#include "runtime/clock.h"

enum verdict {
    VERDICT_ACK,       /* the body is an acknowledgement */
    VERDICT_DELIVERED, /* a single envelope was taken */
    VERDICT_REJECTED,  /* final */
    VERDICT_SMALLER,   /* a batch was refused as such: one by one */
    VERDICT_AGAIN,     /* answered, but to be tried again */
    VERDICT_RESEND,    /* it had arrived: a batch brings its outcome */
    VERDICT_NO_ANSWER,
};

parley_status post_init(struct peer *peer)
{
    const struct alloc *alloc = &peer->runtime->alloc;
    char url[URL_PATH_MAX + URL_HOST_MAX + 64];
    struct post *post = &peer->post;

    post->next_ns = CLOCK_NEVER;
    post->parley = peer->dialect == PARLEY_DIALECT_PARLEY;
    post->batch_bytes = peer->runtime->options.batch_bytes_max;
    post->call.reply_to = &peer->actor;
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
    alloc_free(alloc, peer->post.body);
    alloc_free(alloc, peer->post.url_message);
    alloc_free(alloc, peer->post.url_messages);
}

/* ---- The request ---- */

static void write_single(struct peer *peer, struct message *message, uint64_t number,
                         struct json_out *out)
{
    uint8_t nonce[16];
    struct envelope_fields fields;
    char message_id[37];

    peer_fields(peer, message, number, clock_wall_us(), &fields);
    random_bytes(&peer->bench->random, nonce, sizeof(nonce));
    fields.nonce = nonce;
    peer_message_id(peer, number, message_id);
    fields.message_id = message_id;
    assert(fields.payload != NULL); /* nothing is outstanding: the front is never a void */
    envelope_write(out, &fields);
    delivery_take(&peer->delivery, &message->delivery);
    peer->post.last = number;
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
    size_t alone = message->delivery.bytes + FRAME_OVERHEAD;
    size_t most = peer->post.batch_bytes > alone ? peer->post.batch_bytes : alone;

    return most < peer->bench->scratch_bytes ? most : peer->bench->scratch_bytes;
}

static void retry_at(struct peer *peer, uint64_t wait_ms)
{
    uint64_t wait_ns = wait_ms * NS_PER_MS;

    peer->post.next_ns = worker_now_ns(peer->bench->worker) + wait_ns;
}

void post_start(struct peer *peer)
{
    struct post *post = &peer->post;
    struct json_out out = {.buffer = peer->bench->scratch};
    uint64_t number;
    struct message *message = peer_next(peer, ROUTE_HTTP, &number);

    if (message == NULL)
        return;
    out.capacity = body_room(peer, message);
    post->batch = post->parley && peer->runtime->options.parley_protocol;
    post->first = number;
    peer->delivery.recognises = post->parley;
    if (post->batch)
        peer_write_batch(peer, ROUTE_HTTP, post->single ? 1 : UINT32_MAX, &out, &post->last);
    else
        write_single(peer, message, number, &out);
    if (!keep_body(peer, &out)) {
        delivery_lost(&peer->delivery);
        retry_at(peer, peer->runtime->options.http_backoff_ms);
        return;
    }
    http_call_clear(peer->runtime->http, &post->call);
    atomic_store_explicit(&post->call.cancelled, false, memory_order_relaxed); /* not shared */
    post->call.url = post->batch ? post->url_messages : post->url_message;
    post->call.body = post->body;
    post->call.body_len = out.len;
    post->busy = true;
    peer->bench->counts.http_requests++;
    peer->bench->counts.wire_bytes_out += out.len;
    http_worker_submit(peer->runtime->http, &post->call);
}

/* ---- The answer ---- */

static bool scan_response(struct peer *peer, uint32_t record_depth)
{
    const struct http_call *call = &peer->post.call;
    const struct json_limits limits = {.depth_max = JSON_DEPTH_MAX,
                                       .bytes_max = (uint32_t)call->response_len + 1};
    struct json_error error;

    return call->response != NULL &&
           json_scan(&peer->bench->doc, call->response, call->response_len, &limits,
                     record_depth, &error) == PARLEY_OK;
}

static void read_detail(struct peer *peer, char *detail, size_t len)
{
    const struct json_doc *doc = &peer->bench->doc;

    detail[0] = '\0';
    if (scan_response(peer, 1))
        detail_read(doc, doc->items, detail, len);
    if (detail[0] == '\0')
        snprintf(detail, len, "HTTP %u", peer->post.call.code);
}

static bool arrived_before(const struct peer *peer, const char *detail)
{
    const struct delivery_message *front = peer->delivery.front;

    return !peer->post.batch && strcmp(detail, "SEQUENCE_ERROR") == 0 && front != NULL &&
           (front->attempts > 1 || peer->post.call.resent);
}

/* It was a parley and is one no longer, unless it has to be. */
static bool no_batches(const struct peer *peer)
{
    unsigned code = peer->post.call.code;

    return (code == 404 || code == 405) && peer->dialect != PARLEY_DIALECT_PARLEY;
}

static enum verdict judge_client_error(const struct peer *peer, const char *detail)
{
    unsigned code = peer->post.call.code;

    if (code == 408 || code == 429)
        return VERDICT_AGAIN;
    if (code == 400 && strcmp(detail, "rate_limited") == 0)
        return VERDICT_AGAIN;
    if (code == 409 && peer->post.batch)
        return VERDICT_ACK;
    if (peer->post.batch && (peer->post.first != peer->post.last || no_batches(peer)))
        return VERDICT_SMALLER;
    if (!arrived_before(peer, detail))
        return VERDICT_REJECTED;
    return peer->post.parley && peer->runtime->options.parley_protocol ? VERDICT_RESEND
                                                                       : VERDICT_DELIVERED;
}

static enum verdict judge(const struct peer *peer, const char *detail)
{
    const struct http_call *call = &peer->post.call;

    if (call->status != PARLEY_OK)
        return VERDICT_NO_ANSWER;
    if (call->code >= 200 && call->code < 300)
        return peer->post.batch ? VERDICT_ACK : VERDICT_DELIVERED;
    if (call->code >= 400 && call->code < 500)
        return judge_client_error(peer, detail);
    return VERDICT_AGAIN;
}

static bool acknowledge(struct peer *peer)
{
    const struct json_doc *doc = &peer->bench->doc;
    struct envelope_error error;
    struct ack ack;

    if (!scan_response(peer, ACK_RECORD_DEPTH) ||
        ack_read(doc, doc->items, &ack, &error) != PARLEY_OK ||
        strcmp(ack.session_id, peer->session_id) != 0)
        return false;
    peer_acknowledged(peer, doc, ack.ack_seq, ack.rejected);
    return true;
}

/* What the request carried and the answer left open goes out again. */
static void after_answer(struct peer *peer, uint64_t base_before)
{
    struct post *post = &peer->post;

    post->failures = 0;
    peer_alive(peer);
    if (peer->delivery.outstanding == 0)
        return;
    delivery_lost(&peer->delivery);
    if (delivery_base(&peer->delivery) == base_before)
        retry_at(peer, peer->runtime->options.http_backoff_ms);
}

/* Waits, or ends what has used up its attempts. */
static void after_failure(struct peer *peer, bool answered, const char *detail)
{
    const parley_options *options = &peer->runtime->options;
    struct post *post = &peer->post;
    uint64_t wait_ms;

    peer->bench->counts.http_failures++;
    peer_failed(peer);
    post->failures++;
    delivery_lost(&peer->delivery);
    if (answered && post->failures >= options->http_attempts)
        delivery_exhaust(&peer->delivery, options->http_attempts, post->call.code, detail);
    wait_ms = (uint64_t)options->http_backoff_ms
              << (post->failures < 6 ? post->failures - 1 : 5);
    if (post->call.retry_after_s != 0)
        wait_ms = (uint64_t)post->call.retry_after_s * 1000;
    if (wait_ms > options->reconnect_max_ms)
        wait_ms = options->reconnect_max_ms; /* whatever the peer says */
    retry_at(peer, wait_ms);
}

static void learn(struct peer *peer)
{
    const struct http_call *call = &peer->post.call;

    if (call->status != PARLEY_OK || call->parley_version == 0 ||
        peer->dialect == PARLEY_DIALECT_SERVICE || peer->dialect == PARLEY_DIALECT_MANAGER)
        return;
    peer->post.parley = true;
    if (call->parley_batch_bytes >= FRAME_OVERHEAD &&
        call->parley_batch_bytes < peer->runtime->options.batch_bytes_max)
        peer->post.batch_bytes = call->parley_batch_bytes;
}

static void smaller(struct peer *peer)
{
    if (no_batches(peer))
        peer->post.parley = false;
    else
        peer->post.single = true;
    delivery_lost(&peer->delivery);
}

static void act(struct peer *peer, enum verdict verdict, const char *detail)
{
    struct post *post = &peer->post;
    uint64_t base_before = delivery_base(&peer->delivery);

    switch (verdict) {
    case VERDICT_ACK:
        if (acknowledge(peer)) {
            post->single = false;
            after_answer(peer, base_before);
        } else {
            after_failure(peer, true, "malformed acknowledgement");
        }
        break;
    case VERDICT_DELIVERED:
        delivery_ack(&peer->delivery, post->last, NULL, 0);
        after_answer(peer, base_before);
        break;
    case VERDICT_REJECTED:
        delivery_answer(&peer->delivery, post->last, PARLEY_REJECTED, post->call.code, detail);
        post->single = false;
        after_answer(peer, base_before);
        break;
    case VERDICT_SMALLER:
        smaller(peer);
        break;
    case VERDICT_RESEND:
        delivery_lost(&peer->delivery);
        break;
    case VERDICT_AGAIN:
        after_failure(peer, true, detail);
        break;
    case VERDICT_NO_ANSWER:
        after_failure(peer, false, post->call.detail);
        break;
    }
    peer_flush(peer); /* while `detail` is there */
}

void post_done(struct peer *peer)
{
    char detail[PARLEY_DETAIL_MAX];
    struct post *post = &peer->post;

    post->busy = false;
    if (peer->closing || peer->delivery.route != PARLEY_TRANSPORT_HTTP)
        return;
    if (post->call.status == PARLEY_OK && post->call.code >= 400)
        read_detail(peer, detail, sizeof(detail));
    else
        snprintf(detail, sizeof(detail), "%s", post->call.detail);
    learn(peer);
    peer->delivery.recognises = post->parley;
    if (post->call.resent || (post->call.status != PARLEY_OK && !post->call.unsent))
        delivery_doubt(&peer->delivery, post->call.resent);
    act(peer, judge(peer, detail), detail);
}
