/* SPDX-License-Identifier: Apache-2.0
 *
 * One fan-out: see fanout.h. Everything here is the main thread's: it watches the load,
 * kills the receiver when told to, draws the progress line, and compares both sides' books
 * at the end.
 */
#include "bench/fanout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/node.h"
#include "bench/options.h"
#include "bench/payload.h"
#include "bench/usage.h"

#define LOOK_EVERY_NS      UINT64_C(5000000)
#define PROGRESS_EVERY_NS  UINT64_C(250000000)
#define RECONNECTS_WAIT_NS (UINT64_C(15) * 1000 * 1000 * 1000)
#define STALL_MARGIN_MS    30000
#define OWN_NODES_MAX      1000 /* some three threads and ten descriptors each */

struct run {
    const struct fanout *fanout;
    struct report *report;
    struct node_process nodes[FANOUT_NODES_MAX];
    struct node_figures before[FANOUT_NODES_MAX], after[FANOUT_NODES_MAX];
    size_t nodes_len;
    struct load *load;
    struct journal journal; /* of a chaos run */
    uint32_t faults;
    uint64_t start_ns, end_ns, last_result_ns, results_seen, progress_ns;
    double client_cpu_s;
    parley_stats stats;
    struct load_counts counts;
    bool killed, stalled;
};

void fanout_init(struct fanout *fanout, const char *title)
{
    *fanout = (struct fanout){.title = title,
                              .peers = 100,
                              .messages = 500000,
                              .payload_bytes = 100,
                              .threads = 1,
                              .ttl_ms = FANOUT_TTL_MS,
                              .nodes = 1,
                              .preference = PARLEY_WEBSOCKET_FIRST};
}

int fanout_check(const struct fanout *fanout)
{
    struct payload_key largest = {(uint32_t)fanout->peers - 1, (uint32_t)fanout->threads - 1,
                                  fanout->messages / fanout->peers / fanout->threads + 1};
    size_t least = payload_bytes_min(largest);
    if (fanout->payload_bytes < least)
        return options_wrong("--payload: with these numbers at least %zu bytes", least);
    if (fanout->kill_after_s > 0 && fanout->url)
        return options_wrong("--kill-receiver-after needs a receiver of its own, not --url");
    if (fanout->chaos != FANOUT_PEACE && (fanout->url || fanout->kill_after_s > 0))
        return options_wrong("--chaos goes with neither --url nor --kill-receiver-after");
    if (fanout->own_nodes &&
        (fanout->url || fanout->kill_after_s > 0 || fanout->chaos != FANOUT_PEACE))
        return options_wrong("--security goes with neither --url, --chaos nor a kill");
    if (fanout->own_nodes && fanout->peers > OWN_NODES_MAX)
        return options_wrong("--security: a node for each of at most %u peers", OWN_NODES_MAX);
    return -1;
}

/* ---- while it runs ---- */

static void draw_progress(struct run *run, uint64_t now_ns, bool last)
{
    if (!isatty(STDERR_FILENO))
        return;
    if (last) {
        fputs("\r\033[K", stderr);
        return;
    }
    struct load_counts counts = load_counts(run->load);
    uint64_t delivered = counts.delivered_ws + counts.delivered_http;
    double seconds = (double)(now_ns - run->start_ns) / 1e9;
    double rate = seconds > 0 ? (double)delivered / seconds : 0;
    double left = rate > 0 ? (double)(run->fanout->messages - delivered) / rate : 0;
    fprintf(stderr,
            "\r%s: %" PRIu64 " of %" PRIu64 " delivered (%" PRIu64
            " over HTTP), %.0f/s, %.0f s left\033[K",
            run->fanout->title, delivered, run->fanout->messages, counts.delivered_http, rate,
            left);
    fflush(stderr);
}

