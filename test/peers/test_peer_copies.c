/* SPDX-License-Identifier: Apache-2.0
 *
 * What somebody can do who hears everything alice says, and says parts of it again in her
 * name on connections of his own, while it is fresh: nothing that she would notice.
 */
#include "test/peers/signed_world.h"

/* A batch without messages: numbers below `base` are closed.
 * @param number that it is signed with */
static const char *base_text(const struct world *world, struct said *said, uint64_t base,
                             uint64_t number, uint64_t timestamp_us)
{
    struct json_out out = {.buffer = said->text, .capacity = sizeof(said->text) - 1};

    say(said, number, timestamp_us, 9);
    said->fields.payload = NULL;
    said->fields.base_seq = base;
    CHECK_STATUS(signature_in_batch(&canonical, world->alice, &said->fields, &said->texts),
                 OK);
    batch_begin(&out, SESSION, base, 3);
    batch_end_signed(&out, &said->fields);
    said->text[out.len] = '\0';
    return said->text;
}

/* The same, as the batch's only message. */
static const char *as_void(const struct said *said)
{
    const char *from = strstr(said->text, "\"timestamp\"");
    static char copy[1024];

    if (CHECK(from != NULL))
        snprintf(copy, sizeof(copy), "%.*s{\"void\":true,\"sender_id\":\"alice\",%.*s]}",
                 (int)(strstr(said->text, "]") - said->text), said->text, (int)strlen(from),
                 from);
    return copy;
}

/* It tells which number is next, and a void of that one would make her message a repeat. */
static void a_batch_without_messages_is_no_void(void)
{
    const uint64_t now_us = clock_wall_us();
    struct client client;
    struct world world;
    struct said said;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    client_open(&client, world.node, "?entity_id=alice");
    client_say(&client, "%s", batch_text(&world, &said, 1, 2, now_us));
    CHECK_CONTAINS(client_hear(&client), "\"ack_seq\":2");
    client_say(&client, "%s", base_text(&world, &said, 2, 0, now_us + 1));
    CHECK_CONTAINS(client_hear(&client), "\"ack_seq\":2");
    refused(&world, "/messages", as_void(&said), "Invalid signature");
    client_say(&client, "%s", base_text(&world, &said, 2, 3, now_us + 2));
    CHECK_CONTAINS(client_hear(&client), "Invalid signature");
    client_close(&client);
    batch_text(&world, &said, 3, 1, now_us + 3);
    CHECK_CONTAINS(ask(&world, "/messages", said.text), "\"ack_seq\":3");
    CHECK_U64(ran(&world), 3);
    world_close(&world);
}

static void a_fresh_copy_takes_no_session_over(void)
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
    client_say(&impostor, "%s", said.text);
    client_hear(&impostor);
    client_say(&alice, "%s", batch_text(&world, &said, 3, 1, now_us + 1));
    CHECK_CONTAINS(client_hear(&alice), "\"ack_seq\":3");
    client_close(&alice);
    client_close(&impostor);
    CHECK_U64(ran(&world), 3);
    world_close(&world);
}

/* Signed as meant for us, but without a number: nothing but the nonce tells it from a copy. */
static const char *numberless_text(const struct world *world, struct said *said, uint8_t nonce,
                                   uint64_t timestamp_us)
{
    say(said, 0, timestamp_us, nonce);
    said->fields.session_id = "";
    said->fields.version = "0.3";
    CHECK_STATUS(signature_in_batch(&canonical, world->alice, &said->fields, &said->texts),
                 OK);
    snprintf(
        said->text, sizeof(said->text),
        "{\"payload\":{\"t\":9},\"timestamp\":%llu.5,\"nonce\":\"%s\",\"sender_id\":"
        "\"alice\",\"msg_type\":\"test\",\"version\":\"0.3\",\"parley_signature\":\"%s\"}",
        (unsigned long long)(timestamp_us / 1000000), said->texts.nonce, said->texts.bound);
    return said->text;
}

