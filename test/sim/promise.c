/* SPDX-License-Identifier: Apache-2.0
 *
 * What was promised, and whether it was kept. Every message is in a ledger from its post on:
 * who sent it, what its handler does, in which lives of the receiver it ran, how it ended.
 * Each handler run, each result and each frame is held against it; after every step the
 * cores that were touched check themselves, and nothing unanswered may be past its deadline.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peers/peer.h"
#include "peers/service.h"
#include "peers/session.h"
#include "test/sim/ledger.h"
#include "test/sim/secure.h"

#define STREAMS_MAX 512
#define LIVES_MAX   64

#define DRAIN_SLACK_NS (100 * NS_PER_MS)

static uint32_t settled_to; /* all before it have their results */
static struct stream streams[STREAMS_MAX];
static unsigned streams_len;
static uint64_t deaths[SIM_NODES_MAX][LIVES_MAX];

void promise_broken(const char *format, ...)
{
    va_list arguments;

    tally->broken = true;
    va_start(arguments, format);
    vsnprintf(tally->text, sizeof(tally->text), format, arguments);
    va_end(arguments);
    sim_trace("BROKEN: %s", tally->text);
    fflush(stdout);
    _exit(3);
}

void promise_reset(void)
{
    settled_to = 0;
    ledger_reset();
    transfers_reset();
    streams_len = 0;
    memset(deaths, 0, sizeof(deaths));
}

/* ---- On the way ---- */

void promise_sent(const struct process *process, const char *text, size_t len, enum way way)
{
    struct ledger_text reader = ledger_text(text, len);
    struct ledger_named named;

    while (ledger_next(&reader, &named)) {
        struct message_entry *message = named.message;

        if (memmem(text, len, "\"version\":\"0.3\"", 15) != NULL)
            message->oldest_form = true;
        if (way != WAY_CARRIED && message->stream->process == process && message->results > 0)
            promise_broken("message %u is sent after its result: %s", ledger_number(message),
                           parley_outcome_name(message->outcome));
        if (named.transfer != NULL)
            transfers_sent(process, &named);
    }
}

void promise_doubled(const char *text, size_t len)
{
    struct ledger_text reader = ledger_text(text, len);
    struct ledger_named named;

    while (ledger_next(&reader, &named))
        named.message->doubled = true;
}

/* Of several in one request none is refused for good. */
void promise_refused(const char *text, size_t len)
{
    struct ledger_text reader = ledger_text(text, len);
    struct ledger_named named, another;

    if (ledger_next(&reader, &named) && !ledger_next(&reader, &another))
        named.message->refused_between = true;
}

static struct stream *stream_of(const struct process *process, unsigned to)
{
    for (unsigned i = streams_len; i-- > 0;) {
        struct stream *stream = &streams[i];

        if (stream->process == process && stream->to == to &&
            stream->peer.value == process->peers[to].value)
            return stream;
    }
    return NULL;
}

void promise_http_failed(const struct process *process, unsigned to)
{
    struct stream *stream = stream_of(process, to);

    if (stream != NULL)
        stream->http_failures++;
}

/* ---- Results ---- */

/* Where it cannot be proven who sends, or nobody would believe it, nothing arrives. */
static void check_secured(const struct message_entry *message)
{
    const struct stream *stream = message->stream;

    if (message->outcome == PARLEY_DELIVERED &&
        !secure_may_arrive(stream->process->node->index, stream->to))
        promise_broken("message %u is delivered, but its receiver must not take it",
                       ledger_number(message));
}

