/* SPDX-License-Identifier: Apache-2.0
 *
 * The sending side of `stall`: see stall_load.h.
 *
 * Message i of a phase is due i/rate seconds after its start; the main thread wakes four
 * times a millisecond and posts what is due, whatever has become of those before. A latency
 * is from the post to the result callback.
 */
#include "bench/stall_load.h"

#include <assert.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "bench/payload.h"
#include "bench/usage.h"

#define TALLIES_MAX    256
#define TICK_NS        UINT64_C(250000)
#define TICKS_PER_CALL 4 /* of the caller's tick: 1 ms */
#define WAIT_MAX_NS    (UINT64_C(60) * 1000 * 1000 * 1000)
#define CONNECT_MS     20000 /* a slow dial must not send a message over HTTP */
#define STEADY_THREAD  0     /* as payloads call it */
#define FILL_PER_MS    16    /* messages, into a mailbox that has been full before */
#define FILLING_THREAD 1

/* Written by one worker. */
struct tally {
    _Alignas(64) _Atomic(uint64_t) results, delivered, results0, delivered0;
    struct histogram latency;
};

struct memory {
    _Atomic(uint64_t) bytes, peak;
};

struct stall_load {
    struct stall_plan plan;
    parley *runtime;
    parley_peer *peers;
    uint64_t *posted; /* the steady load's, per peer */
    uint64_t next;    /* the peer whose turn it is */
    char *payload, *filling;
    struct stall_books others;
    uint64_t accepted0, eagain0; /* of the steady load */
    struct histogram late;
    struct memory memory;
    struct tally *tallies;
    _Atomic(uint32_t) tallies_used;
    /* the filling thread */
    pthread_t thread;
    bool thread_started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool filling_on, posting, quit; /* under the lock */
    uint64_t writable;              /* … times that on_writable named peer 0 */
    _Atomic(uint64_t) filled;       /* accepted */
    _Atomic(uint64_t) full;         /* refused: the mailbox was full */
};

/* One load at a time: where its callbacks find it. */
static struct stall_load *running;
static _Thread_local struct tally *my_tally;

