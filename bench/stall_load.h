/* SPDX-License-Identifier: Apache-2.0
 *
 * The sending side of `stall`: a runtime with N peers at a steady offered load, one message
 * after another in turn, and a thread that fills the mailbox of peer 0 whenever it has room.
 *
 * Threads: stall_load_…() functions belong to the main thread, which posts the steady load.
 * The filling thread posts to peer 0 only; result callbacks write one tally per worker, which
 * the main thread takes when nothing of its own is under way.
 */
#ifndef PARLEY_BENCH_STALL_LOAD_H
#define PARLEY_BENCH_STALL_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/histogram.h"
#include "parley.h"

struct stall_load;

struct stall_plan {
    uint64_t peers;         /* peer 0 among them */
    uint64_t rate;          /* messages a second to all of them */
    uint64_t payload_bytes; /* of these */
    uint64_t filling_bytes; /* of a payload that fills peer 0's mailbox */
    uint64_t workers, ttl_ms;
    bool peer0_http;       /* it is reached over HTTP only */
    const char *peer0_url; /* where it is reached */
    const char *url;       /* and all others */
};

/** One side's books. */
struct stall_books {
    uint64_t accepted, eagain, results, delivered;
};

/** Opens the runtime and adds the peers. @return false: told on stderr */
bool stall_load_open(const struct stall_plan *plan, struct stall_load **ret_load);

/** Posts one message to each peer and waits for the results: they are connected.
 *  @return false: told on stderr */
bool stall_load_warm_up(struct stall_load *load);

/**
 * Offers the steady load for so long, peer 0 being left out while it is filled, and calls
 * `tick` every millisecond; then waits for the others' results.
 *
 * @return false: not all of them came; told on stderr
 */
typedef void (*stall_tick_fn)(void *user);
bool stall_load_phase(struct stall_load *load, uint64_t duration_ms, stall_tick_fn tick,
                      void *user);

/** Whether peer 0's mailbox is being filled. */
void stall_load_fill(struct stall_load *load, bool on);

/** Waits until a filled mailbox has answered PARLEY_EAGAIN. @return false: not in time */
bool stall_load_await_full(struct stall_load *load);

/** Waits for every result of peer 0. @return false: told on stderr */
bool stall_load_await_peer0(struct stall_load *load);

/** The others' latencies since the last call; and how much too late the main thread, which
 *  waits for nothing but the clock, was woken up: what the machine itself adds. */
void stall_load_take(struct stall_load *load, struct histogram *ret_latency,
                     struct histogram *ret_late);

struct stall_books stall_load_others(const struct stall_load *load);
struct stall_books stall_load_peer0(const struct stall_load *load);

/** The runtime's own memory now, and at most since the last call of this. */
uint64_t stall_load_memory(struct stall_load *load, uint64_t *ret_peak);

/** parley_drain(): how long it took, what was left. */
double stall_load_drain(struct stall_load *load, uint32_t timeout_ms, size_t *ret_left);

/** parley_close(): how long it took. All results have come then. */
double stall_load_close(struct stall_load *load);

/** Frees it, closing it if need be. NULL is allowed. */
void stall_load_free(struct stall_load *load);

#endif
