/* SPDX-License-Identifier: Apache-2.0
 *
 * One kind of stall from start to verdict: see stall.h. Peer 0 has a receiving node of its
 * own, which is stalled and healed; the others share a second one. Main thread only.
 *
 * A pair of phases is one without a stall and one with it, the second one of every other
 * pair first. Between phases everything that was accepted gets its result, so that no phase
 * inherits another one's work.
 */
#include "bench/stall.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "bench/node.h"
#include "bench/report.h"
#include "bench/stall_load.h"
#include "bench/usage.h"

#define SLOW_TICKS     50 /* of 1 ms, in one of which the slow process runs */
#define TTL_MS         30000
#define LEAD_SHARE     4 /* of a phase's length, before it */
#define SENDER_THREADS 2 /* as payloads say: the steady load's, the filling one */

/* Of one phase, in microseconds: the others' latencies, and the machine's (stall_load_take()).
 */
enum quantile { P50, P99, P999, LATE_P99, QUANTILES };

struct phase {
    double us[QUANTILES];
};

struct run {
    const struct stall *stall;
    enum stall_kind kind;
    struct stall_report *report;
    struct node_process healthy, stalled; /* the others' node; peer 0's */
    struct stall_load *load;
    struct histogram latency, late;
    struct phase without[STALL_PAIRS_MAX], with[STALL_PAIRS_MAX];
    uint64_t memory_most;
    unsigned ticks;
    bool is_stalled;
};

static const struct {
    const char *name, *text;
} kinds[] = {
#define STALL_KIND_NAME_(name, text) {#name, text},
    STALL_KIND_MAP(STALL_KIND_NAME_)
#undef STALL_KIND_NAME_
};

const char *stall_kind_name(enum stall_kind kind)
{
    return kinds[kind].name;
}

const char *stall_kind_text(enum stall_kind kind)
{
    return kinds[kind].text;
}

/* ---- the stall itself ---- */

/* The signal takes effect when the process's main thread gets a CPU, and the others run on
 * until then. */
static bool stop_process(pid_t process)
{
    int status = 0;
    return kill(process, SIGSTOP) == 0 && waitpid(process, &status, WUNTRACED) == process &&
           WIFSTOPPED(status);
}

static bool begin_stall(struct run *run)
{
    run->is_stalled = true;
    run->ticks = 0;
    switch (run->kind) {
    case STALL_KIND_stopped:
    case STALL_KIND_slow:
    case STALL_KIND_http:
        return stop_process(run->stalled.process);
    case STALL_KIND_later:
        return node_owe_answers(&run->stalled, true) >= 0;
    case STALL_KIND_gone:
        node_kill(&run->stalled);
        return true;
    case STALL_KINDS:
        break;
    }
    return false;
}

static bool end_stall(struct run *run)
{
    if (!run->is_stalled)
        return true;
    run->is_stalled = false;
    switch (run->kind) {
    case STALL_KIND_stopped:
    case STALL_KIND_slow:
    case STALL_KIND_http:
        return kill(run->stalled.process, SIGCONT) == 0;
    case STALL_KIND_later:
        return node_owe_answers(&run->stalled, false) >= 0;
    case STALL_KIND_gone:
        return node_restart(&run->stalled);
    case STALL_KINDS:
        break;
    }
    return false;
}

static void on_tick(void *user)
{
    struct run *run = user;
    if (run->kind != STALL_KIND_slow || !run->is_stalled)
        return;
    run->ticks++;
    if (run->ticks % SLOW_TICKS < 2)
        kill(run->stalled.process, run->ticks % SLOW_TICKS == 0 ? SIGCONT : SIGSTOP);
}

/* ---- phases ---- */

static struct phase take_phase(struct run *run)
{
    static const unsigned per_mille[] = {500, 990, 999};
    struct phase phase;
    stall_load_take(run->load, &run->latency, &run->late);
    for (int q = P50; q <= P999; q++)
        phase.us[q] = (double)histogram_quantile(&run->latency, per_mille[q]) / 1e3;
    phase.us[LATE_P99] = (double)histogram_quantile(&run->late, 990) / 1e3;
    return phase;
}

/* The first part is not measured: what filled the mailbox, or emptied it, dies away. */
static bool offer(struct run *run, struct phase *ret_phase)
{
    uint64_t lead_ms = run->stall->phase_ms / LEAD_SHARE;
    bool good = stall_load_phase(run->load, lead_ms, on_tick, run);
    take_phase(run);
    good = good && stall_load_phase(run->load, run->stall->phase_ms, on_tick, run);
    *ret_phase = take_phase(run);
    return good;
}

