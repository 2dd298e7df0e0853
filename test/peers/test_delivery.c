/* SPDX-License-Identifier: Apache-2.0
 *
 * The delivery core, one promise after the other. A case is a script of events, the results
 * it must give in their order, and the list it must leave behind; the core's own check runs
 * after every event.
 *
 * Events: p post · t take · aN acknowledge N · aN/a/b… the same, rejecting a, b … · L lost ·
 * W, H switch to WebSocket, HTTP · xN exhaust after N tries · gI give up (cancel) the I-th
 * posted · eT expire at T ms · nN answer number N with "sent" · nN! with a rejection ·
 * C cancel all. A posted message may have a deadline: p30 (ms).
 *
 * Results: 1:delivered. is the report and the release of the first posted message in one
 * step, 1:expired its report alone, 1. its release. List: numbers, v for voids, - for what
 * has no number, and | where the cursor is.
 */
#include "peers/delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "test/check.h"

#define POSTED_MAX 16

struct world {
    struct delivery delivery;
    struct delivery_message messages[POSTED_MAX];
    unsigned posted;
    char results[1024];
    char list[256];
};

static void write_down(char *text, size_t len, const char *word)
{
    size_t used = strlen(text);

    snprintf(text + used, len - used, "%s%s", used > 0 ? " " : "", word);
}

static const char *outcome_name(unsigned outcome)
{
    static const char *const names[] = {"none",      "delivered", "sent",     "rejected",
                                        "exhausted", "expired",   "cancelled"};

    return outcome < sizeof(names) / sizeof(names[0]) ? names[outcome] : "?";
}

static void drain(struct world *world)
{
    struct delivery_end end;
    char word[160];

    while (delivery_ended(&world->delivery, &end)) {
        unsigned posted = (unsigned)(end.message - world->messages) + 1;

        if (!end.report)
            snprintf(word, sizeof(word), "%u%s", posted, end.release ? "." : "?");
        else if (end.message->detail[0] == '#') /* a rejection's own text */
            snprintf(word, sizeof(word), "%u:%s(%s)%s", posted,
                     outcome_name(end.message->outcome), end.message->detail,
                     end.release ? "." : "");
        else
            snprintf(word, sizeof(word), "%u:%s%s", posted, outcome_name(end.message->outcome),
                     end.release ? "." : "");
        write_down(world->results, sizeof(world->results), word);
    }
}

static void draw(struct world *world)
{
    const struct delivery_message *message = world->delivery.front;
    char word[32];

    world->list[0] = '\0';
    for (; message != NULL; message = message->next) {
        if (message == world->delivery.cursor)
            write_down(world->list, sizeof(world->list), "|");
        if (message->number == 0)
            snprintf(word, sizeof(word), "-");
        else
            snprintf(word, sizeof(word), "%s%u", message->given_up ? "v" : "",
                     (unsigned)message->number);
        write_down(world->list, sizeof(world->list), word);
    }
}

static void post(struct world *world, unsigned long deadline_ms)
{
    struct delivery_message *message = &world->messages[world->posted++];

    message->deadline_ns = deadline_ms > 0 ? deadline_ms * NS_PER_MS : CLOCK_NEVER;
    message->bytes = 100;
    delivery_post(&world->delivery, message);
}

static void acknowledge(struct world *world, unsigned long ack_seq, char *rest)
{
    struct delivery_rejection rejected[8];
    char details[8][16];
    size_t len = 0;

    while (*rest == '/' && len < 8) {
        rejected[len].number = strtoul(rest + 1, &rest, 10);
        snprintf(details[len], sizeof(details[len]), "#%u", (unsigned)rejected[len].number);
        rejected[len].detail = details[len];
        len++;
    }
    if (!delivery_ack(&world->delivery, ack_seq, rejected, len))
        write_down(world->results, sizeof(world->results), "refused");
    drain(world); /* the details live no longer than this */
}

static void answer(struct world *world, unsigned long number, const char *rest)
{
    bool known = *rest == '!'
                     ? delivery_answer(&world->delivery, number, PARLEY_REJECTED, 403, "#no")
                     : delivery_answer(&world->delivery, number, PARLEY_SENT, 0, NULL);

    if (!known)
        write_down(world->results, sizeof(world->results), "refused");
}

