/* SPDX-License-Identifier: Apache-2.0
 *
 * The sending side: a runtime with N peers, T threads that post M messages to them in turn,
 * and the books of what became of each.
 *
 * Threads: load_…() functions belong to the main thread. Posting threads own their places
 * in the books of what was posted; result callbacks write one tally per worker.
 */
#ifndef PARLEY_BENCH_LOAD_H
#define PARLEY_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/histogram.h"
#include "bench/journal.h"
#include "parley.h"

struct load;

struct load_plan {
    uint64_t peers, messages, threads;
    uint64_t payload_bytes;
    uint64_t window; /* per peer, 0: the mailbox's bound only */
    uint64_t workers, ttl_ms;
    uint64_t http_attempts;    /* 0: the library's default */
    uint32_t connect_grace_ms; /* likewise */
    parley_preference preference;
    parley_security security; /* beyond _OFF peer i has to be the node of that name */
    const char *const *urls;  /* peer i is reached at urls[i % urls_len] */
    size_t urls_len;
    const struct journal *journal; /* NULL: none is kept */
};

struct load_counts {
    uint64_t accepted; /* parley_send() said OK */
    uint64_t eagain;
    uint64_t refused; /* posts that failed otherwise: their thread stopped */
    uint64_t outcome[PARLEY_CANCELLED + 1];
    uint64_t results; /* all outcomes */
    uint64_t delivered_ws, delivered_http;
    uint64_t hash_sum; /* over delivered payloads */
};

/** Opens the runtime and adds the peers. @return false: told on stderr */
bool load_open(const struct load_plan *plan, struct load **ret_load);

/** Starts posting. @return false: told on stderr */
bool load_start(struct load *load);

/** What has happened so far; exact once load_finished(). */
struct load_counts load_counts(const struct load *load);

/** Whether every thread has ended and every accepted message has its result. */
bool load_finished(const struct load *load);

/** Makes the threads give up posting. */
void load_stop(struct load *load);

/** Joins the posting threads. @return when the last result came (or the last post) */
uint64_t load_join(struct load *load);

/** The runtime's own statistics. */
bool load_stats(struct load *load, parley_stats *ret_stats);

/** Closes the runtime; then adds up the workers' latencies into `ret_latency`. */
void load_close(struct load *load, struct histogram *ret_latency);

/** Frees it; it is closed. NULL is allowed. */
void load_free(struct load *load);

#endif