static void on_result(const parley_result *result, void *user)
{
    struct message_entry *message = user;
    struct stream *stream = message->stream;
    uint32_t number = ledger_number(message);

    sim_trace("%s: message %u: %s, %s", stream->process->node->id, number,
              parley_outcome_name(result->outcome), result->detail);
    if (message->results++ > 0)
        promise_broken("message %u has a second result: %s after %s", number,
                       parley_outcome_name(result->outcome),
                       parley_outcome_name(message->outcome));
    message->outcome = result->outcome;
    message->result_ns = sim.now_ns;
    stream->outcomes[result->outcome]++;
    tally->outcomes[result->outcome]++;
    if (sim.now_ns > message->deadline_ns + SLACK_NS + sim.paused_ns)
        promise_broken("message %u has its result %.3f s after its deadline", number,
                       (double)(sim.now_ns - message->deadline_ns) / 1e9);
    check_secured(message);
    switch (result->outcome) {
    case PARLEY_DELIVERED:
        if (!message->accepted && !secure_results_forgeable())
            promise_broken("message %u is delivered, but no handler took it", number);
        break;
    case PARLEY_SENT:
        if (sim.setup.pairs[stream->process->node->index][stream->to].dialect ==
            PARLEY_DIALECT_PARLEY)
            promise_broken("message %u to a parley is only sent", number);
        break;
    case PARLEY_REJECTED:
        if (!message->refused && !message->refused_between &&
            !transfers_refused(message, result->detail) &&
            !secure_refused(stream->process->node->index, stream->to, result->detail))
            promise_broken("message %u is rejected (%s), but nobody refused it", number,
                           result->detail);
        break;
    case PARLEY_EXHAUSTED:
        if (stream->http_failures == 0 && message->hint != PARLEY_HINT_HTTP &&
            !secure_refused(stream->process->node->index, stream->to, result->detail))
            promise_broken("message %u is exhausted (%s), but nothing failed", number,
                           result->detail);
        break;
    case PARLEY_EXPIRED:
        fault_count(FAULT_EXPIRED);
        if (sim.now_ns < message->deadline_ns)
            promise_broken("message %u expires before its deadline", number);
        break;
    case PARLEY_CANCELLED:
        if (!stream->removed && stream->process->runtime != NULL)
            promise_broken("message %u is cancelled, but nobody asked for it", number);
        break;
    default:
        promise_broken("message %u: no such outcome: %d", number, (int)result->outcome);
    }
    if (message->twice && !result->maybe_duplicate)
        promise_broken("message %u ran twice, and its result does not say so", number);
    if (message->probe && result->outcome != PARLEY_DELIVERED &&
        result->outcome != PARLEY_SENT)
        promise_broken("message %u, sent when all was well again, is %s (%s)", number,
                       parley_outcome_name(result->outcome), result->detail);
}

/* ---- Posting ---- */

/* Over HTTP the caller's patience may be at an end before the server's. */
static bool by_websocket_only(const struct stream *stream)
{
    return sim.setup.pairs[stream->process->node->index][stream->to].preference ==
           PARLEY_WEBSOCKET_ONLY;
}

/* Nobody closes what an older sender has given up: it stays owed. */
static bool may_owe(const struct message_entry *message)
{
    struct stream *stream = message->stream;

    if (!by_websocket_only(stream))
        return false;
    return !message->older || ++stream->owed < sim.setup.options[stream->to].in_flight_max;
}

static void plan_message(struct message_entry *message, uint32_t drawn)
{
    struct chance chance = {drawn};
    uint32_t kind = chance_below(&chance, 1000);

    message->plan = PLAN_ACCEPT;
    if (kind < 60)
        message->plan = PLAN_REJECT;
    else if (kind < 130 && sim.setup.later)
        message->plan = PLAN_LATER;
    else if (kind < 160 && sim.setup.later)
        message->plan = PLAN_LATER_REJECT;
    else if (kind < 175 && sim.setup.later)
        message->plan = PLAN_STALL;
    else if (kind < 200 && sim.setup.later && may_owe(message))
        message->plan = PLAN_NEVER;
    message->delay_ms = chance_below(&chance, chance_in(&chance, 800) ? 50 : 3000);
}

static struct stream *stream_to(struct process *process, unsigned to)
{
    struct stream *stream = stream_of(process, to);

    if (stream != NULL)
        return stream;
    if (streams_len == STREAMS_MAX)
        return NULL;
    stream = &streams[streams_len++];
    *stream = (struct stream){.process = process, .to = to, .peer = process->peers[to]};
    return stream;
}

/* One of them knows no parley/1, so what arrives may arrive again. */
static bool between_older(unsigned from, unsigned to)
{
    return !sim.setup.options[from].parley_protocol || !sim.setup.options[to].parley_protocol;
}

static void fill_in(struct message_entry *message, const struct posting *post,
                    struct stream *stream)
{
    uint32_t ttl_ms =
        post->ttl_ms != 0 ? post->ttl_ms : sim.setup.pairs[post->from][post->to].ttl_ms;

