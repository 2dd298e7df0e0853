/* SPDX-License-Identifier: Apache-2.0
 *
 * What a peer's answer to a request means is one table, judge(); what follows from it is
 * act(). A failure is tried again after a pause until its attempts are used up. An answer
 * that we send too much is no failure: what it turned away waits, until its deadline if need
 * be. An older peer that answers "1.0" with 500 is asked once more, in "0.3".
 */
#include <stdio.h>
#include <string.h>

#include "peers/envelope.h"
#include "peers/payload.h"
#include "peers/peer.h"
#include "peers/threeway.h"
#include "runtime/clock.h"

/* The longest that a peer may hold us off by Retry-After for sending too much: what the older
 * service blocks a sender for. */
#define LIMITED_MS_MAX 300000

enum verdict {
    VERDICT_ACK,       /* the body is an acknowledgement */
    VERDICT_DELIVERED, /* a single envelope was taken */
    VERDICT_REJECTED,  /* final */
    VERDICT_SMALLER,   /* a batch was refused as such: one by one */
    VERDICT_AGAIN,     /* answered, but to be tried again */
    VERDICT_LIMITED,   /* turned away: later */
    VERDICT_RESEND,    /* it had arrived: a batch brings its outcome */
    VERDICT_OLDER,     /* at once in "0.3" */
    VERDICT_NEWER,     /* at once in "1.0" */
    VERDICT_NO_ANSWER,
    VERDICT_NO_SESSION, /* payloads are encrypted in one that it does not know */
    VERDICT_UNSEALED,   /* the answer to a sealed request: nobody knows whose */
};

static parley_status scan_response(struct peer *peer, uint32_t record_depth)
{
    const struct http_call *call = &peer->post.call;
    const struct json_limits limits = {.depth_max = JSON_DEPTH_MAX,
                                       .bytes_max = (uint32_t)call->response_len + 1};
    struct json_error error;

    if (call->response == NULL)
        return PARLEY_EPROTO;
    return json_scan(&peer->bench->doc, call->response, call->response_len, &limits,
                     record_depth, &error);
}

static void read_detail(struct peer *peer, char *detail, size_t len)
{
    const struct json_doc *doc = &peer->bench->doc;

    detail[0] = '\0';
    if (scan_response(peer, 1) == PARLEY_OK)
        detail_read(doc, doc->items, detail, len);
    if (detail[0] == '\0')
        snprintf(detail, len, "HTTP %u", peer->post.call.code);
}

/* ---- Judging ---- */

/* An older peer knows a single envelope's number already. */
static bool arrived_before(const struct peer *peer, const char *detail)
{
    return !peer->post.batch && strcmp(detail, "SEQUENCE_ERROR") == 0 &&
           (peer->post.maybe_arrived || peer->post.call.resent);
}

