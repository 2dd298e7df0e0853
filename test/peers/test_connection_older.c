/* SPDX-License-Identifier: Apache-2.0
 *
 * Older WebSocket clients at a node, upper case and lower case, on raw sockets.
 */
#include "test/peers/served.h"

/* ---- The upper-case client ---- */

static void greeted_and_ready(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open_with(&client, served.node, "?entity_id=old&session_id=s",
                     "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    CHECK(strcasestr(client.upgrade, "Sec-WebSocket-Extensions") == NULL);
    client_frame(&client, "old", "HELLO", "h", "{\"version\":\"1.2\",\"capabilities\":[]}");
    CHECK_CONTAINS(client_hear(&client),
                   "{\"event\":\"connected\",\"entity_id\":\"receiver\"");
    CHECK_CONTAINS(client_hear(&client), "\"type\":\"READY\",\"from_entity\":\"receiver\","
                                         "\"to_entity\":\"old\",\"timestamp\":");
    CHECK_CONTAINS(client.text, ",\"payload\":{\"version\":\"1.2\",\"capabilities\":["
                                "\"websocket\",\"heartbeat\"]},\"signature\":null}");
    client_close(&client);
    stop(&served);
}

static void messages_are_acknowledged(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, ""); /* HELLO says who it is */
    client_hello(&client, "old");
    client_frame(&client, "old", "MESSAGE", "m-1", "{\"a\":1}");
    CHECK_CONTAINS(client_hear(&client), "\"type\":\"ACK\",\"from_entity\":\"receiver\","
                                         "\"to_entity\":\"old\",\"timestamp\":");
    CHECK_CONTAINS(client.text,
                   ",\"payload\":{\"ack_message_id\":\"m-1\"},\"signature\":null}");
    CHECK_U64(served.handled, 1);
    CHECK_TEXT(served.type, "MESSAGE");
    CHECK_TEXT(served.sender, "old");
    CHECK_TEXT(served.message_id, "m-1");
    CHECK_TEXT(served.payload, "{\"a\":1}");
    client_frame(&client, "old", "MESSAGE", "m-2", "{\"do\":\"refuse\"}");
    CHECK_TEXT(client_hear(&client),
               "{\"type\":\"error\",\"payload\":{\"error\":\"Handler error: not "
               "\\\"this\\\"\"}}");
    client_close(&client);
    stop(&served);
}

static void later_answers(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=old");
    client_frame(&client, "old", "MESSAGE", "m-1", "{\"do\":\"later\"}");
    client_frame(&client, "old", "MESSAGE", "m-2", "{\"do\":\"later\"}");
    client_frame(&client, "old", "MESSAGE", "m-3", "{}");
    CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-3\"}"); /* not held up */
    finish(&served, 1, PARLEY_OK, NULL);
    CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-2\"}");
    finish(&served, 0, PARLEY_EREFUSED, "thought about it");
    CHECK_TEXT(client_hear(&client), "{\"type\":\"error\",\"payload\":{\"error\":\"Handler "
                                     "error: thought about it\"}}");
    client_close(&client);
    stop(&served);
}

/* What comes again is not run again, whatever became of it, and on whichever connection. */
static void repeats(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=old");
    for (unsigned i = 0; i < 2; i++) {
        client_frame(&client, "old", "MESSAGE", "m-1", "{}");
        CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-1\"}");
        client_frame(&client, "old", "MESSAGE", "m-2", "{\"do\":\"refuse\"}");
        CHECK_CONTAINS(client_hear(&client), "Handler error: not");
    }
    client_frame(&client, "old", "MESSAGE", "m-3", "{\"do\":\"later\"}");
    client_close(&client);
    client_open(&client, served.node, "?entity_id=old");
    client_frame(&client, "old", "MESSAGE", "m-1", "{}");
    CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-1\"}");
    client_frame(&client, "old", "MESSAGE", "m-3", "{\"do\":\"later\"}");
    client_frame(&client, "old", "MESSAGE", "m-3", "{\"do\":\"later\"}");
    client_sync(&client);
    finish(&served, 0, PARLEY_OK, NULL);
    CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-3\"}");
    CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-3\"}");
    client_say(&client, "{\"type\":\"task\",\"payload\":{},\"message_id\":\"m-1\"}");
    CHECK_CONTAINS(client_hear(&client), "\"message_received\"");
    CHECK_U64(served.handled, 3);
    client_close(&client);
    stop(&served);
}

/* Nobody waits for the handler any more, and nothing hangs on it. */
static void later_than_the_connection(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=old");
    client_frame(&client, "old", "MESSAGE", "m-1", "{\"do\":\"later\"}");
    client_frame(&client, "old", "MESSAGE", "m-2", "{\"do\":\"later\"}");
    CHECK(check_wait(&served.held, 2));
    client_close(&client);
    client_open(&client, served.node, "?entity_id=old");
    finish(&served, 0, PARLEY_OK, NULL);
    client_frame(&client, "old", "MESSAGE", "m-3", "{}");
    CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-3\"}");
    client_close(&client);
    stop(&served); /* with a handler that never answers */
}

