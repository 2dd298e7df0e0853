/* SPDX-License-Identifier: Apache-2.0
 *
 * The sending side: see load.h.
 *
 * A posting thread goes round its peers, one message each; a peer that answered
 * PARLEY_EAGAIN is left out until on_writable names it, one whose window is full until a
 * result frees it. A round in which nothing could be posted ends in waiting on the gate, a
 * counter of such events with a condition variable behind it.
 */
#include "bench/load.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench/payload.h"
#include "bench/security.h"
#include "bench/usage.h"

#define TALLIES_MAX 512 /* threads that run callbacks: the workers, 256 at most */

/* What one worker's callbacks saw: written by that thread only. */
struct tally {
    _Alignas(64) _Atomic(uint64_t) outcome[PARLEY_CANCELLED + 1];
    _Atomic(uint64_t) delivered_ws, delivered_http, hash_sum, last_ns;
    struct histogram latency;
};

struct load_peer {
    _Alignas(64) parley_peer handle;
    _Atomic(uint32_t) in_flight; /* kept only when there is a window */
    _Atomic(uint32_t) writable;  /* times on_writable named it */
};

/* One posting thread's place in one peer's sequence. */
struct position {
    uint32_t posted, quota;
    uint32_t refused_at; /* the peer's `writable` when it answered PARLEY_EAGAIN */
    bool refused;
};

struct poster {
    struct load *load;
    pthread_t thread;
    uint32_t index, first_peer;
    uint64_t left;
    struct position *positions;
    char *payload;
    /* read by the main thread while it posts */
    _Atomic(uint64_t) accepted, eagain, refused;
    uint64_t ended_ns;
};

struct load {
    struct load_plan plan;
    parley *runtime;
    struct load_peer *peers;
    uint32_t *by_handle; /* open addressing: peer index + 1 */
    size_t by_handle_mask;
    struct poster *posters;
    uint64_t posters_started;
    _Atomic(uint64_t) posting; /* threads that have not ended */
    _Atomic(bool) stop;
    struct tally *tallies; /* pages, touched as workers take one */
    _Atomic(uint32_t) tallies_used;
    /* the gate */
    pthread_mutex_t lock;
    pthread_cond_t opened;
    _Atomic(uint64_t) events;
    _Atomic(uint32_t) waiting;
};

/* A message's `user` carries its payload's hash, so that no memory is needed per message,
   or its entry where a journal is kept; the callbacks find their load here. One load at a
   time. */
static struct load *running;
static _Thread_local struct tally *my_tally;

static_assert(sizeof(void *) == sizeof(uint64_t), "a hash fits into a pointer");

/* relaxed, all: one writer each; the exact numbers are read after joining it or after
   closing the runtime. */
