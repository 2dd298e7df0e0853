/* SPDX-License-Identifier: Apache-2.0
 *
 * The choice is two small steps. First preference, hint and what exists for this message
 * become one policy; then a table answers for each policy and state of the WebSocket.
 * A hint turns a ..._FIRST preference into another one, and never touches an ..._ONLY.
 * Whatever takes a transport away (no address, security_min) leaves the policy that has
 * only the other one.
 */
#include "transport/transport_layer.h"

#include <assert.h>
#include <stddef.h>

enum policy {
    WEBSOCKET_ALONE,
    WEBSOCKET_THEN_HTTP,
    HTTP_THEN_WEBSOCKET,
    HTTP_ALONE,
    HTTP_SPENT, /* HTTP was tried in vain; the WebSocket is what is left */
    NOTHING,
};

enum answer { WS, HTTP, HTTP_DIAL, WAIT, FAIL };

#define POLICIES (NOTHING + 1)
#define STATES   (WEBSOCKET_OPEN + 1)

/* clang-format off */
static const enum answer answers[POLICIES][STATES] = {
    /*                         DOWN  CONNECTING       SLOW     FAILED  OPEN */
    [WEBSOCKET_ALONE]     = {  WAIT,       WAIT,      WAIT,      WAIT,   WS },
    [WEBSOCKET_THEN_HTTP] = {  WAIT,       WAIT, HTTP_DIAL, HTTP_DIAL,   WS },
    [HTTP_THEN_WEBSOCKET] = {  HTTP,       HTTP,      HTTP,      HTTP, HTTP },
    [HTTP_ALONE]          = {  HTTP,       HTTP,      HTTP,      HTTP, HTTP },
    [HTTP_SPENT]          = {  WAIT,       WAIT,      WAIT,      FAIL,   WS },
    [NOTHING]             = {  FAIL,       FAIL,      FAIL,      FAIL, FAIL },
};
/* clang-format on */

/* WAIT always dials: it is the caller who knows whether a dial is under way already. */
static const struct transport_choice choices[] = {
    [WS] = {ROUTE_WEBSOCKET, false, NULL},  [HTTP] = {ROUTE_HTTP, false, NULL},
    [HTTP_DIAL] = {ROUTE_HTTP, true, NULL}, [WAIT] = {ROUTE_WAIT, true, NULL},
    [FAIL] = {ROUTE_FAIL, false, NULL},
};

/* What is wanted, before asking what exists. */
static parley_preference wish(const struct transport_facts *facts)
{
    if (!facts->websocket_enabled)
        return PARLEY_HTTP_ONLY;
    if (facts->preference == PARLEY_WEBSOCKET_ONLY || facts->preference == PARLEY_HTTP_ONLY)
        return facts->preference;
    switch (facts->hint) {
    case PARLEY_HINT_WEBSOCKET:
        return PARLEY_WEBSOCKET_FIRST;
    case PARLEY_HINT_HTTP:
        return PARLEY_HTTP_ONLY;
    case PARLEY_HINT_NONE:
        break;
    }
    return facts->preference;
}

static enum policy choose_policy(const struct transport_facts *facts)
{
    parley_preference wanted = wish(facts);
    bool websocket = wanted != PARLEY_HTTP_ONLY && facts->websocket_permitted;
    bool http =
        wanted != PARLEY_WEBSOCKET_ONLY && facts->http_enabled && facts->http_permitted;

    if (http && facts->http_unanswered)
        return websocket ? HTTP_SPENT : NOTHING;
    if (websocket && http)
        return wanted == PARLEY_HTTP_FIRST ? HTTP_THEN_WEBSOCKET : WEBSOCKET_THEN_HTTP;
    if (websocket)
        return WEBSOCKET_ALONE;
    return http ? HTTP_ALONE : NOTHING;
}

/* Why there is no policy left, the most telling reason first. */
static const char *why_nothing(const struct transport_facts *facts)
{
    switch (wish(facts)) {
    case PARLEY_WEBSOCKET_ONLY:
        return "WebSocket only, but security_min rules it out";
    case PARLEY_HTTP_ONLY:
        if (!facts->http_enabled)
            return "HTTP only, but the peer has no HTTP address";
        if (!facts->http_permitted)
            return "HTTP only, but security_min rules it out";
        break;
    case PARLEY_WEBSOCKET_FIRST:
    case PARLEY_HTTP_FIRST:
        if (!facts->http_enabled)
            return "security_min rules the WebSocket out, and the peer has no HTTP address";
        if (!facts->http_permitted)
            return "security_min rules out both WebSocket and HTTP";
        break;
    }
    return "no answer over HTTP, and no WebSocket to try";
}

struct transport_choice transport_choose(const struct transport_facts *facts)
{
    enum policy policy = choose_policy(facts);
    struct transport_choice choice;

    assert(facts->websocket < STATES);
    choice = choices[answers[policy][facts->websocket]];
    if (choice.route == ROUTE_FAIL)
        choice.reason = policy == NOTHING
                            ? why_nothing(facts)
                            : "no answer over HTTP, and the WebSocket cannot be opened";
    return choice;
}