static void heartbeats(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=old");
    client_frame(&client, "old", "HEARTBEAT", "b-1", "{\"type\":\"pong\",\"timestamp\":1.5}");
    client_say(&client, "{\"type\":\"pong\",\"payload\":{\"seq\":1}}");
    client_frame(&client, "old", "HEARTBEAT", "b-2", "{\"type\":\"ping\",\"timestamp\":1.5}");
    CHECK_CONTAINS(client_hear(&client), "\"type\":\"HEARTBEAT\",\"from_entity\":");
    CHECK_CONTAINS(client.text, ",\"payload\":{\"type\":\"pong\",\"timestamp\":");
    client_sync(&client); /* that was all: pongs are not answered */
    client_close(&client);
    stop(&served);
}

static void silent_clients_are_pinged(void)
{
    struct served served;
    struct client client;
    parley_options options;

    options_of(&options);
    options.heartbeat_interval_ms = 10;
    options.heartbeat_grace_ms = 60000;
    serve_with(&served, &options);
    client_open(&client, served.node, "?entity_id=old");
    client_hello(&client, "old");
    CHECK_CONTAINS(client_hear(&client), "\"type\":\"HEARTBEAT\",\"from_entity\":\"receiver\","
                                         "\"to_entity\":\"old\",");
    CHECK_CONTAINS(client.text, ",\"payload\":{\"type\":\"ping\",\"timestamp\":");
    client_close(&client);
    stop(&served);
}

static void goodbye(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=old");
    client_hello(&client, "old");
    client_frame(&client, "old", "MESSAGE", "m-1", "{}");
    client_frame(&client, "old", "BYE", "m-2", "{\"reason\":\"done\"}");
    CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-1\"}");
    CHECK_TEXT(client_hear(&client), "");
    CHECK_U64(client.code, 1000);
    client_close(&client);
    stop(&served);
}

static void one_entity_per_connection(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "");
    client_frame(&client, "old", "MESSAGE", "m-1", "{}");
    CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-1\"}");
    client_frame(&client, "other", "MESSAGE", "m-2", "{}");
    CHECK_TEXT(client_hear(&client),
               "{\"type\":\"error\",\"payload\":{\"error\":\"Unknown sender: other\"}}");
    client_say(&client, "{\"type\":\"peer_message\",\"payload\":{},\"timestamp\":1,"
                        "\"sender_id\":\"other\",\"session_id\":\"s\",\"sequence_num\":1,"
                        "\"version\":\"1.0\",\"msg_type\":\"t\"}");
    CHECK_CONTAINS(client_hear(&client), "Unknown sender: other");
    client_frame(&client, "other", "HEARTBEAT", "b", "{\"type\":\"ping\"}");
    CHECK_CONTAINS(client_hear(&client), "Unknown sender: other");
    client_close(&client);
    client_open(&client, served.node, "");
    client_frame(&client, "no spaces", "MESSAGE", "m-3", "{}");
    CHECK_CONTAINS(client_hear(&client), "\"Invalid field: from_entity\"");
    client_say(&client, "{\"type\":\"task\",\"payload\":{}}");
    CHECK_CONTAINS(client_hear(&client), "\"Missing required field: from_entity\"");
    CHECK_U64(served.handled, 1);
    client_close(&client);
    stop(&served);
}

/* ---- The lower-case client ---- */

static void lower_case(void)
{
    static const char *const cases[][2] = {
        {"{\"type\":\"ping\",\"seq\":7}", "{\"type\":\"pong\",\"payload\":{\"seq\":7,"},
        {"{\"type\":\"ping\",\"payload\":{\"seq\":8}}",
         "{\"type\":\"pong\",\"payload\":{\"seq\":8,\"timestamp\":"},
        {"{\"type\":\"ping\"}", "{\"type\":\"pong\",\"payload\":{\"seq\":null,"},
        {"{\"type\":\"capability_exchange\",\"payload\":{\"capabilities\":[]}}",
         "{\"type\":\"capability_exchange\",\"payload\":{\"acknowledged\":true,"
         "\"capabilities\":["},
        {"{\"type\":\"status\",\"payload\":{\"event\":\"busy\"}}",
         "{\"type\":\"status\",\"payload\":{\"event\":\"status\",\"entity_id\":\"receiver\","},
        {"{\"type\":\"task\",\"payload\":{},\"seq\":9}",
         "{\"type\":\"status\",\"payload\":{\"event\":\"message_received\","
         "\"original_type\":\"task\",\"seq\":9},\"timestamp\":\"20"},
        {"{\"type\":\"task\",\"payload\":{\"seq\":10}}",
         "\"original_type\":\"task\",\"seq\":10}"},
        {"{\"type\":\"task\",\"payload\":{\"do\":\"refuse\"},\"seq\":11}",
         "{\"type\":\"error\",\"payload\":{\"error\":\"Handler error: not \\\"this\\\"\"}}"},
    };
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=low");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        client_say(&client, "%s", cases[i][0]);
        CHECK_CONTAINS(client_hear(&client), cases[i][1]);
    }
    CHECK_U64(served.handled, 3);
    CHECK_TEXT(served.type, "task");
    CHECK_TEXT(served.sender, "low");
    client_close(&client);
    stop(&served);
}