static uint64_t get(const _Atomic(uint64_t) *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add(_Atomic(uint64_t) *counter, uint64_t more)
{
    atomic_store_explicit(counter, get(counter) + more, memory_order_relaxed);
}

static uint32_t tallies_used(const struct load *load)
{
    /* relaxed: a tally just taken is empty, or read again once it matters. */
    return atomic_load_explicit(&load->tallies_used, memory_order_relaxed);
}

/* ---- the gate ---- */

static void gate_event(struct load *load)
{
    /* seq_cst, both: with the two in gate_wait(); either the waiter sees this event or this
       thread sees the waiter. */
    atomic_fetch_add(&load->events, 1);
    if (atomic_load(&load->waiting) == 0)
        return;
    pthread_mutex_lock(&load->lock);
    pthread_cond_broadcast(&load->opened);
    pthread_mutex_unlock(&load->lock);
}

static void gate_wait(struct load *load, uint64_t seen)
{
    /* seq_cst, both: as in gate_event(). */
    atomic_fetch_add(&load->waiting, 1);
    pthread_mutex_lock(&load->lock);
    while (atomic_load(&load->events) == seen)
        pthread_cond_wait(&load->opened, &load->lock);
    pthread_mutex_unlock(&load->lock);
    atomic_fetch_sub(&load->waiting, 1);
}

/* ---- peers by handle ---- */

static size_t handle_slot(const struct load *load, uint64_t value)
{
    return (size_t)((value * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & load->by_handle_mask;
}

static void remember_handle(struct load *load, uint32_t index)
{
    size_t slot = handle_slot(load, load->peers[index].handle.value);
    while (load->by_handle[slot] != 0)
        slot = (slot + 1) & load->by_handle_mask;
    load->by_handle[slot] = index + 1;
}

static struct load_peer *peer_of(struct load *load, parley_peer handle)
{
    size_t slot = handle_slot(load, handle.value);
    while (load->by_handle[slot] != 0) {
        struct load_peer *peer = &load->peers[load->by_handle[slot] - 1];
        if (peer->handle.value == handle.value)
            return peer;
        slot = (slot + 1) & load->by_handle_mask;
    }
    return NULL;
}

/* ---- the window ---- */

static bool window_take(struct load *load, struct load_peer *peer)
{
    /* relaxed: a number; nothing is published by it. */
    uint32_t seen = atomic_load_explicit(&peer->in_flight, memory_order_relaxed);
    do {
        if (seen >= load->plan.window)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(
        &peer->in_flight, &seen, seen + 1, memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void window_give(struct load *load, parley_peer handle)
{
    struct load_peer *peer = peer_of(load, handle);
    assert(peer);
    /* seq_cst: before the event in gate_event(), so that who waits for it sees room. */
    uint32_t before = atomic_fetch_sub(&peer->in_flight, 1);
    assert(before > 0);
    if (before - 1 == load->plan.window / 2)
        gate_event(load);
}

/* ---- callbacks, on workers ---- */

static struct tally *tally_here(struct load *load)
{
    if (!my_tally) {
        /* relaxed: only a distinct number per thread is needed. */
        uint32_t index =
            atomic_fetch_add_explicit(&load->tallies_used, 1, memory_order_relaxed);
        assert(index < TALLIES_MAX);
        my_tally = &load->tallies[index];
    }
    return my_tally;
}

static void on_result(const parley_result *result, void *user)
{
    struct load *load = running;
    struct tally *tally = tally_here(load);
    uint64_t hash = (uint64_t)(uintptr_t)user;
    histogram_record(&tally->latency, result->latency_ns);
    if (load->plan.journal) {
        struct journal_entry *entry = user;
        hash = get(&entry->hash);
        journal_delivered(entry);
    }
    if (result->outcome == PARLEY_DELIVERED) {
        bool http = result->transport == PARLEY_TRANSPORT_HTTP;
        add(http ? &tally->delivered_http : &tally->delivered_ws, 1);
        add(&tally->hash_sum, hash);
    }
    if (load->plan.window > 0)
        window_give(load, result->peer);
    /* acquire: pairs with the release at the end of post_all(). Only the last results'
       time is wanted, so the clock is not read before posting is over. */
    if (atomic_load_explicit(&load->posting, memory_order_acquire) == 0)
        atomic_store_explicit(&tally->last_ns, usage_now_ns(), memory_order_relaxed);
    /* release: who counts this result sees the rest; pairs with load_counts(). */
    _Atomic(uint64_t) *outcome = &tally->outcome[result->outcome];
    atomic_store_explicit(outcome, get(outcome) + 1, memory_order_release);
}

static void on_writable(parley_peer handle, void *user)
{
    struct load *load = user;
    struct load_peer *peer = peer_of(load, handle);
    if (!peer)
        return;
    /* seq_cst: before the event in gate_event(). */
    atomic_fetch_add(&peer->writable, 1);
    gate_event(load);
}

/* ---- posting ---- */

/* @return whether a message went into the peer's mailbox */
static bool post_one(struct poster *poster, uint32_t index, parley_message *message)
{
    struct load *load = poster->load;
    struct load_peer *peer = &load->peers[index];
    struct position *position = &poster->positions[index];
    /* acquire: pairs with on_writable(); read before the post, so that a refusal is
       waited for only if nothing has been announced since. */
    uint32_t writable = atomic_load_explicit(&peer->writable, memory_order_acquire);
    if (position->refused && position->refused_at == writable)
        return false;
    if (load->plan.window > 0 && !window_take(load, peer))
        return false;
    struct payload_key key = {index, poster->index, position->posted + 1};
    payload_write(poster->payload, load->plan.payload_bytes, key);
    uint64_t hash = payload_hash(poster->payload, load->plan.payload_bytes);
    void *user = (void *)(uintptr_t)hash; /* NOLINT(performance-no-int-to-ptr) */
    if (load->plan.journal)
        user = journal_posted(load->plan.journal, key, hash);
    parley_status status =
        parley_send(load->runtime, peer->handle, message, on_result, user, NULL);
    position->refused = status == PARLEY_EAGAIN;
    if (status == PARLEY_OK) {
        position->posted++;
        add(&poster->accepted, 1);
        return true;
    }
    if (load->plan.window > 0)
        window_give(load, peer->handle);
    position->refused_at = writable;
    if (status == PARLEY_EAGAIN) {
        add(&poster->eagain, 1);
        return false;
    }
    fprintf(stderr, "parley-bench: parley_send: %s\n", parley_strerror(status));
    add(&poster->refused, 1);
    return false;
}

static void post_round(struct poster *poster, parley_message *message)
{
    uint32_t peers = (uint32_t)poster->load->plan.peers;
    for (uint32_t i = 0; i < peers && get(&poster->refused) == 0; i++) {
        uint32_t index = (poster->first_peer + i) % peers;
        struct position *position = &poster->positions[index];
        if (position->posted < position->quota && post_one(poster, index, message))
            poster->left--;
    }
}

static void *post_all(void *user)
{
    struct poster *poster = user;
    struct load *load = poster->load;
    parley_message message;
    parley_message_init(&message, "bench", poster->payload, load->plan.payload_bytes);
    /* relaxed: a request to end, which gate_event() follows. */
    while (poster->left > 0 && get(&poster->refused) == 0 &&
           !atomic_load_explicit(&load->stop, memory_order_relaxed)) {
        uint64_t left = poster->left;
        /* seq_cst: before the round looks at the peers; see gate_event(). */
        uint64_t seen = atomic_load(&load->events);
        post_round(poster, &message);
        if (poster->left == left && get(&poster->refused) == 0)
            gate_wait(load, seen);
    }
    poster->ended_ns = usage_now_ns();
    /* release: publishes this thread's books; pairs with load_finished(), on_result(). */
    atomic_fetch_sub_explicit(&load->posting, 1, memory_order_release);
    return NULL;
}

/* ---- setting up ---- */

static bool open_runtime(struct load *load)
{
    const struct load_plan *plan = &load->plan;
    parley_options options;
    parley_options_init(&options);
    struct security_self self;
    options.node_id = SECURITY_SENDER;
    security_node(plan->security, options.node_id, &self, &options);
    options.workers = (uint32_t)plan->workers;
    options.preference = plan->preference;
    options.ttl_ms = (uint32_t)plan->ttl_ms;
    if (plan->http_attempts > 0)
        options.http_attempts = (uint32_t)plan->http_attempts;
    if (plan->connect_grace_ms > 0)
        options.connect_grace_ms = plan->connect_grace_ms;
    if (options.peers_max < plan->peers)
        options.peers_max = (uint32_t)plan->peers;
    if (options.connections_max < plan->peers + 64)
        options.connections_max = (uint32_t)plan->peers + 64;
    char error[512] = "";
    parley_status status = parley_open(&options, error, sizeof(error), &load->runtime);
    if (status == PARLEY_OK)
        status = parley_on_writable(load->runtime, on_writable, load);
    if (status != PARLEY_OK)
        fprintf(stderr, "parley-bench: parley_open: %s %s\n", parley_strerror(status), error);
    return status == PARLEY_OK;
}

static bool add_peers(struct load *load)
{
    parley_peer_options options;
    struct security_other other;
    parley_peer_options_init(&options);
    for (uint32_t i = 0; i < load->plan.peers; i++) {
        char id[SECURITY_NAME_MAX];
        security_peer_name(i, id);
        const char *url = load->plan.urls[i % load->plan.urls_len];
        parley_status status = PARLEY_ENOMEM;
        if (security_peer(load->plan.security, id, &other, &options))
            status = parley_peer_add(load->runtime, id, url, &options, &load->peers[i].handle);
        if (status != PARLEY_OK) {
            fprintf(stderr, "parley-bench: parley_peer_add %s %s: %s\n", id, url,
                    parley_strerror(status));
            return false;
        }
        remember_handle(load, i);
    }
    return true;
}

/* Cuts the messages 0 … M-1 into one slice per thread; message i goes to peer i % N. */
static bool poster_init(struct load *load, uint32_t index)
{
    const struct load_plan *plan = &load->plan;
    assert(plan->threads > 0 && plan->peers > 0);
    struct poster *poster = &load->posters[index];
    uint64_t first = plan->messages / plan->threads * index;
    uint64_t spare = plan->messages % plan->threads;
    first += index < spare ? index : spare;
    poster->load = load;
    poster->index = index;
    poster->left = plan->messages / plan->threads + (index < spare);
    poster->first_peer = (uint32_t)(first % plan->peers);
    poster->positions = calloc(plan->peers, sizeof(struct position));
    poster->payload = malloc(plan->payload_bytes);
    if (!poster->positions || !poster->payload)
        return false;
    payload_prepare(poster->payload, plan->payload_bytes);
    uint64_t each = poster->left / plan->peers, extra = poster->left % plan->peers;
    for (uint64_t i = 0; i < plan->peers; i++)
        poster->positions[(poster->first_peer + i) % plan->peers].quota =
            (uint32_t)(each + (i < extra));
    return true;
}

static bool allocate(struct load *load)
{
    const struct load_plan *plan = &load->plan;
    size_t slots = 16;
    while (slots < 2 * plan->peers)
        slots *= 2;
    load->by_handle_mask = slots - 1;
    load->by_handle = calloc(slots, sizeof(uint32_t));
    load->peers = aligned_alloc(64, plan->peers * sizeof(struct load_peer));
    load->posters = calloc(plan->threads, sizeof(struct poster));
    load->tallies = mmap(NULL, TALLIES_MAX * sizeof(struct tally), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (load->tallies == MAP_FAILED)
        load->tallies = NULL;
    if (!load->by_handle || !load->peers || !load->posters || !load->tallies)
        return false;
    memset(load->peers, 0, plan->peers * sizeof(struct load_peer));
    for (uint32_t i = 0; i < plan->threads; i++)
        if (!poster_init(load, i))
            return false;
    return true;
}

bool load_open(const struct load_plan *plan, struct load **ret_load)
{
    struct load *load = calloc(1, sizeof(*load));
    if (!load)
        return false;
    load->plan = *plan;
    pthread_mutex_init(&load->lock, NULL);
    pthread_cond_init(&load->opened, NULL);
    running = load;
    if (allocate(load) && open_runtime(load) && add_peers(load)) {
        *ret_load = load;
        return true;
    }
    parley_close(load->runtime);
    load_free(load);
    return false;
}

bool load_start(struct load *load)
{
    /* relaxed: the threads that count it down are created below. */
    atomic_store_explicit(&load->posting, load->plan.threads, memory_order_relaxed);
    for (; load->posters_started < load->plan.threads; load->posters_started++) {
        struct poster *poster = &load->posters[load->posters_started];
        if (pthread_create(&poster->thread, NULL, post_all, poster) != 0) {
            fputs("parley-bench: no more threads\n", stderr);
            return false;
        }
    }
    return true;
}

/* ---- watching ---- */

struct load_counts load_counts(const struct load *load)
{
    struct load_counts counts = {0};
    for (uint64_t i = 0; i < load->plan.threads; i++) {
        counts.accepted += get(&load->posters[i].accepted);
        counts.eagain += get(&load->posters[i].eagain);
        counts.refused += get(&load->posters[i].refused);
    }
    for (unsigned i = 0; i < tallies_used(load); i++) {
        const struct tally *tally = &load->tallies[i];
        for (unsigned outcome = 0; outcome <= PARLEY_CANCELLED; outcome++) {
            /* acquire: pairs with the release in on_result(). */
            uint64_t more =
                atomic_load_explicit(&tally->outcome[outcome], memory_order_acquire);
            counts.outcome[outcome] += more;
            counts.results += more;
        }
        counts.delivered_ws += get(&tally->delivered_ws);
        counts.delivered_http += get(&tally->delivered_http);
        counts.hash_sum += get(&tally->hash_sum);
    }
    return counts;
}

bool load_finished(const struct load *load)
{
    /* acquire: pairs with the release at the end of post_all(). */
    if (atomic_load_explicit(&load->posting, memory_order_acquire) > 0)
        return false;
    struct load_counts counts = load_counts(load);
    return counts.results >= counts.accepted;
}

void load_stop(struct load *load)
{
    /* relaxed: the event that follows wakes whoever must see it. */
    atomic_store_explicit(&load->stop, true, memory_order_relaxed);
    gate_event(load);
}

uint64_t load_join(struct load *load)
{
    uint64_t last_ns = 0;
    for (uint64_t i = 0; i < load->posters_started; i++) {
        pthread_join(load->posters[i].thread, NULL);
        if (load->posters[i].ended_ns > last_ns)
            last_ns = load->posters[i].ended_ns;
    }
    for (unsigned i = 0; i < tallies_used(load); i++)
        if (get(&load->tallies[i].last_ns) > last_ns)
            last_ns = get(&load->tallies[i].last_ns);
    return last_ns;
}

bool load_stats(struct load *load, parley_stats *ret_stats)
{
    memset(ret_stats, 0, sizeof(*ret_stats));
    ret_stats->size = sizeof(*ret_stats);
    return parley_stats_get(load->runtime, ret_stats) == PARLEY_OK;
}

void load_close(struct load *load, struct histogram *ret_latency)
{
    parley_close(load->runtime);
    load->runtime = NULL;
    for (unsigned i = 0; i < tallies_used(load); i++)
        histogram_add(ret_latency, &load->tallies[i].latency);
}

void load_free(struct load *load)
{
    if (!load)
        return;
    for (uint64_t i = 0; load->posters && i < load->plan.threads; i++) {
        free(load->posters[i].positions);
        free(load->posters[i].payload);
    }
    free(load->posters);
    if (load->tallies)
        munmap(load->tallies, TALLIES_MAX * sizeof(struct tally));
    free(load->peers);
    free(load->by_handle);
    pthread_cond_destroy(&load->opened);
    pthread_mutex_destroy(&load->lock);
    free(load);
    running = NULL;
}
