/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal of a chaos run: per message, when it was handled, by which receiver process,
 * and when its result came. It is a mapped file shared by sender and receivers, so that it
 * outlives every receiver that is killed.
 *
 * An entry's handling side is written by the worker that owns the message's session, its
 * result by the worker of its peer; journal_count() reads once both have ended or are idle.
 */
#ifndef PARLEY_BENCH_JOURNAL_H
#define PARLEY_BENCH_JOURNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/payload.h"

#define JOURNAL_FAULTS 10 /* kills or cuts, one after each eleventh of the messages */

struct journal_entry {
    /* relaxed, all: read when nobody writes any more, in another process after it ended or
       after its answer to GET /stats. */
    _Atomic(uint64_t) hash; /* of the payload, as posted */
    _Atomic(uint64_t) first_ns, last_ns, result_ns;
    _Atomic(uint16_t) runs, unmarked, same_life, changed;
    _Atomic(uint32_t) life; /* of the last run */
};

struct journal {
    struct journal_file *file;
    int fd;
    uint64_t bytes;
};

/* X(member): what journal_count() adds up */
#define JOURNAL_COUNTS_MAP(X)                                                          \
    X(faults)                /* kills or cuts that fell */                             \
    X(handled_at_least_once) /* messages */                                            \
    X(runs)                  /* of handlers */                                         \
    X(second_runs)           /* beyond each message's first */                         \
    X(second_runs_marked)    /* of these, said to be redelivered */                    \
    X(second_runs_in_flight) /* of these, of a message without a result at a kill that \
                                came after its first run, and run before its result */ \
    X(run_twice_by_one_receiver)                                                       \
    X(out_of_order) /* runs that were not their stream's next, nor, in a new           \
                       receiver, one that had begun before */                          \
    X(changed)      /* runs with another payload than was posted */

struct journal_counts {
#define JOURNAL_MEMBER_(member) uint64_t member;
    JOURNAL_COUNTS_MAP(JOURNAL_MEMBER_)
#undef JOURNAL_MEMBER_
};

/** Makes an empty one for so many streams of so many messages. @return false: errno */
bool journal_create(struct journal *journal, uint64_t peers, uint64_t threads,
                    uint64_t messages);

/** Maps one that another process made. @return false: errno */
bool journal_open(struct journal *journal, int fd);

void journal_close(struct journal *journal);

/** A receiver is about to start. Sender only. */
void journal_new_life(struct journal *journal);

/** A kill or cut: when it began, and when it was over. Main thread only. */
void journal_fault(struct journal *journal, uint64_t began_ns, uint64_t over_ns);

/** Before a message is posted. @return its entry */
struct journal_entry *journal_posted(const struct journal *journal, struct payload_key key,
                                     uint64_t hash);

/** Its result came: DELIVERED. */
void journal_delivered(struct journal_entry *entry);

/** Its handler runs, in the receiver. */
void journal_ran(const struct journal *journal, struct payload_key key, uint64_t hash,
                 bool redelivered);

struct journal_counts journal_count(const struct journal *journal);

/** As a table, or as one JSON object. */
void journal_print(FILE *out, const struct journal_counts *counts, bool json);

#endif