/* Nothing has come back for longer than any message may live: no use waiting on. */
static bool has_stalled(struct run *run, uint64_t now_ns)
{
    uint64_t results = load_counts(run->load).results;
    if (results != run->results_seen) {
        run->results_seen = results;
        run->last_result_ns = now_ns;
    }
    uint64_t limit_ms = run->fanout->ttl_ms + STALL_MARGIN_MS;
    return now_ns - run->last_result_ns > limit_ms * UINT64_C(1000000);
}

/* One after each eleventh of the messages. @return false: it could not be done */
static bool bring_chaos(struct run *run)
{
    const struct fanout *fanout = run->fanout;
    uint64_t share = fanout->messages / (JOURNAL_FAULTS + 1);
    if (fanout->chaos == FANOUT_PEACE || run->faults == JOURNAL_FAULTS ||
        load_counts(run->load).results < share * (run->faults + 1))
        return true;
    uint64_t began_ns = usage_now_ns();
    if (fanout->chaos == FANOUT_KILLS) {
        run->killed = true;
        if (!node_kill_and_restart(&run->nodes[0]))
            return false;
    } else {
        long cut = node_cut_connections(&run->nodes[0]);
        if (cut <= 0)
            return cut == 0; /* none was there: the next look */
    }
    run->faults++;
    journal_fault(&run->journal, began_ns, usage_now_ns());
    return true;
}

static bool watch(struct run *run)
{
    const struct timespec pause = {.tv_nsec = LOOK_EVERY_NS};
    bool good = true;
    run->last_result_ns = run->start_ns;
    while (good && !load_finished(run->load)) {
        nanosleep(&pause, NULL);
        uint64_t now_ns = usage_now_ns();
        double seconds = (double)(now_ns - run->start_ns) / 1e9;
        if (run->fanout->kill_after_s > 0 && !run->killed &&
            seconds >= run->fanout->kill_after_s) {
            run->killed = true;
            good = node_kill_and_restart(&run->nodes[0]);
        }
        good = good && bring_chaos(run);
        if (now_ns - run->progress_ns >= PROGRESS_EVERY_NS) {
            run->progress_ns = now_ns;
            draw_progress(run, now_ns, false);
        }
        run->stalled = has_stalled(run, now_ns);
        good = good && !run->stalled;
    }
    draw_progress(run, 0, true);
    return good;
}

/* ---- before and after ---- */

static bool start_nodes(struct run *run)
{
    const struct fanout *fanout = run->fanout;
    run->nodes_len = fanout->url ? 1 : fanout->nodes;
    for (size_t i = 0; i < run->nodes_len; i++) {
        struct node_process *node = &run->nodes[i];
        node->peers = fanout->peers;
        node->threads = fanout->threads;
        node->workers = fanout->workers;
        node->no_websocket = i > 0;
        node->nodes = fanout->own_nodes ? fanout->peers : 0;
        node->security = fanout->security;
        node->journal = fanout->chaos != FANOUT_PEACE ? &run->journal : NULL;
        if (fanout->url)
            snprintf(node->url, sizeof(node->url), "%s", fanout->url);
        else if (!node_start(node))
            return false;
        if (!node_read(node, &run->before[i]))
            return false;
    }
    return true;
}

static bool open_load_at(struct run *run, const char *const *urls, size_t urls_len)
{
    const struct fanout *fanout = run->fanout;
    struct load_plan plan = {
        .peers = fanout->peers,
        .messages = fanout->messages,
        .threads = fanout->threads,
        .payload_bytes = fanout->payload_bytes,
        .window = fanout->window,
        .workers = fanout->workers,
        .ttl_ms = fanout->ttl_ms,
        .http_attempts = fanout->http_attempts,
        .connect_grace_ms = fanout->connect_grace_ms,
        .preference = fanout->preference,
        .security = fanout->security,
        .urls = urls,
        .urls_len = urls_len,
        .journal = fanout->chaos != FANOUT_PEACE ? &run->journal : NULL,
    };
    return load_open(&plan, &run->load);
}

