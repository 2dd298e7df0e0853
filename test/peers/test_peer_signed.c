/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures between real nodes, and what a node that requires them makes of everything that
 * is not signed, or no longer what was signed: each refusal in its words, and nothing run.
 */
#include "test/peers/signed_world.h"

/* ---- Single messages ---- */

static void what_is_not_signed_is_refused(void)
{
    struct world world;
    struct said said;
    struct json_out out;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    say(&said, 1, clock_wall_us(), 1);
    out = (struct json_out){.buffer = said.text, .capacity = sizeof(said.text) - 1};
    envelope_write(&out, &said.fields);
    said.text[out.len] = '\0';
    refused(&world, "/message", said.text, "Missing signature");
    refused(&world, "/message",
            "{\"from\":\"alice\",\"type\":\"test\",\"payload\":{},\"timestamp\":1700000000.5}",
            "Missing signature");
    refused(
        &world, "/message",
        "{\"version\":\"1.0\",\"msg_type\":\"test\",\"sender_id\":\"alice\",\"payload\":{},"
        "\"timestamp\":\"2026-11-22T20:55:44+00:00\",\"nonce\":\"00\",\"session_id\":\"s\","
        "\"sequence_num\":1}",
        "Missing signature");
    refused(&world, "/messages",
            "{\"type\":\"batch\",\"session_id\":\"" SESSION
            "\",\"base_seq\":1,\"first_seq\":1,"
            "\"messages\":[{\"msg_type\":\"test\",\"payload\":{},\"timestamp\":1.5,"
            "\"sender_id\":\"alice\"}]}",
            "Missing signature");
    CHECK_U64(ran(&world), 0);
    world_close(&world);
}

static void what_a_stranger_or_nobody_signed_is_refused(void)
{
    struct world world;
    struct said said;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    say(&said, 1, clock_wall_us(), 1);
    said.fields.sender_id = "carol";
    refused(&world, "/message", envelope_text(&world, &said, true), "Unknown sender: carol");
    say(&said, 1, clock_wall_us(), 1);
    envelope_text(&world, &said, true);
    change(said.text, "{\"t\":9}", "{\"t\":8}");
    refused(&world, "/message", said.text, "Invalid signature");
    say(&said, 1, clock_wall_us(), 1);
    envelope_text(&world, &said, true);
    change(said.text, "\"sequence_num\":1", "\"sequence_num\":2");
    refused(&world, "/message", said.text, "Invalid signature");
    say(&said, 1, clock_wall_us(), 1);
    said.fields.recipient_id = "them"; /* said to somebody else, brought to us */
    refused(&world, "/message", envelope_text(&world, &said, true), "Invalid signature");
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &said, false)),
                   "recipient_id");
    identity_free(world.alice);
    world.alice = identity_of(BOB);
    say(&said, 1, clock_wall_us(), 1);
    refused(&world, "/message", envelope_text(&world, &said, true), "Invalid signature");
    CHECK_U64(ran(&world), 0);
    world_close(&world);
}

static void a_signed_message_is_taken_once_while_it_is_fresh(void)
{
    const uint64_t now_us = clock_wall_us();
    struct world world;
    struct said said;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    say(&said, 5, now_us, 1);
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &said, true)),
                   "\"verification\":\"passed\"");
    CHECK_U64(ran(&world), 1);
    CHECK_CONTAINS(ask(&world, "/message", said.text), "\"verification\":\"passed\"");
    CHECK_U64(ran(&world), 1);
    for (int minute = -1; minute <= 1; minute += 2) {
        say(&said, 6, now_us + (uint64_t)(int64_t)(minute * 70000000), 2);
        refused(&world, "/message", envelope_text(&world, &said, true), "Stale timestamp");
        refused(&world, "/message", envelope_text(&world, &said, false), "Stale timestamp");
    }
    CHECK_U64(ran(&world), 1);
    say(&said, 6, now_us, 3);
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &said, true)), " 200 ");
    CHECK_U64(ran(&world), 2);
    world_close(&world);
}

/* An older sender's: its number, session and message id are anybody's, and count for nothing;
 * the nonce tells a copy. */
