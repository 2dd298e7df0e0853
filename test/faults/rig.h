/* SPDX-License-Identifier: Apache-2.0
 *
 * What every kind of fault uses: a receiver in a process of its own, the proxy, a sending
 * runtime in this process, the books of both sides, and the row of the table they end in.
 */
#ifndef PARLEY_TEST_FAULTS_RIG_H
#define PARLEY_TEST_FAULTS_RIG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "parley.h"
#include "test/faults/books.h"
#include "test/faults/proxy.h"
#include "test/faults/receiver.h"

/** One line of the table. `wrong` counts everything else that is not as promised. */
struct row {
    char kind[40];
    uint64_t cases, reached, messages, lost, twice, wrong, crashes;
    double seconds;
};

/** Says on stderr what is wrong, the first few times. */
__attribute__((format(printf, 2, 3))) void row_say(const struct row *row, const char *format,
                                                   ...);

/** What became of one message at the sender. */
struct rig_slot {
    _Atomic(uint8_t) results, outcome;
    _Atomic(uint64_t) result_ns;
};

struct rig {
    struct receiver receiver;
    struct proxy *proxy;
    parley *sender;
    uint32_t stride;
    struct rig_slot *slots; /* as the books' entries */
    pthread_mutex_t lock;
    pthread_cond_t more; /* broadcast when a case's last awaited result is there */
    /* under the lock: */
    uint32_t done[BOOKS_CASES_MAX];
    uint32_t awaited[BOOKS_CASES_MAX]; /* UINT32_MAX: nobody waits */
};

/** The sender's options: everything that waits is short. */
void rig_options(parley_options *options);

/** Starts all of it. `options` NULL: rig_options(). @return false: told on stderr */
bool rig_open(struct rig *rig, uint32_t stride, const parley_options *options);

/** Ends all of it and counts in `row` what ended badly: crashes, books that do not add up. */
void rig_close(struct rig *rig, struct row *row);

/** Posts one message however long the mailbox stays full. @return what parley_send() said */
parley_status rig_post(struct rig *rig, parley_peer peer, struct book_key key,
                       parley_hint hint);

/** Waits until a case has so many results, for `timeout_ms` at most. @return whether it has */
bool rig_await(struct rig *rig, uint32_t of_case, uint32_t results, uint64_t timeout_ms);

uint32_t rig_done(struct rig *rig, uint32_t of_case);

struct rig_slot *rig_slot(struct rig *rig, struct book_key key);

/** What a message's books must say. */
enum rig_demand {
    RIG_EXACT,    /* the receiver lives: its handler's verdict, run once, in order */
    RIG_RESTARTS, /* it was killed: run again only if unanswered then, and marked */
    RIG_HONEST,   /* DELIVERED implies handled; any other result may be */
    RIG_CHANGED,  /* bytes were changed on the way: one result, whichever */
};

/** Checks messages 0 to `posted` - 1 of a case, whose kinds are `kinds[number]` (NULL: all
 *  accepted by the handler). */
void rig_check(struct rig *rig, struct row *row, uint32_t of_case, const char *kinds,
               uint32_t posted, enum rig_demand demand);

/** Counts runs of one (sender, session, number) beyond the first, over the whole receiver. */
uint64_t rig_repeated_addresses(struct rig *rig);

#endif
