/* SPDX-License-Identifier: Apache-2.0
 *
 * What a session tells: acknowledgements, greetings, and the answers to requests, at once
 * or when late handlers have answered.
 */
#include <stdio.h>
#include <string.h>

#include "peers/connection.h"
#include "peers/secure.h"
#include "peers/session.h"
#include "runtime/clock.h"

#define REJECTIONS_TOLD 32 /* in one acknowledgement; the next one tells the rest */

static size_t rejections(const struct session *session, size_t from,
                         struct wire_rejection *told)
{
    const struct receive *receive = &session->receive;
    size_t count = 0;

    while (count < REJECTIONS_TOLD && from + count < receive->rejected_len) {
        told[count].number = receive->rejected[from + count].number;
        told[count].detail = receive->rejected[from + count].detail;
        count++;
    }
    return count;
}

/* An acknowledgement must name every rejection it covers, unless one before it on the same
 * connection did: with more than fit, it covers less. */
static uint64_t covered(const struct session *session, size_t next)
{
    const struct receive *receive = &session->receive;
    uint64_t acked = receive_acked(receive);

    if (next == receive->rejected_len || receive->rejected[next].number > acked)
        return acked;
    return receive->rejected[next].number - 1;
}

size_t session_write_ack(const struct session *session, size_t from, struct json_out *out)
{
    struct wire_rejection told[REJECTIONS_TOLD];
    size_t count = rejections(session, from, told);
    size_t start = out->len;

    for (;;) {
        ack_write(out, session->session_id, covered(session, from + count), told, count);
        if (!out->overflow || count == 0)
            break;
        out->len = start;
        out->overflow = false;
        count /= 2;
    }
    return from + count < session->receive.rejected_len && count > 0 ? from + count : 0;
}

void session_write_greeting(struct parley *runtime, const struct session *session,
                            struct json_out *out)
{
    const parley_options *options = &runtime->options;
    struct wire_rejection told[REJECTIONS_TOLD];
    struct greeting greeting = {
        .parley = options->parley_protocol,
        .handshakes = secure_offered(runtime),
        .max_message_bytes = options->message_bytes_max,
        .max_batch_bytes = options->batch_bytes_max,
        .max_in_flight = options->in_flight_max,
    };
    size_t count = 0;

    snprintf(greeting.entity_id, sizeof(greeting.entity_id), "%s", runtime->node_id);
    if (session != NULL) {
        count = rejections(session, 0, told);
        snprintf(greeting.peer_session_id, sizeof(greeting.peer_session_id), "%s",
                 session->session_id);
        greeting.last_seq_known = session->receive.known;
        greeting.last_seq = covered(session, count);
    }
    greeting_write_connected(out, &greeting, told, count, clock_wall_us());
}

/* ---- Answers ---- */

void session_set_answer(struct inbound_request *request, unsigned code,
                        const struct json_out *out)
{
    const struct alloc *alloc = &request->session->runtime->alloc;

    alloc_free(alloc, request->text);
    request->text = alloc_bytes(alloc, out->len + 1);
    request->len = request->text != NULL ? out->len : 0;
    request->code = code;
    if (request->text != NULL)
        memcpy(request->text, out->buffer, out->len);
}

struct json_out session_scratch(const struct session *session)
{
    return (struct json_out){.buffer = session->bench->scratch,
                             .capacity = session->bench->scratch_bytes};
}

void session_answer_detail(struct inbound_request *request, unsigned code, const char *detail)
{
    struct json_out out = session_scratch(request->session);

    if (request->kind == INBOUND_SINGLE)
        json_put_text(&out, detail);
    else
        detail_write(&out, detail);
    session_set_answer(request, code, &out);
}

void session_answer_ack(struct inbound_request *request, unsigned code)
{
    struct json_out out = session_scratch(request->session);

    session_write_ack(request->session, 0, &out);
    session_set_answer(request, code, &out);
}

