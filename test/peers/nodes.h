/* SPDX-License-Identifier: Apache-2.0
 *
 * Real runtimes for tests of the service: a receiver that remembers what it handled, a
 * sender that counts results.
 */
#ifndef PARLEY_TEST_NODES_H
#define PARLEY_TEST_NODES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parley.h"
#include "test/check.h"

#define THREADS_MAX 8

/** Results by outcome and transport; and what the last one said. */
struct tally {
    _Atomic(uint64_t) results;
    _Atomic(uint64_t) outcomes[PARLEY_CANCELLED + 1];
    _Atomic(uint64_t) transports[PARLEY_TRANSPORT_HTTP + 1];
    pthread_mutex_t mutex;
    char detail[PARLEY_DETAIL_MAX]; /* under the mutex */
    unsigned http_code;
    uint32_t attempts;
};

static inline void tally_result(const parley_result *result, void *user)
{
    struct tally *tally = user;

    pthread_mutex_lock(&tally->mutex);
    snprintf(tally->detail, sizeof(tally->detail), "%s", result->detail);
    tally->http_code = result->http_code;
    tally->attempts = result->attempts;
    pthread_mutex_unlock(&tally->mutex);
    atomic_fetch_add(&tally->outcomes[result->outcome], 1);
    atomic_fetch_add(&tally->transports[result->transport], 1);
    atomic_fetch_add(&tally->results, 1);
}

/** What a receiver's handler has seen: order and repeats per sender and thread. */
struct seen {
    _Atomic(uint64_t) handled;
    _Atomic(uint64_t) violations; /* not the successor of the last one of its thread */
    _Atomic(uint64_t) redelivered;
    uint64_t next[THREADS_MAX]; /* handlers of one session run one at a time */
    _Atomic(uint64_t) over_http;
};

static inline uint64_t payload_number(const parley_incoming *message, const char *key)
{
    char text[128], pattern[32];
    const char *at;

    snprintf(text, sizeof(text), "%.*s", (int)message->payload_len, message->payload);
    snprintf(pattern, sizeof(pattern), "\"%s\":", key);
    at = strstr(text, pattern);
    return at != NULL ? strtoull(at + strlen(pattern), NULL, 10) : UINT64_MAX;
}

/** Accepts {"t":thread,"n":number,…}, checking that numbers rise by one. */
static inline parley_verdict seen_handler(const parley_incoming *message, char *detail,
                                          void *user)
{
    struct seen *seen = user;
    uint64_t thread = payload_number(message, "t");

    (void)detail;
    if (thread < THREADS_MAX) {
        if (payload_number(message, "n") != seen->next[thread]++)
            atomic_fetch_add(&seen->violations, 1);
    }
    if (message->redelivered)
        atomic_fetch_add(&seen->redelivered, 1);
    if (message->transport == PARLEY_TRANSPORT_HTTP)
        atomic_fetch_add(&seen->over_http, 1);
    atomic_fetch_add(&seen->handled, 1);
    return PARLEY_ACCEPT;
}

static inline void to_stderr(parley_log_level level, const char *line, void *user)
{
    (void)user;
    if (getenv("PARLEY_TEST_LOG") != NULL)
        fprintf(stderr, "[%d] %s\n", (int)level, line);
}

static inline void node_options(parley_options *options, const char *id)
{
    parley_options_init(options);
    options->node_id = id;
    options->workers = 2;
    options->log = to_stderr;
    options->log_level = PARLEY_LOG_DEBUG;
}

static inline parley *node_open(const parley_options *options)
{
    char error[256];
    parley *node = NULL;
    parley_status status = parley_open(options, error, sizeof(error), &node);

    if (status != PARLEY_OK)
        fprintf(stderr, "parley_open: %s\n", error);
    CHECK_STATUS(status, OK);
    return node;
}

/** A node that listens on `port` of loopback (0: any). */
static inline parley *receiver_open(uint16_t port, bool websocket)
{
    parley_options options;

    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.listen_port = port;
    options.accept_websocket = websocket;
    return node_open(&options);
}

static inline void url_of(const parley *node, char *url, size_t len)
{
    snprintf(url, len, "http://127.0.0.1:%u", parley_port(node));
}

static inline parley_peer peer_to(parley *sender, const parley *receiver, const char *id,
                                  parley_preference preference)
{
    parley_peer peer = {0};
    parley_peer_options options;
    char url[64];

    parley_peer_options_init(&options);
    options.preference = preference;
    options.preference_set = true;
    url_of(receiver, url, sizeof(url));
    CHECK_STATUS(parley_peer_add(sender, id, url, &options, &peer), OK);
    return peer;
}

static inline parley_status post(parley *sender, parley_peer peer, const char *payload,
                                 struct tally *tally)
{
    parley_message message;

    parley_message_init(&message, "test", payload, strlen(payload));
    return parley_send(sender, peer, &message, tally_result, tally, NULL);
}

/** Posts the n-th message of thread t, however long the mailbox stays full. */
static inline parley_status post_numbered(parley *sender, parley_peer peer, unsigned t,
                                          uint64_t n, struct tally *tally)
{
    char payload[96];
    parley_status status;

    snprintf(payload, sizeof(payload), "{\"t\":%u,\"n\":%llu}", t, (unsigned long long)n);
    while ((status = post(sender, peer, payload, tally)) == PARLEY_EAGAIN)
        sched_yield();
    return status;
}

static inline void check_adds_up(parley *node)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(node, &stats), OK);
    CHECK_U64(stats.accepted, stats.delivered + stats.sent + stats.rejected + stats.exhausted +
                                  stats.expired + stats.cancelled + stats.pending);
}

/** Two nodes, one the other's peer. */

struct pair {
    parley *receiver, *sender;
    parley_peer peer;
    struct tally tally;
    struct seen seen;
};

static inline void pair_open(struct pair *pair, parley_preference preference)
{
    parley_options options;

    memset(pair, 0, sizeof(*pair));
    pthread_mutex_init(&pair->tally.mutex, NULL);
    pair->receiver = receiver_open(0, true);
    node_options(&options, "sender");
    options.http_backoff_ms = 20;
    options.reconnect_min_ms = 50;
    options.breaker_failures = 0; /* a receiver that is slow to come back is not left alone */
    pair->sender = node_open(&options);
    pair->peer = peer_to(pair->sender, pair->receiver, "receiver", preference);
    parley_on_message(pair->receiver, NULL, seen_handler, &pair->seen);
}

static inline void pair_close(struct pair *pair)
{
    CHECK_STATUS(parley_close(pair->sender), OK);
    CHECK_STATUS(parley_close(pair->receiver), OK);
}

#define TALLY_INIT                         \
    {                                      \
        .mutex = PTHREAD_MUTEX_INITIALIZER \
    }

#endif