static void what_is_not_bound_moves_no_watermark(void)
{
    const uint64_t now_us = clock_wall_us();
    struct world world;
    struct said said;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    say(&said, 900, now_us, 1);
    said.fields.message_id = "m-1";
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &said, false)),
                   "\"verification\":\"passed\"");
    change(said.text, "\"sequence_num\":900", "\"sequence_num\":901");
    change(said.text, "m-1", "m-2");
    CHECK_CONTAINS(ask(&world, "/message", said.text), " 200 ");
    CHECK_U64(ran(&world), 1);
    say(&said, 1, now_us, 2);
    said.fields.message_id = "m-2"; /* the name that somebody put on the copy */
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &said, false)), " 200 ");
    CHECK_U64(ran(&world), 2);
    say(&said, 3, now_us, 3);
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &said, true)), " 200 ");
    CHECK_U64(ran(&world), 3);
    world_close(&world);
}

/* ---- Batches ---- */

static void a_batch_is_run_as_far_as_it_is_proven(void)
{
    const uint64_t now_us = clock_wall_us();
    struct world world;
    struct said said;
    char *third;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    batch_text(&world, &said, 1, 4, now_us);
    third = strstr(strstr(strstr(said.text, "{\"t\":9}") + 1, "{\"t\":9}") + 1, "{\"t\":9}");
    change(third, "{\"t\":9}", "{\"t\":8}");
    CHECK_CONTAINS(ask(&world, "/messages", said.text), "\"ack_seq\":2,\"rejected\":[]");
    CHECK_U64(ran(&world), 2);
    /* beginning with it, nothing is read */
    batch_text(&world, &said, 3, 2, now_us + 1);
    change(said.text, "{\"t\":9}", "{\"t\":8}");
    refused(&world, "/messages", said.text, "Invalid signature");
    batch_text(&world, &said, 3, 2, now_us - 70000000);
    refused(&world, "/messages", said.text, "Stale timestamp");
    batch_text(&world, &said, 3, 2, now_us + 2);
    change(said.text, "\"base_seq\":1", "\"base_seq\":3"); /* nobody else closes numbers */
    refused(&world, "/messages", said.text, "Invalid signature");
    refused(&world, "/messages",
            "{\"type\":\"batch\",\"session_id\":\"" SESSION
            "\",\"base_seq\":9,\"first_seq\":9,"
            "\"messages\":[{\"void\":true,\"sender_id\":\"alice\"}]}",
            "Missing signature");
    batch_text(&world, &said, 3, 2, now_us + 3);
    CHECK_CONTAINS(ask(&world, "/messages", said.text), "\"ack_seq\":4");
    CHECK_U64(ran(&world), 4);
    CHECK_CONTAINS(ask(&world, "/messages", said.text), "\"ack_seq\":4"); /* a copy */
    CHECK_U64(ran(&world), 4);
    world_close(&world);
}

static void a_restarted_node_takes_no_copy(void)
{
    const uint64_t now_us = clock_wall_us();
    char path[128];
    struct world world;
    struct said said, plain;

    memset(&world, 0, sizeof(world));
    begin();
    strcpy(world.dir, "build/signed-XXXXXX");
    CHECK(mkdtemp(world.dir) != NULL);
    world.alice = identity_of(ALICE);
    node_start(&world, PARLEY_SIGNATURES_REQUIRED);
    batch_text(&world, &said, 1, 3, now_us);
    CHECK_CONTAINS(ask(&world, "/messages", said.text), "\"ack_seq\":3");
    say(&plain, 1, now_us, 7);
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &plain, false)), " 200 ");
    CHECK_U64(ran(&world), 4);
    CHECK_STATUS(parley_close(world.node), OK);
    node_start(&world, PARLEY_SIGNATURES_REQUIRED);
    CHECK_CONTAINS(ask(&world, "/messages", said.text), " 503 ");
    CHECK_CONTAINS(ask(&world, "/message", plain.text), " 200 ");
    CHECK_U64(ran(&world), 4);
    batch_text(&world, &said, 1, 3, now_us + 1000); /* its sender sends it again itself */
    CHECK_CONTAINS(ask(&world, "/messages", said.text), "\"ack_seq\":3");
    CHECK_U64(ran(&world), 7);
    world_close(&world);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/nonces-us.%u", world.dir, i);
        CHECK(unlink(path) == 0);
    }
    CHECK(rmdir(world.dir) == 0);
}