static void take(struct world *world)
{
    struct delivery_message *message = delivery_peek(&world->delivery);

    if (message == NULL)
        write_down(world->results, sizeof(world->results), "nothing");
    else
        delivery_take(&world->delivery, message);
}

static void event(struct world *world, char *word)
{
    char *rest;
    unsigned long n = strtoul(word + 1, &rest, 10);
    struct delivery *delivery = &world->delivery;

    switch (word[0]) {
    case 'p':
        post(world, n);
        break;
    case 't':
        take(world);
        break;
    case 'a':
        acknowledge(world, n, rest);
        break;
    case 'L':
        delivery_lost(delivery);
        break;
    case 'W':
        delivery_switch(delivery, PARLEY_TRANSPORT_WEBSOCKET);
        break;
    case 'H':
        delivery_switch(delivery, PARLEY_TRANSPORT_HTTP);
        break;
    case 'x':
        delivery_exhaust(delivery, (uint32_t)n, 503, "no attempt left");
        break;
    case 'g':
        delivery_give_up(delivery, &world->messages[n - 1], PARLEY_CANCELLED, "by the host");
        break;
    case 'e':
        delivery_expire(delivery, n * NS_PER_MS);
        break;
    case 'n':
        answer(world, n, rest);
        break;
    case 'C':
        delivery_give_up_all(delivery, PARLEY_CANCELLED, "closed");
        break;
    default:
        CHECK(!"a known event");
    }
}

static void begin(struct world *world, uint32_t in_flight_max)
{
    const struct delivery_limits limits = {in_flight_max};

    memset(world, 0, sizeof(*world));
    delivery_init(&world->delivery, &limits);
    delivery_switch(&world->delivery, PARLEY_TRANSPORT_WEBSOCKET);
}