static void what_has_no_number_is_told_by_its_nonce(void)
{
    const uint64_t now_us = clock_wall_us() / 1000000 * 1000000 + 500000;
    struct said first, said;
    struct world world;
    uint64_t before;

    memset(&world, 0, sizeof(world));
    world.nonces_max = 16;
    begin();
    world.alice = identity_of(ALICE);
    node_start(&world, PARLEY_SIGNATURES_REQUIRED);
    CHECK_CONTAINS(ask(&world, "/message", numberless_text(&world, &first, 1, now_us)),
                   " 200 ");
    CHECK_U64(ran(&world), 1);
    for (uint8_t nonce = 2; nonce < 40; nonce++)
        ask(&world, "/message", numberless_text(&world, &said, nonce, now_us));
    before = ran(&world);
    CHECK_CONTAINS(ask(&world, "/message", first.text), " 200 ");
    CHECK_U64(ran(&world), before);
    world_close(&world);
}

/* Each takes a worker as long as many messages do. */
static void who_only_forges_is_put_out(void)
{
    struct client client;
    struct world world;
    unsigned heard = 0;

    world_open(&world, PARLEY_SIGNATURES_REQUIRED);
    client_open(&client, world.node, "?entity_id=alice");
    while (heard < 100 && client.code == 0) {
        client_say(&client,
                   "{\"type\":\"peer_message\",\"msg_type\":\"test\",\"sender_id\":\"alice\","
                   "\"payload\":{},\"timestamp\":1.5,\"nonce\":\"%u\",\"version\":\"1.0\","
                   "\"session_id\":\"s\",\"sequence_num\":1,\"signature\":\"AAAA\"}",
                   heard);
        if (client_hear(&client)[0] != '\0')
            CHECK_CONTAINS(client.text, "Invalid signature");
        heard++;
    }
    CHECK_U64(client.code, 4003);
    client_close(&client);
    CHECK_U64(ran(&world), 0);
    world_close(&world);
}

/* ---- Limits ---- */

/* Trusted, but no peer: "alice" is limited, and this is hers alone to use up. */
static void node_with_limits(struct world *world)
{
    parley_options options;
    uint8_t seed[32];
    char path[128], hex[IDENTITY_KEY_HEX + 1];
    FILE *file;

    strcpy(world->dir, "build/copies-XXXXXX");
    CHECK(mkdtemp(world->dir) != NULL);
    snprintf(path, sizeof(path), "%s/alice.pub", world->dir);
    hex_of(ALICE, hex);
    file = fopen(path, "w");
    if (CHECK(file != NULL)) {
        fputs(hex, file);
        fclose(file);
    }
    seed_of(seed, NODE);
    node_options(&options, "us");
    options.identity_seed = seed;
    options.listen_host = "127.0.0.1";
    options.listen_port = 0;
    options.signatures = PARLEY_SIGNATURES_REQUIRED;
    options.trusted_keys_dir = world->dir;
    options.rates = PARLEY_RATES_ON;
    options.rate_task_burst = 2;
    options.rate_task_per_min = 1;
    world->node = node_open(&options);
    parley_on_message(world->node, NULL, seen_handler, &world->seen);
}

static void nobody_uses_up_what_she_may_send(void)
{
    struct client client;
    struct world world;
    char path[128];
    struct said said;

    memset(&world, 0, sizeof(world));
    begin();
    world.alice = identity_of(ALICE);
    node_with_limits(&world);
    client_open(&client, world.node, "?entity_id=alice");
    for (unsigned i = 0; i < 4; i++) {
        client_say(&client, "{\"type\":\"task\",\"payload\":{},\"seq\":%u}", i);
        CHECK_CONTAINS(client_hear(&client), "Missing signature");
    }
    client_close(&client);
    say(&said, 1, clock_wall_us(), 1);
    CHECK_CONTAINS(ask(&world, "/message", envelope_text(&world, &said, true)), " 200 ");
    CHECK_U64(ran(&world), 1);
    snprintf(path, sizeof(path), "%s/alice.pub", world.dir);
    CHECK(unlink(path) == 0 && rmdir(world.dir) == 0);
    world_close(&world);
}

static const struct check_test tests[] = {
    {"a batch without messages is no void", a_batch_without_messages_is_no_void},
    {"a fresh copy takes no session over", a_fresh_copy_takes_no_session_over},
    {"what has no number is told by its nonce", what_has_no_number_is_told_by_its_nonce},
    {"who only forges is put out", who_only_forges_is_put_out},
    {"nobody uses up what she may send", nobody_uses_up_what_she_may_send},
};

CHECK_MAIN("copies of signed frames", tests)