/* relaxed, both: one writer each; the exact numbers are read when nothing is under way. */
static uint64_t get(const _Atomic(uint64_t) *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add(_Atomic(uint64_t) *counter, uint64_t more)
{
    atomic_store_explicit(counter, get(counter) + more, memory_order_relaxed);
}

/* ---- the runtime's memory ---- */

static void count_memory(struct memory *memory, uint64_t more, uint64_t less)
{
    /* relaxed: figures, nothing is read on the strength of them. */
    uint64_t now =
        atomic_fetch_add_explicit(&memory->bytes, more - less, memory_order_relaxed) + more -
        less;
    uint64_t peak = get(&memory->peak);
    while (now > peak &&
           !atomic_compare_exchange_weak_explicit(&memory->peak, &peak, now,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

static void *allocate(size_t bytes, void *user)
{
    void *block = malloc(bytes);
    if (block)
        count_memory(user, malloc_usable_size(block), 0);
    return block;
}

static void *resize(void *block, size_t bytes, void *user)
{
    size_t before = block ? malloc_usable_size(block) : 0;
    void *moved = realloc(block, bytes);
    if (moved)
        count_memory(user, malloc_usable_size(moved), before);
    return moved;
}

static void release(void *block, void *user)
{
    count_memory(user, 0, block ? malloc_usable_size(block) : 0);
    free(block);
}

uint64_t stall_load_memory(struct stall_load *load, uint64_t *ret_peak)
{
    uint64_t now = get(&load->memory.bytes);
    /* relaxed: as in count_memory(). */
    *ret_peak = atomic_exchange_explicit(&load->memory.peak, now, memory_order_relaxed);
    return now;
}

/* ---- callbacks, on workers ---- */

static struct tally *tally_here(void)
{
    if (!my_tally) {
        /* relaxed: only a distinct number per thread is needed. */
        uint32_t index =
            atomic_fetch_add_explicit(&running->tallies_used, 1, memory_order_relaxed);
        assert(index < TALLIES_MAX);
        my_tally = &running->tallies[index];
    }
    return my_tally;
}

static void on_result(const parley_result *result, void *user)
{
    struct tally *tally = tally_here();
    (void)user;
    histogram_record(&tally->latency, result->latency_ns);
    add(&tally->delivered, result->outcome == PARLEY_DELIVERED);
    /* release: who counts this result sees the rest; pairs with books_of(). */
    atomic_store_explicit(&tally->results, get(&tally->results) + 1, memory_order_release);
}

static void on_peer0_result(const parley_result *result, void *user)
{
    struct tally *tally = tally_here();
    (void)user;
    add(&tally->delivered0, result->outcome == PARLEY_DELIVERED);
    /* release: as in on_result(). */
    atomic_store_explicit(&tally->results0, get(&tally->results0) + 1, memory_order_release);
}

static void on_writable(parley_peer peer, void *user)
{
    struct stall_load *load = user;
    if (peer.value != load->peers[0].value)
        return;
    pthread_mutex_lock(&load->lock);
    load->writable++;
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->lock);
}

/* ---- books ---- */

static void add_results(const struct stall_load *load, bool peer0, struct stall_books *books)
{
    /* relaxed: a tally just taken is empty, or read again once it matters. */
    uint32_t used = atomic_load_explicit(&load->tallies_used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++) {
        const struct tally *tally = &load->tallies[i];
        /* acquire: pairs with the release in on_result(). */
        books->results += atomic_load_explicit(peer0 ? &tally->results0 : &tally->results,
                                               memory_order_acquire);
        books->delivered += get(peer0 ? &tally->delivered0 : &tally->delivered);
    }
}

struct stall_books stall_load_others(const struct stall_load *load)
{
    struct stall_books books = load->others;
    add_results(load, false, &books);
    return books;
}

struct stall_books stall_load_peer0(const struct stall_load *load)
{
    struct stall_books books = {.accepted = load->accepted0 + get(&load->filled),
                                .eagain = load->eagain0 + get(&load->full)};
    add_results(load, true, &books);
    return books;
}

static bool await_results(struct stall_load *load,
                          struct stall_books (*books_of)(const struct stall_load *load),
                          const char *whose)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t until_ns = usage_now_ns() + WAIT_MAX_NS;
    struct stall_books books = books_of(load);
    while (books.results < books.accepted && usage_now_ns() < until_ns) {
        nanosleep(&pause, NULL);
        books = books_of(load);
    }
    if (books.results == books.accepted)
        return true;
    fprintf(stderr, "parley-bench: stall: %s: %" PRIu64 " of %" PRIu64 " results after 60 s\n",
            whose, books.results, books.accepted);
    return false;
}

bool stall_load_await_peer0(struct stall_load *load)
{
    return await_results(load, stall_load_peer0, "the stalled peer");
}

void stall_load_take(struct stall_load *load, struct histogram *ret_latency,
                     struct histogram *ret_late)
{
    memcpy(ret_late, &load->late, sizeof(*ret_late));
    memset(&load->late, 0, sizeof(load->late));
    memset(ret_latency, 0, sizeof(*ret_latency));
    for (uint32_t i = 0; i < TALLIES_MAX; i++) {
        struct tally *tally = &load->tallies[i];
        if (get(&tally->results) == 0)
            continue;
        histogram_add(ret_latency, &tally->latency);
        memset(&tally->latency, 0, sizeof(tally->latency));
    }
}

/* ---- the steady load ---- */

static bool post(struct stall_load *load, uint64_t index)
{
    struct payload_key key = {(uint32_t)index, STEADY_THREAD, load->posted[index] + 1};
    parley_message message;
    payload_write(load->payload, load->plan.payload_bytes, key);
    parley_message_init(&message, "bench", load->payload, load->plan.payload_bytes);
    parley_status status = parley_send(load->runtime, load->peers[index], &message,
                                       index == 0 ? on_peer0_result : on_result, NULL, NULL);
    bool accepted = status == PARLEY_OK;
    load->posted[index] += accepted;
    if (index == 0) {
        load->accepted0 += accepted;
        load->eagain0 += status == PARLEY_EAGAIN;
    } else {
        load->others.accepted += accepted;
        load->others.eagain += status == PARLEY_EAGAIN;
    }
    if (accepted || status == PARLEY_EAGAIN)
        return true;
    fprintf(stderr, "parley-bench: stall: parley_send: %s\n", parley_strerror(status));
    return false;
}

static bool post_due(struct stall_load *load, uint64_t count, bool without_peer0)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t index = load->next++ % load->plan.peers;
        if ((index > 0 || !without_peer0) && !post(load, index))
            return false;
    }
    return true;
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000),
                          .tv_nsec = (long)(at_ns % 1000000000)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

