/* SPDX-License-Identifier: Apache-2.0
 *
 * One fan-out from start to verdict: receiving nodes, load, progress, figures, checks.
 */
#ifndef PARLEY_BENCH_FANOUT_H
#define PARLEY_BENCH_FANOUT_H

#include "bench/load.h"
#include "bench/report.h"

#define FANOUT_NODES_MAX 2
#define FANOUT_TTL_MS    120000 /* unless told otherwise */

/** What goes wrong after each eleventh of the messages. */
enum fanout_chaos {
    FANOUT_PEACE,
    FANOUT_KILLS, /* the receiver is killed and started again */
    FANOUT_CUTS,  /* the receiver's connections are reset */
};

struct fanout {
    const char *title;
    uint64_t peers, messages, payload_bytes, threads, window, workers, ttl_ms;
    parley_preference preference;
    uint64_t http_attempts;    /* 0: the library's */
    uint32_t connect_grace_ms; /* 0: the library's */
    const char *url;           /* NULL: start `nodes` nodes */
    size_t nodes;              /* 1, or 2 of which the second refuses WebSockets: then every
                                  other peer is reached there */
    bool own_nodes;            /* one receiver, but in it a node for each peer */
    parley_security security;  /* beyond _OFF: with own_nodes */
    double kill_after_s;       /* 0: no kill */
    enum fanout_chaos chaos;
};

/** Fills in what every command starts from. */
void fanout_init(struct fanout *fanout, const char *title);

/** Checks what belongs together, the payload's length above all.
 *  @return -1; or an exit code, told on stderr */
int fanout_check(const struct fanout *fanout);

enum fanout_end {
    FANOUT_GOOD,
    FANOUT_WRONG, /* something differs from what it should be: the report says what was seen */
    FANOUT_NOT_RUN, /* it could not start: the report says nothing */
};

/** Runs it. Each difference, and why it did not run, is a line on stderr. */
enum fanout_end fanout_run(const struct fanout *fanout, struct report *ret_report);

#endif
