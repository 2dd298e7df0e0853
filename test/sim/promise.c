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
#include "test/sim/sim.h"

#define MESSAGES_MAX 4096
#define STREAMS_MAX  512
#define LIVES_MAX    64
#define SLACK_NS     (10 * NS_PER_MS)
#define MARK         "\"m\":"

enum plan {
    PLAN_ACCEPT,
    PLAN_REJECT,
    PLAN_LATER,
    PLAN_LATER_REJECT,
    PLAN_STALL, /* until all is well again */
    PLAN_NEVER, /* answers; what comes after it is delivered all the same */
};

/* Messages of one poster to one peer. */
struct stream {
    struct process *process;
    unsigned to;
    parley_peer peer;
    bool removed;
    unsigned life; /* of the receiver, in which … */
    uint32_t last; /* … this one ran last */
    uint64_t accepted;
    uint64_t outcomes[PARLEY_CANCELLED + 1];
    bool writable_owed;
    uint64_t http_failures;
};

struct message_entry {
    struct stream *stream;
    enum plan plan;
    uint32_t delay_ms;
    uint64_t deadline_ns, result_ns;
    parley_hint hint;
    parley_outcome outcome;
    bool probe, accepted, refused, refused_between, doubled, lost_with_sender;
    bool oldest_form; /* was sent without a number, to what seemed to be an older peer */
    bool twice;       /* and so ran again */
    unsigned results, runs, run_life;
    parley_token token;
};

static struct message_entry messages[MESSAGES_MAX];
static uint32_t messages_len, settled_to;
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
    messages_len = settled_to = 0;
    streams_len = 0;
    memset(deaths, 0, sizeof(deaths));
}

/* ---- Messages in texts ---- */

/* The next message named in a text from `*at` on. */
static struct message_entry *next_named(const char **at, const char *end)
{
    while ((size_t)(end - *at) > sizeof(MARK)) {
        const char *found = memmem(*at, (size_t)(end - *at), MARK, sizeof(MARK) - 1);
        uint32_t number;

        if (found == NULL)
            return NULL;
        *at = found + sizeof(MARK) - 1;
        number = (uint32_t)strtoul(*at, NULL, 10);
        if (number >= messages_len)
            promise_broken("message %u was never posted", number);
        return &messages[number];
    }
    return NULL;
}

static uint32_t number_of(const struct message_entry *message)
{
    return (uint32_t)(message - messages);
}

void promise_sent(const struct process *process, const char *text, size_t len)
{
    const char *at = text;
    struct message_entry *message;

    while ((message = next_named(&at, text + len)) != NULL) {
        if (memmem(text, len, "\"version\":\"0.3\"", 15) != NULL)
            message->oldest_form = true;
        if (message->stream->process == process && message->results > 0)
            promise_broken("message %u is sent after its result: %s", number_of(message),
                           parley_outcome_name(message->outcome));
    }
}

void promise_doubled(const char *text, size_t len)
{
    const char *at = text;
    struct message_entry *message;

    while ((message = next_named(&at, text + len)) != NULL)
        message->doubled = true;
}

