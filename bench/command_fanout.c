/* SPDX-License-Identifier: Apache-2.0
 *
 * parley-bench fanout and run: their options, and how their figures are printed.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/commands.h"
#include "bench/fanout.h"
#include "bench/options.h"
#include "bench/rivals.h"
#include "bench/security.h"

#define RIVALS_WINDOW 64
#define SECURITY_GRACE_MS                                                                 \
    20000                     /* a handshake that waits must not send a message over HTTP \
                               */
#define SIGNED_TTL_MS 3600000 /* half a million signatures take minutes, and wait in line */
#define RUN_GRACE_MS  20000   /* a slow dial must not send a message over HTTP */

/* Ten kills or cuts within seconds, each at the height of the traffic: some messages meet one
   at each of the three attempts that they have by default, and end as exhausted. */
#define CHAOS_HTTP_ATTEMPTS 100

static const char fanout_usage[] =
    "usage: parley-bench fanout [OPTIONS]\n\n"
    "Posts messages to N peers, all of them one receiving node in a process of its own, and\n"
    "compares what both sides saw. Exit code 1 when anything differs from what it should "
    "be.\n";

static const char run_usage[] =
    "usage: parley-bench run [OPTIONS]\n\n"
    "The main job, twice: all peers over WebSocket; then with half of the peers at a node\n"
    "that refuses WebSockets, so that exactly half of the messages go over HTTP.\n";

static bool parse_transport(const char *text, parley_preference *ret_preference)
{
    static const struct {
        const char *name;
        parley_preference preference;
    } known[] = {{"auto", PARLEY_WEBSOCKET_FIRST},
                 {"ws", PARLEY_WEBSOCKET_ONLY},
                 {"http", PARLEY_HTTP_ONLY}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(text, known[i].name) == 0) {
            *ret_preference = known[i].preference;
            return true;
        }
    return false;
}

static bool parse_chaos(const char *text, enum fanout_chaos *ret_chaos)
{
    if (text == NULL)
        return true;
    bool network = strcmp(text, "network") == 0;
    *ret_chaos = network ? FANOUT_CUTS : FANOUT_KILLS;
    return network || text[0] == '\0' || strcmp(text, "receiver") == 0;
}

static bool parse_security(const char *text, struct fanout *fanout)
{
    if (text == NULL)
        return true;
    fanout->own_nodes = true;
    if (!security_parse(text, &fanout->security))
        return false;
    fanout->connect_grace_ms = SECURITY_GRACE_MS;
    if (fanout->security == PARLEY_SECURITY_SIGNED && fanout->ttl_ms == FANOUT_TTL_MS)
        fanout->ttl_ms = SIGNED_TTL_MS;
    return true;
}

static uint64_t http_attempts_for(const struct fanout *fanout, uint64_t asked)
{
    parley_options defaults;

    parley_options_init(&defaults);
    if (asked > 0)
        return asked;
    return fanout->chaos != FANOUT_PEACE ? CHAOS_HTTP_ATTEMPTS : defaults.http_attempts;
}

static void print_what(const struct fanout *fanout)
{
    printf("%s: %" PRIu64 " messages of %" PRIu64 " payload bytes to %" PRIu64
           " peers from %" PRIu64 " threads",
           fanout->title, fanout->messages, fanout->payload_bytes, fanout->peers,
           fanout->threads);
    if (fanout->window > 0)
        printf(", %" PRIu64 " in flight per peer", fanout->window);
    if (fanout->chaos != FANOUT_PEACE)
        printf(", %" PRIu64 " attempts over HTTP each", fanout->http_attempts);
    if (fanout->own_nodes)
        printf(", each a node of its own, security %s", security_name(fanout->security));
    puts("");
}

static void print_settings_json(const struct fanout *fanout)
{
    printf("{\"peers\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"payload_bytes\":%" PRIu64
           ",\"threads\":%" PRIu64 ",\"window\":%" PRIu64 ",",
           fanout->peers, fanout->messages, fanout->payload_bytes, fanout->threads,
           fanout->window);
    if (fanout->own_nodes)
        printf("\"security\":\"%s\",", security_name(fanout->security));
}