static bool open_load_at_own_nodes(struct run *run)
{
    size_t len = run->fanout->peers;
    char(*texts)[64] = calloc(len, sizeof(*texts));
    const char **urls = calloc(len, sizeof(*urls));
    for (size_t i = 0; texts && urls && i < len; i++) {
        node_url(&run->nodes[0], i, texts[i], sizeof(texts[i]));
        urls[i] = texts[i];
    }
    bool good = texts && urls && open_load_at(run, urls, len);
    free(urls);
    free(texts);
    return good;
}

static bool open_load(struct run *run)
{
    const char *urls[FANOUT_NODES_MAX] = {run->nodes[0].url, run->nodes[1].url};
    if (run->fanout->own_nodes)
        return open_load_at_own_nodes(run);
    return open_load_at(run, urls, run->nodes_len);
}

static bool post_and_wait(struct run *run)
{
    double cpu_s = usage_cpu_s();
    run->start_ns = usage_now_ns();
    bool good = load_start(run->load);
    good = good && watch(run);
    if (!good)
        load_stop(run->load);
    run->end_ns = load_join(run->load);
    run->client_cpu_s = usage_cpu_s() - cpu_s;
    run->counts = load_counts(run->load);
    if (run->stalled)
        fprintf(stderr, "parley-bench: %s: no result for %" PRIu64 " ms\n", run->fanout->title,
                run->fanout->ttl_ms + STALL_MARGIN_MS);
    return good;
}

static uint64_t peers_dialled(const struct fanout *fanout)
{
    if (fanout->preference == PARLEY_HTTP_ONLY)
        return 0;
    return fanout->messages < fanout->peers ? fanout->messages : fanout->peers;
}

/* All may have been delivered over HTTP before the first reconnect was due. */
static bool await_reconnects(struct run *run)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    uint64_t until_ns = usage_now_ns() + RECONNECTS_WAIT_NS;

    do {
        if (!load_stats(run->load, &run->stats))
            return false;
        if (!run->killed || run->fanout->chaos != FANOUT_PEACE ||
            run->stats.ws_reconnects >= peers_dialled(run->fanout))
            return true;
        nanosleep(&pause, NULL);
    } while (usage_now_ns() < until_ns);
    return true; /* judge_connections() says what is missing */
}

static bool read_books(struct run *run)
{
    bool good = await_reconnects(run);
    for (size_t i = 0; i < run->nodes_len; i++)
        good = node_read(&run->nodes[i], &run->after[i]) && good;
    return good;
}

/* ---- figures ---- */

static void fill_outcomes(struct run *run)
{
    struct report *report = run->report;
    const struct load_counts *counts = &run->counts;
    report->accepted = counts->accepted;
    report->delivered = counts->outcome[PARLEY_DELIVERED];
    report->delivered_ws = counts->delivered_ws;
    report->delivered_http = counts->delivered_http;
    report->sent = counts->outcome[PARLEY_SENT];
    report->rejected = counts->outcome[PARLEY_REJECTED];
    report->exhausted = counts->outcome[PARLEY_EXHAUSTED];
    report->expired = counts->outcome[PARLEY_EXPIRED];
    report->cancelled = counts->outcome[PARLEY_CANCELLED];
    report->pending = counts->accepted - counts->results;
    report->eagain = counts->eagain;
    report->reconnects = run->stats.ws_reconnects;
}

static double per(double amount, double work)
{
    return work > 0 ? amount / work : 0;
}

static void fill_costs(struct run *run)
{
    struct report *report = run->report;
    double delivered = (double)report->delivered, server_cpu_s = 0;
    for (size_t i = 0; i < run->nodes_len; i++) {
        server_cpu_s +=
            run->after[i].cpu_s - run->before[i].cpu_s + run->nodes[i].killed_cpu_s;
        report->server_rss_kb += run->after[i].rss_kb;
    }
    report->seconds = (double)(run->end_ns - run->start_ns) / 1e9;
    report->messages_per_s = per(delivered, report->seconds);
    report->bytes_per_message = per((double)run->stats.wire_bytes_out, delivered);
    report->client_cpu_s_per_million = per(run->client_cpu_s * 1e6, delivered);
    report->server_cpu_s_per_million = per(server_cpu_s * 1e6, delivered);
    report->client_rss_kb = usage_rss_kb();
}

