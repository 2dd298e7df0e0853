/* SPDX-License-Identifier: Apache-2.0
 *
 * The transport layer's table, cell by cell. Each row names what is wanted and what exists,
 * then the five answers for the WebSocket's states. A second, exhaustive walk checks what
 * must hold for every combination of facts, whatever the table says.
 */
#include "test/check.h"
#include "transport/transport_layer.h"

#include <stdio.h>
#include <string.h>

/* ---- the table ---- */

/* What exists for the message. */
enum has {
    BOTH,
    NO_HTTP,      /* no HTTP address */
    HTTP_BELOW,   /* security_min rules HTTP out */
    WS_BELOW,     /* security_min rules the WebSocket out */
    BOTH_BELOW,   /* both */
    NOTHING_LEFT, /* no HTTP address, and security_min rules the WebSocket out */
    WS_OFF,       /* transport.websocket.enabled: false */
    WS_OFF_NO_HTTP,
    WS_OFF_BELOW, /* and security_min rules HTTP out */
};

enum tried { FRESH, SPENT }; /* SPENT: HTTP attempts used up, none answered */

#define WS_FIRST  PARLEY_WEBSOCKET_FIRST
#define WS_ONLY   PARLEY_WEBSOCKET_ONLY
#define HT_FIRST  PARLEY_HTTP_FIRST
#define HT_ONLY   PARLEY_HTTP_ONLY
#define NONE      PARLEY_HINT_NONE
#define LIKE_WS   PARLEY_HINT_WEBSOCKET
#define LIKE_HTTP PARLEY_HINT_HTTP

/* Answers: "ws", "http", "http+dial" (HTTP, and keep dialling), "wait" (dial and wait),
 * "fail". */
struct row {
    parley_preference preference;
    parley_hint hint;
    enum has has;
    enum tried tried;
    const char *expected[5];
};

