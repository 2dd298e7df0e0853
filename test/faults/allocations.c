/* SPDX-License-Identifier: Apache-2.0
 *
 * The k-th allocation fails, for k = 1, 2, … until a scenario passes without reaching it:
 * once alone, once with the nineteen that follow. Two runtimes of this process, each with
 * an allocator of its own, so that either can run short. Afterwards memory is back: the
 * next message must be delivered, every message has one result, and nothing is leaked.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/faults/faults.h"
#include "test/faults/short_memory.h"

#define MESSAGES_MAX   256
#define RESULT_WAIT_NS (UINT64_C(25) * 1000 * 1000 * 1000)
#define CASES_MAX      3000 /* of one scenario: it does not end by itself otherwise */
#define PAYLOAD_BYTES  1500
#define TTL_MS         4000 /* nothing may be stuck for so long */

enum side { SENDER, RECEIVER };

struct note {
    struct stage *stage;
    _Atomic(uint8_t) results, outcome, runs;
    bool accepted;
    char kind;
};

struct stage {
    struct row *row;
    const struct scenario *scenario;
    int64_t k;
    struct short_memory memory[2];
    parley_allocator allocators[2];
    parley *node[2];
    parley_peer peer;
    struct note notes[MESSAGES_MAX];
    uint32_t posted;
    uint64_t accepted;
    _Atomic(uint64_t) results, pongs, later_len;
    parley_token later[MESSAGES_MAX];
};

struct scenario {
    const char *name;
    enum side side; /* whose memory runs short */
    bool older;     /* the sender speaks the older dialects only */
    bool connected; /* before memory runs short */
    parley_preference preference;
    void (*act)(struct stage *stage); /* NULL: parley_open() is what runs short */
};

static void say(struct stage *stage, const char *what)
{
    stage->row->wrong++;
    row_say(stage->row, "%s: allocation %lld and %lld more: %s", stage->scenario->name,
            (long long)stage->k, (long long)stage->memory[stage->scenario->side].fails - 1,
            what);
}

/* A call that may run short. @return whether it succeeded */
static bool fair(struct stage *stage, parley_status status, const char *call)
{
    if (status != PARLEY_OK && status != PARLEY_ENOMEM) {
        say(stage, call);
        say(stage, parley_status_name(status));
    }
    return status == PARLEY_OK;
}

/* ---- the two nodes ---- */

static void on_result(const parley_result *result, void *user)
{
    struct note *note = user;

    atomic_store(&note->outcome, (uint8_t)result->outcome);
    atomic_fetch_add(&note->results, 1);
    atomic_fetch_add(&note->stage->results, 1);
}

static parley_verdict handle(const parley_incoming *message, char *detail, void *user)
{
    struct stage *stage = user;
    char head[32] = "";
    unsigned number;
    char kind;

    memcpy(head, message->payload,
           message->payload_len < sizeof(head) ? message->payload_len : sizeof(head) - 1);
    if (sscanf(head, "{\"k\":\"%c\",\"n\":%u", &kind, &number) != 2 || number >= MESSAGES_MAX)
        return PARLEY_REJECT;
    atomic_fetch_add(&stage->notes[number].runs, 1);
    if (kind == BOOK_LATER) { /* one worker: nobody else writes here */
        uint64_t index = atomic_load(&stage->later_len);
        if (index >= MESSAGES_MAX)
            return PARLEY_REJECT;
        stage->later[index] = message->token;
        atomic_store(&stage->later_len, index + 1);
        return PARLEY_LATER;
    }
    snprintf(detail, PARLEY_DETAIL_MAX, "message %u is not wanted", number);
    return kind == BOOK_REJECT ? PARLEY_REJECT : PARLEY_ACCEPT;
}

static parley_status open_side(struct stage *stage, enum side side)
{
    parley_options options;

    rig_options(&options);
    options.workers = 1;
    options.allocator = &stage->allocators[side];
    options.ack_timeout_ms = 300;
    options.ttl_ms = stage->scenario->older ? TTL_MS / 4 : TTL_MS;
    if (side == SENDER) {
        options.preference = stage->scenario->preference;
        options.parley_protocol = !stage->scenario->older;
    } else {
        options.node_id = "receiver";
        options.listen_host = "127.0.0.1";
        options.on_message = handle;
        options.on_message_user = stage;
    }
    return parley_open(&options, NULL, 0, &stage->node[side]);
}

static parley_status add_peer(struct stage *stage, const char *id, parley_peer *ret_peer)
{
    parley_peer_options options;
    char url[64];

    parley_peer_options_init(&options);
    options.pace = false;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", parley_port(stage->node[RECEIVER]));
    return parley_peer_add(stage->node[SENDER], id, url, &options, ret_peer);
}