bool stall_load_phase(struct stall_load *load, uint64_t duration_ms, stall_tick_fn tick,
                      void *user)
{
    uint64_t start_ns = usage_now_ns(), done = 0;
    uint64_t total = load->plan.rate * duration_ms / 1000;
    bool good = true;
    pthread_mutex_lock(&load->lock);
    bool without_peer0 = load->filling_on;
    pthread_mutex_unlock(&load->lock);
    for (uint64_t ticks = 1; good && done < total; ticks++) {
        sleep_until(start_ns + ticks * TICK_NS);
        uint64_t passed_ns = usage_now_ns() - start_ns;
        histogram_record(&load->late, passed_ns - ticks * TICK_NS);
        uint64_t due = load->plan.rate * (passed_ns / 1000) / 1000000;
        due = due < total ? due : total;
        good = post_due(load, due - done, without_peer0);
        done = due;
        if (ticks % TICKS_PER_CALL == 0)
            tick(user);
    }
    return await_results(load, stall_load_others, "the others") && good;
}

bool stall_load_warm_up(struct stall_load *load)
{
    return post_due(load, load->plan.peers, false) &&
           await_results(load, stall_load_others, "warming up") &&
           stall_load_await_peer0(load);
}

/* ---- filling peer 0's mailbox ---- */

static parley_status fill_one(struct stall_load *load, uint64_t number)
{
    struct payload_key key = {0, FILLING_THREAD, number};
    parley_message message;
    payload_write(load->filling, load->plan.filling_bytes, key);
    parley_message_init(&message, "bench", load->filling, load->plan.filling_bytes);
    return parley_send(load->runtime, load->peers[0], &message, on_peer0_result, NULL, NULL);
}

static void *fill(void *user)
{
    struct stall_load *load = user;
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t refused_at = UINT64_MAX; /* `writable` before the post that was refused */
    bool paced = false;               /* it has been full: no burst is to be measured */
    pthread_mutex_lock(&load->lock);
    while (!load->quit) {
        uint64_t writable = load->writable;
        paced = paced && load->filling_on;
        if (!load->filling_on || writable == refused_at) {
            pthread_cond_wait(&load->changed, &load->lock);
            continue;
        }
        load->posting = true;
        pthread_mutex_unlock(&load->lock);
        parley_status status = fill_one(load, get(&load->filled) + 1);
        pthread_mutex_lock(&load->lock);
        load->posting = false;
        pthread_cond_broadcast(&load->changed);
        if (status == PARLEY_OK) {
            add(&load->filled, 1);
        } else {
            refused_at = writable;
            paced = true;
            add(&load->full, 1);
        }
        if (paced && get(&load->filled) % FILL_PER_MS == 0) {
            pthread_mutex_unlock(&load->lock);
            nanosleep(&pause, NULL);
            pthread_mutex_lock(&load->lock);
        }
    }
    pthread_mutex_unlock(&load->lock);
    return NULL;
}

void stall_load_fill(struct stall_load *load, bool on)
{
    pthread_mutex_lock(&load->lock);
    load->filling_on = on;
    pthread_cond_broadcast(&load->changed);
    while (!on && load->posting)
        pthread_cond_wait(&load->changed, &load->lock);
    pthread_mutex_unlock(&load->lock);
}

bool stall_load_await_full(struct stall_load *load)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t until_ns = usage_now_ns() + WAIT_MAX_NS, before = get(&load->full);
    while (get(&load->full) == before && usage_now_ns() < until_ns)
        nanosleep(&pause, NULL);
    return get(&load->full) > before;
}

/* ---- up and down ---- */

