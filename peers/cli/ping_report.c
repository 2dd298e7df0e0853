/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/ping_report.h"

#include <math.h>
#include <string.h>

#include "peers/cli/cli.h"

/* An answer that says no is one, too. */
static bool has_answer(const struct ping_answer *answer)
{
    return answer->status == PARLEY_OK || answer->status == PARLEY_EREFUSED;
}

static void print_json(const struct ping_answer *answer)
{
    fputs("{\"event\":\"ping\",\"peer\":", stdout);
    cli_json_string(stdout, answer->peer);
    printf(",\"transport\":\"%s\",\"seq\":%u,\"answered\":%s,\"status\":\"%s\",\"time_ms\":",
           cli_transport_name(answer->transport), answer->sequence,
           answer->status == PARLEY_OK ? "true" : "false", parley_status_name(answer->status));
    if (has_answer(answer))
        printf("%.3f,\"http_code\":", (double)answer->latency_ns / 1e6);
    else
        fputs("null,\"http_code\":", stdout);
    if (answer->http_code != 0)
        printf("%u", answer->http_code);
    else
        fputs("null", stdout);
    fputs(",\"detail\":", stdout);
    cli_json_string(stdout, answer->detail);
    puts("}");
}

static void print_text(const struct ping_answer *answer)
{
    const char *says = answer->status == PARLEY_OK         ? "answer from"
                       : answer->status == PARLEY_EREFUSED ? "refused by"
                                                           : "no answer from";

    /* what the status says of it is about runtimes */
    bool lost = answer->status == PARLEY_ECLOSED && answer->detail[0] != '\0';

    printf("%s %s via %s: seq=%u", says, answer->peer, cli_transport_name(answer->transport),
           answer->sequence);
    if (answer->http_code != 0)
        printf(" code=%u", answer->http_code);
    if (has_answer(answer))
        printf(" time=%.3f ms", (double)answer->latency_ns / 1e6);
    else if (!lost)
        printf(" %s", parley_strerror(answer->status));
    if (answer->detail[0] != '\0' && answer->status != PARLEY_OK) {
        fputs(lost ? " " : ": ", stdout);
        cli_plain_text(stdout, answer->detail, strlen(answer->detail), SIZE_MAX);
    }
    putchar('\n');
}

void ping_count(struct ping_tally *tally, const struct ping_answer *answer)
{
    double ms = (double)answer->latency_ns / 1e6;

    if (answer->status == PARLEY_EREFUSED)
        tally->refused++;
    if (answer->status != PARLEY_OK)
        return;
    if (tally->answered == 0 || ms < tally->min_ms)
        tally->min_ms = ms;
    if (tally->answered == 0 || ms > tally->max_ms)
        tally->max_ms = ms;
    tally->answered++;
    tally->sum_ms += ms;
    tally->squares_ms += ms * ms;
}

void ping_print_answer(const struct ping_answer *answer, bool json)
{
    if (json)
        print_json(answer);
    else
        print_text(answer);
}

void ping_print_tally(parley_transport transport, const struct ping_tally *tally, bool json)
{
    uint32_t ended = tally->sent - tally->pending;
    double percent = ended > 0 ? 100.0 * (ended - tally->answered) / ended : 0;
    double mean = tally->answered > 0 ? tally->sum_ms / tally->answered : 0;
    double variance =
        tally->answered > 0 ? tally->squares_ms / tally->answered - mean * mean : 0;
    double mdev = variance > 0 ? sqrt(variance) : 0;

    if (json) {
        printf("{\"event\":\"statistics\",\"transport\":\"%s\",\"sent\":%u,\"answered\":%u,"
               "\"refused\":%u,\"pending\":%u,\"loss_percent\":%g,",
               cli_transport_name(transport), tally->sent, tally->answered, tally->refused,
               tally->pending, percent);
        if (tally->answered > 0)
            printf("\"min_ms\":%.3f,\"avg_ms\":%.3f,\"max_ms\":%.3f,\"mdev_ms\":%.3f}\n",
                   tally->min_ms, mean, tally->max_ms, mdev);
        else
            puts("\"min_ms\":null,\"avg_ms\":null,\"max_ms\":null,\"mdev_ms\":null}");
        return;
    }
    printf("%s: %u sent, %u answered", cli_transport_name(transport), tally->sent,
           tally->answered);
    if (tally->refused > 0)
        printf(", %u refused", tally->refused);
    if (tally->pending > 0)
        printf(", %u pending", tally->pending);
    printf(", %g%% lost", percent);
    if (tally->answered > 0)
        printf(", min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms", tally->min_ms, mean,
               tally->max_ms, mdev);
    putchar('\n');
}
