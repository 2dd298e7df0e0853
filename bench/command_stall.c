/* SPDX-License-Identifier: Apache-2.0
 *
 * parley-bench stall: its options, and how its figures are printed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench/commands.h"
#include "bench/options.h"
#include "bench/payload.h"
#include "bench/stall.h"

#define RATIO_TARGET 2.0

static const char usage[] =
    "usage: parley-bench stall [OPTIONS]\n\n"
    "Posts to N peers at a steady rate. One of them, which has a receiving process of its "
    "own,\n"
    "stalls in every other phase while its mailbox is kept full; how long do the others'\n"
    "messages take without and with that? At the end parley_drain() and parley_close() are\n"
    "timed behind the stall. Kinds of stall:\n\n";

struct outcome {
    struct stall_report report;
    bool ran;
};

static bool wanted(const char *list, enum stall_kind kind)
{
    const char *name = stall_kind_name(kind), *at = list;
    size_t len = strlen(name);
    for (; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
        if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    return strcmp(list, "all") == 0;
}

/* Whether every word of the list is a kind. */
static bool list_good(const char *list)
{
    size_t words = 1, known = 0;
    for (const char *at = list; *at; at++)
        words += *at == ',';
    for (int kind = 0; kind < STALL_KINDS; kind++)
        known += wanted(list, (enum stall_kind)kind);
    return strcmp(list, "all") == 0 || words == known;
}

static double worst_ratio(const struct outcome *outcomes)
{
    double worst = 0;
    for (int kind = 0; kind < STALL_KINDS; kind++)
        if (outcomes[kind].ran && outcomes[kind].report.p99_ratio > worst)
            worst = outcomes[kind].report.p99_ratio;
    return worst;
}