/* clang-format off */
static const struct row table[] = {
/* preference  hint       exists        HTTP        DOWN    CONNECTING  SLOW         FAILED       OPEN */

/* websocket_only: never HTTP, whatever the hint or the HTTP facts */
{ WS_ONLY,  NONE,      BOTH,           FRESH, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_ONLY,  LIKE_WS,   BOTH,           FRESH, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_ONLY,  LIKE_HTTP, BOTH,           FRESH, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_ONLY,  NONE,      BOTH,           SPENT, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_ONLY,  LIKE_HTTP, BOTH,           SPENT, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_ONLY,  NONE,      NO_HTTP,        FRESH, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_ONLY,  NONE,      HTTP_BELOW,     FRESH, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_ONLY,  NONE,      WS_BELOW,       FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ WS_ONLY,  LIKE_HTTP, WS_BELOW,       FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ WS_ONLY,  NONE,      BOTH_BELOW,     FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },

/* websocket_first: HTTP once the dial failed or its grace has passed */
{ WS_FIRST, NONE,      BOTH,           FRESH, {    "wait", "wait",     "http+dial", "http+dial", "ws"   } },
{ WS_FIRST, LIKE_WS,   BOTH,           FRESH, {    "wait", "wait",     "http+dial", "http+dial", "ws"   } },
{ WS_FIRST, LIKE_HTTP, BOTH,           FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ WS_FIRST, NONE,      BOTH,           SPENT, {    "wait", "wait",     "wait",      "fail",      "ws"   } },
{ WS_FIRST, LIKE_WS,   BOTH,           SPENT, {    "wait", "wait",     "wait",      "fail",      "ws"   } },
{ WS_FIRST, LIKE_HTTP, BOTH,           SPENT, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ WS_FIRST, NONE,      NO_HTTP,        FRESH, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_FIRST, LIKE_HTTP, NO_HTTP,        FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ WS_FIRST, NONE,      HTTP_BELOW,     FRESH, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_FIRST, NONE,      HTTP_BELOW,     SPENT, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ WS_FIRST, LIKE_HTTP, HTTP_BELOW,     FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ WS_FIRST, NONE,      WS_BELOW,       FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ WS_FIRST, NONE,      WS_BELOW,       SPENT, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ WS_FIRST, NONE,      BOTH_BELOW,     FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ WS_FIRST, NONE,      NOTHING_LEFT,   FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },

/* http_first: the WebSocket only when HTTP fails without an answer */
{ HT_FIRST, NONE,      BOTH,           FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ HT_FIRST, LIKE_WS,   BOTH,           FRESH, {    "wait", "wait",     "http+dial", "http+dial", "ws"   } },
{ HT_FIRST, LIKE_HTTP, BOTH,           FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ HT_FIRST, NONE,      BOTH,           SPENT, {    "wait", "wait",     "wait",      "fail",      "ws"   } },
{ HT_FIRST, LIKE_WS,   BOTH,           SPENT, {    "wait", "wait",     "wait",      "fail",      "ws"   } },
{ HT_FIRST, LIKE_HTTP, BOTH,           SPENT, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_FIRST, NONE,      NO_HTTP,        FRESH, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ HT_FIRST, NONE,      HTTP_BELOW,     FRESH, {    "wait", "wait",     "wait",      "wait",      "ws"   } },
{ HT_FIRST, NONE,      WS_BELOW,       FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ HT_FIRST, NONE,      WS_BELOW,       SPENT, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_FIRST, NONE,      BOTH_BELOW,     FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_FIRST, NONE,      NOTHING_LEFT,   FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },

/* http_only: never the WebSocket, open or not, whatever the hint */
{ HT_ONLY,  NONE,      BOTH,           FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ HT_ONLY,  LIKE_WS,   BOTH,           FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ HT_ONLY,  LIKE_HTTP, BOTH,           FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ HT_ONLY,  NONE,      BOTH,           SPENT, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_ONLY,  LIKE_WS,   BOTH,           SPENT, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_ONLY,  NONE,      NO_HTTP,        FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_ONLY,  LIKE_WS,   NO_HTTP,        FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_ONLY,  NONE,      HTTP_BELOW,     FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_ONLY,  NONE,      WS_BELOW,       FRESH, {    "http", "http",     "http",      "http",      "http" } },

/* transport.websocket.enabled: false equals http_only */
{ WS_ONLY,  NONE,      WS_OFF,         FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ WS_FIRST, NONE,      WS_OFF,         FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ WS_FIRST, LIKE_WS,   WS_OFF,         FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ WS_FIRST, NONE,      WS_OFF,         SPENT, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_FIRST, NONE,      WS_OFF,         FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ HT_FIRST, NONE,      WS_OFF,         SPENT, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ HT_ONLY,  NONE,      WS_OFF,         FRESH, {    "http", "http",     "http",      "http",      "http" } },
{ WS_FIRST, NONE,      WS_OFF_NO_HTTP, FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
{ WS_FIRST, NONE,      WS_OFF_BELOW,   FRESH, {    "fail", "fail",     "fail",      "fail",      "fail" } },
};
/* clang-format on */

static const char *const states[] = {"down", "connecting", "slow", "failed", "open"};

static struct transport_facts facts_of(const struct row *row, enum websocket_state state)
{
    enum has has = row->has;

    return (struct transport_facts){
        .preference = row->preference,
        .hint = row->hint,
        .websocket = state,
        .websocket_enabled = has != WS_OFF && has != WS_OFF_NO_HTTP && has != WS_OFF_BELOW,
        .http_enabled = has != NO_HTTP && has != NOTHING_LEFT && has != WS_OFF_NO_HTTP,
        .websocket_permitted = has != WS_BELOW && has != BOTH_BELOW && has != NOTHING_LEFT,
        .http_permitted = has != HTTP_BELOW && has != BOTH_BELOW && has != WS_OFF_BELOW,
        .http_unanswered = row->tried == SPENT,
    };
}

static const char *answer_of(struct transport_choice choice)
{
    switch (choice.route) {
    case ROUTE_WEBSOCKET:
        return choice.dial ? "ws+dial" : "ws";
    case ROUTE_HTTP:
        return choice.dial ? "http+dial" : "http";
    case ROUTE_WAIT:
        return choice.dial ? "wait" : "wait without dial";
    case ROUTE_FAIL:
        return choice.dial ? "fail+dial" : "fail";
    }
    return "?";
}

static void table_holds(void)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (unsigned state = WEBSOCKET_DOWN; state <= WEBSOCKET_OPEN; state++) {
            struct transport_facts facts = facts_of(&table[i], (enum websocket_state)state);
            char seen[64], expected[64];

            snprintf(expected, sizeof(expected), "row %zu, %s: %s", i, states[state],
                     table[i].expected[state]);
            snprintf(seen, sizeof(seen), "row %zu, %s: %s", i, states[state],
                     answer_of(transport_choose(&facts)));
            CHECK_TEXT(seen, expected);
        }
    }
}

