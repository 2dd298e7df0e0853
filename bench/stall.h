/* SPDX-License-Identifier: Apache-2.0
 *
 * One peer among many stalls, again and again, in turn with phases in which none does: what
 * that costs the others, and how long drain and close take meanwhile.
 */
#ifndef PARLEY_BENCH_STALL_H
#define PARLEY_BENCH_STALL_H

#include <stdbool.h>
#include <stdint.h>

#define STALL_PAIRS_MAX 99

/* X(name, what happens to the peer) */
#define STALL_KIND_MAP(X)                                                     \
    X(stopped, "its process is stopped: it reads nothing, its socket fills")  \
    X(slow, "its process runs for 1 of every 50 ms")                          \
    X(later, "its handlers take messages and owe the answers")                \
    X(http, "it is reached over HTTP, its process is stopped: requests hang") \
    X(gone, "its process is killed: dials are refused")

enum stall_kind {
#define STALL_KIND_ENUM_(name, text) STALL_KIND_##name,
    STALL_KIND_MAP(STALL_KIND_ENUM_)
#undef STALL_KIND_ENUM_
        STALL_KINDS
};

struct stall {
    uint64_t peers, rate, payload_bytes, filling_bytes, pairs, phase_ms, workers;
    uint64_t drain_ms;
};

/* X(member, type, decimals): latencies are medians of the phases, ratios of the pairs;
 * `quiet`: of the quietest quarter of the phases, for machines that do other things, too;
 * `late`: see stall_load_take() */
#define STALL_REPORT_MAP(X)            \
    X(p50_us_without, double, 1)       \
    X(p99_us_without, double, 1)       \
    X(p999_us_without, double, 1)      \
    X(p50_us_with, double, 1)          \
    X(p99_us_with, double, 1)          \
    X(p999_us_with, double, 1)         \
    X(p50_ratio, double, 2)            \
    X(p99_ratio, double, 2)            \
    X(p99_ratio_least, double, 2)      \
    X(p99_ratio_most, double, 2)       \
    X(p99_us_without_quiet, double, 1) \
    X(p99_us_with_quiet, double, 1)    \
    X(p999_ratio, double, 2)           \
    X(late_p99_us_without, double, 1)  \
    X(late_p99_us_with, double, 1)     \
    X(accepted, uint64_t, 0)           \
    X(delivered, uint64_t, 0)          \
    X(eagain, uint64_t, 0)             \
    X(handled, uint64_t, 0)            \
    X(handled_twice, uint64_t, 0)      \
    X(order_violations, uint64_t, 0)   \
    X(stalled_accepted, uint64_t, 0)   \
    X(stalled_delivered, uint64_t, 0)  \
    X(stalled_ended, uint64_t, 0)      \
    X(stalled_eagain, uint64_t, 0)     \
    X(memory_kb_without, uint64_t, 0)  \
    X(memory_kb_most, uint64_t, 0)     \
    X(rss_kb, uint64_t, 0)             \
    X(drain_ms, double, 1)             \
    X(drain_left, uint64_t, 0)         \
    X(close_ms, double, 1)

struct stall_report {
#define STALL_MEMBER_(member, type, decimals) type member;
    STALL_REPORT_MAP(STALL_MEMBER_)
#undef STALL_MEMBER_
};

enum stall_end {
    STALL_GOOD,
    STALL_WRONG,   /* messages were lost, or worse: each on stderr */
    STALL_NOT_RUN, /* the report says nothing */
};

/** Runs one kind. */
enum stall_end stall_run(const struct stall *stall, enum stall_kind kind,
                         struct stall_report *ret_report);

const char *stall_kind_name(enum stall_kind kind);
const char *stall_kind_text(enum stall_kind kind);

#endif