void session_answer_limited(struct inbound_request *request, uint64_t at_ns)
{
    uint64_t now_ns = worker_now_ns(request->session->bench->worker);

    request->retry_after_s = limit_wait_s(now_ns, at_ns);
    session_answer_detail(request, 429, "rate_limited");
}

/* The older service says what kind of refusal it is. */
static void answer_rejection(struct inbound_request *request, const char *detail)
{
    bool old = request->old_form || request->kind == INBOUND_SINGLE;
    char text[sizeof(HANDLER_ERROR) + PARLEY_DETAIL_MAX];

    snprintf(text, sizeof(text), "%s%s", old ? HANDLER_ERROR : "", detail);
    session_answer_detail(request, 400, text);
}

void session_answer_received(struct inbound_request *request)
{
    struct json_out out = session_scratch(request->session);

    if (request->kind == INBOUND_SINGLE) { /* the connection knows in which words to say it */
        alloc_free(&request->session->runtime->alloc, request->text);
        request->text = NULL;
        request->code = 200;
        return;
    }
    received_write(&out, request->session->runtime->node_id,
                   request->evidence != EVIDENCE_NONE);
    session_set_answer(request, 200, &out);
}

static void answer_message(struct inbound_request *request)
{
    const char *rejected = receive_rejection(&request->session->receive, request->until);

    if (rejected != NULL)
        answer_rejection(request, rejected);
    else
        session_answer_received(request);
}

/* A single message waits for its own outcome only, a batch for everything up to its last. */
static bool answered(const struct inbound_request *request)
{
    const struct receive *receive = &request->session->receive;

    return request->kind == INBOUND_BATCH ? receive_acked(receive) >= request->until
                                          : receive_answered(receive, request->until);
}

/* @return false: handlers have not answered yet; the request waits */
static bool answer_when_done(struct inbound_request *request)
{
    if (!answered(request))
        return false;
    if (request->kind == INBOUND_BATCH)
        session_answer_ack(request, 200);
    else
        answer_message(request);
    return true;
}

bool session_answer_or_wait(struct inbound_request *request)
{
    struct session *session = request->session;

    if (answer_when_done(request))
        return true;
    request->since_ns = worker_now_ns(session->bench->worker);
    request->next = session->waiting;
    session->waiting = request;
    return false;
}

static void send_back(struct inbound_request *request, struct bench *here)
{
    if (request->origin == here)
        inbound_answer(request);
    else
        actor_post_control(&request->origin->actor, &request->control.node);
}

void session_progress(struct session *session)
{
    struct inbound_request **at = &session->waiting;

    while (*at != NULL) {
        struct inbound_request *request = *at;

        if (!answer_when_done(request)) {
            at = &request->next;
            continue;
        }
        *at = request->next;
        send_back(request, session->bench);
    }
    if (session->connection != NULL)
        session->ack_owed = !connection_acknowledge(session->connection, session);
}

/* ---- Sweeping ---- */

/* A frame waits as long as its connection is there. */
static bool late(const struct inbound_request *request, uint64_t now_ns)
{
    uint64_t patience_ms = request->session->runtime->options.http_timeout_ms / 2;

    if (request->kind == INBOUND_SINGLE) /* relaxed: see connection_left() */
        return atomic_load_explicit(&request->connection->gone, memory_order_relaxed);
    return now_ns - request->since_ns >= patience_ms * NS_PER_MS;
}

void session_answer_late(struct session *session, uint64_t now_ns, bool closing)
{
    struct inbound_request **at = &session->waiting;

    while (*at != NULL) {
        struct inbound_request *request = *at;

        if (!closing && !late(request, now_ns)) {
            at = &request->next;
            continue;
        }
        *at = request->next;
        if (request->kind != INBOUND_BATCH)
            session_answer_detail(request, 503, "the handler has not answered yet");
        else
            session_answer_ack(request, 200);
        send_back(request, session->bench);
    }
}
