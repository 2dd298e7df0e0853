/* SPDX-License-Identifier: Apache-2.0
 *
 * Older clients that send garbage, or never read what they are told.
 */
#include "test/peers/served.h"

/* ---- Garbage ---- */

#define MESSAGE(ID, PAYLOAD, TIME)             \
    "{\"type\":\"MESSAGE\",\"message_id\":" ID \
    ",\"from_entity\":\"old\",\"payload\":" PAYLOAD ",\"timestamp\":" TIME "}"

static void garbage(void)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "7",
        "null",
        "\"HELLO\"",
        "{\"type\":7}",
        "{\"type\":\"\"}",
        "{\"type\":\"MESSAGE\"}",
        "{\"type\":\"nonsense\"}",
        "{\"type\":\"t\",\"payload\":1}",
        "{\"type\":\"HELLO\"}",
        "{\"type\":\"HELLO\",\"payload\":[]}",
        "{\"type\":\"HEARTBEAT\",\"from_entity\":[]}",
        MESSAGE("null", "{}", "1"),
        MESSAGE("7", "{}", "1"),
        MESSAGE("\"m\"", "[]", "1"),
        MESSAGE("\"m\"", "{}", "\"now\""),
        "{\"type\":\"peer_message\",\"version\":\"9\",\"payload\":{}}",
        "{\"type\":\"batch\",\"type\":\"batch\"}",
        "{\"a\":01}",
    };
    struct served served;
    struct client client;

    serve(&served);
    client_open(&client, served.node, "?entity_id=old&session_id=s");
    for (unsigned round = 0; round < 2; round++) { /* before it is known, and after */
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            client_say(&client, "%s", texts[i]);
            CHECK_CONTAINS(client_hear(&client),
                           "{\"type\":\"error\",\"payload\":{\"error\":\"");
            client_sync(&client);
        }
        client_frame(&client, "old", "HEARTBEAT", "b", "{\"type\":\"ping\"}");
        CHECK_CONTAINS(client_hear(&client), "{\"type\":\"pong\",");
    }
    client_say(&client, "{");
    CHECK_TEXT(client_hear(&client),
               "{\"type\":\"error\",\"payload\":{\"error\":\"Invalid JSON format\"}}");
    CHECK_U64(served.handled, 0);
    client_close(&client);
    stop(&served);
}

/* What the WebSocket protocol itself forbids, or cannot be read as text. */
static void fatal_garbage(void)
{
    static const struct {
        uint8_t first;
        const char *text;
        unsigned code;
    } cases[] = {{0x81, "{\"a\":\"\xff\"}", 1007}, {0x82, "{}", 1003}};
    struct served served;
    struct client client;

    serve(&served);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        client_open(&client, served.node, "?entity_id=old");
        CHECK(client_send(&client, cases[i].first, cases[i].text, strlen(cases[i].text)));
        CHECK_TEXT(client_hear(&client), "");
        CHECK_U64(client.code, cases[i].code);
        client_close(&client);
    }
    stop(&served);
}

/* ---- A client that does not listen ---- */

#define QUESTIONS 100000

struct asker {
    int fd;
    _Atomic(uint64_t) stuck; /* it could not go on at once, or was done */
};

static void *ask_on(void *user)
{
    static const char question[] = "{\"type\":\"ping\"}";
    struct asker *asker = user;
    uint8_t frame[64];
    size_t len = raw_frame(frame, 0x81, question, sizeof(question) - 1);

    for (unsigned i = 0; i < QUESTIONS; i++) {
        struct pollfd writable = {.fd = asker->fd, .events = POLLOUT};

        if (poll(&writable, 1, 100) == 0)
            atomic_store(&asker->stuck, 1);
        if (!raw_send(asker->fd, frame, len))
            break;
    }
    atomic_store(&asker->stuck, 1);
    return NULL;
}

/* Its answers fill what the socket and one connection may hold; then nothing more is read from
 * it, and when it listens at last every question has its answer. */
static void unread_answers(void)
{
    struct served served;
    struct client client;
    struct asker asker = {0};
    parley_options options;
    pthread_t thread;
    unsigned answers = 0;

    options_of(&options);
    options.connection_bytes_max = 65536;
    options.message_bytes_max = 1024; /* what closes it is twice the one and this */
    serve_with(&served, &options);
    client_open(&client, served.node, "?entity_id=low");
    asker.fd = client.fd;
    CHECK(pthread_create(&thread, NULL, ask_on, &asker) == 0);
    CHECK(check_wait(&asker.stuck, 1));
    while (answers < QUESTIONS && client_hear(&client)[0] != '\0')
        answers++;
    CHECK_U64(answers, QUESTIONS);
    pthread_join(thread, NULL);
    client_close(&client);
    stop(&served);
}

static void unanswered_messages_are_bounded(void)
{
    struct served served;
    struct client client;
    parley_options options;

    options_of(&options);
    options.in_flight_max = 8;
    serve_with(&served, &options);
    client_open(&client, served.node, "?entity_id=old");
    for (unsigned i = 0; i < 8; i++) {
        char id[16];

        snprintf(id, sizeof(id), "m-%u", i);
        client_frame(&client, "old", "MESSAGE", id, "{\"do\":\"later\"}");
    }
    CHECK(check_wait(&served.held, 8));
    client_frame(&client, "old", "MESSAGE", "m-8", "{}");
    CHECK_CONTAINS(client_hear(&client), "{\"error\":\"Rate limit exceeded: ");
    for (unsigned number = 9; number <= 10; number++) { /* of a session of its own */
        client_say(&client,
                   "{\"type\":\"peer_message\",\"version\":\"1.0\",\"msg_type\":\"job\","
                   "\"sender_id\":\"old\",\"session_id\":\"s\",\"sequence_num\":%u,"
                   "\"timestamp\":1,\"payload\":{\"do\":\"later\"}}",
                   number);
    }
    CHECK_TEXT(client_hear(&client), ""); /* or what follows would close number 10 */
    CHECK_U64(client.code, 4013);
    client_close(&client);
    for (unsigned i = 0; i < 9; i++)
        finish(&served, i, PARLEY_OK, NULL);
    client_open(&client, served.node, "?entity_id=old");
    for (unsigned i = 0; i < 9; i++) { /* the ninth runs only now */
        char id[16];

        snprintf(id, sizeof(id), "m-%u", i);
        client_frame(&client, "old", "MESSAGE", id, "{}");
        CHECK_CONTAINS(client_hear(&client), "\"ack_message_id\":\"m-");
    }
    client_close(&client);
    stop(&served);
}

static const struct check_test tests[] = {
    {"garbage draws errors, and nothing worse", garbage},
    {"what is no text closes the connection", fatal_garbage},
    {"a client that does not listen is not read, and loses nothing", unread_answers},
    {"what is unanswered is bounded", unanswered_messages_are_bounded},
};

CHECK_MAIN("hostile older clients at a node", tests)
