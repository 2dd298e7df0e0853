/* SPDX-License-Identifier: Apache-2.0
 *
 * Every sequence of events, up to a depth, over three messages and a window of two, against
 * a model that knows no list, no cursor and no base: only, for each message, its number,
 * whether it is outstanding, and its result. Everything else is derived from these by the
 * words of PROTOCOL.md, "Between parleys".
 *
 * The state is one structure whose pointers point into itself, so the search goes back by
 * copying it back to the same place.
 */
#include "peers/delivery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "test/check.h"

#define MESSAGES  3
#define WINDOW    2
#define TRIES     2
#define DEPTH     7 /* or $DEPTH; one more costs ten times as long */
#define DEPTH_MAX 16

struct expected {
    uint64_t number; /* 0: not sent yet */
    uint64_t deadline_ns;
    unsigned outcome; /* 0: pending */
    unsigned attempts, tries;
    bool outstanding;
    bool failed; /* was part of the last lost attempt */
};

struct state {
    struct delivery delivery;
    struct delivery_message messages[MESSAGES];
    struct expected expected[MESSAGES];
    unsigned posted;
    uint64_t next_number;
    parley_transport route;
    uint64_t now_ns;
    uint64_t resent;
    unsigned reports[MESSAGES], releases[MESSAGES];
};

enum event {
    POST,
    TAKE,
    ACK_1,
    ACK_2,
    ACK_3,
    REJECT_1,
    REJECT_2,
    REJECT_MANY,
    LOST,
    SWITCH,
    EXHAUST,
    GIVE_UP_1,
    GIVE_UP_2,
    GIVE_UP_3,
    EXPIRE,
    ANSWER_2,
    EVENTS
};

static const char *const event_names[EVENTS] = {"post",
                                                "take",
                                                "ack 1",
                                                "ack 2",
                                                "ack 3",
                                                "ack 1 rejecting 1",
                                                "ack 2 rejecting 2",
                                                "ack 3 rejecting 3 and 1",
                                                "lost",
                                                "switch",
                                                "exhaust",
                                                "give up 1st",
                                                "give up 2nd",
                                                "give up 3rd",
                                                "expire",
                                                "answer 2"};

static struct state state;
static enum event path[DEPTH_MAX];
static unsigned depth_max;
static uint64_t sequences, steps;
static bool broken;

/* ---- What the words say ---- */

static bool pending(unsigned i)
{
    return i < state.posted && state.expected[i].outcome == 0;
}

static uint64_t base(void)
{
    uint64_t lowest = state.next_number;

    for (unsigned i = 0; i < state.posted; i++) {
        uint64_t number = state.expected[i].number;

        if (pending(i) && number != 0 && number < lowest)
            lowest = number;
    }
    return lowest;
}

/* A message has its place while it is pending, or a void with something older before it. */
static bool has_place(unsigned i)
{
    return pending(i) || (i < state.posted && state.expected[i].number > base());
}

static unsigned outstanding(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < state.posted; i++)
        count += has_place(i) && state.expected[i].outstanding ? 1 : 0;
    return count;
}

/* The index of what is sent next, MESSAGES: nothing. */
static unsigned next_to_send(void)
{
    if (outstanding() >= WINDOW)
        return MESSAGES;
    for (unsigned i = 0; i < state.posted; i++) {
        if (has_place(i) && !state.expected[i].outstanding)
            return i;
    }
    return MESSAGES;
}

static void lose(void)
{
    if (outstanding() > 0) {
        for (unsigned i = 0; i < MESSAGES; i++)
            state.expected[i].failed = has_place(i) && state.expected[i].outstanding;
    }
    for (unsigned i = 0; i < MESSAGES; i++)
        state.expected[i].outstanding = false;
}

/* ---- Each event, on both ---- */

static void post(void)
{
    static const unsigned deadline_ms[MESSAGES] = {20, 10, 30};
    struct delivery_message *message = &state.messages[state.posted];

    message->deadline_ns = deadline_ms[state.posted] * NS_PER_MS;
    state.expected[state.posted].deadline_ns = message->deadline_ns;
    state.posted++;
    delivery_post(&state.delivery, message);
}

static void take(void)
{
    struct expected *expected = &state.expected[next_to_send()];

    if (expected->number == 0)
        expected->number = state.next_number++;
    expected->outstanding = true;
    if (expected->outcome == 0) {
        state.resent += expected->attempts > 0 ? 1 : 0;
        expected->attempts++;
        expected->tries++;
    }
    delivery_take(&state.delivery, delivery_peek(&state.delivery));
}