static bool open_runtime(struct stall_load *load)
{
    const struct stall_plan *plan = &load->plan;
    parley_allocator allocator = {allocate, resize, release, &load->memory};
    parley_options options;
    parley_options_init(&options);
    options.node_id = "bench-sender";
    options.workers = (uint32_t)plan->workers;
    options.ttl_ms = (uint32_t)plan->ttl_ms;
    options.connect_grace_ms = CONNECT_MS;
    options.allocator = &allocator;
    if (options.peers_max < plan->peers)
        options.peers_max = (uint32_t)plan->peers;
    char error[512] = "";
    parley_status status = parley_open(&options, error, sizeof(error), &load->runtime);
    if (status == PARLEY_OK)
        status = parley_on_writable(load->runtime, on_writable, load);
    if (status != PARLEY_OK)
        fprintf(stderr, "parley-bench: parley_open: %s %s\n", parley_strerror(status), error);
    return status == PARLEY_OK;
}

static bool add_peers(struct stall_load *load)
{
    for (uint64_t i = 0; i < load->plan.peers; i++) {
        parley_peer_options options;
        char id[32];
        parley_peer_options_init(&options);
        options.preference_set = i == 0 && load->plan.peer0_http;
        options.preference = PARLEY_HTTP_ONLY;
        snprintf(id, sizeof(id), "peer-%04" PRIu64, i);
        const char *url = i == 0 ? load->plan.peer0_url : load->plan.url;
        parley_status status =
            parley_peer_add(load->runtime, id, url, &options, &load->peers[i]);
        if (status != PARLEY_OK) {
            fprintf(stderr, "parley-bench: parley_peer_add %s %s: %s\n", id, url,
                    parley_strerror(status));
            return false;
        }
    }
    return true;
}

static bool allocate_books(struct stall_load *load)
{
    const struct stall_plan *plan = &load->plan;
    load->peers = calloc(plan->peers, sizeof(*load->peers));
    load->posted = calloc(plan->peers, sizeof(*load->posted));
    load->payload = malloc(plan->payload_bytes);
    load->filling = malloc(plan->filling_bytes);
    load->tallies = aligned_alloc(64, TALLIES_MAX * sizeof(struct tally));
    if (!load->peers || !load->posted || !load->payload || !load->filling || !load->tallies)
        return false;
    memset(load->tallies, 0, TALLIES_MAX * sizeof(struct tally));
    payload_prepare(load->payload, plan->payload_bytes);
    payload_prepare(load->filling, plan->filling_bytes);
    return true;
}

bool stall_load_open(const struct stall_plan *plan, struct stall_load **ret_load)
{
    struct stall_load *load = calloc(1, sizeof(*load));
    if (!load)
        return false;
    load->plan = *plan;
    pthread_mutex_init(&load->lock, NULL);
    pthread_cond_init(&load->changed, NULL);
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    running = load;
    if (allocate_books(load) && open_runtime(load) && add_peers(load)) {
        load->thread_started = pthread_create(&load->thread, NULL, fill, load) == 0;
        if (load->thread_started) {
            *ret_load = load;
            return true;
        }
    }
    stall_load_free(load);
    return false;
}

double stall_load_drain(struct stall_load *load, uint32_t timeout_ms, size_t *ret_left)
{
    uint64_t start_ns = usage_now_ns();
    parley_drain(load->runtime, timeout_ms, ret_left);
    return (double)(usage_now_ns() - start_ns) / 1e6;
}

static void stop_filling(struct stall_load *load)
{
    pthread_mutex_lock(&load->lock);
    load->quit = true;
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->lock);
    if (load->thread_started)
        pthread_join(load->thread, NULL);
    load->thread_started = false;
}

double stall_load_close(struct stall_load *load)
{
    stop_filling(load);
    uint64_t start_ns = usage_now_ns();
    parley_close(load->runtime);
    load->runtime = NULL;
    return (double)(usage_now_ns() - start_ns) / 1e6;
}

void stall_load_free(struct stall_load *load)
{
    if (!load)
        return;
    stop_filling(load);
    parley_close(load->runtime);
    free(load->peers);
    free(load->posted);
    free(load->payload);
    free(load->filling);
    free(load->tallies);
    pthread_cond_destroy(&load->changed);
    pthread_mutex_destroy(&load->lock);
    free(load);
    running = NULL;
}