/* It was a parley and is one no longer, unless it has to be. */
static bool no_batches(const struct peer *peer)
{
    unsigned code = peer->post.call.code;

    return (code == 404 || code == 405) && peer->dialect != PARLEY_DIALECT_PARLEY;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* It knows "1.0" only: neither our trying "0.3" nor our having stayed with it was right. */
static bool wants_newer(const struct peer *peer, const char *detail)
{
    const struct post *post = &peer->post;

    return !post->batch && post->configured == PARLEY_ENVELOPE_AUTO &&
           post->version != POST_1_0 && post->call.code == 400 &&
           (starts_with(detail, "Unsupported version") ||
            starts_with(detail, "Missing required field"));
}

/* Not what may have arrived in "1.0": a parley behind whatever answered with 500 would not
 * recognise it in "0.3", which has no number, and run it again. */
static bool wants_older(const struct peer *peer)
{
    const struct post *post = &peer->post;

    return !post->batch && !post->maybe_arrived && !post->call.resent && !post->parley &&
           post->configured == PARLEY_ENVELOPE_AUTO && post->version == POST_1_0 &&
           post->call.code == 500 && post->fallback_number != post->last;
}

/* It was started anew, or has forgotten: the message was not run. */
static bool no_session(const struct peer *peer, const char *detail)
{
    return peer->encryption == PARLEY_ENCRYPTION_SESSION && peer->post.call.code == 400 &&
           strcmp(detail, PAYLOAD_REFUSED) == 0 &&
           peer->post.failures + 1 < peer->runtime->options.http_attempts;
}

static enum verdict judge_client_error(const struct peer *peer, const char *detail)
{
    unsigned code = peer->post.call.code;

    if (code == 429 || (code == 400 && strcmp(detail, "rate_limited") == 0))
        return VERDICT_LIMITED;
    if (code == 408)
        return VERDICT_AGAIN;
    if (no_session(peer, detail))
        return VERDICT_NO_SESSION;
    if (code == 409 && peer->post.batch)
        return VERDICT_ACK;
    if (peer->post.batch && (peer->post.first != peer->post.last || no_batches(peer)))
        return VERDICT_SMALLER;
    if (wants_newer(peer, detail))
        return VERDICT_NEWER;
    if (!arrived_before(peer, detail))
        return VERDICT_REJECTED;
    return peer->post.parley && peer->runtime->options.parley_protocol ? VERDICT_RESEND
                                                                       : VERDICT_DELIVERED;
}

static enum verdict judge(const struct peer *peer, const char *detail)
{
    const struct http_call *call = &peer->post.call;

    /* That an envelope was taken, the status line says alone. */
    if (call->code >= 200 && call->code < 300 && !peer->post.batch)
        return VERDICT_DELIVERED;
    if (call->status != PARLEY_OK)
        return VERDICT_NO_ANSWER;
    if (call->code >= 200 && call->code < 300)
        return VERDICT_ACK;
    if (call->code >= 400 && call->code < 500)
        return judge_client_error(peer, detail);
    return wants_older(peer) ? VERDICT_OLDER : VERDICT_AGAIN;
}

static bool is_acknowledgement(struct peer *peer)
{
    const struct json_doc *doc = &peer->bench->doc;
    struct envelope_error error;
    struct ack ack;

    return scan_response(peer, ACK_RECORD_DEPTH) == PARLEY_OK &&
           ack_read(doc, doc->items, &ack, &error) == PARLEY_OK;
}

/* The code stands outside of the seal: it only says how soon to come again. */
static enum verdict judge_sealed(struct peer *peer, bool opened, const char *detail)
{
    const struct http_call *call = &peer->post.call;

    if (call->status != PARLEY_OK)
        return VERDICT_NO_ANSWER;
    if (opened && is_acknowledgement(peer))
        return VERDICT_ACK;
    if (call->code == 429)
        return VERDICT_LIMITED;
    if (call->code >= 500)
        return VERDICT_AGAIN;
    return opened ? judge_client_error(peer, detail) : VERDICT_UNSEALED;
}

/* ---- Acting ---- */

/* @return PARLEY_EPROTO: it is no acknowledgement of ours, or of more than was ever sent */
static parley_status acknowledge(struct peer *peer)
{
    const struct json_doc *doc = &peer->bench->doc;
    parley_status status = scan_response(peer, ACK_RECORD_DEPTH);
    struct envelope_error error;
    struct ack ack;

    if (status != PARLEY_OK)
        return status;
    if (ack_read(doc, doc->items, &ack, &error) != PARLEY_OK ||
        strcmp(ack.session_id, peer->session_id) != 0 ||
        ack.ack_seq >= peer->delivery.next_number)
        return PARLEY_EPROTO;
    peer_acknowledged(peer, doc, ack.ack_seq, ack.rejected);
    return PARLEY_OK;
}

/* A batch was read, unless it lay beyond a gap; what of it has no outcome may be running. */
static void may_have_run(struct peer *peer)
{
    if (peer->post.call.code != 409)
        delivery_doubt(&peer->delivery, false);
}

/* What the request carried and the answer left open goes out again. */
static void after_answer(struct peer *peer, uint64_t base_before)
{
    struct post *post = &peer->post;

    post->failures = post->limited = 0;
    post_succeeded(peer);
    if (post->version == POST_TRY_0_3)
        post->version = POST_0_3; /* it was taken, or refused for a reason of its own */
    peer_alive(peer);
    if (peer->delivery.outstanding == 0)
        return;
    may_have_run(peer);
    delivery_lost(&peer->delivery);
    if (delivery_base(&peer->delivery) == base_before)
        post_wait(peer, peer->runtime->options.http_backoff_ms);
}

/* Waits, or ends what has used up its attempts. */
static void after_failure(struct peer *peer, bool answered, const char *detail)
{
    const parley_options *options = &peer->runtime->options;
    struct post *post = &peer->post;
    uint64_t wait_ms;

    peer->bench->counts.http_failures++;
    peer_failed(peer);
    peer_report_state(peer, detail);
    post_failed(peer);
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
    post_wait(peer, wait_ms);
}

static void after_acknowledgement(struct peer *peer, parley_status status,
                                  uint64_t base_before)
{
    if (status == PARLEY_OK) {
        peer->post.single = false;
        after_answer(peer, base_before);
        return;
    }
    may_have_run(peer);
    if (status != PARLEY_ENOMEM) {
        after_failure(peer, true, "malformed acknowledgement");
        return;
    }
    delivery_untry(&peer->delivery); /* ours to read again, and no failure of the peer's */
    delivery_lost(&peer->delivery);
    post_wait(peer, peer->runtime->options.http_backoff_ms);
}

/* It answers, so it is well. */
static void after_limit(struct peer *peer)
{
    struct post *post = &peer->post;
    uint64_t wait_ms = post->pace.interval_ns / NS_PER_MS;
    uint64_t most_ms = peer->runtime->options.reconnect_max_ms;

    wait_ms <<= post->limited < 8 ? post->limited : 8;
    post->limited++;
    if (post->call.retry_after_s != 0) {
        wait_ms = (uint64_t)post->call.retry_after_s * 1000;
        most_ms = most_ms > LIMITED_MS_MAX ? most_ms : LIMITED_MS_MAX;
    }
    peer_alive(peer);
    post_succeeded(peer);
    delivery_untry(&peer->delivery);
    delivery_lost(&peer->delivery);
    post_wait(peer, wait_ms < most_ms ? wait_ms : most_ms);
    pace_hold(&post->pace, post->next_ns);
}

/* The same message at once; both forms together are one attempt. */
static void other_version(struct peer *peer, enum post_version version)
{
    post_undone(peer); /* what comes next will tell */
    peer->post.version = version;
    if (version == POST_TRY_0_3)
        peer->post.fallback_number = peer->post.last;
    delivery_untry(&peer->delivery);
    delivery_lost(&peer->delivery);
}

void post_learn(struct peer *peer)
{
    const struct http_call *call = &peer->post.call;

    if (call->status == PARLEY_OK) {
        peer->post.answered = true;
        delivery_answered(&peer->delivery, call->code);
    }
    if (call->status == PARLEY_OK && call->parley_version != 0 && !post_seals(peer)) {
        post_parley(peer, call->parley_batch_bytes);
        if (call->parley_message_bytes != 0)
            peer->link.message_bytes = call->parley_message_bytes;
    }
}

static void smaller(struct peer *peer)
{
    post_succeeded(peer);
    if (no_batches(peer))
        peer->post.parley = false;
    else
        peer->post.single = true;
    delivery_lost(&peer->delivery);
}

/* A new session, after a pause. The messages wait as long as their deadlines let them. */
static void after_unsealed(struct peer *peer)
{
    may_have_run(peer);
    post_unsecure(peer);
    post_undone(peer);
    delivery_untry(&peer->delivery);
    delivery_lost(&peer->delivery);
    post_wait(peer, peer->runtime->options.http_backoff_ms);
}

/* Again in another one, so often as anything is tried. */
static void after_no_session(struct peer *peer)
{
    threeway_forget(peer);
    peer->post.failures++;
    peer_alive(peer);
    post_succeeded(peer);
    delivery_lost(&peer->delivery);
    post_wait(peer, peer->runtime->options.http_backoff_ms);
}

void post_step_failed(struct peer *peer, bool answered, const char *detail)
{
    after_failure(peer, answered, detail);
    peer_flush(peer);
}

static void act(struct peer *peer, enum verdict verdict, const char *detail)
{
    struct post *post = &peer->post;
    uint64_t base_before = delivery_base(&peer->delivery);

    switch (verdict) {
    case VERDICT_ACK:
        after_acknowledgement(peer, acknowledge(peer), base_before);
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
        post_succeeded(peer);
        delivery_lost(&peer->delivery);
        break;
    case VERDICT_AGAIN:
        if (post->version == POST_TRY_0_3 && post->call.code >= 500)
            post->version = POST_1_0; /* that was not the reason */
        after_failure(peer, true, detail);
        break;
    case VERDICT_LIMITED:
        after_limit(peer);
        break;
    case VERDICT_OLDER:
        other_version(peer, POST_TRY_0_3);
        break;
    case VERDICT_NEWER:
        other_version(peer, POST_1_0);
        break;
    case VERDICT_NO_ANSWER:
        after_failure(peer, false, post->call.detail);
        break;
    case VERDICT_NO_SESSION:
        after_no_session(peer);
        break;
    case VERDICT_UNSEALED:
        after_unsealed(peer);
        break;
    }
    peer_flush(peer); /* while `detail` is there */
}

/* What the next answers will be judged by. */
static void remember(struct peer *peer, enum verdict verdict)
{
    struct post *post = &peer->post;
    const struct http_call *call = &post->call;
    bool unanswered = call->status != PARLEY_OK && !call->unsent;

    if (call->status != PARLEY_OK && call->unsent && post->turn_taken)
        pace_return(&post->pace);
    /* Only the answer says whom this went to; sent twice by itself, just the second time. */
    if (call->status == PARLEY_OK && call->parley_version != 0 && !call->resent)
        peer->delivery.recognises = post->parley;
    if (post->unnumbered)
        peer->delivery.recognises = false;
    if (!call->resent && !unanswered && (call->status != PARLEY_OK || call->code < 500))
        return;
    post->maybe_arrived = true;
    /* The older service fails so before it runs anything; who took it before, nobody knows. */
    if (verdict != VERDICT_OLDER || call->resent)
        delivery_doubt(&peer->delivery, call->resent);
}

const char *post_reason(struct peer *peer, char *buffer, size_t len)
{
    const struct http_call *call = &peer->post.call;

    if (call->status != PARLEY_OK || call->code < 300) {
        snprintf(buffer, len, "%s", call->detail);
        return buffer;
    }
    read_detail(peer, buffer, len);
    /* A parley's first answer says it in the older form, all others as its handler did. */
    if (call->parley_version != 0 && starts_with(buffer, HANDLER_ERROR))
        return buffer + strlen(HANDLER_ERROR);
    return buffer;
}

void post_done(struct peer *peer)
{
    char buffer[PARLEY_DETAIL_MAX];
    struct post *post = &peer->post;
    enum verdict verdict;
    const char *detail;
    bool opened;

    post->busy = false;
    if (post->kind == POST_APART && !peer->closing) {
        if (post->call.status != PARLEY_OK && post->call.unsent && post->turn_taken)
            pace_return(&post->pace);
        threeway_posted(peer);
        return;
    }
    if (peer->closing || peer->delivery.route != PARLEY_TRANSPORT_HTTP) {
        post_undone(peer);
        return;
    }
    if (post->kind == POST_STEP) {
        post_stepped(peer);
        return;
    }
    opened = post->kind == POST_SEALED && post_unseal(peer);
    detail = post_reason(peer, buffer, sizeof(buffer));
    post_learn(peer);
    verdict =
        post->kind == POST_SEALED ? judge_sealed(peer, opened, detail) : judge(peer, detail);
    remember(peer, verdict);
    act(peer, verdict, detail);
}
