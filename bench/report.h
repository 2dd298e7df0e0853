/* SPDX-License-Identifier: Apache-2.0
 *
 * The figures of one fan-out: one list makes the structure, the table and the JSON.
 */
#ifndef PARLEY_BENCH_REPORT_H
#define PARLEY_BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/journal.h"

/* X(member, type, decimals) */
#define REPORT_MAP(X)                      \
    X(accepted, uint64_t, 0)               \
    X(delivered, uint64_t, 0)              \
    X(delivered_ws, uint64_t, 0)           \
    X(delivered_http, uint64_t, 0)         \
    X(sent, uint64_t, 0)                   \
    X(rejected, uint64_t, 0)               \
    X(exhausted, uint64_t, 0)              \
    X(expired, uint64_t, 0)                \
    X(cancelled, uint64_t, 0)              \
    X(pending, uint64_t, 0)                \
    X(eagain, uint64_t, 0)                 \
    X(seconds, double, 3)                  \
    X(messages_per_s, double, 0)           \
    X(bytes_per_message, double, 1)        \
    X(p50_us, double, 1)                   \
    X(p99_us, double, 1)                   \
    X(p999_us, double, 1)                  \
    X(client_cpu_s_per_million, double, 4) \
    X(server_cpu_s_per_million, double, 4) \
    X(client_rss_kb, uint64_t, 0)          \
    X(server_rss_kb, uint64_t, 0)          \
    X(reconnects, uint64_t, 0)             \
    X(handled, uint64_t, 0)                \
    X(handled_twice, uint64_t, 0)          \
    X(order_violations, uint64_t, 0)       \
    X(payload_hash_match, bool, 0)         \
    X(ws_connections_accepted, uint64_t, 0)

struct report {
#define REPORT_MEMBER_(member, type, decimals) type member;
    REPORT_MAP(REPORT_MEMBER_)
#undef REPORT_MEMBER_
    struct journal_counts chaos; /* of a chaos run; printed by itself */
};

/** Prints reports side by side, one column each under its title. */
void report_table(FILE *out, const struct report *reports, const char *const *titles,
                  size_t reports_len);

/** Prints the members as JSON, without the braces. */
void report_json(FILE *out, const struct report *report);

/** Checks one figure; a difference is one line on stderr that begins with `title`.
 *  @return 0: as it should be; 1: not */
unsigned report_expect(const char *title, const char *what, uint64_t seen, uint64_t expected);

#endif