    message->stream = stream;
    message->hint = post->hint;
    message->probe = post->probe;
    message->in_order = post->in_order;
    message->older = between_older(post->from, post->to);
    message->padding = post->bytes;
    message->deadline_ns = sim.now_ns + ttl_ms * NS_PER_MS;
    if (!post->probe)
        plan_message(message, post->plan);
    else if (sim.setup.later)
        message->plan = PLAN_LATER; /* its answer comes when nothing else is under way */
}

static parley_status send(const struct process *process, struct message_entry *message,
                          const struct posting *post)
{
    uint32_t number = ledger_number(message);
    parley_message source;
    const char *payload;
    size_t len = ledger_payload(number, post->bytes, &payload);
    parley_status status;

    message->payload_len = (uint32_t)len;
    parley_message_init(&source, "sim", payload, len);
    source.ttl_ms = post->ttl_ms;
    source.hint = post->hint;
    source.in_order = post->in_order;
    source.progress = transfers_progress;
    status = parley_send(process->runtime, process->peers[post->to], &source, on_result,
                         message, NULL);
    sim_trace("%s: posts message %u to n%u, %zu bytes%s: %s", process->node->id, number,
              post->to, len, post->in_order ? " in order" : "", parley_status_name(status));
    return status;
}

bool promise_post(const struct posting *post)
{
    struct process *process = sim.nodes[post->from].process;
    struct message_entry *message;
    struct stream *stream;
    parley_status status;

    if (process == NULL || process->runtime == NULL || process->peers[post->to].value == 0)
        return false;
    stream = stream_to(process, post->to);
    message = stream != NULL ? ledger_add() : NULL;
    if (message == NULL)
        return false;
    fill_in(message, post, stream);
    status = send(process, message, post);
    if (status == PARLEY_OK && !process->draining) {
        stream->accepted++;
        tally->posted++;
        return true;
    }
    ledger_drop_last();
    if ((status == PARLEY_ENOMEM && process->node->memory_fails_until > sim.now_ns) ||
        (status == PARLEY_ECLOSED && process->draining))
        return false;
    if (status != PARLEY_EAGAIN)
        promise_broken("parley_send: %s", parley_strerror(status));
    fault_count(FAULT_FULL);
    stream->writable_owed = true;
    return false;
}

void promise_writable(parley_peer peer, void *user)
{
    for (unsigned i = 0; i < streams_len; i++) {
        if (streams[i].process == user && streams[i].peer.value == peer.value)
            streams[i].writable_owed = false;
    }
}

/* ---- Handler runs ---- */

static void finish(struct message_entry *message, parley_status status)
{
    struct process *process = sim.nodes[message->stream->to].process;

    if (process == NULL || process->runtime == NULL || process->life != message->run_life)
        return; /* the token died with its process */
    if (parley_message_finish(process->runtime, message->token, status, "later refused") !=
        PARLEY_OK)
        return;
    sim_trace("%s: finishes message %u: %s", process->node->id, ledger_number(message),
              parley_status_name(status));
    if (status == PARLEY_OK)
        message->accepted = true;
    else
        message->refused = true;
    message->token.session = 0;
}

static void on_finish(void *subject, uint64_t life)
{
    struct message_entry *message = subject;

    if (message->run_life != life || message->token.session == 0 ||
        message->plan == PLAN_NEVER)
        return;
    finish(message, message->plan == PLAN_LATER_REJECT ? PARLEY_EREFUSED : PARLEY_OK);
}

void promise_unstall(void)
{
    for (uint32_t i = 0; i < ledger_len(); i++) {
        struct message_entry *message = ledger_get(i);

        if (message->token.session != 0)
            on_finish(message, message->run_life);
    }
}

/* Runs follow the order of posts, but for long messages, which among themselves do; in one
 * life of the receiver a message runs once; unless it was sent without a number, to what
 * seemed to be an older peer: then the result says so. */
static void check_order(struct message_entry *message, const struct process *process)
{
    struct stream *stream = message->stream;
    uint32_t number = ledger_number(message), before;
    bool overtaken = transfers_may_be_overtaken(message);

    if (message->oldest_form) {
        message->twice = message->twice || message->runs > 0;
        return;
    }
    if (message->runs > 0 && message->run_life == process->life)
        promise_broken("message %u runs twice in one life of %s", number, process->node->id);
    if (stream->life != process->life)
        stream->last = stream->last_long = 0;
    before = overtaken ? stream->last_long : stream->last;
    if (number < before)
        promise_broken("message %u runs after message %u", number, before - 1);
    stream->life = process->life;
    stream->last = number >= stream->last ? number + 1 : stream->last;
    if (message->transfer != NULL)
        stream->last_long = number + 1;
}