static void note_memory(struct run *run)
{
    uint64_t peak, now = stall_load_memory(run->load, &peak);
    (void)now;
    if (peak > run->memory_most)
        run->memory_most = peak;
}

static bool phase_without(struct run *run, struct phase *ret_phase)
{
    return offer(run, ret_phase) && stall_load_await_peer0(run->load);
}

/* What is measured begins once the mailbox is full: filling it is as much work as any burst.
 */
static bool fall_behind(struct run *run)
{
    bool good = begin_stall(run);
    stall_load_fill(run->load, true);
    return good && stall_load_await_full(run->load);
}

static bool phase_with(struct run *run, struct phase *ret_phase)
{
    bool good = fall_behind(run) && offer(run, ret_phase);
    stall_load_fill(run->load, false);
    good = end_stall(run) && good;
    good = good && stall_load_await_peer0(run->load);
    note_memory(run);
    return good;
}

static bool run_pairs(struct run *run)
{
    struct phase unused;
    uint64_t peak;
    bool good = stall_load_warm_up(run->load) && phase_without(run, &unused);
    run->report->memory_kb_without = stall_load_memory(run->load, &peak) / 1024;
    for (uint64_t i = 0; good && i < run->stall->pairs; i++) {
        if (i % 2 == 0)
            good = phase_without(run, &run->without[i]) && phase_with(run, &run->with[i]);
        else
            good = phase_with(run, &run->with[i]) && phase_without(run, &run->without[i]);
    }
    return good;
}

/* With a full mailbox behind a stalled peer. */
static bool drain_and_close(struct run *run)
{
    size_t left = 0;
    bool good = fall_behind(run);
    stall_load_fill(run->load, false);
    run->report->drain_ms = stall_load_drain(run->load, (uint32_t)run->stall->drain_ms, &left);
    run->report->drain_left = left;
    run->report->close_ms = stall_load_close(run->load);
    return end_stall(run) && good;
}

/* ---- before and after ---- */

static bool start_nodes(struct run *run)
{
    run->healthy.peers = run->stall->peers;
    run->stalled.peers = 1;
    run->healthy.threads = run->stalled.threads = SENDER_THREADS;
    run->healthy.workers = run->stalled.workers = run->stall->workers;
    return node_start(&run->healthy) && node_start(&run->stalled);
}