/* Of several in one request none is refused for good. */
void promise_refused(const char *text, size_t len)
{
    const char *at = text;
    struct message_entry *message = next_named(&at, text + len);

    if (message != NULL && next_named(&at, text + len) == NULL)
        message->refused_between = true;
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

static void on_result(const parley_result *result, void *user)
{
    struct message_entry *message = user;
    struct stream *stream = message->stream;
    uint32_t number = number_of(message);

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
    switch (result->outcome) {
    case PARLEY_DELIVERED:
        if (!message->accepted)
            promise_broken("message %u is delivered, but no handler took it", number);
        break;
    case PARLEY_SENT:
        if (sim.setup.pairs[stream->process->node->index][stream->to].dialect ==
            PARLEY_DIALECT_PARLEY)
            promise_broken("message %u to a parley is only sent", number);
        break;
    case PARLEY_REJECTED:
        if (!message->refused && !message->refused_between)
            promise_broken("message %u is rejected (%s), but nobody refused it", number,
                           result->detail);
        break;
    case PARLEY_EXHAUSTED:
        if (stream->http_failures == 0 && message->hint != PARLEY_HINT_HTTP)
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
        result->outcome != PARLEY_SENT && !sim.nodes[stream->to].refused_without_memory)
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
    else if (kind < 200 && sim.setup.later && by_websocket_only(message->stream))
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

bool promise_post(const struct posting *post)
{
    struct process *process = sim.nodes[post->from].process;
    struct message_entry *message = &messages[messages_len];
    char payload[4096];
    parley_message source;
    parley_status status;
    int len;

    if (process == NULL || process->runtime == NULL || process->peers[post->to].value == 0 ||
        messages_len == MESSAGES_MAX)
        return false;
    memset(message, 0, sizeof(*message));
    message->stream = stream_to(process, post->to);
    if (message->stream == NULL)
        return false;
    message->hint = post->hint;
    message->probe = post->probe;
    if (!post->probe)
        plan_message(message, post->plan);
    else if (sim.setup.later)
        message->plan = PLAN_LATER; /* its answer comes when nothing else is under way */
    message->deadline_ns =
        sim.now_ns +
        (post->ttl_ms != 0 ? post->ttl_ms : sim.setup.pairs[post->from][post->to].ttl_ms) *
            NS_PER_MS;
    len = snprintf(payload, sizeof(payload), "{" MARK "%u,\"p\":\"%0*d\"}", messages_len,
                   (int)post->bytes, 0);
    parley_message_init(&source, "sim", payload, (size_t)len);
    source.ttl_ms = post->ttl_ms;
    source.hint = post->hint;
    messages_len++;
    status = parley_send(process->runtime, process->peers[post->to], &source, on_result,
                         message, NULL);
    sim_trace("%s: posts message %u to n%u: %s", process->node->id, number_of(message),
              post->to, parley_status_name(status));
    if (status == PARLEY_OK) {
        message->stream->accepted++;
        tally->posted++;
        return true;
    }
    messages_len--;
    if (status == PARLEY_ENOMEM && process->node->memory_fails_until > sim.now_ns)
        return false;
    if (status != PARLEY_EAGAIN)
        promise_broken("parley_send: %s", parley_strerror(status));
    fault_count(FAULT_FULL);
    message->stream->writable_owed = true;
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

/* A refusal there is no memory to remember leaves its message unanswered, and with it, over
 * HTTP, the request it came in. */
static void note_refusal(const struct message_entry *message, struct host *node)
{
    if ((message->plan == PLAN_REJECT || message->plan == PLAN_LATER_REJECT) &&
        node->memory_fails_until > sim.now_ns)
        node->refused_without_memory = true;
}

static void finish(struct message_entry *message, parley_status status)
{
    struct process *process = sim.nodes[message->stream->to].process;

    if (process == NULL || process->runtime == NULL || process->life != message->run_life)
        return; /* the token died with its process */
    note_refusal(message, process->node);
    if (parley_message_finish(process->runtime, message->token, status, "later refused") !=
        PARLEY_OK)
        return;
    sim_trace("%s: finishes message %u: %s", process->node->id, number_of(message),
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
    for (uint32_t i = 0; i < messages_len; i++) {
        if (messages[i].token.session != 0)
            on_finish(&messages[i], messages[i].run_life);
    }
}

/* Runs follow the order of posts, and in one life of the receiver a message runs once; unless
 * it seemed to be an older peer: that one is told no number, and the result says so. */
static void check_order(struct message_entry *message, const struct process *process)
{
    struct stream *stream = message->stream;
    uint32_t number = number_of(message);

    if (message->oldest_form) {
        message->twice = message->twice || message->runs > 0;
        return;
    }
    if (message->runs > 0 && message->run_life == process->life)
        promise_broken("message %u runs twice in one life of %s", number, process->node->id);
    if (stream->life == process->life && number <= stream->last)
        promise_broken("message %u runs after message %u", number, stream->last);
    stream->life = process->life;
    stream->last = number;
}

/* The receiver has died since the first run. */
static void check_second_run(const struct message_entry *message,
                             const parley_incoming *incoming)
{
    uint64_t died_ns = deaths[message->stream->to][message->run_life];

    tally->second_runs++;
    if (message->results > 0 && message->result_ns < died_ns)
        promise_broken("message %u runs again, but was not in flight when its receiver died",
                       number_of(message));
    if (!incoming->redelivered && !message->doubled)
        promise_broken("message %u runs again without being marked", number_of(message));
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
    const char *at = incoming->payload;
    struct message_entry *message = next_named(&at, incoming->payload + incoming->payload_len);

    assert(worker_entered() != NULL);
    if (message == NULL)
        promise_broken("an unknown message arrives");
    if (message->stream->to != process->node->index ||
        strcmp(incoming->sender, message->stream->process->node->id) != 0)
        promise_broken("message %u arrives at the wrong node", number_of(message));
    sim_trace("%s: handles message %u%s", process->node->id, number_of(message),
              incoming->redelivered ? ", redelivered" : "");
    check_order(message, process);
    if (message->runs > 0 && !message->oldest_form)
        check_second_run(message, incoming);
    message->runs++;
    message->run_life = process->life;
    message->token.session = 0;
    tally->runs++;
    note_refusal(message, process->node);
    if (message->plan == PLAN_REJECT) {
        fault_count(FAULT_REJECTED);
        message->refused = true;
        snprintf(detail, PARLEY_DETAIL_MAX, "refused %u", number_of(message));
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
    for (uint32_t i = 0; i < messages_len; i++) {
        struct message_entry *message = &messages[i];

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

static uint64_t few(uint64_t count)
{
    return count < 3 ? count : 3;
}

static uint64_t mixed(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15) >> 7;
}

static uint64_t state_of_peer(const struct peer *peer)
{
    const struct link *link = &peer->link;
    const struct post *post = &peer->post;
    uint64_t bits =
        (uint64_t)link->state | (uint64_t)peer->delivery.route << 4 |
        few(peer->delivery.outstanding) << 6 | few(peer->delivery.counts.pending) << 8 |
        few(post->failures) << 10 | few(link->backoff.failures) << 12 |
        (uint64_t)peer->preference << 14 | (uint64_t)post->busy << 16 |
        (uint64_t)post->parley << 17 | (uint64_t)post->single << 18 |
        (uint64_t)link->suspect << 19 | (uint64_t)(link->carrier != NULL) << 20 |
        (uint64_t)(link->inbound != NULL) << 21 | (uint64_t)peer->closing << 22 |
        (uint64_t)peer->healthy << 23 | (uint64_t)(link->grace_until_ns != CLOCK_NEVER) << 24 |
        (uint64_t)(post->next_ns != CLOCK_NEVER) << 25 | (uint64_t)link->redial << 26 |
        (uint64_t)(link->pinged_ns != 0) << 27;

    return mixed(UINT64_C(0xcbf29ce484222325), bits);
}

static uint64_t state_of_session(const struct session *session)
{
    const struct receive *receive = &session->receive;
    uint64_t bits = few(receive->watermark - receive->ack_seq) |
                    few(receive->rejected_len) << 2 | (uint64_t)receive->known << 4 |
                    (uint64_t)(session->connection != NULL) << 5 |
                    (uint64_t)(session->waiting != NULL) << 6 | 1u << 7;

    return mixed(UINT64_C(0x84222325cbf29ce4), bits);
}

static void reach(uint64_t state)
{
    uint64_t bit = mixed(state, 1) & ((1u << STATES_BITS) - 1);

    tally->reached[bit / 8] |= (uint8_t)(1u << bit % 8);
}

static void check_lateness(void)
{
    uint64_t slack_ns = SLACK_NS + sim.paused_ns;

    for (uint32_t i = settled_to; i < messages_len; i++) {
        const struct message_entry *message = &messages[i];

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
    uint64_t state = 0;

    if (bench == NULL)
        return;
    for (const struct peer *peer = bench->peers; peer != NULL; peer = peer->next) {
        delivery_check(&peer->delivery);
        state += state_of_peer(peer);
    }
    for (const struct session *session = bench->sessions; session != NULL;
         session = session->next) {
        receive_check(&session->receive);
        state += state_of_session(session);
    }
    reach(state);
    check_lateness();
}

/* ---- At the end ---- */

bool promise_settled(void)
{
    for (uint32_t i = settled_to; i < messages_len; i++) {
        if (messages[i].results == 0 && !messages[i].lost_with_sender)
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
}
