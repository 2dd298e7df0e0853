/* SPDX-License-Identifier: Apache-2.0
 *
 * The delivery core, driven by a script: numbers go out in order without gaps, each message
 * is reported once and released once, an acknowledgement leaves nothing before it open, and
 * the core's own check holds after every step.
 */
#include "peers/delivery.h"

#include "runtime/clock.h"
#include "test/fuzz/fuzz.h"

#define MESSAGES     48
#define REJECTED_MAX 4

struct world {
    struct delivery delivery;
    struct delivery_message messages[MESSAGES];
    uint8_t reports[MESSAGES], releases[MESSAGES];
    unsigned posted;
    uint64_t next_number, now_ns;
    uint64_t last_taken; /* 0: none since the transport was lost */
    bool routed;
};

static void drain(struct world *world)
{
    struct delivery_end end;

    while (delivery_ended(&world->delivery, &end)) {
        size_t index = (size_t)(end.message - world->messages);

        FUZZ_CHECK(index < world->posted && (end.report || end.release));
        FUZZ_CHECK(end.message->outcome != 0 && end.message->detail != NULL);
        world->reports[index] += end.report;
        world->releases[index] += end.release;
        FUZZ_CHECK(world->reports[index] == 1 && world->releases[index] <= 1);
        FUZZ_CHECK(end.release == !end.message->in_list);
    }
}

/* The lowest number without a result is the base; what is below it has left. */
static void check_base(const struct world *world)
{
    uint64_t lowest = world->next_number;

    for (unsigned i = 0; i < world->posted; i++) {
        const struct delivery_message *message = &world->messages[i];

        if (message->outcome == 0 && message->number != 0 && message->number < lowest)
            lowest = message->number;
        FUZZ_CHECK(message->outcome == 0 || world->reports[i] == 1);
    }
    FUZZ_CHECK(delivery_base(&world->delivery) == lowest);
    FUZZ_CHECK(world->delivery.next_number == world->next_number);
}

static struct delivery_message *next_message(struct world *world, uint8_t ttl)
{
    struct delivery_message *message = &world->messages[world->posted];

    if (world->posted == MESSAGES)
        return NULL;
    memset(message, 0xee, sizeof(*message));
    message->deadline_ns = ttl == 0 ? CLOCK_NEVER : world->now_ns + ttl * 1000000ULL;
    message->bytes = ttl;
    message->hint = 0;
    world->posted++;
    return message;
}

static void post(struct world *world, uint8_t ttl)
{
    struct delivery_message *message = next_message(world, ttl);

    if (message != NULL)
        delivery_post(&world->delivery, message);
}

/* The oldest that has not gone out is to go in parts. */
static void set_aside(struct world *world)
{
    for (unsigned i = 0; i < world->posted; i++) {
        struct delivery_message *message = &world->messages[i];

        if (message->number == 0 && message->outcome == 0 && message->in_list &&
            !message->part) {
            delivery_set_aside(&world->delivery, message);
            return;
        }
    }
}

static void post_part(struct world *world, uint8_t ttl)
{
    struct delivery_message *part = next_message(world, ttl);

    if (part != NULL)
        delivery_post_part(&world->delivery, part);
}

static void take(struct world *world)
{
    struct delivery_message *message = delivery_peek(&world->delivery);
    bool fresh;

    if (message == NULL || !world->routed)
        return;
    fresh = message->number == 0;
    delivery_take(&world->delivery, message);
    if (fresh)
        FUZZ_CHECK(message->number == world->next_number++);
    FUZZ_CHECK(world->last_taken == 0 || message->number == world->last_taken + 1 ||
               message->number == delivery_base(&world->delivery));
    world->last_taken = message->number;
    FUZZ_CHECK(message->given_up || message->outcome == 0);
}

/* What is outstanding stands in the list from the base on, without a gap. */
static void check_unanswered(const struct world *world)
{
    uint64_t base = delivery_base(&world->delivery);
    uint64_t end = base + world->delivery.outstanding;
    uint32_t open = 0;

    for (unsigned i = 0; i < world->posted; i++) {
        const struct delivery_message *message = &world->messages[i];

        open += message->number >= base && message->number < end && message->outcome == 0;
    }
    FUZZ_CHECK(delivery_unanswered(&world->delivery, MESSAGES) == open);
    FUZZ_CHECK(delivery_unanswered(&world->delivery, 1) == (open > 0));
}

static void lost(struct world *world)
{
    delivery_lost(&world->delivery);
    world->last_taken = 0;
    FUZZ_CHECK(world->delivery.outstanding == 0);
}