static void print_json(const struct stall *stall, const struct outcome *outcomes)
{
    double worst = worst_ratio(outcomes);
    printf("{\"peers\":%" PRIu64 ",\"messages_per_s\":%" PRIu64 ",\"payload_bytes\":%" PRIu64
           ",\"pairs\":%" PRIu64 ",\"phase_ms\":%" PRIu64 ",\"drain_timeout_ms\":%" PRIu64,
           stall->peers, stall->rate, stall->payload_bytes, stall->pairs, stall->phase_ms,
           stall->drain_ms);
    for (int kind = 0; kind < STALL_KINDS; kind++) {
        const struct stall_report *report = &outcomes[kind].report;
        const char *comma = "";
        if (!outcomes[kind].ran)
            continue;
        printf(",\"%s\":{", stall_kind_name((enum stall_kind)kind));
#define STALL_JSON_(member, type, decimals)                                    \
    printf("%s\"" #member "\":%.*f", comma, decimals, (double)report->member); \
    comma = ",";
        STALL_REPORT_MAP(STALL_JSON_)
#undef STALL_JSON_
        putchar('}');
    }
    printf(",\"p99_ratio_worst\":%.2f,\"p99_ratio_target\":%.1f,\"target_met\":%s}\n", worst,
           RATIO_TARGET, worst <= RATIO_TARGET ? "true" : "false");
}

static void print_table(const struct stall *stall, const struct outcome *outcomes)
{
    double worst = worst_ratio(outcomes);
    printf("%" PRIu64 " messages/s of %" PRIu64 " payload bytes to %" PRIu64
           " peers, one of which stalls; %" PRIu64 " pairs of phases of %" PRIu64 " ms\n",
           stall->rate, stall->payload_bytes, stall->peers, stall->pairs, stall->phase_ms);
    printf("%-20s", "");
    for (int kind = 0; kind < STALL_KINDS; kind++)
        if (outcomes[kind].ran)
            printf(" %12s", stall_kind_name((enum stall_kind)kind));
    putchar('\n');
#define STALL_ROW_(member, type, decimals)                                     \
    printf("%-20s", #member);                                                  \
    for (int kind = 0; kind < STALL_KINDS; kind++)                             \
        if (outcomes[kind].ran)                                                \
            printf(" %12.*f", decimals, (double)outcomes[kind].report.member); \
    putchar('\n');
    STALL_REPORT_MAP(STALL_ROW_)
#undef STALL_ROW_
    printf("the others' p99 with a stalled peer over that without: %.2f at worst, at most "
           "%.1f wanted: %s\n",
           worst, RATIO_TARGET, worst <= RATIO_TARGET ? "met" : "missed");
}

static int run_kinds(const struct stall *stall, const char *list, bool json)
{
    struct outcome outcomes[STALL_KINDS] = {0};
    bool good = true, any = false;
    for (int kind = 0; kind < STALL_KINDS; kind++) {
        if (!wanted(list, (enum stall_kind)kind))
            continue;
        enum stall_end end = stall_run(stall, (enum stall_kind)kind, &outcomes[kind].report);
        outcomes[kind].ran = end != STALL_NOT_RUN;
        any = any || outcomes[kind].ran;
        good = good && end == STALL_GOOD;
    }
    if (any && json)
        print_json(stall, outcomes);
    else if (any)
        print_table(stall, outcomes);
    return good ? EXIT_OK : EXIT_FAILED;
}

static int check(const struct stall *stall, const char *list)
{
    struct payload_key largest = {(uint32_t)stall->peers - 1, 0, UINT32_MAX};
    size_t least = payload_bytes_min(largest);
    if (!list_good(list))
        return options_wrong("--kinds: expected all, or kinds with commas, not \"%s\"", list);
    if (stall->payload_bytes < least || stall->filling_bytes < least)
        return options_wrong("--payload and --filling: at least %zu bytes", least);
    if (stall->rate * stall->phase_ms / 1000 < stall->peers)
        return options_wrong("--rate times --phase-ms: less than one message a peer");
    return -1;
}

int command_stall(int argc, char **argv)
{
    struct stall stall = {.peers = 1000,
                          .rate = 5000,
                          .payload_bytes = 100,
                          .filling_bytes = 8192,
                          .pairs = 15,
                          .phase_ms = 250,
                          .drain_ms = 200};
    const char *list = "all";
    bool json = false;
    char text[1024];
    const struct option_spec specs[] = {
        {"peers", "N", OPTION_NUMBER, &stall.peers, 2, 100000, "peers, one of which stalls"},
        {"rate", "R", OPTION_NUMBER, &stall.rate, 1, 10000000, "messages a second in all"},
        {"payload", "B", OPTION_NUMBER, &stall.payload_bytes, 1, 512 * 1024,
         "bytes of each payload's JSON"},
        {"filling", "B", OPTION_NUMBER, &stall.filling_bytes, 1, 512 * 1024,
         "bytes of those that fill the stalled peer's mailbox"},
        {"pairs", "P", OPTION_NUMBER, &stall.pairs, 1, STALL_PAIRS_MAX,
         "pairs of phases, without and with a stall"},
        {"phase-ms", "MS", OPTION_NUMBER, &stall.phase_ms, 10, 3600000, "length of a phase"},
        {"drain-ms", "MS", OPTION_NUMBER, &stall.drain_ms, 0, 60000,
         "timeout given to parley_drain()"},
        {"kinds", "K,K…", OPTION_TEXT, &list, 0, 0, "which kinds of stall [all]"},
        {"workers", "N", OPTION_NUMBER, &stall.workers, 0, 256,
         "workers of each process; 0: one per CPU"},
        {"json", NULL, OPTION_FLAG, &json, 0, 0, "one JSON object on stdout"},
    };
    int len = snprintf(text, sizeof(text), "%s", usage);
    for (int kind = 0; kind < STALL_KINDS; kind++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "  %-8s %s\n",
                        stall_kind_name((enum stall_kind)kind),
                        stall_kind_text((enum stall_kind)kind));
    int code = options_parse(text, specs, sizeof(specs) / sizeof(specs[0]), argc, argv);
    if (code < 0)
        code = check(&stall, list);
    return code >= 0 ? code : run_kinds(&stall, list, json);
}