/* ---- Frames ---- */

static void frames_are_judged_as_bodies_are(void)
{
    const uint64_t now_us = clock_wall_us();
    struct client client;
    struct world world;
    struct said said;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    client_open(&client, world.node, "?entity_id=alice&session_id=" SESSION);
    client_say(&client, "%s", batch_text(&world, &said, 1, 2, now_us));
    CHECK_CONTAINS(client_hear(&client), "\"ack_seq\":2");
    batch_text(&world, &said, 3, 2, now_us + 1);
    change(strstr(said.text, "{\"t\":9}") + 1, "{\"t\":9}", "{\"t\":8}");
    client_say(&client, "%s", said.text);
    for (int i = 0; i < 2; i++) { /* in either order */
        client_hear(&client);
        CHECK(strstr(client.text, "{\"error\":\"Invalid signature\",\"seq\":4}") != NULL ||
              strstr(client.text, "\"ack_seq\":3") != NULL);
    }
    CHECK_TEXT(client_hear(&client), "");
    CHECK_U64(client.code, 4003);
    client_close(&client);
    CHECK_U64(ran(&world), 3);
    world_close(&world);
}

/* Who just says alice's name and session, or plays her frames again later, stays outside. */
static void nobody_takes_her_session_over(void)
{
    const uint64_t now_us = clock_wall_us();
    struct client alice, impostor;
    struct world world;
    struct said said;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    client_open(&alice, world.node, "?entity_id=alice&session_id=" SESSION);
    client_say(&alice, "%s", batch_text(&world, &said, 1, 2, now_us));
    CHECK_CONTAINS(client_hear(&alice), "\"ack_seq\":2");
    client_open(&impostor, world.node, "?entity_id=alice&session_id=" SESSION);
    client_say(&impostor, "%s", batch_text(&world, &said, 1, 2, now_us - 90000000));
    CHECK_CONTAINS(client_hear(&impostor), "\"error\":\"Stale timestamp\",\"seq\":1");
    CHECK_TEXT(client_hear(&impostor), "");
    CHECK_U64(impostor.code, 4003);
    client_close(&impostor);
    client_say(&alice, "%s", batch_text(&world, &said, 3, 1, now_us + 1));
    CHECK_CONTAINS(client_hear(&alice), "\"ack_seq\":3");
    client_close(&alice);
    CHECK_U64(ran(&world), 3);
    world_close(&world);
}

static void an_older_clients_frames_are_not_enough(void)
{
    struct client client;
    struct world world;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    client_open(&client, world.node, "?session_id=s");
    client_frame(&client, "alice", "MESSAGE", "m-1", "{}");
    CHECK_CONTAINS(client_hear(&client), "\"error\":\"Missing signature\"");
    client_say(&client, "{\"type\":\"task\",\"payload\":{},\"seq\":1}");
    CHECK_CONTAINS(client_hear(&client), "\"error\":\"Missing signature\"");
    client_close(&client);
    CHECK_U64(ran(&world), 0);
    world_close(&world);
}

/* ---- Optional ---- */

static void where_it_is_optional_a_wrong_one_is_refused_all_the_same(void)
{
    struct world world;
    struct said said;
    struct json_out out;

    world_open(&world, PARLEY_SIGNATURES_AUTO);
    say(&said, 1, clock_wall_us(), 1);
    out = (struct json_out){.buffer = said.text, .capacity = sizeof(said.text) - 1};
    envelope_write(&out, &said.fields);
    said.text[out.len] = '\0';
    CHECK_CONTAINS(ask(&world, "/message", said.text), "\"verification\":\"disabled\"");
    say(&said, 2, clock_wall_us(), 2);
    envelope_text(&world, &said, true);
    change(said.text, "{\"t\":9}", "{\"t\":8}");
    refused(&world, "/message", said.text, "Invalid signature");
    say(&said, 2, clock_wall_us(), 2);
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &said, true)),
                   "\"verification\":\"passed\"");
    say(&said, 3, clock_wall_us(), 3);
    said.fields.sender_id = "carol"; /* whom nobody knows: as if it were not signed */
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &said, true)),
                   "\"verification\":\"disabled\"");
    CHECK_U64(ran(&world), 3);
    world_close(&world);
}