/* ---- what holds for every combination ---- */

#define COMBINATIONS (4 * 3 * 5 * 32)

static struct transport_facts facts_numbered(unsigned number)
{
    struct transport_facts facts = {
        .websocket_enabled = number & 1,
        .http_enabled = number >> 1 & 1,
        .websocket_permitted = number >> 2 & 1,
        .http_permitted = number >> 3 & 1,
        .http_unanswered = number >> 4 & 1,
    };

    number >>= 5;
    facts.websocket = (enum websocket_state)(number % 5);
    facts.hint = (parley_hint)(number / 5 % 3);
    facts.preference = (parley_preference)(number / 15);
    return facts;
}

static void every_choice_is_permitted(void)
{
    for (unsigned i = 0; i < COMBINATIONS; i++) {
        struct transport_facts facts = facts_numbered(i);
        struct transport_choice choice = transport_choose(&facts);
        bool websocket = choice.route == ROUTE_WEBSOCKET || choice.route == ROUTE_WAIT;

        if (websocket || choice.dial) {
            CHECK(facts.websocket_enabled && facts.websocket_permitted);
            CHECK(facts.preference != PARLEY_HTTP_ONLY);
        }
        if (choice.route == ROUTE_WEBSOCKET)
            CHECK(facts.websocket == WEBSOCKET_OPEN);
        if (choice.route == ROUTE_WAIT)
            CHECK(facts.websocket != WEBSOCKET_OPEN);
        if (choice.route == ROUTE_HTTP) {
            CHECK(facts.http_enabled && facts.http_permitted && !facts.http_unanswered);
            CHECK(facts.preference != PARLEY_WEBSOCKET_ONLY || !facts.websocket_enabled);
        }
    }
}

static void only_a_failure_has_a_reason(void)
{
    for (unsigned i = 0; i < COMBINATIONS; i++) {
        struct transport_facts facts = facts_numbered(i);
        struct transport_choice choice = transport_choose(&facts);

        CHECK((choice.route == ROUTE_FAIL) == (choice.reason != NULL));
        if (choice.reason != NULL)
            CHECK(choice.reason[0] != '\0');
    }
}

static void hint_never_overrides_an_only(void)
{
    for (unsigned i = 0; i < COMBINATIONS; i++) {
        struct transport_facts facts = facts_numbered(i);
        struct transport_choice hinted = transport_choose(&facts), plain;

        if (facts.preference != PARLEY_WEBSOCKET_ONLY && facts.preference != PARLEY_HTTP_ONLY)
            continue;
        facts.hint = PARLEY_HINT_NONE;
        plain = transport_choose(&facts);
        CHECK_TEXT(answer_of(hinted), answer_of(plain));
    }
}

static void disabled_websocket_equals_http_only(void)
{
    for (unsigned i = 0; i < COMBINATIONS; i++) {
        struct transport_facts facts = facts_numbered(i);
        struct transport_choice disabled, only;

        facts.websocket_enabled = false;
        disabled = transport_choose(&facts);
        facts.websocket_enabled = true;
        facts.preference = PARLEY_HTTP_ONLY;
        only = transport_choose(&facts);
        CHECK_TEXT(answer_of(disabled), answer_of(only));
    }
}

