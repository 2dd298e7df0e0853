/* SPDX-License-Identifier: Apache-2.0
 *
 * The rig: see rig.h. Results come on the sender's workers; the books of both sides are
 * compared once a case is over.
 */
#include "test/faults/rig.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>

#define SAID_MAX 40

/* One rig at a time: a message's `user` is its slot, which a second result may meet too. */
static struct rig *running;

void row_say(const struct row *row, const char *format, ...)
{
    static _Atomic(unsigned) said; /* of this process, one kind */
    va_list args;
    char line[400];

    if (atomic_fetch_add(&said, 1) >= SAID_MAX)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    fprintf(stderr, "faults: %s: %s\n", row->kind, line);
}

/* ---- sending ---- */

static void to_stderr(parley_log_level level, const char *line, void *user)
{
    (void)user;
    fprintf(stderr, "[sender %d] %s\n", (int)level, line);
}

void rig_options(parley_options *options)
{
    parley_options_init(options);
    options->node_id = "sender";
    options->workers = 2;
    options->ttl_ms = 20000;
    options->connect_timeout_ms = 1000;
    options->connect_grace_ms = 60;
    options->reconnect_min_ms = 5;
    options->reconnect_max_ms = 100;
    options->heartbeat_interval_ms = 300;
    options->heartbeat_grace_ms = 300;
    options->http_backoff_ms = 10;
    options->http_connect_timeout_ms = 1000;
    options->http_timeout_ms = 1000;
    if (getenv("PARLEY_TEST_LOG") != NULL) {
        options->log = to_stderr;
        options->log_level = PARLEY_LOG_DEBUG;
    }
}

bool rig_open(struct rig *rig, uint32_t stride, const parley_options *options)
{
    parley_options ours;
    char error[256] = "";
    pthread_condattr_t clock;

    memset(rig, 0, sizeof(*rig));
    running = rig;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&rig->lock, NULL);
    pthread_cond_init(&rig->more, &clock);
    pthread_condattr_destroy(&clock);
    memset(rig->awaited, 0xff, sizeof(rig->awaited));
    rig->stride = stride;
    rig->slots = calloc(BOOKS_MESSAGES_MAX, sizeof(*rig->slots));
    if (rig->slots == NULL || !receiver_start(&rig->receiver, stride))
        return false;
    rig->proxy = proxy_start(rig->receiver.port);
    if (options == NULL) {
        rig_options(&ours);
        options = &ours;
    }
    parley_status status = parley_open(options, error, sizeof(error), &rig->sender);
    if (status != PARLEY_OK)
        fprintf(stderr, "faults: parley_open: %s %s\n", parley_strerror(status), error);
    return rig->proxy != NULL && status == PARLEY_OK;
}

struct rig_slot *rig_slot(struct rig *rig, struct book_key key)
{
    return &rig->slots[(uint64_t)key.of_case * rig->stride + key.number];
}

static void on_result(const parley_result *result, void *user)
{
    struct rig *rig = running;
    struct rig_slot *slot = user;
    uint32_t of_case = (uint32_t)((size_t)(slot - rig->slots) / rig->stride);

    atomic_store(&slot->result_ns, books_now_ns());
    atomic_store(&slot->outcome, (uint8_t)result->outcome);
    if (atomic_fetch_add(&slot->results, 1) > 0)
        return; /* rig_check() tells */
    pthread_mutex_lock(&rig->lock);
    if (++rig->done[of_case] >= rig->awaited[of_case])
        pthread_cond_broadcast(&rig->more);
    pthread_mutex_unlock(&rig->lock);
}

parley_status rig_post(struct rig *rig, parley_peer peer, struct book_key key,
                       parley_hint hint)
{
    char payload[BOOKS_PAYLOAD_MAX];
    parley_message message;
    parley_status status;

    parley_message_init(&message, "test", payload, books_payload(key, payload));
    message.hint = hint;
    while ((status = parley_send(rig->sender, peer, &message, on_result, rig_slot(rig, key),
                                 NULL)) == PARLEY_EAGAIN)
        sched_yield();
    return status;
}

bool rig_await(struct rig *rig, uint32_t of_case, uint32_t results, uint64_t timeout_ms)
{
    uint64_t until_ns = books_now_ns() + timeout_ms * UINT64_C(1000000);
    const struct timespec until = {.tv_sec = (time_t)(until_ns / UINT64_C(1000000000)),
                                   .tv_nsec = (long)(until_ns % UINT64_C(1000000000))};
    int code = 0;

    pthread_mutex_lock(&rig->lock);
    rig->awaited[of_case] = results;
    while (rig->done[of_case] < results && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&rig->more, &rig->lock, &until);
    rig->awaited[of_case] = UINT32_MAX;
    bool there = rig->done[of_case] >= results;
    pthread_mutex_unlock(&rig->lock);
    return there;
}

