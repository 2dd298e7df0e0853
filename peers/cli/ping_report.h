/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers to pings as `parley ping` prints them, and their statistics.
 */
#ifndef PARLEY_PEERS_CLI_PING_REPORT_H
#define PARLEY_PEERS_CLI_PING_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "parley.h"

struct ping_answer {
    const char *peer;
    parley_transport transport;
    uint32_t sequence;
    parley_status status;
    uint32_t http_code;
    uint64_t latency_ns;
    char detail[PARLEY_DETAIL_MAX];
};

/* Of one transport. */
struct ping_tally {
    uint32_t sent, answered, refused;
    uint32_t pending; /* without an answer when we stopped: not lost */
    double min_ms, max_ms, sum_ms, squares_ms;
};

void ping_print_answer(const struct ping_answer *answer, bool json);

/** Adds what came to what was sent. */
void ping_count(struct ping_tally *tally, const struct ping_answer *answer);

void ping_print_tally(parley_transport transport, const struct ping_tally *tally, bool json);

#endif