/* The attempt may have arrived, or was turned away: then it counts as no try. */
static void lost_in_doubt(struct world *world, uint8_t argument)
{
    check_unanswered(world);
    world->delivery.recognises = argument & 1;
    if (argument & 1)
        delivery_answered(&world->delivery, 429);
    if (argument & 2)
        delivery_doubt(&world->delivery, argument & 4);
    if (argument & 8)
        delivery_untry(&world->delivery);
    lost(world);
}

static void switch_route(struct world *world, uint8_t argument)
{
    delivery_switch(&world->delivery,
                    argument & 1 ? PARLEY_TRANSPORT_WEBSOCKET : PARLEY_TRANSPORT_HTTP);
    world->last_taken = 0;
    world->routed = true;
}

static void acknowledge(struct world *world, struct fuzz_script *script, uint8_t argument)
{
    struct delivery_rejection rejected[REJECTED_MAX];
    uint64_t base = delivery_base(&world->delivery);
    uint64_t ack_seq = base + argument % 16 - (argument & 128 ? 1 : 0);
    size_t len = argument >> 4 & 3;
    bool taken;

    for (size_t i = 0; i < len; i++)
        rejected[i] =
            (struct delivery_rejection){base + fuzz_byte(script) % 8, "the peer's reason"};
    taken = delivery_ack(&world->delivery, ack_seq, rejected, len);
    FUZZ_CHECK(taken == (ack_seq < world->next_number));
    if (taken)
        FUZZ_CHECK(delivery_base(&world->delivery) > ack_seq);
}

static void exhaust(struct world *world, uint8_t argument)
{
    lost(world);
    delivery_exhaust(&world->delivery, 1 + argument % 4, argument, "tried in vain");
}

static void answer(struct world *world, uint8_t argument)
{
    uint64_t number = delivery_base(&world->delivery) + argument % 8;
    bool open = false;

    for (unsigned i = 0; i < world->posted; i++)
        open =
            open || (world->messages[i].number == number && world->messages[i].outcome == 0);
    FUZZ_CHECK(delivery_answer(&world->delivery, number,
                               argument & 8 ? PARLEY_SENT : PARLEY_REJECTED, 200,
                               "answered") == open);
}

static void give_up(struct world *world, uint8_t argument)
{
    unsigned index = world->posted > 0 ? argument % world->posted : 0;

    if (world->posted > 0 && world->releases[index] == 0)
        delivery_give_up(&world->delivery, &world->messages[index], PARLEY_CANCELLED, "");
}

static void expire(struct world *world, uint8_t argument)
{
    world->now_ns += argument * 1000000ULL;
    delivery_expire(&world->delivery, world->now_ns);
    for (unsigned i = 0; i < world->posted; i++)
        FUZZ_CHECK(world->messages[i].outcome != 0 ||
                   world->messages[i].deadline_ns > world->now_ns);
}

static void step(struct world *world, struct fuzz_script *script)
{
    uint8_t operation = fuzz_byte(script), argument = operation >> 4;

    switch (operation % 16) {
    case 0:
    case 1:
        post(world, operation % 16 == 0 ? 0 : fuzz_byte(script));
        break;
    case 2:
    case 3:
    case 4:
        take(world);
        break;
    case 5:
    case 6:
        acknowledge(world, script, fuzz_byte(script));
        break;
    case 7:
        lost(world);
        break;
    case 8:
        switch_route(world, argument);
        break;
    case 9:
        exhaust(world, argument);
        break;
    case 10:
        answer(world, argument);
        break;
    case 11:
        give_up(world, fuzz_byte(script));
        break;
    case 12:
        expire(world, fuzz_byte(script));
        break;
    case 13:
        if (argument == 0)
            delivery_give_up_all(&world->delivery, PARLEY_EXPIRED, NULL);
        else if (argument == 1)
            set_aside(world);
        else
            lost_in_doubt(world, argument);
        break;
    case 14:
        post_part(world, argument);
        break;
    default:
        post(world, 0);
        take(world);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct world world;
    struct fuzz_script script = fuzz_script(data, len);
    const struct delivery_limits limits = {.in_flight_max = 1 + fuzz_byte(&script) % 16};

    memset(&world, 0, sizeof(world));
    world.next_number = 1;
    delivery_init(&world.delivery, &limits);
    while (fuzz_more(&script)) {
        step(&world, &script);
        drain(&world);
        delivery_check(&world.delivery);
        check_base(&world);
    }
    delivery_give_up_all(&world.delivery, PARLEY_CANCELLED, "the end");
    for (unsigned i = 0; i < world.posted; i++) {
        if (world.messages[i].outcome == 0) /* set aside */
            delivery_give_up(&world.delivery, &world.messages[i], PARLEY_CANCELLED, "");
    }
    drain(&world);
    delivery_check(&world.delivery);
    for (unsigned i = 0; i < world.posted; i++)
        FUZZ_CHECK(world.reports[i] == 1 && world.releases[i] == 1);
    return 0;
}