static int exit_code(enum fanout_end end)
{
    return end == FANOUT_GOOD ? EXIT_OK : EXIT_FAILED;
}

static int fanout_alone(const struct fanout *fanout, bool json)
{
    struct report report;
    const char *title = fanout->title;
    enum fanout_end end = fanout_run(fanout, &report);
    if (end == FANOUT_NOT_RUN)
        return EXIT_FAILED;
    if (json) {
        print_settings_json(fanout);
        report_json(stdout, &report);
        if (fanout->chaos != FANOUT_PEACE) {
            printf(",\"http_attempts\":%" PRIu64 ",\"chaos\":", fanout->http_attempts);
            journal_print(stdout, &report.chaos, true);
        }
        puts("}");
    } else {
        print_what(fanout);
        report_table(stdout, &report, &title, 1);
        if (fanout->chaos != FANOUT_PEACE)
            journal_print(stdout, &report.chaos, false);
    }
    return exit_code(end);
}

static void print_contest(const struct fanout *fanout, const struct contest *contest,
                          bool json)
{
    const struct report *report = &contest->parley[contest_median_round(contest)];
    const char *title = "parley";
    if (json) {
        print_settings_json(fanout);
        report_json(stdout, report);
        contest_print(stdout, contest, true);
        puts("}");
    } else {
        print_what(fanout);
        report_table(stdout, report, &title, 1);
        contest_print(stdout, contest, false);
    }
}

static int fanout_beside_rivals(const struct fanout *fanout, bool json)
{
    struct contest *contest = calloc(1, sizeof(*contest));
    if (!contest)
        return EXIT_FAILED;
    enum fanout_end end = contest_run(fanout, contest);
    if (end != FANOUT_NOT_RUN)
        print_contest(fanout, contest, json);
    free(contest);
    return exit_code(end);
}

int command_fanout(int argc, char **argv)
{
    struct fanout fanout;
    const char *transport = "auto", *chaos = NULL, *security = NULL;
    uint64_t http_attempts = 0;
    bool json = false, with_rivals = false;
    fanout_init(&fanout, "fanout");
    const struct option_spec specs[] = {
        {"peers", "N", OPTION_NUMBER, &fanout.peers, 1, 100000, "peers, a connection each"},
        {"messages", "M", OPTION_NUMBER, &fanout.messages, 1, UINT32_MAX, "messages in all"},
        {"payload", "B", OPTION_NUMBER, &fanout.payload_bytes, 1, 512 * 1024,
         "bytes of each payload's JSON; about 30 hold the bookkeeping"},
        {"threads", "T", OPTION_NUMBER, &fanout.threads, 1, 256, "threads that post"},
        {"window", "W", OPTION_NUMBER, &fanout.window, 0, 1 << 20,
         "in flight per peer; 0: as the mailbox allows"},
        {"transport", "ws|http|auto", OPTION_TEXT, &transport, 0, 0,
         "WebSocket only, HTTP only, or WebSocket first [auto]"},
        {"security", "off|signed|sealed", OPTION_TEXT, &security, 0, 0,
         "each peer a node of its own, all of one process: without identities, each message "
         "signed, or sealed sessions"},
        {"url", "URL", OPTION_TEXT, &fanout.url, 0, 0,
         "a node that runs already, instead of starting one"},
        {"kill-receiver-after", "S", OPTION_SECONDS, &fanout.kill_after_s, 0, 0,
         "SIGKILL the receiver S seconds after the start, restart it"},
        {"chaos", "[=network]", OPTION_WORD, &chaos, 0, 0,
         "after each eleventh of the messages SIGKILL the receiver and restart it; =network: "
         "reset its connections"},
        {"http-attempts", "N", OPTION_NUMBER, &http_attempts, 0, 100,
         "attempts that a message has over HTTP; 0: as by default, but with --chaos 100, as "
         "its faults may meet every one of three"},
        {"with-rivals", NULL, OPTION_FLAG, &with_rivals, 0, 0,
         "run bench/rivals in turn with it; window 64 unless told otherwise"},
        {"workers", "N", OPTION_NUMBER, &fanout.workers, 0, 256,
         "workers of both sides; 0: one per CPU"},
        {"ttl-ms", "MS", OPTION_NUMBER, &fanout.ttl_ms, 1, 3600000, "a message's time"},
        {"json", NULL, OPTION_FLAG, &json, 0, 0, "one JSON object on stdout"},
    };
    int code =
        options_parse(fanout_usage, specs, sizeof(specs) / sizeof(specs[0]), argc, argv);
    if (code >= 0)
        return code;
    if (!parse_transport(transport, &fanout.preference))
        return options_wrong("--transport: expected ws, http or auto, not \"%s\"", transport);
    if (!parse_chaos(chaos, &fanout.chaos))
        return options_wrong("--chaos: expected nothing or network, not \"%s\"", chaos);
    if (!parse_security(security, &fanout))
        return options_wrong("--security: expected off, signed or sealed, not \"%s\"",
                             security);
    fanout.http_attempts = http_attempts_for(&fanout, http_attempts);
    if (with_rivals && (fanout.url || fanout.kill_after_s > 0 || chaos || security))
        return options_wrong(
            "--with-rivals goes with neither --url, --chaos, --security nor a kill");
    if (with_rivals && fanout.window == 0)
        fanout.window = RIVALS_WINDOW;
    code = fanout_check(&fanout);
    if (code >= 0)
        return code;
    return with_rivals ? fanout_beside_rivals(&fanout, json) : fanout_alone(&fanout, json);
}