/* ---- messages ---- */

static void post(struct stage *stage, char kind)
{
    uint32_t number = stage->posted++;
    struct note *note = &stage->notes[number];
    char payload[PAYLOAD_BYTES + 64];
    parley_message message;

    note->stage = stage;
    note->kind = kind;
    int len = snprintf(payload, sizeof(payload), "{\"k\":\"%c\",\"n\":%u,\"pad\":\"%0*d\"}",
                       kind, number, PAYLOAD_BYTES, 0);
    parley_message_init(&message, "test", payload, (size_t)len);
    note->accepted = fair(
        stage, parley_send(stage->node[SENDER], stage->peer, &message, on_result, note, NULL),
        "parley_send");
    stage->accepted += note->accepted;
}

static void post_many(struct stage *stage, char kind, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        post(stage, kind);
}

static bool await(struct stage *stage, const _Atomic(uint64_t) *counter, uint64_t value,
                  const char *what)
{
    const struct timespec pause = {.tv_nsec = 200000};
    uint64_t until_ns = books_now_ns() + RESULT_WAIT_NS;

    while (atomic_load(counter) < value && books_now_ns() < until_ns)
        nanosleep(&pause, NULL);
    if (atomic_load(counter) >= value)
        return true;
    say(stage, what);
    return false;
}

static bool await_results(struct stage *stage)
{
    return await(stage, &stage->results, stage->accepted, "a result never came");
}

/* ---- scenarios ---- */

static void act_peer_add(struct stage *stage)
{
    parley_peer peer;

    if (fair(stage, add_peer(stage, "second", &peer), "parley_peer_add") &&
        parley_peer_remove(stage->node[SENDER], peer) != PARLEY_OK)
        say(stage, "the peer cannot be removed");
}

static void act_connect(struct stage *stage)
{
    fair(stage, parley_connect(stage->node[SENDER], stage->peer), "parley_connect");
    post_many(stage, BOOK_ACCEPT, 3);
    await_results(stage);
}

static void act_accepted(struct stage *stage)
{
    post_many(stage, BOOK_ACCEPT, 80);
    await_results(stage);
}

static void act_rejected(struct stage *stage)
{
    post_many(stage, BOOK_REJECT, stage->scenario->older ? 6 : 40);
    post_many(stage, BOOK_ACCEPT, 2);
    await_results(stage);
}

static void act_later(struct stage *stage)
{
    const struct timespec pause = {.tv_nsec = 200000};
    uint64_t until_ns = books_now_ns() + RESULT_WAIT_NS, finished = 0;

    post_many(stage, BOOK_LATER, stage->scenario->older ? 6 : 20);
    while (atomic_load(&stage->results) < stage->accepted && books_now_ns() < until_ns) {
        if (finished == atomic_load(&stage->later_len)) {
            nanosleep(&pause, NULL);
            continue;
        }
        parley_status status = parley_message_finish(
            stage->node[RECEIVER], stage->later[finished],
            finished % 3 == 0 ? PARLEY_EREFUSED : PARLEY_OK, "late and not wanted");
        finished += fair(stage, status, "parley_message_finish");
    }
    await_results(stage);
}

static void act_reconnect(struct stage *stage)
{
    for (unsigned i = 0; i < 2; i++) {
        fair(stage, parley_disconnect(stage->node[SENDER], stage->peer), "parley_disconnect");
        post_many(stage, BOOK_ACCEPT, 3);
        post_many(stage, BOOK_REJECT, 1);
        await_results(stage);
    }
}

static void act_remove(struct stage *stage)
{
    post_many(stage, BOOK_ACCEPT, 20);
    if (parley_peer_remove(stage->node[SENDER], stage->peer) != PARLEY_OK)
        say(stage, "the peer cannot be removed");
    stage->peer = (parley_peer){0};
    await_results(stage);
}

static void on_pong(const parley_pong *pong, void *user)
{
    struct stage *stage = user;

    (void)pong;
    atomic_fetch_add(&stage->pongs, 1);
}

static void act_ping(struct stage *stage)
{
    uint64_t asked = 0;

    for (unsigned i = 0; i < 2; i++) {
        asked += fair(stage,
                      parley_ping(stage->node[SENDER], stage->peer, PARLEY_TRANSPORT_WEBSOCKET,
                                  2000, on_pong, stage),
                      "parley_ping");
        asked += fair(stage,
                      parley_ping(stage->node[SENDER], stage->peer, PARLEY_TRANSPORT_HTTP,
                                  2000, on_pong, stage),
                      "parley_ping");
    }
    await(stage, &stage->pongs, asked, "a ping's answer never came");
}