static void play(struct world *world, const char *script)
{
    char copy[256], *save = NULL;

    snprintf(copy, sizeof(copy), "%s", script);
    for (char *word = strtok_r(copy, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        event(world, word);
        delivery_check(&world->delivery);
        drain(world);
        delivery_check(&world->delivery);
    }
    draw(world);
}

struct script {
    const char *events;
    const char *results;
    const char *list;
};

static void run_scripts(const struct script *scripts, size_t len, uint32_t in_flight_max)
{
    struct world world;

    for (size_t i = 0; i < len; i++) {
        bool held;

        begin(&world, in_flight_max);
        play(&world, scripts[i].events);
        held = CHECK_TEXT(world.results, scripts[i].results);
        held = CHECK_TEXT(world.list, scripts[i].list) && held;
        if (!held)
            fprintf(stderr, "    script: %s\n", scripts[i].events);
    }
}

#define RUN_SCRIPTS(scripts, in_flight_max) \
    run_scripts((scripts), sizeof(scripts) / sizeof((scripts)[0]), (in_flight_max))

static void numbers_and_window(void)
{
    static const struct script scripts[] = {
        {"p p p", "", "| - - -"},
        {"p p p t", "", "1 | - -"},
        {"p p p p t t t t", "nothing", "1 2 3 | -"},
        {"t", "nothing", ""},
        {"p t t", "nothing", "1"},
        {"p t p t", "", "1 2"},
        {"p p p p t t t a1 t", "1:delivered.", "2 3 4"},
        {"p t L p t t", "", "1 2"},
    };

    RUN_SCRIPTS(scripts, 3);
}

static void acknowledgements(void)
{
    static const struct script scripts[] = {
        {"p p p t t t a2", "1:delivered. 2:delivered.", "3"},
        {"p p p t t t a3", "1:delivered. 2:delivered. 3:delivered.", ""},
        {"p p p t t t a0", "", "1 2 3"},
        {"p p t t a1 a1 a0", "1:delivered.", "2"},
        {"p p t a2", "refused", "1 | -"},
        {"p a1", "refused", "| -"},
        {"a1", "refused", ""},
        {"a0", "", ""},
    };

    RUN_SCRIPTS(scripts, 8);
}

static void rejections(void)
{
    static const struct script scripts[] = {
        {"p p p p t t t t a4/1/3", "1:rejected(#1). 2:delivered. 3:rejected(#3). 4:delivered.",
         ""},
        /* in any order, twice, out of range: what is listed is rejected */
        {"p p p p t t t t a3/3/1/1/9", "1:rejected(#1). 2:delivered. 3:rejected(#3).", "4"},
        /* told again and again until base_seq passes them; ahead of ack_seq they wait */
        {"p p p t t t a1/1/3 a2/1/3 a3/1/3", "1:rejected(#1). 2:delivered. 3:rejected(#3).",
         ""},
        /* a void was given up before: its rejection is nobody's */
        {"p p p t t t g2 a3/2", "2:cancelled 1:delivered. 2. 3:delivered.", ""},
        {"p p t t a7/1", "refused", "1 2"},
    };

    RUN_SCRIPTS(scripts, 8);
}

static void lost_and_resumed(void)
{
    static const struct script scripts[] = {
        {"p p p t t L", "", "| 1 2 -"},
        {"p p p t t L t t t", "", "1 2 3"},
        {"p p p t t L t", "", "1 | 2 -"},
        /* resume: the other side had them all */
        {"p p p t t L a2", "1:delivered. 2:delivered.", "| -"},
        {"p p p t t L a1 t", "1:delivered.", "2 | -"},
        {"p p p t t t L t a3", "1:delivered. 2:delivered. 3:delivered.", ""},
        {"p p p t t t L t a2", "1:delivered. 2:delivered.", "| 3"},
        {"p p t L a2", "refused", "| 1 -"},
        {"p t L L p", "", "| 1 -"},
        {"L", "", ""},
    };

    RUN_SCRIPTS(scripts, 8);
}

static void voids(void)
{
    static const struct script scripts[] = {
        /* never numbered: simply gone */
        {"p p p g2", "2:cancelled.", "| - -"},
        {"p p p g1 g2 g3", "1:cancelled. 2:cancelled. 3:cancelled.", ""},
        {"p p t g2 p t", "2:cancelled.", "1 2"},
        /* numbered and oldest: base_seq moves */
        {"p p t t g1", "1:cancelled.", "2"},
        {"p p t t L g1", "1:cancelled.", "| 2"},
        /* numbered and not oldest: a void, until what is older has its result */
        {"p p p t t t g2", "2:cancelled", "1 v2 3"},
        {"p p p t t t g2 g1", "2:cancelled 1:cancelled. 2.", "3"},
        {"p p p t t t g2 a1", "2:cancelled 1:delivered. 2.", "3"},
        {"p p p t t t g3 g2 g1", "3:cancelled 2:cancelled 1:cancelled. 2. 3.", ""},
        {"p p p t t t g2 g2", "2:cancelled", "1 v2 3"},
        /* sent as a void where it had its number */
        {"p p p t t t g2 L t", "2:cancelled", "1 | v2 3"},
        {"p p p t t t L g2 t t", "2:cancelled", "1 v2 | 3"},
        {"p p p t t t L t g1", "1:cancelled.", "| 2 3"},
        {"p p p t t t L g2 t g1", "2:cancelled 1:cancelled. 2.", "| 3"},
        {"p p p t t t L g2 g1 g3 p t", "2:cancelled 1:cancelled. 2. 3:cancelled.", "4"},
        {"p p p t t t g2 L a2", "2:cancelled 1:delivered. 2.", "| 3"},
        {"p p p t t g2 C", "2:cancelled 1:cancelled. 2. 3:cancelled.", ""},
    };

    RUN_SCRIPTS(scripts, 8);
}

static void answers(void)
{
    static const struct script scripts[] = {
        {"p p t t n1", "1:sent.", "2"},
        {"p p t t n2 n1!", "2:sent 1:rejected(#no). 2.", ""},
        {"p p t t n2 n2", "2:sent refused", "1 v2"},
        {"p p t n2 n0 n9", "refused refused refused", "1 | -"},
        {"p t n1 n1", "1:sent. refused", ""},
        {"p p t t L n1", "1:sent.", "| 2"},
    };

    RUN_SCRIPTS(scripts, 8);
}

static void deadlines(void)
{
    static const struct script scripts[] = {
        {"p30 p20 p10 e9", "", "| - - -"},
        {"p30 p20 p10 e10", "3:expired.", "| - -"},
        {"p30 p20 p10 e10 e20 e30", "3:expired. 2:expired. 1:expired.", ""},
        {"p p20 p t t t e99", "2:expired", "1 v2 3"},
        {"p10 p20 t t a1 e15 e20", "1:delivered. 2:expired.", ""},
        {"p e4000000", "", "| -"},
        {"e5 p3 e5", "1:expired.", ""}, /* late before it came */
    };

    RUN_SCRIPTS(scripts, 8);
}

static void attempts(void)
{
    static const struct script scripts[] = {
        {"p t L x1", "1:exhausted.", ""},
        {"p t L x2 t L x2", "1:exhausted.", ""},
        {"p t L x2", "", "| 1"},
        /* only what was part of it: the second was not sent this time, or not as often */
        {"p p t t L x2 t L x2", "1:exhausted.", "| 2"},
        {"p p t L t t L x2", "1:exhausted.", "| 2"},
        {"p p t t L t t L x2", "1:exhausted. 2:exhausted.", ""},
        /* losing nothing is not an attempt, and does not forget the last one */
        {"p t L L x1", "1:exhausted.", ""},
        {"p L x0", "", "| -"},
        {"x1", "", ""},
        /* another transport counts anew; naming the same one does not */
        {"p t L t L H x2", "", "| 1"},
        {"p t L t H t L x2", "", "| 1"},
        {"p t L t H t L x2 t L x2", "1:exhausted.", ""},
        {"p t W t L x2", "1:exhausted.", ""},
        /* voids have nothing to exhaust */
        {"p p t t g2 L x1", "2:cancelled 1:exhausted. 2.", ""},
    };

    RUN_SCRIPTS(scripts, 8);
}

static void results_tell_what_happened(void)
{
    struct world world;
    struct delivery_message *first = &world.messages[0];

    begin(&world, 4);
    play(&world, "p p p p t t t L t L H t t");
    CHECK_U64(first->attempts, 3);
    CHECK_U64(first->tries, 1);
    CHECK_U64(first->transport, PARLEY_TRANSPORT_HTTP);
    play(&world, "a1");
    CHECK_U64(world.delivery.counts.resent, 3);
    play(&world, "W t n2!"); /* over the WebSocket */
    CHECK_U64(world.messages[1].http_code, 403);
    CHECK_U64(world.messages[1].transport, PARLEY_TRANSPORT_WEBSOCKET);
    play(&world, "t t a4");
    CHECK_U64(world.delivery.counts.delivered_http, 1);
    CHECK_U64(world.delivery.counts.delivered_ws, 2);
    CHECK_U64(world.delivery.counts.rejected, 1);
    play(&world, "p t L x1");
    CHECK_U64(world.messages[4].http_code, 503);
    CHECK_TEXT(world.messages[4].detail, "no attempt left");
    CHECK_U64(world.delivery.counts.accepted, 5);
    CHECK_U64(world.delivery.counts.pending, 0);
    CHECK_U64(delivery_base(&world.delivery), 6);
}

static void result_and_release_in_one_step(void)
{
    struct world world;
    struct delivery_end end;

    begin(&world, 4);
    for (unsigned i = 0; i < 2; i++)
        post(&world, 0);
    take(&world);
    take(&world);
    delivery_give_up(&world.delivery, &world.messages[1], PARLEY_CANCELLED, "x");
    delivery_give_up(&world.delivery, &world.messages[0], PARLEY_CANCELLED, "x");
    CHECK(delivery_ended(&world.delivery, &end) && end.message == &world.messages[1]);
    CHECK(end.report && end.release); /* both had come before anybody asked */
    CHECK(delivery_ended(&world.delivery, &end) && end.message == &world.messages[0]);
    CHECK(end.report && end.release);
    CHECK(!delivery_ended(&world.delivery, &end));
}

static void earliest_deadline_is_renewed(void)
{
    struct world world;

    begin(&world, 4);
    CHECK_U64(world.delivery.earliest_deadline_ns, CLOCK_NEVER);
    play(&world, "p300 p200 p");
    CHECK_U64(world.delivery.earliest_deadline_ns, 200 * NS_PER_MS);
    play(&world, "g2");
    CHECK_U64(world.delivery.earliest_deadline_ns, 300 * NS_PER_MS);
    play(&world, "t a1");
    CHECK_U64(world.delivery.earliest_deadline_ns, CLOCK_NEVER);
}

/* Sends one message twice, the first time to a receiver that does or does not recognise
 * repeats, the second time to another. */
static bool is_duplicate(bool doubt, bool first, bool second)
{
    const struct delivery_limits limits = {.in_flight_max = 4};
    struct delivery_message message = {.deadline_ns = CLOCK_NEVER};
    struct delivery_end end;
    struct delivery delivery;

    delivery_init(&delivery, &limits);
    delivery_post(&delivery, &message);
    delivery_switch(&delivery, PARLEY_TRANSPORT_WEBSOCKET);
    delivery.recognises = first;
    delivery_take(&delivery, delivery_peek(&delivery));
    CHECK(!message.maybe_duplicate);
    if (doubt)
        delivery_doubt(&delivery, false);
    delivery_lost(&delivery);
    CHECK(!message.maybe_duplicate); /* not before it is sent again */
    delivery.recognises = second;
    delivery_take(&delivery, delivery_peek(&delivery));
    delivery_check(&delivery);
    delivery_ack(&delivery, 1, NULL, 0);
    CHECK(delivery_ended(&delivery, &end));
    return message.maybe_duplicate;
}

static void duplicates(void)
{
    CHECK(!is_duplicate(true, true, true)); /* it recognises the repeat */
    CHECK(is_duplicate(true, true, false));
    CHECK(is_duplicate(true, false, true));
    CHECK(is_duplicate(true, false, false));
    CHECK(!is_duplicate(false, false, false)); /* known not to have been run */
}

static void only_what_was_outstanding_is_in_doubt(void)
{
    const struct delivery_limits limits = {.in_flight_max = 4};
    struct delivery_message messages[4];
    struct delivery delivery;

    memset(messages, 0, sizeof(messages));
    delivery_init(&delivery, &limits);
    delivery_switch(&delivery, PARLEY_TRANSPORT_WEBSOCKET);
    for (unsigned i = 0; i < 4; i++) {
        messages[i].deadline_ns = CLOCK_NEVER;
        delivery_post(&delivery, &messages[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        delivery_take(&delivery, delivery_peek(&delivery));
    delivery_answer(&delivery, 2, PARLEY_REJECTED, 0, "no");
    CHECK_U64(delivery_unanswered(&delivery, 10), 2);
    CHECK_U64(delivery_unanswered(&delivery, 1), 1);
    delivery_doubt(&delivery, false);
    delivery_lost(&delivery);
    CHECK_U64(delivery_unanswered(&delivery, 10), 0);
    for (unsigned i = 0; i < 4; i++)
        delivery_take(&delivery, delivery_peek(&delivery));
    delivery_check(&delivery);
    CHECK(messages[0].maybe_duplicate);
    CHECK(!messages[1].maybe_duplicate); /* a void is not sent */
    CHECK(messages[2].maybe_duplicate);
    CHECK(!messages[3].maybe_duplicate);
    delivery_doubt(&delivery, true); /* it went out twice by itself */
    CHECK(messages[3].maybe_duplicate);
}

static const struct check_test tests[] = {
    {"numbers come at the first transmission, within the window", numbers_and_window},
    {"an acknowledgement covers everything up to it, and nothing never sent",
     acknowledgements},
    {"what an acknowledgement lists is rejected, once", rejections},
    {"what is lost goes out again first, unless it had arrived", lost_and_resumed},
    {"what is given up leaves a void, or just moves base_seq", voids},
    {"a single answer ends a single message", answers},
    {"deadlines end what is due and nothing else", deadlines},
    {"attempts are exhausted per transport, by those that were part of them", attempts},
    {"results carry transport, attempts, code and detail", results_tell_what_happened},
    {"a void that leaves before it was reported does both at once",
     result_and_release_in_one_step},
    {"the earliest deadline follows the messages", earliest_deadline_is_renewed},
    {"a repeat may be a duplicate unless its receivers recognise it", duplicates},
    {"only what was outstanding is in doubt", only_what_was_outstanding_is_in_doubt},
};

CHECK_MAIN("delivery", tests)