static bool open_load(struct run *run)
{
    struct stall_plan plan = {
        .peers = run->stall->peers,
        .rate = run->stall->rate,
        .payload_bytes = run->stall->payload_bytes,
        .filling_bytes = run->stall->filling_bytes,
        .workers = run->stall->workers,
        .ttl_ms = TTL_MS,
        .peer0_http = run->kind == STALL_KIND_http,
        .peer0_url = run->stalled.url,
        .url = run->healthy.url,
    };
    return stall_load_open(&plan, &run->load);
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Sorts. */
static double median(double *values, size_t len)
{
    qsort(values, len, sizeof(*values), compare);
    return len % 2 == 1 ? values[len / 2] : (values[len / 2 - 1] + values[len / 2]) / 2;
}

static double typical(const struct run *run, const struct phase *phases, enum quantile q)
{
    double values[STALL_PAIRS_MAX] = {0};
    for (size_t i = 0; i < run->stall->pairs; i++)
        values[i] = phases[i].us[q];
    return median(values, run->stall->pairs);
}

/* The quietest quarter's worst: what else this machine does only adds to latencies. */
static double quiet(const struct run *run, const struct phase *phases, enum quantile q)
{
    double values[STALL_PAIRS_MAX] = {0};
    for (size_t i = 0; i < run->stall->pairs; i++)
        values[i] = phases[i].us[q];
    qsort(values, run->stall->pairs, sizeof(*values), compare);
    return values[run->stall->pairs / 4];
}

/* Pair by pair; a pair that was not measured counts as 0. */
static double typical_ratio(const struct run *run, enum quantile q, double *ret_least,
                            double *ret_most)
{
    double values[STALL_PAIRS_MAX] = {0};
    size_t pairs = run->stall->pairs;
    for (size_t i = 0; i < pairs; i++)
        values[i] = run->without[i].us[q] > 0 ? run->with[i].us[q] / run->without[i].us[q] : 0;
    double ratio = median(values, pairs);
    *ret_least = values[0];
    *ret_most = values[pairs - 1];
    return ratio;
}

static void fill_latencies(struct run *run)
{
    struct stall_report *report = run->report;
    double unused;
    report->p50_us_without = typical(run, run->without, P50);
    report->p99_us_without = typical(run, run->without, P99);
    report->p999_us_without = typical(run, run->without, P999);
    report->late_p99_us_without = typical(run, run->without, LATE_P99);
    report->p50_us_with = typical(run, run->with, P50);
    report->p99_us_with = typical(run, run->with, P99);
    report->p999_us_with = typical(run, run->with, P999);
    report->late_p99_us_with = typical(run, run->with, LATE_P99);
    report->p50_ratio = typical_ratio(run, P50, &unused, &unused);
    report->p99_ratio =
        typical_ratio(run, P99, &report->p99_ratio_least, &report->p99_ratio_most);
    report->p99_us_without_quiet = quiet(run, run->without, P99);
    report->p99_us_with_quiet = quiet(run, run->with, P99);
    report->p999_ratio = typical_ratio(run, P999, &unused, &unused);
}

/* Everybody but the stalled peer's node, whose books a kill wipes. */
static bool fill_books(struct run *run)
{
    struct stall_report *report = run->report;
    struct node_figures figures = {0};
    struct stall_books others = stall_load_others(run->load);
    struct stall_books peer0 = stall_load_peer0(run->load);
    bool good = node_read(&run->healthy, &figures);
    report->accepted = others.accepted;
    report->delivered = others.delivered;
    report->eagain = others.eagain;
    report->handled = figures.handled;
    report->handled_twice = figures.handled_twice;
    report->order_violations = figures.order_violations;
    report->stalled_accepted = peer0.accepted;
    report->stalled_delivered = peer0.delivered;
    report->stalled_ended = peer0.results;
    report->stalled_eagain = peer0.eagain;
    report->memory_kb_most = run->memory_most / 1024;
    report->rss_kb = usage_rss_kb();
    if (run->kind == STALL_KIND_gone)
        return good;
    good = node_read(&run->stalled, &figures) && good;
    report->handled_twice += figures.handled_twice;
    report->order_violations += figures.order_violations;
    return good;
}

static unsigned judge(const struct run *run)
{
    const struct stall_report *report = run->report;
    const char *title = stall_kind_name(run->kind);
    unsigned wrong = report_expect(title, "delivered", report->delivered, report->accepted);
    wrong += report_expect(title, "handled", report->handled, report->accepted);
    wrong += report_expect(title, "eagain", report->eagain, 0);
    wrong += report_expect(title, "handled_twice", report->handled_twice, 0);
    wrong += report_expect(title, "order_violations", report->order_violations, 0);
    wrong +=
        report_expect(title, "stalled_ended", report->stalled_ended, report->stalled_accepted);
    if (run->kind != STALL_KIND_gone)
        wrong += report_expect(title, "stalled_delivered", report->stalled_delivered,
                               report->stalled_accepted);
    return wrong;
}

static enum stall_end measure(struct run *run)
{
    if (!start_nodes(run) || !open_load(run))
        return STALL_NOT_RUN;
    bool good = run_pairs(run);
    fill_latencies(run);
    good = fill_books(run) && good;
    unsigned wrong = judge(run);
    good = drain_and_close(run) && good;
    struct stall_books peer0 = stall_load_peer0(run->load);
    wrong += report_expect(stall_kind_name(run->kind), "results of the stalled peer at close",
                           peer0.results, peer0.accepted);
    return good && wrong == 0 ? STALL_GOOD : STALL_WRONG;
}

enum stall_end stall_run(const struct stall *stall, enum stall_kind kind,
                         struct stall_report *ret_report)
{
    enum stall_end end = STALL_NOT_RUN;
    struct run *run = calloc(1, sizeof(*run));
    memset(ret_report, 0, sizeof(*ret_report));
    if (run) {
        run->stall = stall;
        run->kind = kind;
        run->report = ret_report;
        usage_raise_descriptors();
        end = measure(run);
        stall_load_free(run->load);
        end_stall(run);
        node_stop(&run->stalled);
        node_stop(&run->healthy);
    }
    if (end == STALL_NOT_RUN)
        fprintf(stderr, "parley-bench: %s: could not run\n", stall_kind_name(kind));
    free(run);
    return end;
}
