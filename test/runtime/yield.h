/* SPDX-License-Identifier: Apache-2.0
 *
 * Yield points for lock-free code under test. A test defines YIELD_POINT() as yield_point()
 * and includes the .c file: then each race window calls `yield_hook` (once, for a scripted
 * interleaving), or gives the CPU away at random, by a seed printed with the run.
 */
#ifndef PARLEY_TEST_YIELD_H
#define PARLEY_TEST_YIELD_H

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>

#include "test/check.h"

static _Thread_local void (*yield_hook)(void *user);
static _Thread_local void *yield_user;
static _Thread_local struct check_random yield_random; /* state 0: never yields */

static inline void yield_point(void)
{
    void (*hook)(void *user) = yield_hook;

    if (hook != NULL) {
        yield_hook = NULL;
        hook(yield_user);
    } else if (yield_random.state != 0 && check_random_below(&yield_random, 16) == 0) {
        sched_yield();
    }
}

/** The run's seed for this test, told so that a failing run can be replayed. */
static inline uint64_t yield_seed(void)
{
    const uint64_t seed = check_seed(20240501);

    printf("[SEED=%" PRIu64 "] ", seed);
    return seed;
}

#endif
