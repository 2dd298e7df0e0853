/* SPDX-License-Identifier: Apache-2.0
 *
 * Many deadlines, almost all of which are met long before they come. Adding and removing one
 * takes constant time, and time passing costs each of them a few moves in all, whatever the
 * order and the spread: a radix heap over ticks of about a millisecond, without allocation.
 *
 * Relative to the tick of the last look, bucket b holds what first differs from it in bit
 * b - 1: bucket 0 is this tick (or passed), 1 the next, then spans of 2, 4, 8 … ticks. When
 * the time enters a bucket's span, its entries move to lower buckets, never back. The last
 * bucket takes everything further away than an hour or so.
 *
 * One thread at a time.
 */
#ifndef PARLEY_PEERS_DEADLINES_H
#define PARLEY_PEERS_DEADLINES_H

#include <stdint.h>

#define DEADLINE_BUCKETS 24

/** One deadline, inside what it belongs to. */
struct deadline {
    struct deadline *next;
    struct deadline **link; /* what points here; NULL: not waiting */
    uint64_t at_ns;
    uint32_t bucket;
};

struct deadlines {
    struct deadline *first[DEADLINE_BUCKETS];
    uint64_t earliest_ns[DEADLINE_BUCKETS]; /* not later than any of the bucket's */
    uint64_t tick;                          /* of the last look */
    uint32_t used;                          /* bit b: bucket b is not empty */
};

void deadlines_init(struct deadlines *deadlines);

/** Waits for `at_ns`; CLOCK_NEVER: does nothing but to mark `entry` as not waiting. */
void deadlines_add(struct deadlines *deadlines, struct deadline *entry, uint64_t at_ns);

/** Waits no longer. Nothing happens if it does not wait. */
void deadlines_remove(struct deadlines *deadlines, struct deadline *entry);

/** A time not later than the earliest deadline; CLOCK_NEVER: none is waiting. */
uint64_t deadlines_earliest(const struct deadlines *deadlines);

/** Takes out all that are due, chained by `next` in no particular order; NULL: none. */
struct deadline *deadlines_take_due(struct deadlines *deadlines, uint64_t now_ns);

/** Asserts that every entry stands where it belongs. O(n). @return how many there are */
uint64_t deadlines_check(const struct deadlines *deadlines);

#endif