static bool acknowledge(uint64_t ack_seq, const struct delivery_rejection *rejected,
                        size_t len)
{
    bool legal = ack_seq < state.next_number;

    for (unsigned i = 0; legal && i < state.posted; i++) {
        struct expected *expected = &state.expected[i];

        if (!pending(i) || expected->number == 0 || expected->number > ack_seq)
            continue;
        expected->outcome = PARLEY_DELIVERED;
        for (size_t k = 0; k < len; k++) {
            if (rejected[k].number == expected->number)
                expected->outcome = PARLEY_REJECTED;
        }
    }
    return delivery_ack(&state.delivery, ack_seq, rejected, len) == legal;
}

static void switch_route(void)
{
    lose();
    state.route = state.route == PARLEY_TRANSPORT_HTTP ? PARLEY_TRANSPORT_WEBSOCKET
                                                       : PARLEY_TRANSPORT_HTTP;
    for (unsigned i = 0; i < MESSAGES; i++)
        state.expected[i].tries = 0;
    delivery_switch(&state.delivery, state.route);
}

static void exhaust(void)
{
    for (unsigned i = 0; i < state.posted; i++) {
        if (pending(i) && state.expected[i].failed && state.expected[i].tries >= TRIES)
            state.expected[i].outcome = PARLEY_EXHAUSTED;
    }
    delivery_exhaust(&state.delivery, TRIES, 503, "exhausted");
}

static void expire(void)
{
    state.now_ns += 10 * NS_PER_MS;
    for (unsigned i = 0; i < state.posted; i++) {
        if (pending(i) && state.expected[i].deadline_ns <= state.now_ns)
            state.expected[i].outcome = PARLEY_EXPIRED;
    }
    delivery_expire(&state.delivery, state.now_ns);
}

static bool answer(uint64_t number)
{
    bool known = false;

    for (unsigned i = 0; i < state.posted; i++) {
        if (!pending(i) || state.expected[i].number != number)
            continue;
        state.expected[i].outcome = PARLEY_SENT;
        known = true;
    }
    return delivery_answer(&state.delivery, number, PARLEY_SENT, 0, "sent") == known;
}

static bool give_up(unsigned i)
{
    state.expected[i].outcome = PARLEY_CANCELLED;
    delivery_give_up(&state.delivery, &state.messages[i], PARLEY_CANCELLED, "cancelled");
    return true;
}

static bool possible(enum event event)
{
    switch (event) {
    case POST:
        return state.posted < MESSAGES;
    case TAKE:
        return next_to_send() < MESSAGES;
    case EXHAUST:
        return outstanding() == 0 && state.next_number > 1;
    case GIVE_UP_1:
    case GIVE_UP_2:
    case GIVE_UP_3:
        return pending(event - GIVE_UP_1);
    case EXPIRE:
        return state.posted > 0 && state.now_ns < 30 * NS_PER_MS;
    case LOST:
    case SWITCH:
        return state.posted > 0;
    case ANSWER_2:
        return state.next_number > 1;
    case ACK_1:
        return true; /* at first a violation */
    default:
        return state.next_number > 1;
    }
}

/* @return whether the core answered as it should */
static bool apply(enum event event)
{
    static const struct delivery_rejection first = {1, "no 1"}, second = {2, "no 2"};
    static const struct delivery_rejection many[] = {{3, "no 3"}, {1, "no 1"}};

    switch (event) {
    case POST:
        return post(), true;
    case TAKE:
        return take(), true;
    case ACK_1:
    case ACK_2:
    case ACK_3:
        return acknowledge(event - ACK_1 + 1, NULL, 0);
    case REJECT_1:
        return acknowledge(1, &first, 1);
    case REJECT_2:
        return acknowledge(2, &second, 1);
    case REJECT_MANY:
        return acknowledge(3, many, 2);
    case LOST:
        return lose(), delivery_lost(&state.delivery), true;
    case SWITCH:
        return switch_route(), true;
    case EXHAUST:
        return exhaust(), true;
    case EXPIRE:
        return expire(), true;
    case ANSWER_2:
        return answer(2);
    default:
        return give_up(event - GIVE_UP_1);
    }
}

/* ---- Comparing ---- */

static void drain(void)
{
    struct delivery_end end;

    while (delivery_ended(&state.delivery, &end)) {
        size_t i = (size_t)(end.message - state.messages);

        state.reports[i] += end.report ? 1 : 0;
        state.releases[i] += end.release ? 1 : 0;
    }
}

static bool same_message(unsigned i)
{
    const struct delivery_message *message = &state.messages[i];
    const struct expected *expected = &state.expected[i];

    return message->number == expected->number && message->outcome == expected->outcome &&
           message->attempts == expected->attempts &&
           (!pending(i) || message->tries == expected->tries) &&
           message->in_list == has_place(i) &&
           (!has_place(i) || message->given_up == !pending(i)) &&
           state.reports[i] == (pending(i) ? 0 : 1) &&
           state.releases[i] == (has_place(i) ? 0 : 1);
}