/* The receiver has died since the first run. */
static void check_second_run(const struct message_entry *message,
                             const parley_incoming *incoming)
{
    uint64_t died_ns = deaths[message->stream->to][message->run_life];

    tally->second_runs++;
    if (message->results > 0 && message->result_ns < died_ns)
        promise_broken("message %u runs again, but was not in flight when its receiver died",
                       ledger_number(message));
    /* the mark is not among what is signed */
    if (!incoming->redelivered && !message->doubled && !secure_results_forgeable())
        promise_broken("message %u runs again without being marked", ledger_number(message));
}

static parley_verdict answer_later(struct message_entry *message,
                                   const parley_incoming *incoming,
                                   const struct process *process)
{
    uint64_t delay_ms = sim.healed && message->delay_ms > 20 ? 20 : message->delay_ms;
    uint64_t at_ns = sim.now_ns + delay_ms * NS_PER_MS;

    message->token = incoming->token;
    if (process->node->stalls_until > at_ns)
        at_ns = process->node->stalls_until;
    fault_count(message->plan >= PLAN_STALL ? FAULT_STALLED : FAULT_LATER);
    if (message->plan < PLAN_STALL || sim.healed)
        sim_at(at_ns, on_finish, message, process->life);
    return PARLEY_LATER;
}

parley_verdict promise_handle(const parley_incoming *incoming, char *detail, void *user)
{
    struct process *process = user;
    struct ledger_text text = ledger_text(incoming->payload, incoming->payload_len);
    struct ledger_named named;
    struct message_entry *message;

    assert(worker_entered() != NULL);
    if (!ledger_next(&text, &named))
        promise_broken("an unknown message arrives");
    message = named.message;
    if (message->stream->to != process->node->index ||
        strcmp(incoming->sender, message->stream->process->node->id) != 0)
        promise_broken("message %u arrives at the wrong node", ledger_number(message));
    if (!secure_may_arrive(message->stream->process->node->index, process->node->index))
        promise_broken("message %u runs, but %s must not take it", ledger_number(message),
                       process->node->id);
    sim_trace("%s: handles message %u%s", process->node->id, ledger_number(message),
              incoming->redelivered ? ", redelivered" : "");
    transfers_content(message, incoming);
    check_order(message, process);
    if (message->runs > 0 && !message->oldest_form)
        check_second_run(message, incoming);
    message->runs++;
    message->run_life = process->life;
    message->token.session = 0;
    tally->runs++;
    if (message->plan == PLAN_REJECT) {
        fault_count(FAULT_REJECTED);
        message->refused = true;
        snprintf(detail, PARLEY_DETAIL_MAX, "refused %u", ledger_number(message));
        return PARLEY_REJECT;
    }
    if (message->plan != PLAN_ACCEPT)
        return answer_later(message, incoming, process);
    if (process->node->stalls_until > sim.now_ns) {
        fault_count(FAULT_STALLED);
        return answer_later(message, incoming, process);
    }
    message->accepted = true;
    return PARLEY_ACCEPT;
}

/* ---- The ends of processes and peers ---- */

void promise_process_gone(const struct process *process)
{
    if (process->life < LIVES_MAX)
        deaths[process->node->index][process->life] = sim.now_ns;
    transfers_process_gone(process);
    for (uint32_t i = 0; i < ledger_len(); i++) {
        struct message_entry *message = ledger_get(i);

        if (message->stream->process != process || message->results > 0)
            continue;
        if (process->runtime == NULL) /* parley_close() has returned */
            promise_broken("message %u has no result, but its runtime is closed", i);
        message->lost_with_sender = true;
    }
    for (unsigned i = 0; i < streams_len; i++) {
        if (streams[i].process == process)
            streams[i].writable_owed = false;
    }
}

void promise_peer_removed(const struct process *process, unsigned other)
{
    struct stream *stream = stream_of(process, other);

    if (stream != NULL) {
        stream->removed = true;
        stream->writable_owed = false;
    }
}

/* ---- After every step ---- */