static void fill_receiver(struct run *run)
{
    struct report *report = run->report;
    uint64_t hash_sum = 0;
    for (size_t i = 0; i < run->nodes_len; i++) {
        const struct node_figures *before = &run->before[i], *after = &run->after[i];
        bool fresh = run->killed; /* what the node before it had seen died with it */
        report->handled += after->handled - (fresh ? 0 : before->handled);
        report->handled_twice += after->handled_twice - (fresh ? 0 : before->handled_twice);
        report->order_violations +=
            after->order_violations - (fresh ? 0 : before->order_violations);
        hash_sum += after->payload_hash_sum - (fresh ? 0 : before->payload_hash_sum);
        if (after->ws_connections_accepted >= before->ws_connections_accepted || fresh)
            report->ws_connections_accepted +=
                after->ws_connections_accepted -
                (fresh ? 0 : before->ws_connections_accepted); /* else: read nothing */
    }
    report->payload_hash_match = hash_sum == run->counts.hash_sum;
}

static void fill_latency(struct run *run, const struct histogram *latency)
{
    run->report->p50_us = (double)histogram_quantile(latency, 500) / 1e3;
    run->report->p99_us = (double)histogram_quantile(latency, 990) / 1e3;
    run->report->p999_us = (double)histogram_quantile(latency, 999) / 1e3;
}

/* ---- the verdict ---- */

static unsigned judge_sender(const struct run *run)
{
    const struct report *report = run->report;
    const char *title = run->fanout->title;
    unsigned wrong = report_expect(title, "accepted", report->accepted, run->fanout->messages);
    wrong += report_expect(title, "delivered", report->delivered, report->accepted);
    wrong += report_expect(title, "delivered_ws + delivered_http",
                           report->delivered_ws + report->delivered_http, report->delivered);
    wrong += report_expect(title, "sent", report->sent, 0);
    wrong += report_expect(title, "rejected", report->rejected, 0);
    wrong += report_expect(title, "exhausted", report->exhausted, 0);
    wrong += report_expect(title, "expired", report->expired, 0);
    wrong += report_expect(title, "cancelled", report->cancelled, 0);
    wrong += report_expect(title, "pending", report->pending, 0);
    wrong +=
        report_expect(title, "the runtime's accepted", run->stats.accepted, report->accepted);
    wrong += report_expect(title, "the runtime's delivered", run->stats.delivered,
                           report->delivered);
    wrong += report_expect(title, "the runtime's pending", run->stats.pending, 0);
    if (run->fanout->preference == PARLEY_WEBSOCKET_ONLY)
        wrong += report_expect(title, "delivered_http", report->delivered_http, 0);
    if (run->fanout->preference == PARLEY_HTTP_ONLY)
        wrong += report_expect(title, "delivered_ws", report->delivered_ws, 0);
    if (run->nodes_len > 1) /* every other peer's node refuses WebSockets */
        wrong += report_expect(title, "delivered_http", report->delivered_http,
                               run->fanout->messages / 2);
    return wrong;
}

static unsigned judge_receiver(const struct run *run)
{
    const struct report *report = run->report;
    const char *title = run->fanout->title;
    for (size_t i = 0; i < run->nodes_len; i++)
        if (!run->after[i].application)
            return 0; /* somebody else's node: it keeps no such books */
    unsigned wrong = report_expect(title, "handled_twice", report->handled_twice, 0);
    wrong += report_expect(title, "order_violations", report->order_violations, 0);
    if (run->killed) /* the books of the receiver before are gone */
        return wrong;
    wrong += report_expect(title, "handled", report->handled, report->delivered);
    wrong += report_expect(title, "payload_hash_match", report->payload_hash_match, true);
    return wrong;
}