static void act_handler(struct stage *stage)
{
    fair(stage, parley_on_message(stage->node[RECEIVER], "other", handle, stage),
         "parley_on_message");
    post(stage, BOOK_ACCEPT);
    await_results(stage);
}

#define WS   PARLEY_WEBSOCKET_ONLY
#define HTTP PARLEY_HTTP_ONLY
#define AUTO PARLEY_WEBSOCKET_FIRST

static const struct scenario scenarios[] = {
    {"open, sending", SENDER, false, false, AUTO, NULL},
    {"open, listening", RECEIVER, false, false, AUTO, NULL},
    {"peer add", SENDER, false, false, AUTO, act_peer_add},
    {"first connect out", SENDER, false, false, AUTO, act_connect},
    {"first connect in", RECEIVER, false, false, WS, act_connect},
    {"batch out", SENDER, false, true, WS, act_accepted},
    {"batch in", RECEIVER, false, true, WS, act_accepted},
    {"reject out", SENDER, false, true, WS, act_rejected},
    {"reject in", RECEIVER, false, true, WS, act_rejected},
    {"later", RECEIVER, false, true, WS, act_later},
    {"later over HTTP", RECEIVER, false, true, HTTP, act_later},
    {"HTTP out", SENDER, false, true, HTTP, act_accepted},
    {"HTTP in", RECEIVER, false, true, HTTP, act_accepted},
    {"first HTTP in", RECEIVER, false, false, HTTP, act_rejected},
    {"older peer out", SENDER, true, true, WS, act_rejected},
    {"older peer in", RECEIVER, true, true, WS, act_rejected},
    {"first older peer in", RECEIVER, true, false, WS, act_connect},
    {"older peer, later", RECEIVER, true, true, WS, act_later},
    {"older HTTP out", SENDER, true, true, HTTP, act_rejected},
    {"older HTTP in", RECEIVER, true, true, HTTP, act_rejected},
    {"reconnect out", SENDER, false, true, AUTO, act_reconnect},
    {"reconnect in", RECEIVER, false, true, AUTO, act_reconnect},
    {"remove", SENDER, false, true, AUTO, act_remove},
    {"ping out", SENDER, false, false, AUTO, act_ping},
    {"ping in", RECEIVER, false, false, AUTO, act_ping},
    {"handler set", RECEIVER, false, false, AUTO, act_handler},
};

/* ---- one case ---- */

static void check_notes(struct stage *stage)
{
    for (uint32_t i = 0; i < stage->posted; i++) {
        const struct note *note = &stage->notes[i];
        unsigned results = atomic_load(&note->results), runs = atomic_load(&note->runs);
        uint8_t outcome = atomic_load(&note->outcome);
        bool delivered = outcome == PARLEY_DELIVERED;

        if (results != (note->accepted ? 1u : 0u) || (delivered && runs == 0) ||
            (delivered && note->kind == BOOK_REJECT) ||
            (outcome == PARLEY_EXPIRED && !stage->scenario->older) ||
            (outcome == PARLEY_REJECTED && note->kind == BOOK_ACCEPT && runs > 0)) {
            stage->row->lost++;
            say(stage, parley_outcome_name((parley_outcome)outcome));
            row_say(stage->row, "message %u: %u results, run %u times", i, results, runs);
        }
        if (runs > 1) {
            stage->row->twice++;
            say(stage, "run twice");
        }
    }
    stage->row->messages += stage->posted;
}

/* Memory is back: whatever was refused or lost, the next message is delivered. An older
   sender that was told "Rate limit exceeded", for there is no other word for it, comes back
   a minute later: here it is enough that its message has a result. */
static void check_recovery(struct stage *stage)
{
    if (stage->peer.value == 0 && add_peer(stage, "receiver", &stage->peer) != PARLEY_OK) {
        say(stage, "no peer can be added afterwards");
        return;
    }
    uint32_t number = stage->posted;
    post(stage, BOOK_ACCEPT);
    if (await_results(stage) && !stage->scenario->older &&
        atomic_load(&stage->notes[number].outcome) != PARLEY_DELIVERED)
        say(stage, "the next message is not delivered");
}

static bool prepare(struct stage *stage)
{
    if (open_side(stage, RECEIVER) != PARLEY_OK || open_side(stage, SENDER) != PARLEY_OK ||
        add_peer(stage, "receiver", &stage->peer) != PARLEY_OK)
        return false;
    if (stage->scenario->connected) {
        post(stage, BOOK_ACCEPT);
        await_results(stage);
    }
    return true;
}