static void check_lateness(void)
{
    uint64_t slack_ns = SLACK_NS + sim.paused_ns;

    for (uint32_t i = settled_to; i < ledger_len(); i++) {
        const struct message_entry *message = ledger_get(i);

        if (message->results > 0 || message->lost_with_sender) {
            settled_to += i == settled_to ? 1 : 0;
            continue;
        }
        if (sim.now_ns > message->deadline_ns + slack_ns)
            promise_broken("message %u has no result %.3f s after its deadline", i,
                           (double)(sim.now_ns - message->deadline_ns) / 1e9);
    }
}

void promise_check(struct worker *touched)
{
    const struct bench *bench = worker_get_local(touched, LOCAL_PEERS);

    if (bench == NULL)
        return;
    for (const struct peer *peer = bench->peers; peer != NULL; peer = peer->next)
        delivery_check(&peer->delivery);
    for (const struct session *session = bench->sessions; session != NULL;
         session = session->next)
        receive_check(&session->receive);
    transfers_check(process_of(&bench->runtime->alloc), &bench->runtime->transfers.chunks);
    states_reach(bench);
    check_lateness();
}

/* What parley_drain() says is left. */
void promise_drained(const struct process *process, parley_status status, size_t left,
                     uint64_t until_ns)
{
    size_t without = 0;

    for (uint32_t i = 0; i < ledger_len(); i++) {
        const struct message_entry *message = ledger_get(i);

        without += message->stream->process == process && message->results == 0;
    }
    if (left != without)
        promise_broken("%s: parley_drain() left %zu messages, of which %zu have no result",
                       process->node->id, left, without);
    if (status != (left == 0 ? PARLEY_OK : PARLEY_ETIMEDOUT))
        promise_broken("%s: parley_drain(): %s, %zu left", process->node->id,
                       parley_strerror(status), left);
    if (sim.now_ns > until_ns + DRAIN_SLACK_NS)
        promise_broken("%s: parley_drain() returns %.3f s too late", process->node->id,
                       (double)(sim.now_ns - until_ns) / 1e9);
    if (left > 0 && sim.now_ns < until_ns)
        promise_broken("%s: parley_drain() gives up before its time", process->node->id);
    fault_count(left > 0 ? FAULT_DRAIN_SHORT : FAULT_DRAINED);
}

/* ---- At the end ---- */

bool promise_settled(void)
{
    for (uint32_t i = settled_to; i < ledger_len(); i++) {
        const struct message_entry *message = ledger_get(i);

        if (message->results == 0 && !message->lost_with_sender)
            return false;
    }
    return true;
}

static void check_stream(const struct stream *stream)
{
    parley_stats stats = {.size = sizeof(stats)};
    const uint64_t *had = stream->outcomes;

    if (parley_peer_stats_get(stream->process->runtime, stream->peer, &stats) != PARLEY_OK)
        promise_broken("no statistics of a peer");
    if (stats.accepted != stream->accepted || stats.pending != 0 ||
        stats.delivered != had[PARLEY_DELIVERED] || stats.sent != had[PARLEY_SENT] ||
        stats.rejected != had[PARLEY_REJECTED] || stats.exhausted != had[PARLEY_EXHAUSTED] ||
        stats.expired != had[PARLEY_EXPIRED] || stats.cancelled != had[PARLEY_CANCELLED])
        promise_broken("%s: the counters of n%u do not agree with its results",
                       stream->process->node->id, stream->to);
    if (stream->writable_owed)
        promise_broken("%s was never told that n%u takes messages again",
                       stream->process->node->id, stream->to);
}

static void check_total(const struct process *process)
{
    parley_stats stats = {.size = sizeof(stats)};
    uint64_t accepted = 0;

    for (unsigned i = 0; i < streams_len; i++)
        accepted += streams[i].process == process ? streams[i].accepted : 0;
    if (parley_stats_get(process->runtime, &stats) != PARLEY_OK)
        promise_broken("no statistics");
    if (stats.accepted != accepted || stats.pending != 0 ||
        stats.accepted != stats.delivered + stats.sent + stats.rejected + stats.exhausted +
                              stats.expired + stats.cancelled)
        promise_broken("%s: its counters do not add up", process->node->id);
}

void promise_check_end(void)
{
    for (unsigned i = 0; i < streams_len; i++) {
        const struct process *process = streams[i].process;

        if (sim.nodes[process->node->index].process == process && !streams[i].removed)
            check_stream(&streams[i]);
    }
    for (unsigned i = 0; i < sim.setup.nodes; i++)
        check_total(sim.nodes[i].process);
    transfers_check_end();
}