static void print_phases(const struct fanout *phases, const struct report *reports, bool json)
{
    const char *titles[2] = {phases[0].title, phases[1].title};
    if (!json) {
        print_what(&phases[0]);
        print_what(&phases[1]);
        report_table(stdout, reports, titles, 2);
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        printf("%s\"%s\":", i == 0 ? "{" : ",", titles[i]);
        print_settings_json(&phases[i]);
        report_json(stdout, &reports[i]);
        printf("}");
    }
    puts("}");
}

int command_run(int argc, char **argv)
{
    struct fanout phases[2];
    struct report reports[2];
    bool json = false;
    fanout_init(&phases[0], "websocket");
    phases[0].peers = 200;
    phases[0].messages = 200000;
    phases[0].connect_grace_ms = RUN_GRACE_MS;
    const struct option_spec specs[] = {
        {"peers", "N", OPTION_NUMBER, &phases[0].peers, 2, 10000, "peers, an even number"},
        {"messages", "M", OPTION_NUMBER, &phases[0].messages, 2, UINT32_MAX,
         "messages in each phase, a multiple of the peers"},
        {"workers", "N", OPTION_NUMBER, &phases[0].workers, 0, 256,
         "workers of both sides; 0: one per CPU"},
        {"json", NULL, OPTION_FLAG, &json, 0, 0, "one JSON object on stdout"},
    };
    int code = options_parse(run_usage, specs, sizeof(specs) / sizeof(specs[0]), argc, argv);
    if (code >= 0)
        return code;
    if (phases[0].peers % 2 != 0 || phases[0].messages % phases[0].peers != 0)
        return options_wrong("--peers must be even and divide --messages");
    phases[1] = phases[0];
    phases[1].title = "fallback";
    phases[1].nodes = 2;
    enum fanout_end end[2];
    for (size_t i = 0; i < 2; i++)
        if ((end[i] = fanout_run(&phases[i], &reports[i])) == FANOUT_NOT_RUN)
            return EXIT_FAILED;
    unsigned wrong =
        report_expect("websocket", "delivered_http", reports[0].delivered_http, 0);
    print_phases(phases, reports, json);
    return wrong > 0 ? EXIT_FAILED : exit_code(end[0] > end[1] ? end[0] : end[1]);
}
