/* SPDX-License-Identifier: Apache-2.0
 *
 * A message's result as commands print it, and the exit code it leads to.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "parley.h"
#include "peers/cli/cli.h"

const char *cli_transport_name(parley_transport transport)
{
    switch (transport) {
    case PARLEY_TRANSPORT_WEBSOCKET:
        return "websocket";
    case PARLEY_TRANSPORT_HTTP:
        return "http";
    case PARLEY_TRANSPORT_NONE:
        break;
    }
    return "none";
}

static void print_json(const char *members, const parley_result *result, const char *more)
{
    printf("{%s,\"outcome\":\"%s\",\"transport\":\"%s\",\"attempts\":%" PRIu32
           ",\"latency_ms\":%.3f,\"http_code\":",
           members, parley_outcome_name(result->outcome),
           cli_transport_name(result->transport), result->attempts,
           (double)result->latency_ns / 1e6);
    if (result->http_code != 0)
        printf("%" PRIu32, result->http_code);
    else
        fputs("null", stdout);
    printf(",\"maybe_duplicate\":%s,\"detail\":", result->maybe_duplicate ? "true" : "false");
    cli_json_string(stdout, result->detail);
    printf("%s}\n", more);
}

static void print_text(const char *label, const parley_result *result, const char *more)
{
    printf("%s: %s, transport %s, %" PRIu32 " attempt%s, %.3f ms", label,
           parley_outcome_name(result->outcome), cli_transport_name(result->transport),
           result->attempts, result->attempts == 1 ? "" : "s",
           (double)result->latency_ns / 1e6);
    if (result->http_code != 0)
        printf(", http %" PRIu32, result->http_code);
    if (result->maybe_duplicate)
        printf(", maybe twice");
    if (result->detail[0] != '\0') {
        fputs(", ", stdout);
        cli_plain_text(stdout, result->detail, strlen(result->detail), SIZE_MAX);
    }
    puts(more);
}

void cli_print_result(const char *label, const char *members, const parley_result *result,
                      const char *more, bool json)
{
    if (json)
        print_json(members, result, more);
    else
        print_text(label, result, more);
}

enum cli_exit cli_outcome_exit(parley_outcome outcome)
{
    switch (outcome) {
    case PARLEY_DELIVERED:
    case PARLEY_SENT:
        return CLI_OK;
    case PARLEY_REJECTED:
        return CLI_REFUSED;
    case PARLEY_EXHAUSTED:
        return CLI_UNREACHABLE;
    case PARLEY_EXPIRED:
        return CLI_TIMED_OUT;
    case PARLEY_CANCELLED:
        break;
    }
    return CLI_FAILED;
}
