/* SPDX-License-Identifier: Apache-2.0
 *
 * A token bucket for what we send to peers that limit what they take: `burst` messages at
 * once, then `per_min` a minute, evenly spaced. Pure: the caller brings the clock, which may
 * stand still. It is one number, the time at which the bucket would be full again (the
 * generic cell rate algorithm), so nothing has to be refilled and nothing drifts.
 */
#ifndef PARLEY_PEERS_PACE_H
#define PARLEY_PEERS_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t interval_ns;  /* between two messages once the burst is used up */
    uint64_t tolerance_ns; /* how far ahead of that the burst may run */
    uint64_t full_at_ns;   /* when the whole burst is there again */
};

/** Starts with the whole burst. Both numbers are at least 1. */
void pace_init(struct pace *pace, uint32_t burst, uint32_t per_min);

/**
 * Takes one message out of the bucket.
 *
 * @param ret_at_ns on false: the earliest time at which it can be taken
 * @return false: not yet; nothing was taken
 */
bool pace_take(struct pace *pace, uint64_t now_ns, uint64_t *ret_at_ns);

/** What pace_take() gave was not used after all; at once, before anything else. */
void pace_return(struct pace *pace);

/** The receiver said that it was too much: nothing before `until_ns`, and no burst then. */
void pace_hold(struct pace *pace, uint64_t until_ns);

#endif