static void off_looks_at_nothing(void)
{
    struct world world;
    struct said said;

    world_open(&world, PARLEY_SIGNATURES_OFF);
    say(&said, 2, clock_wall_us(), 2);
    envelope_text(&world, &said, true);
    change(said.text, "{\"t\":9}", "{\"t\":8}");
    CHECK_CONTAINS(ask(&world, "/message", said.text), "\"verification\":\"disabled\"");
    CHECK_U64(ran(&world), 1);
    world_close(&world);
}

/* ---- Two nodes ---- */

#define MESSAGES 200

struct two {
    parley *receiver, *sender;
    parley_peer peer;
    struct seen seen;
    struct tally tally;
};

/* @param first of the sender's seed, 0: it has none; the receiver trusts ALICE's for it */
static void two_open(struct two *two, uint8_t first, parley_preference preference)
{
    parley_options options;
    uint8_t seed[32];
    char url[64];

    memset(two, 0, sizeof(*two));
    begin();
    pthread_mutex_init(&two->tally.mutex, NULL);
    seed_of(seed, NODE);
    node_options(&options, "us");
    options.identity_seed = seed;
    options.signatures = PARLEY_SIGNATURES_REQUIRED;
    options.listen_host = "127.0.0.1";
    options.listen_port = 0;
    two->receiver = node_open(&options);
    parley_on_message(two->receiver, NULL, seen_handler, &two->seen);
    add_peer(two->receiver, "alice", NULL, ALICE, PARLEY_SIGNATURES_AUTO, PARLEY_HTTP_ONLY);
    seed_of(seed, first);
    node_options(&options, "alice");
    options.identity_seed = first != 0 ? seed : NULL;
    options.http_backoff_ms = 20;
    options.reconnect_min_ms = 20;
    options.reconnect_max_ms = 20;
    two->sender = node_open(&options);
    url_of(two->receiver, url, sizeof(url));
    add_peer(two->sender, "us", url, NODE, PARLEY_SIGNATURES_AUTO, preference);
    CHECK_STATUS(parley_peer_find(two->sender, "us", &two->peer), OK);
}

static void two_close(struct two *two)
{
    check_adds_up(two->sender);
    CHECK_STATUS(parley_close(two->sender), OK);
    CHECK_STATUS(parley_close(two->receiver), OK);
    canonical_fini(&canonical);
}

static void nodes_deliver_what_they_sign(void)
{
    static const parley_preference ways[] = {PARLEY_WEBSOCKET_ONLY, PARLEY_HTTP_ONLY};

    for (size_t way = 0; way < 2; way++) {
        struct two two;

        two_open(&two, ALICE, ways[way]);
        for (unsigned i = 0; i < MESSAGES; i++)
            CHECK_STATUS(post_numbered(two.sender, two.peer, 0, i, &two.tally), OK);
        CHECK(check_wait(&two.tally.results, MESSAGES));
        CHECK_U64(atomic_load(&two.tally.outcomes[PARLEY_DELIVERED]), MESSAGES);
        CHECK_U64(atomic_load(&two.seen.handled), MESSAGES);
        CHECK_U64(atomic_load(&two.seen.violations), 0);
        two_close(&two);
    }
}

/* What is too long for one message goes in parts, each signed in its place. */
static void long_messages_are_signed_in_parts(void)
{
    const size_t len = (size_t)3 << 20;
    char *payload = malloc(len + 1);
    struct two two;

    two_open(&two, ALICE, PARLEY_WEBSOCKET_ONLY);
    memset(payload, 'x', len);
    payload[snprintf(payload, len, "{\"t\":0,\"n\":0,\"x\":\"")] = 'x';
    payload[len - 2] = '"';
    payload[len - 1] = '}';
    payload[len] = '\0';
    CHECK_STATUS(post(two.sender, two.peer, payload, &two.tally), OK);
    CHECK(check_wait(&two.tally.results, 1));
    CHECK_U64(atomic_load(&two.tally.outcomes[PARLEY_DELIVERED]), 1);
    CHECK_U64(atomic_load(&two.seen.handled), 1);
    free(payload);
    two_close(&two);
}