/* A message may wait only while some event can still move it: never without a dial. */
static void an_open_websocket_never_waits_and_a_wait_always_dials(void)
{
    for (unsigned i = 0; i < COMBINATIONS; i++) {
        struct transport_facts facts = facts_numbered(i);
        struct transport_choice choice = transport_choose(&facts);

        if (choice.route == ROUTE_WAIT)
            CHECK(choice.dial);
        if (choice.route == ROUTE_WEBSOCKET || choice.route == ROUTE_FAIL)
            CHECK(!choice.dial);
    }
}

/* ---- reasons ---- */

static void failure_says_why(void)
{
    static const struct {
        struct row row;
        enum websocket_state state;
        const char *reason;
    } cases[] = {
        {{WS_ONLY, NONE, WS_BELOW, FRESH, {0}},
         WEBSOCKET_OPEN,
         "WebSocket only, but security_min"},
        {{HT_ONLY, NONE, NO_HTTP, FRESH, {0}}, WEBSOCKET_OPEN, "no HTTP address"},
        {{HT_ONLY, NONE, HTTP_BELOW, FRESH, {0}},
         WEBSOCKET_OPEN,
         "HTTP only, but security_min"},
        {{HT_ONLY, NONE, BOTH, SPENT, {0}}, WEBSOCKET_OPEN, "no answer over HTTP"},
        {{WS_FIRST, LIKE_HTTP, NO_HTTP, FRESH, {0}}, WEBSOCKET_OPEN, "no HTTP address"},
        {{WS_FIRST, NONE, BOTH_BELOW, FRESH, {0}}, WEBSOCKET_OPEN, "both WebSocket and HTTP"},
        {{WS_FIRST, NONE, NOTHING_LEFT, FRESH, {0}}, WEBSOCKET_OPEN, "no HTTP address"},
        {{WS_FIRST, NONE, BOTH, SPENT, {0}}, WEBSOCKET_FAILED, "cannot be opened"},
        {{HT_FIRST, NONE, WS_BELOW, SPENT, {0}}, WEBSOCKET_OPEN, "no answer over HTTP"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct transport_facts facts = facts_of(&cases[i].row, cases[i].state);

        CHECK_CONTAINS(transport_choose(&facts).reason, cases[i].reason);
    }
}

/* ---- one message's way ---- */

/* A peer goes away and comes back: the same message is asked for again at each step. */
static void websocket_first_falls_back_and_returns(void)
{
    static const struct {
        enum websocket_state state;
        const char *answer;
    } steps[] = {
        {WEBSOCKET_DOWN, "wait"},        {WEBSOCKET_CONNECTING, "wait"},
        {WEBSOCKET_SLOW, "http+dial"},   {WEBSOCKET_OPEN, "ws"},
        {WEBSOCKET_DOWN, "wait"},        {WEBSOCKET_CONNECTING, "wait"},
        {WEBSOCKET_FAILED, "http+dial"}, {WEBSOCKET_OPEN, "ws"},
    };
    struct row row = {WS_FIRST, NONE, BOTH, FRESH, {0}};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct transport_facts facts = facts_of(&row, steps[i].state);

        CHECK_TEXT(answer_of(transport_choose(&facts)), steps[i].answer);
    }
}

static const struct check_test tests[] = {
    {"the table holds in every cell", table_holds},
    {"every choice is permitted by its facts", every_choice_is_permitted},
    {"only a failure has a reason", only_a_failure_has_a_reason},
    {"a hint never overrides an only", hint_never_overrides_an_only},
    {"a disabled WebSocket equals http_only", disabled_websocket_equals_http_only},
    {"a wait always dials", an_open_websocket_never_waits_and_a_wait_always_dials},
    {"a failure says why", failure_says_why},
    {"websocket_first falls back and returns", websocket_first_falls_back_and_returns},
};

CHECK_MAIN("transport layer", tests)