static uint64_t count(unsigned outcome)
{
    uint64_t ended = 0;

    for (unsigned i = 0; i < state.posted; i++)
        ended += state.expected[i].outcome == outcome ? 1 : 0;
    return ended;
}

static bool same(void)
{
    const struct delivery_counts *counts = &state.delivery.counts;
    unsigned next = next_to_send();

    for (unsigned i = 0; i < state.posted; i++) {
        if (!same_message(i))
            return false;
    }
    return delivery_base(&state.delivery) == base() &&
           state.delivery.next_number == state.next_number &&
           state.delivery.outstanding == outstanding() &&
           delivery_peek(&state.delivery) ==
               (next < MESSAGES ? &state.messages[next] : NULL) &&
           counts->accepted == state.posted && counts->pending == count(0) &&
           counts->delivered_ws + counts->delivered_http == count(PARLEY_DELIVERED) &&
           counts->rejected == count(PARLEY_REJECTED) && counts->sent == count(PARLEY_SENT) &&
           counts->exhausted == count(PARLEY_EXHAUSTED) &&
           counts->expired == count(PARLEY_EXPIRED) &&
           counts->cancelled == count(PARLEY_CANCELLED) && counts->resent == state.resent;
}

static void tell(unsigned depth, const char *what)
{
    broken = true;
    fprintf(stderr, "%s after:", what);
    for (unsigned i = 0; i < depth; i++)
        fprintf(stderr, " %s;", event_names[path[i]]);
    fprintf(stderr, "\n");
    CHECK(!"the core and its model differ");
}

static void close_all(unsigned depth)
{
    delivery_give_up_all(&state.delivery, PARLEY_CANCELLED, "closed");
    drain();
    for (unsigned i = 0; i < state.posted; i++) {
        if (state.reports[i] != 1 || state.releases[i] != 1)
            tell(depth, "not one result and one release");
    }
    if (state.delivery.counts.pending != 0)
        tell(depth, "pending messages");
}

/* @return whether the core did as the model */
static bool step(unsigned depth, enum event event)
{
    path[depth] = event;
    steps++;
    if (!apply(event))
        tell(depth + 1, "wrong answer");
    delivery_check(&state.delivery);
    drain();
    delivery_check(&state.delivery);
    if (!broken && !same())
        tell(depth + 1, "difference");
    return !broken;
}

static void search(unsigned depth)
{
    struct state before = state;
    bool leaf = true;

    for (unsigned event = 0; depth < depth_max && event < EVENTS && !broken; event++) {
        if (!possible((enum event)event))
            continue;
        leaf = false;
        if (step(depth, (enum event)event))
            search(depth + 1);
        state = before;
    }
    if (!leaf || broken)
        return;
    sequences++;
    close_all(depth);
    state = before;
}

static void begin(void)
{
    const struct delivery_limits limits = {WINDOW};
    const char *depth = getenv("DEPTH");

    memset(&state, 0, sizeof(state));
    delivery_init(&state.delivery, &limits);
    delivery_switch(&state.delivery, PARLEY_TRANSPORT_WEBSOCKET);
    state.route = PARLEY_TRANSPORT_WEBSOCKET;
    state.next_number = 1;
    depth_max = depth != NULL ? (unsigned)strtoul(depth, NULL, 10) : DEPTH;
    sequences = steps = 0;
    broken = false;
}

static void finish(void)
{
    printf("\n    %" PRIu64 " sequences, %" PRIu64 " steps ", sequences, steps);
    CHECK(sequences > (getenv("DEPTH") != NULL ? 0 : 100000));
}

static void from_nothing(void)
{
    begin();
    search(0);
    finish();
}

/* Three posted, two on their way, and all of it gone once: what deep sequences need. */
static void from_a_lost_connection(void)
{
    static const enum event prefix[] = {POST, POST, POST, TAKE, TAKE, LOST, TAKE};
    const unsigned len = sizeof(prefix) / sizeof(prefix[0]);

    begin();
    for (unsigned i = 0; i < len; i++)
        step(i, prefix[i]);
    depth_max = depth_max - 2 + len < DEPTH_MAX ? depth_max - 2 + len : DEPTH_MAX;
    search(len);
    finish();
}

static const struct check_test tests[] = {
    {"every sequence of events agrees with the model", from_nothing},
    {"every sequence after a lost connection agrees with the model", from_a_lost_connection},
};

CHECK_MAIN("delivery, exhaustively", tests)