static unsigned judge_chaos(const struct run *run)
{
    const struct journal_counts *chaos = &run->report->chaos;
    const char *title = run->fanout->title;
    uint64_t messages = run->fanout->messages;
    unsigned wrong = report_expect(title, "faults", chaos->faults, JOURNAL_FAULTS);
    wrong +=
        report_expect(title, "handled_at_least_once", chaos->handled_at_least_once, messages);
    wrong += report_expect(title, "second_runs_marked", chaos->second_runs_marked,
                           chaos->second_runs);
    wrong += report_expect(title, "second_runs_in_flight", chaos->second_runs_in_flight,
                           chaos->second_runs);
    wrong +=
        report_expect(title, "run_twice_by_one_receiver", chaos->run_twice_by_one_receiver, 0);
    wrong += report_expect(title, "out_of_order", chaos->out_of_order, 0);
    wrong += report_expect(title, "changed", chaos->changed, 0);
    if (run->fanout->chaos == FANOUT_CUTS)
        wrong += report_expect(title, "runs", chaos->runs, messages);
    return wrong;
}

static unsigned judge_connections(const struct run *run)
{
    const struct fanout *fanout = run->fanout;
    const struct report *report = run->report;
    uint64_t dialled = peers_dialled(fanout);
    if (fanout->chaos != FANOUT_PEACE)
        return judge_chaos(run);
    if (fanout->kill_after_s > 0 && !run->killed) {
        fprintf(
            stderr,
            "parley-bench: %s: over after %.3f s, before the receiver was killed: use more "
            "--messages\n",
            fanout->title, report->seconds);
        return 1;
    }
    if (!run->killed) {
        unsigned wrong =
            report_expect(fanout->title, "ws_connections_accepted",
                          report->ws_connections_accepted, dialled / run->nodes_len);
        return wrong + report_expect(fanout->title, "reconnects", report->reconnects, 0);
    }
    if (report->reconnects >= dialled)
        return 0;
    return report_expect(fanout->title, "reconnects, at least", report->reconnects, dialled);
}

static bool open_journal(struct run *run)
{
    const struct fanout *fanout = run->fanout;
    if (fanout->chaos == FANOUT_PEACE ||
        journal_create(&run->journal, fanout->peers, fanout->threads, fanout->messages))
        return true;
    perror("parley-bench: journal");
    return false;
}

static enum fanout_end measure(struct run *run, struct histogram *latency)
{
    if (!open_journal(run))
        return FANOUT_NOT_RUN;
    if (!start_nodes(run) || !open_load(run))
        return FANOUT_NOT_RUN;
    bool good = post_and_wait(run);
    good = read_books(run) && good;
    fill_outcomes(run);
    load_close(run->load, latency);
    fill_costs(run);
    fill_receiver(run);
    fill_latency(run, latency);
    if (run->journal.file)
        run->report->chaos = journal_count(&run->journal);
    load_free(run->load);
    unsigned wrong = judge_sender(run) + judge_receiver(run) + judge_connections(run);
    return good && wrong == 0 ? FANOUT_GOOD : FANOUT_WRONG;
}

enum fanout_end fanout_run(const struct fanout *fanout, struct report *ret_report)
{
    enum fanout_end end = FANOUT_NOT_RUN;
    struct run *run = calloc(1, sizeof(*run));
    struct histogram *latency = calloc(1, sizeof(*latency));
    memset(ret_report, 0, sizeof(*ret_report));
    if (run && latency) {
        run->fanout = fanout;
        run->report = ret_report;
        usage_raise_descriptors();
        end = measure(run, latency);
        for (size_t i = 0; i < run->nodes_len; i++)
            node_stop(&run->nodes[i]);
        journal_close(&run->journal);
    }
    if (end == FANOUT_NOT_RUN)
        fprintf(stderr, "parley-bench: %s: could not run\n", fanout->title);
    free(latency);
    free(run);
    return end;
}