static parley_verdict never_answer_first(const parley_incoming *message, char *detail,
                                         void *user)
{
    seen_handler(message, detail, user);
    return payload_number(message, "n") == 0 ? PARLEY_LATER : PARLEY_ACCEPT;
}

/* What was given up holds nothing up: that it was is said by a signed batch without messages,
 * or by a signed void. */
static void what_is_given_up_is_signed_too(void)
{
    parley_message message;
    struct two two;

    two_open(&two, ALICE, PARLEY_WEBSOCKET_ONLY);
    parley_on_message(two.receiver, NULL, never_answer_first, &two.seen);
    parley_message_init(&message, "test", "{\"t\":0,\"n\":0}", 13);
    message.ttl_ms = 300;
    CHECK_STATUS(parley_send(two.sender, two.peer, &message, tally_result, &two.tally, NULL),
                 OK);
    for (unsigned n = 1; n < 4; n++)
        CHECK_STATUS(post_numbered(two.sender, two.peer, 0, n, &two.tally), OK);
    CHECK(check_wait(&two.tally.results, 4));
    CHECK_U64(atomic_load(&two.tally.outcomes[PARLEY_EXPIRED]), 1);
    CHECK_U64(atomic_load(&two.tally.outcomes[PARLEY_DELIVERED]), 3);
    CHECK_U64(atomic_load(&two.seen.handled), 4);
    two_close(&two);
}

static void who_is_not_believed_hears_it(void)
{
    static const parley_preference ways[] = {PARLEY_WEBSOCKET_ONLY, PARLEY_HTTP_ONLY};
    static const struct {
        uint8_t first;
        const char *detail;
    } cases[] = {{0, "Missing signature"}, {BOB, "Invalid signature"}};

    for (size_t i = 0; i < 4; i++) {
        struct two two;

        two_open(&two, cases[i / 2].first, ways[i % 2]);
        for (unsigned n = 0; n < 3; n++)
            CHECK_STATUS(post_numbered(two.sender, two.peer, 0, n, &two.tally), OK);
        CHECK(check_wait(&two.tally.results, 3));
        CHECK_U64(atomic_load(&two.tally.outcomes[PARLEY_REJECTED]), 3);
        CHECK_TEXT(two.tally.detail, cases[i / 2].detail);
        CHECK_U64(atomic_load(&two.seen.handled), 0);
        two_close(&two);
    }
}

static const struct check_test tests[] = {
    {"what is not signed is refused", what_is_not_signed_is_refused},
    {"what a stranger or nobody signed is refused",
     what_a_stranger_or_nobody_signed_is_refused},
    {"a signed message is taken once while it is fresh",
     a_signed_message_is_taken_once_while_it_is_fresh},
    {"what is not bound moves no watermark", what_is_not_bound_moves_no_watermark},
    {"a batch is run as far as it is proven", a_batch_is_run_as_far_as_it_is_proven},
    {"a restarted node takes no copy", a_restarted_node_takes_no_copy},
    {"frames are judged as bodies are", frames_are_judged_as_bodies_are},
    {"nobody takes her session over", nobody_takes_her_session_over},
    {"an older client's frames are not enough", an_older_clients_frames_are_not_enough},
    {"where it is optional a wrong one is refused all the same",
     where_it_is_optional_a_wrong_one_is_refused_all_the_same},
    {"off looks at nothing", off_looks_at_nothing},
    {"nodes deliver what they sign", nodes_deliver_what_they_sign},
    {"long messages are signed in parts", long_messages_are_signed_in_parts},
    {"what is given up is signed too", what_is_given_up_is_signed_too},
    {"who is not believed hears it", who_is_not_believed_hears_it},
};

CHECK_MAIN("signed peers", tests)