uint32_t rig_done(struct rig *rig, uint32_t of_case)
{
    pthread_mutex_lock(&rig->lock);
    uint32_t done = rig->done[of_case];
    pthread_mutex_unlock(&rig->lock);
    return done;
}

/* ---- comparing the books ---- */

static void check_runs(struct rig *rig, struct row *row, struct book_key key,
                       enum rig_demand demand)
{
    const struct book_entry *entry = books_entry(rig->receiver.books, key);
    uint32_t runs = atomic_load(&entry->runs), twice = atomic_load(&entry->twice);
    uint64_t result_ns = atomic_load(&rig_slot(rig, key)->result_ns);

    if (twice > 0) {
        row->twice++;
        row_say(row, "case %u, message %u: run %u times by one receiver", key.of_case,
                key.number, runs);
    }
    if (runs < 2)
        return;
    if (demand != RIG_RESTARTS && twice == 0) {
        row->twice++;
        row_say(row, "case %u, message %u: run %u times", key.of_case, key.number, runs);
    }
    if (atomic_load(&entry->unmarked) > 0) {
        row->wrong++;
        row_say(row, "case %u, message %u: run again without being marked redelivered",
                key.of_case, key.number);
    }
    if (atomic_load(&entry->last_ns) > result_ns) {
        row->wrong++;
        row_say(row, "case %u, message %u: run again after its result", key.of_case,
                key.number);
    }
}

static bool is_lost(struct rig *rig, struct book_key key, enum rig_demand demand)
{
    const struct rig_slot *slot = rig_slot(rig, key);
    uint8_t outcome = atomic_load(&slot->outcome);
    uint8_t expected = key.kind == BOOK_REJECT ? PARLEY_REJECTED : PARLEY_DELIVERED;
    bool ran = atomic_load(&books_entry(rig->receiver.books, key)->runs) > 0;

    if (atomic_load(&slot->results) != 1)
        return true;
    if (demand == RIG_CHANGED)
        return false;
    if (outcome == PARLEY_DELIVERED && (!ran || key.kind == BOOK_REJECT))
        return true;
    return demand != RIG_HONEST && (outcome != expected || !ran);
}

void rig_check(struct rig *rig, struct row *row, uint32_t of_case, const char *kinds,
               uint32_t posted, enum rig_demand demand)
{
    struct books *books = rig->receiver.books;
    uint32_t violations = atomic_load(&books->cases[of_case].violations);

    for (uint32_t number = 0; number < posted; number++) {
        struct book_key key = {of_case, number,
                               kinds != NULL ? kinds[number] : (char)BOOK_ACCEPT};
        const struct rig_slot *slot = rig_slot(rig, key);

        if (is_lost(rig, key, demand)) {
            row->lost++;
            row_say(row, "case %u, message %u: %u results, the last %s, run %u times", of_case,
                    number, (unsigned)atomic_load(&slot->results),
                    parley_outcome_name((parley_outcome)atomic_load(&slot->outcome)),
                    atomic_load(&books_entry(books, key)->runs));
        }
        if (demand != RIG_CHANGED)
            check_runs(rig, row, key, demand);
    }
    row->messages += posted;
    if (violations > 0 && demand != RIG_CHANGED && demand != RIG_HONEST) {
        row->wrong++;
        row_say(row, "case %u: %u times out of order", of_case, violations);
    }
}

static int by_address(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct book_run));
}

uint64_t rig_repeated_addresses(struct rig *rig)
{
    struct books *books = rig->receiver.books;
    uint64_t len = atomic_load(&books->runs_len), repeated = 0;

    if (len > BOOKS_MESSAGES_MAX)
        len = BOOKS_MESSAGES_MAX;
    qsort(books->runs, len, sizeof(books->runs[0]), by_address);
    for (uint64_t i = 1; i < len; i++) /* 0: a form of message that has no number */
        repeated += books->runs[i].number != 0 &&
                    by_address(&books->runs[i], &books->runs[i - 1]) == 0;
    return repeated;
}

/* ---- the end ---- */

static void check_stats(struct rig *rig, struct row *row)
{
    parley_stats stats = {.size = sizeof(stats)};

    if (parley_stats_get(rig->sender, &stats) != PARLEY_OK ||
        stats.accepted != stats.delivered + stats.sent + stats.rejected + stats.exhausted +
                              stats.expired + stats.cancelled + stats.pending) {
        row->wrong++;
        row_say(row, "the sender's counters do not add up");
    }
}

void rig_close(struct rig *rig, struct row *row)
{
    check_stats(rig, row);
    if (parley_close(rig->sender) != PARLEY_OK)
        row->wrong++;
    receiver_stop(&rig->receiver);
    proxy_stop(rig->proxy);
    row->crashes += rig->receiver.crashes;
    receiver_free(&rig->receiver);
    pthread_cond_destroy(&rig->more);
    pthread_mutex_destroy(&rig->lock);
    free(rig->slots);
}
