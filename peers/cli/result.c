/* SPDX-License-Identifier: Apache-2.0
 *
 * A message's result as commands print it, and the exit code it leads to.
 */
#include <inttypes.h>
#include <stdio.h>

#include "parley.h"
#include "peers/cli/cli.h"

static const char *transport_name(parley_transport transport)
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

static void print_json(size_t number, const parley_result *result)
{
    printf("{\"message\":%zu,\"outcome\":\"%s\",\"transport\":\"%s\",\"attempts\":%" PRIu32
           ",\"latency_ms\":%.3f,\"http_code\":",
           number, parley_outcome_name(result->outcome), transport_name(result->transport),
           result->attempts, (double)result->latency_ns / 1e6);
    if (result->http_code != 0)
        printf("%" PRIu32, result->http_code);
    else
        fputs("null", stdout);
    printf(",\"maybe_duplicate\":%s,\"detail\":", result->maybe_duplicate ? "true" : "false");
    cli_json_string(stdout, result->detail);
    puts("}");
}

static void print_text(size_t number, const parley_result *result)
{
    printf("message %zu: %s, transport %s, %" PRIu32 " attempt%s, %.3f ms", number,
           parley_outcome_name(result->outcome), transport_name(result->transport),
           result->attempts, result->attempts == 1 ? "" : "s",
           (double)result->latency_ns / 1e6);
    if (result->http_code != 0)
        printf(", http %" PRIu32, result->http_code);
    if (result->maybe_duplicate)
        printf(", maybe twice");
    if (result->detail[0] != '\0')
        printf(", %s", result->detail);
    putchar('\n');
}

void cli_print_result(size_t number, const parley_result *result, bool json)
{
    if (json)
        print_json(number, result);
    else
        print_text(number, result);
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