static void answers_are_not_answered(void)
{
    static const char *const answers[] = {
        "{\"type\":\"pong\",\"payload\":{\"seq\":1}}",
        "{\"type\":\"capability_exchange\",\"payload\":{\"acknowledged\":true}}",
        "{\"type\":\"status\",\"payload\":{\"event\":\"status\",\"entity_id\":\"low\"}}",
        "{\"type\":\"status\",\"payload\":{\"event\":\"message_received\",\"seq\":1}}",
        "{\"type\":\"status\",\"payload\":{\"event\":\"connected\",\"entity_id\":\"low\"}}",
        "{\"type\":\"error\",\"payload\":{\"error\":\"Invalid JSON format\"}}",
        "{\"type\":\"READY\",\"payload\":{}}",
        "{\"type\":\"ACK\",\"payload\":{\"ack_message_id\":\"m\"}}",
    };
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=low");
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        client_say(&client, "%s", answers[i]);
        client_sync(&client);
    }
    client_close(&client);
    stop(&served);
}

static void say_envelope(struct client *client, unsigned number, const char *payload,
                         const char *more)
{
    client_say(client,
               "{\"payload\":%s,\"timestamp\":1700000000.5,\"nonce\":"
               "\"AAECAwQFBgcICQoLDA0%03u==\",\"signature\":null,\"sender_id\":\"low\","
               "\"recipient_id\":\"receiver\",\"session_id\":\"s-1\",\"sequence_num\":%u,"
               "\"version\":\"1.0\",\"msg_type\":\"job\",\"message_id\":\"id-%u\",\"type\":"
               "\"peer_message\"%s}",
               payload, number, number, number, more);
}

static void envelopes_by_the_old_rule(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=low&session_id=s-1");
    say_envelope(&client, 1, "{}", "");
    check_received(&client, "1");
    CHECK_TEXT(served.type, "job");
    say_envelope(&client, 2, "{}", ",\"seq\":\"two\"");
    check_received(&client, "\"two\"");
    say_envelope(&client, 5, "{}", ""); /* a gap is no error */
    check_received(&client, "5");
    CHECK_U64(served.handled, 3);
    client_close(&client);
    client_open(&client, served.node, "?entity_id=low&session_id=s-1");
    say_envelope(&client, 5, "{}", ""); /* its acknowledgement was lost */
    check_received(&client, "5");
    say_envelope(&client, 6, "{\"do\":\"refuse\"}", "");
    CHECK_TEXT(client_hear(&client), "{\"type\":\"error\",\"payload\":{\"error\":\"Handler "
                                     "error: not \\\"this\\\"\",\"seq\":6}}");
    CHECK_U64(served.handled, 4);
    client_close(&client);
    stop(&served);
}

/* Telling the sender that it had arrived would lose it. */
static void skipped_numbers_are_not_acknowledged(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=low&session_id=s-1");
    say_envelope(&client, 2, "{}", "");
    check_received(&client, "2");
    say_envelope(&client, 5, "{}", "");
    check_received(&client, "5");
    for (unsigned number = 1; number <= 4; number += 3) {
        char expected[96];

        snprintf(expected, sizeof(expected),
                 "{\"type\":\"error\",\"payload\":{\"error\":\"SEQUENCE_ERROR\",\"seq\":%u}}",
                 number);
        say_envelope(&client, number, "{}", "");
        CHECK_TEXT(client_hear(&client), expected);
    }
    client_say(&client, /* this one had arrived, which only its number tells */
               "{\"payload\":{},\"timestamp\":1,\"sender_id\":\"low\",\"session_id\":\"s-1\","
               "\"sequence_num\":2,\"version\":\"1.0\",\"msg_type\":\"job\",\"type\":"
               "\"peer_message\"}");
    check_received(&client, "2");
    CHECK_U64(served.handled, 2);
    client_close(&client);
    stop(&served);
}

