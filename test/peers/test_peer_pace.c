/* SPDX-License-Identifier: Apache-2.0
 *
 * How much an older HTTP service gets from us: the pace we keep by ourselves, and what we do
 * when it says that it is too much.
 */
#include "test/peers/old_world.h"

/* ---- Pace and limits ---- */

static void rate_limits_are_waited_out(void)
{
    static const struct old_answer answers[] = {LIMITED, LIMITED, {429, "", NULL},
                                                LIMITED, LIMITED, {200, NULL, NULL}};
    struct world world;
    char number[64];

    world_prepare(&world);
    world.options.http_attempts = 2;
    WORLD_OPEN(&world, answers);
    for (unsigned i = 0; i < 3; i++)
        CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK(check_wait(&world.tally.results, 3));
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 3);
    CHECK_U64(requests(&world), 8);
    for (size_t i = 0; i < 8; i++) { /* the later ones wait behind */
        snprintf(number, sizeof(number), "\"sequence_num\":%zu,", i < 6 ? 1 : i - 4);
        CHECK_CONTAINS(old_body(&world.service, i), number);
    }
    world_close(&world);
}

static void limits_use_up_no_attempt(void)
{
    static const struct old_answer answers[] = {
        {503, "", NULL}, LIMITED, LIMITED, LIMITED, {503, "", NULL}, {200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    world.options.http_attempts = 3;
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    CHECK_U64(requests(&world), 6);
    world_close(&world);
}

static void limits_use_up_no_try(void)
{
    static const struct old_answer answers[] = {
        {503, "", NULL}, {503, "", NULL}, {503, "", NULL},  LIMITED,
        LIMITED,         {503, "", NULL}, {200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    world.peer_options.envelope_version = PARLEY_ENVELOPE_1_0;
    world.options.http_attempts = 3;
    WORLD_OPEN(&world, answers);
    send_one(&world);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_EXHAUSTED), 1);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    CHECK_U64(requests(&world), 7);
    world_close(&world);
}

/* The receiver may have no more room than for the one that it now takes. */
static void no_burst_after_a_limit(void)
{
    static const struct old_answer answers[] = {LIMITED, {200, NULL, NULL}};
    uint64_t start_ns;
    struct world world;

    world_prepare(&world);
    world.peer_options.pace = true;
    world.peer_options.rate_per_min = 600;
    start_ns = old_now_ns();
    WORLD_OPEN(&world, answers);
    for (unsigned i = 0; i < 5; i++)
        CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK(check_wait(&world.tally.results, 5));
    CHECK_U64(requests(&world), 6);
    for (uint64_t i = 1; i < 6; i++)
        CHECK(world.service.noted[i]->came_ns - start_ns >= 18000000 + (i - 1) * 98000000);
    world_close(&world);
}

static void limited_until_the_deadline(void)
{
    static const struct old_answer answers[] = {LIMITED};
    struct world world;

    world_prepare(&world);
    world.options.ttl_ms = 300;
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_EXPIRED), 1);
    CHECK(requests(&world) > 3);
    CHECK_U64(world.tally.http_code, 400); /* why it could not go */
    world_close(&world);
}

static void retry_after_is_kept(void)
{
    static const struct old_answer answers[] = {
        {400, DETAIL("rate_limited"), "Retry-After: 1\r\n"}, {200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    CHECK(world.service.noted[1]->came_ns - world.service.noted[0]->came_ns > 900000000);
    world_close(&world);
}

/* A message never comes before its turn, whatever the machine does. */
static void the_pace_is_kept(void)
{
    static const struct old_answer answers[] = {{200, NULL, NULL}};
    uint64_t start_ns;
    struct world world;

    world_prepare(&world);
    world.peer_options.pace = true;
    world.peer_options.rate_burst = 3;
    world.peer_options.rate_per_min = 600;
    start_ns = old_now_ns();
    WORLD_OPEN(&world, answers);
    for (unsigned i = 0; i < 10; i++)
        CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK(check_wait(&world.tally.results, 10));
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 10);
    for (uint64_t i = 3; i < 10; i++)
        CHECK(world.service.noted[i]->came_ns - start_ns >= (i - 2) * 98000000);
    world_close(&world);
}

static void the_default_pace(void)
{
    static const struct old_answer answers[] = {{200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    world.peer_options.pace = true;
    world.options.ttl_ms = 1000; /* the eleventh would go after 4 s */
    WORLD_OPEN(&world, answers);
    for (unsigned i = 0; i < 15; i++)
        CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK(check_wait(&world.tally.results, 15));
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 10);
    CHECK_U64(outcomes(&world, PARLEY_EXPIRED), 5);
    CHECK_U64(requests(&world), 10);
    world_close(&world);
}

static void a_parley_is_not_paced(void)
{
    struct tally tally = TALLY_INIT;
    parley *receiver = receiver_open(0, true), *sender;
    parley_peer_options peer_options;
    parley_options options;
    parley_peer peer;
    char url[64];

    node_options(&options, "sender");
    sender = node_open(&options);
    parley_peer_options_init(&peer_options);
    peer_options.preference = PARLEY_HTTP_ONLY;
    peer_options.preference_set = true;
    peer_options.rate_burst = 1;
    peer_options.rate_per_min = 1;
    CHECK(peer_options.pace);
    url_of(receiver, url, sizeof(url));
    CHECK_STATUS(parley_peer_add(sender, "receiver", url, &peer_options, &peer), OK);
    for (unsigned i = 0; i < 200; i++)
        CHECK_STATUS(post(sender, peer, "{}", &tally), OK);
    CHECK(check_wait(&tally.results, 200));
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 200);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static const struct check_test tests[] = {
    {"rate limits are waited out, in order", rate_limits_are_waited_out},
    {"rate limits use up no attempt", limits_use_up_no_attempt},
    {"nor a try of a message behind an exhausted one", limits_use_up_no_try},
    {"after a rate limit there is no burst", no_burst_after_a_limit},
    {"a rate limit ends with the message's deadline", limited_until_the_deadline},
    {"Retry-After is kept", retry_after_is_kept},
    {"the pace is kept", the_pace_is_kept},
    {"the default pace lets ten out at once", the_default_pace},
    {"a parley is not paced", a_parley_is_not_paced},
};

CHECK_MAIN("pace towards older http peers", tests)