static void open_short(struct stage *stage)
{
    enum side side = stage->scenario->side;

    short_memory_arm(&stage->memory[side], stage->k, stage->memory[side].fails);
    bool opened = fair(stage, open_side(stage, side), "parley_open");
    short_memory_disarm(&stage->memory[side]);
    if (!opened && atomic_load(&stage->memory[side].out) != 0)
        say(stage, "leaked by parley_open()");
    if ((!opened && open_side(stage, side) != PARLEY_OK) ||
        open_side(stage, side == SENDER ? RECEIVER : SENDER) != PARLEY_OK)
        say(stage, "cannot be opened afterwards");
}

static void close_side(struct stage *stage, enum side side)
{
    if (stage->node[side] != NULL)
        parley_close(stage->node[side]);
    if (atomic_load(&stage->memory[side].out) != 0)
        say(stage, side == SENDER ? "leaked by the sender" : "leaked by the receiver");
}

/* @return whether an allocation failed: there may be a later one to fail */
static bool play(struct stage *stage)
{
    struct short_memory *memory = &stage->memory[stage->scenario->side];

    if (stage->scenario->act == NULL) {
        open_short(stage);
    } else if (prepare(stage)) {
        short_memory_arm(memory, stage->k, memory->fails);
        stage->scenario->act(stage);
        short_memory_disarm(memory);
    } else {
        say(stage, "cannot be prepared");
    }
    check_recovery(stage);
    close_side(stage, SENDER);
    close_side(stage, RECEIVER);
    check_notes(stage);
    return atomic_load(&memory->failed) > 0;
}

static void play_scenario(struct row *row, const struct scenario *scenario, int64_t fails,
                          int64_t step)
{
    bool failed = true;
    uint64_t cases = row->cases, start_ns = books_now_ns();

    for (int64_t k = 1; failed && k < CASES_MAX; k += step) {
        struct stage *stage = calloc(1, sizeof(*stage));

        if (stage == NULL)
            abort();
        stage->row = row;
        stage->scenario = scenario;
        stage->k = k;
        for (unsigned side = 0; side < 2; side++) {
            stage->allocators[side] = short_memory_allocator(&stage->memory[side]);
            stage->memory[side].fails = fails;
        }
        failed = play(stage);
        row->cases++;
        row->reached += failed;
        free(stage);
    }
    if (getenv("FAULTS_VERBOSE") != NULL)
        fprintf(stderr, "%s: %llu cases, %.1f s\n", scenario->name,
                (unsigned long long)(row->cases - cases),
                (double)(books_now_ns() - start_ns) / 1e9);
}

/* ---- all scenarios, some at a time: they mostly wait ---- */

#define THREADS 10

struct season {
    struct row *row;
    int64_t fails, step;
    const char *only;     /* part of a name */
    pthread_mutex_t lock; /* guards the row and: */
    size_t next;
};

static void add(struct row *sum, const struct row *row)
{
    sum->cases += row->cases;
    sum->reached += row->reached;
    sum->messages += row->messages;
    sum->lost += row->lost;
    sum->twice += row->twice;
    sum->wrong += row->wrong;
}

static void *play_some(void *user)
{
    struct season *season = user;
    struct row row = {0};

    memcpy(row.kind, season->row->kind, sizeof(row.kind));
    for (;;) {
        pthread_mutex_lock(&season->lock);
        size_t index = season->next++;
        pthread_mutex_unlock(&season->lock);
        if (index >= sizeof(scenarios) / sizeof(scenarios[0]))
            break;
        if (season->only == NULL || strstr(scenarios[index].name, season->only) != NULL)
            play_scenario(&row, &scenarios[index], season->fails, season->step);
    }
    pthread_mutex_lock(&season->lock);
    add(season->row, &row);
    pthread_mutex_unlock(&season->lock);
    return NULL;
}

static void play_all(struct row *row, int64_t fails, int64_t step)
{
    struct season season = {.row = row,
                            .fails = fails,
                            .step = step,
                            .only = getenv("FAULTS_SCENARIO"),
                            .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, play_some, &season) != 0)
            abort();
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void alone(const struct faults_plan *plan, struct row *row)
{
    play_all(row, 1, plan->quick ? 17 : 1);
}

static void in_a_row(const struct faults_plan *plan, struct row *row)
{
    play_all(row, 20, plan->quick ? 23 : 5);
}

const struct faults_kind faults_allocations[] = {
    {"each allocation fails", alone},
    {"allocations fail in a row", in_a_row},
    {NULL, NULL},
};
