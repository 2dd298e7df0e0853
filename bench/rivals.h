/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the programs of bench/rivals beside parley.
 */
#ifndef PARLEY_BENCH_RIVALS_H
#define PARLEY_BENCH_RIVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/fanout.h"

#define RIVAL_COUNT  2
#define RIVAL_ROUNDS 3

struct rival_figures {
    double seconds, messages_per_s, bytes_per_message;
    double client_cpu_s_per_million, server_cpu_s_per_million;
};

/** What the rounds gave. */
struct contest {
    struct report parley[RIVAL_ROUNDS];
    struct rival_figures rival[RIVAL_COUNT][RIVAL_ROUNDS];
    size_t rounds; /* that ran to their end */
};

/** Runs parley and each rival in turn, RIVAL_ROUNDS times. @return as fanout_run(), the
 *  worst of all */
enum fanout_end contest_run(const struct fanout *fanout, struct contest *ret_contest);

/** The round whose messages_per_s of parley is the median. */
size_t contest_median_round(const struct contest *contest);

/** The median of parley's rate over this rival's, round by round. */
double contest_ratio(const struct contest *contest, size_t rival);

/** Prints ratios and the rivals' figures as a table, or as JSON members with a comma first. */
void contest_print(FILE *out, const struct contest *contest, bool json);

/** The median of at most RIVAL_ROUNDS values. */
double contest_median(const double *values, size_t values_len);

#endif
