/* SPDX-License-Identifier: Apache-2.0
 *
 * Hashed hierarchical timer wheel: start, restart and stop in constant time, entries
 * embedded in their owners. One per worker, used by that worker only. Pure: it is told the
 * time and never asks for it.
 *
 * A timer fires at the first advance at or after its time rounded up to the tick, never
 * before its time.
 */
#ifndef PARLEY_RUNTIME_TIMER_WHEEL_H
#define PARLEY_RUNTIME_TIMER_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIMER_TICK_NS UINT64_C(1000000) /* 1 ms */
#define TIMER_LEVELS  5
#define TIMER_SLOTS   64 /* 64^5 ms: 12 days; later ones wait in the last level */

struct timer;
typedef void (*timer_fn)(struct timer *timer);

struct timer {
    struct timer *next, *prev; /* NULL: not started */
    uint64_t expires_tick;
    timer_fn fire; /* may start and stop any timer, itself included */
    uint16_t slot; /* level * TIMER_SLOTS + slot, kept to clear the occupancy bit */
};

struct timer_wheel {
    uint64_t now_tick;
    size_t count;
    uint64_t occupied[TIMER_LEVELS];
    struct timer due; /* list head: what the running advance still has to fire */
    struct timer slots[TIMER_LEVELS][TIMER_SLOTS]; /* list heads */
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ns);

/** Prepares an entry that is not started. */
void timer_init(struct timer *timer, timer_fn fire);

/** Starts the timer, or moves it when it is started already. */
void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t expires_ns);

/** Stops the timer; does nothing when it is not started. */
void timer_stop(struct timer_wheel *wheel, struct timer *timer);

bool timer_started(const struct timer *timer);

/** Fires what is due; what its functions start for the past waits for the next advance.
 *  Not from inside a timer's function. @return timers fired */
size_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ns);

/** A time at which to call advance again: not after the earliest timer's, at least one
 *  tick after now; CLOCK_NEVER when there is none. */
uint64_t timer_wheel_next_ns(const struct timer_wheel *wheel);

/** Asserts every link, slot and occupancy bit. */
void timer_wheel_check(const struct timer_wheel *wheel);

#endif