static void what_has_no_number_takes_none(void)
{
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=low&session_id=s-1");
    client_say(&client, "{\"message_id\":\"m-1\",\"type\":\"MESSAGE\",\"from_entity\":\"low\","
                        "\"timestamp\":1,\"payload\":{},\"session_id\":\"s-1\"}");
    CHECK_CONTAINS(client_hear(&client), "{\"ack_message_id\":\"m-1\"}");
    say_envelope(&client, 1, "{}", "");
    check_received(&client, "1");
    CHECK_U64(served.handled, 2);
    client_close(&client);
    stop(&served);
}

/* ---- Replacement ---- */

static void newer_replaces_older(void)
{
    struct client clients[8], lower, other;
    struct served served;

    serve(&served);
    client_open(&lower, served.node, "?entity_id=old");
    client_sync(&lower); /* the same entity in lower case is another one's business */
    client_open(&other, served.node, "");
    client_hello(&other, "other");
    for (unsigned i = 0; i < 8; i++) { /* on any worker */
        client_open(&clients[i], served.node, "?entity_id=old");
        client_hello(&clients[i], "old");
        if (i == 0)
            continue;
        CHECK_TEXT(client_hear(&clients[i - 1]), "");
        CHECK_U64(clients[i - 1].code, 1008);
        CHECK_TEXT(clients[i - 1].reason, "New connection established");
        client_close(&clients[i - 1]);
    }
    client_frame(&clients[7], "old", "MESSAGE", "m-1", "{}");
    CHECK_CONTAINS(client_hear(&clients[7]), "{\"ack_message_id\":\"m-1\"}");
    client_sync(&lower);
    client_sync(&other);
    client_close(&clients[7]);
    client_close(&lower);
    client_close(&other);
    stop(&served);
}

#define BATCH                                                                   \
    "{\"type\":\"batch\",\"session_id\":\"%s\",\"base_seq\":1,\"first_seq\":1," \
    "\"messages\":[{\"msg_type\":\"t\",\"payload\":{},\"timestamp\":1}]}"

static void parleys_are_left_alone(void)
{
    struct client first, second, old;
    struct served served;

    serve(&served);
    client_open(&first, served.node, "?entity_id=p&session_id=s-1");
    client_say(&first, BATCH, "s-1");
    CHECK_CONTAINS(client_hear(&first), "{\"type\":\"ACK\",\"payload\":{\"session_id\":");
    client_open(&second, served.node, "?entity_id=p&session_id=s-2");
    client_say(&second, BATCH, "s-2");
    CHECK_CONTAINS(client_hear(&second), "\"ack_seq\":1");
    client_open(&old, served.node, "?entity_id=p");
    client_hello(&old, "p");
    client_say(&first, BATCH, "s-1");
    CHECK_CONTAINS(client_hear(&first), "\"ack_seq\":1");
    client_say(&old, BATCH, "s-1"); /* it chose its dialect */
    CHECK_CONTAINS(client_hear(&old), "Unknown message format");
    client_close(&first);
    client_close(&second);
    client_close(&old);
    stop(&served);
}

static void *stop_here(void *user)
{
    stop(user);
    return NULL;
}

static void shutting_down(void)
{
    struct served served;
    struct client client;
    pthread_t thread;

    serve(&served);
    client_open(&client, served.node, "?entity_id=old");
    client_hello(&client, "old");
    pthread_create(&thread, NULL, stop_here, &served);
    CHECK_TEXT(client_hear(&client), "");
    CHECK_U64(client.code, 1001);
    CHECK_TEXT(client.reason, "Server shutting down");
    client_close(&client);
    pthread_join(thread, NULL);
}

static const struct check_test tests[] = {
    {"an older client is greeted first, and ready after its HELLO", greeted_and_ready},
    {"an older client's messages are acknowledged once accepted", messages_are_acknowledged},
    {"a handler that answers later is waited for", later_answers},
    {"what an older client sends again is acknowledged, not run", repeats},
    {"a connection that is gone waits for no handler", later_than_the_connection},
    {"a ping is answered, a pong never", heartbeats},
    {"a silent older client is pinged in its own way", silent_clients_are_pinged},
    {"a goodbye is answered with 1000", goodbye},
    {"a connection speaks for one entity", one_entity_per_connection},
    {"a lower-case client is answered as by the older server", lower_case},
    {"answers are not answered", answers_are_not_answered},
    {"envelopes follow the old rule, repeats are acknowledged again",
     envelopes_by_the_old_rule},
    {"a number that was skipped is not acknowledged", skipped_numbers_are_not_acknowledged},
    {"a message without a number takes none of a session's", what_has_no_number_takes_none},
    {"a newer connection of an older client replaces the one before", newer_replaces_older},
    {"older clients do not replace parleys", parleys_are_left_alone},
    {"older clients hear that the node shuts down", shutting_down},
};

CHECK_MAIN("older clients at a node", tests)
