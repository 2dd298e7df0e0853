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

static const struct check_test tests[] = {
    {"a batch without messages is no void", a_batch_without_messages_is_no_void},
    {"a fresh copy takes no session over", a_fresh_copy_takes_no_session_over},
};

CHECK_MAIN("copies of signed frames", tests)
