/* SPDX-License-Identifier: Apache-2.0
 *
 * Exponential backoff with jitter: min, 2 min, 4 min … max, each ±20 %.
 */
#ifndef PARLEY_TRANSPORT_BACKOFF_H
#define PARLEY_TRANSPORT_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint64_t min_ns, max_ns;
    uint32_t failures; /* since the last success */
};

void backoff_init(struct backoff *backoff, uint64_t min_ns, uint64_t max_ns);
void backoff_reset(struct backoff *backoff);

/** Counts a failure. @param random uniform 64 bits. @return how long to wait, in ns */
uint64_t backoff_next_ns(struct backoff *backoff, uint64_t random);

#endif
