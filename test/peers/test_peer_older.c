/* SPDX-License-Identifier: Apache-2.0
 *
 * What an older HTTP service gets from us, byte for byte, and what we make of each of its
 * answers.
 */
#include "test/peers/old_world.h"

/* ---- The request's bytes ---- */

/* Copies `text` with what differs each time replaced: '#' for digits, '*' for the rest. */
static void mask_value(char *text, const char *key, char mask)
{
    char *at = strstr(text, key);

    CHECK(at != NULL);
    if (at == NULL)
        return;
    at += strlen(key);
    while (*at != '\0' && strchr("\",}", *at) == NULL)
        *at++ = mask;
}

static void check_body(const char *body, const char *expected)
{
    char text[1024], squeezed[1024];
    size_t len = 0;

    snprintf(text, sizeof(text), "%s", body);
    mask_value(text, "\"timestamp\":", '#');
    mask_value(text, "\"nonce\":\"", '*');
    mask_value(text, "\"message_id\":\"", '*');
    if (strstr(text, "\"session_id\":\"") != NULL)
        mask_value(text, "\"session_id\":\"", '*');
    for (const char *at = text; *at != '\0'; at++) {
        if ((*at != '#' && *at != '*') || len == 0 || squeezed[len - 1] != *at)
            squeezed[len++] = *at;
    }
    squeezed[len] = '\0';
    CHECK_TEXT(squeezed, expected);
}

#define BODY_1_0(number)                                                               \
    "{\"payload\":{\"a\":1},\"timestamp\":#,\"nonce\":\"*\",\"signature\":null,"       \
    "\"encrypted_payload\":null,\"sender_public_key\":null,\"jwt_token\":null,"        \
    "\"sender_id\":\"node\",\"recipient_id\":\"old\",\"session_id\":\"*\",\"sequence_" \
    "num\":" number                                                                    \
    ",\"version\":\"1.0\",\"msg_type\":\"test\",\"message_id\":\"*\",\"type\":"        \
    "\"peer_message\"}"
#define BODY_0_3                                                                        \
    "{\"payload\":{\"a\":1},\"timestamp\":#,\"nonce\":\"*\",\"signature\":null,"        \
    "\"encrypted_payload\":null,\"sender_public_key\":null,\"jwt_token\":null,"         \
    "\"sender_id\":\"node\",\"recipient_id\":\"old\",\"version\":\"0.3\",\"msg_type\":" \
    "\"test\",\"message_id\":\"*\",\"type\":\"peer_message\"}"

static void the_request(void)
{
    static const struct old_answer answers[] = {{200, NULL, NULL}};
    char expected[512];
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    snprintf(expected, sizeof(expected),
             "POST /message HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: */*\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             world.service.port, world.service.noted[0]->body_len);
    CHECK_TEXT(world.service.noted[0]->head, expected);
    check_body(old_body(&world.service, 0), BODY_1_0("1"));
    send_one(&world);
    check_body(old_body(&world.service, 1), BODY_1_0("2"));
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 2);
    world_close(&world);
}

/* A larger body draws no Expect and no chunks either. */
static void a_large_request(void)
{
    static const struct old_answer answers[] = {{200, NULL, NULL}};
    struct world world;
    size_t len = 512 * 1024;
    char *payload = malloc(len + 1);

    snprintf(payload, len + 1, "{\"a\":\"%0*d\"}", (int)len - 8, 0);
    world_prepare(&world);
    world.options.chunk_threshold_bytes = 512 * 1024;
    WORLD_OPEN(&world, answers);
    CHECK_STATUS(post(world.node, world.peer, payload, &world.tally), OK);
    CHECK(check_wait(&world.tally.results, 1));
    CHECK(strcasestr(world.service.noted[0]->head, "Expect") == NULL);
    CHECK(strcasestr(world.service.noted[0]->head, "Transfer-Encoding") == NULL);
    CHECK(world.service.noted[0]->body_len > len);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    world_close(&world);
    free(payload);
}

static void one_at_a_time(void)
{
    static const struct old_answer answers[] = {{200, NULL, NULL}};
    struct world world;
    char number[64];

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    for (unsigned i = 0; i < 200; i++)
        CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK(check_wait(&world.tally.results, 200));
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 200);
    CHECK_U64(requests(&world), 200);
    CHECK_U64(atomic_load(&world.service.connections), 1);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(number, sizeof(number), "\"sequence_num\":%u,", i + 1);
        CHECK_CONTAINS(old_body(&world.service, i), number);
    }
    world_close(&world);
}

/* ---- What each answer means ---- */

struct row {
    struct old_answer answer;
    parley_outcome outcome;
    unsigned requests, http_code;
    const char *detail;
};

static void check_row(const struct row *row)
{
    struct old_answer answers[2] = {row->answer, {200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    world.peer_options.envelope_version = PARLEY_ENVELOPE_1_0;
    world_open(&world, answers, row->outcome == PARLEY_DELIVERED ? 2 : 1);
    send_one(&world);
    if (!CHECK_U64(outcomes(&world, row->outcome), 1) ||
        !CHECK_U64(requests(&world), row->requests) ||
        !CHECK_U64(world.tally.http_code, row->http_code) ||
        !CHECK_TEXT(world.tally.detail, row->detail))
        fprintf(stderr, "    after %u %s\n", row->answer.code, row->answer.body);
    world_close(&world);
}

static void final_answers(void)
{
    static const struct row rows[] = {
        {{200, NULL, NULL}, PARLEY_DELIVERED, 1, 200, ""},
        {{202, "", NULL}, PARLEY_DELIVERED, 1, 200, ""},
        {{400, DETAIL("Invalid JSON"), NULL}, PARLEY_REJECTED, 1, 400, "Invalid JSON"},
        {{400, DETAIL("Invalid signature"), NULL},
         PARLEY_REJECTED,
         1,
         400,
         "Invalid signature"},
        {{400, DETAIL("SESSION_EXPIRED"), NULL}, PARLEY_REJECTED, 1, 400, "SESSION_EXPIRED"},
        {{400, DETAIL("SEQUENCE_ERROR"), NULL}, PARLEY_REJECTED, 1, 400, "SEQUENCE_ERROR"},
        {{400, DETAIL("Handler error: no such order"), NULL},
         PARLEY_REJECTED,
         1,
         400,
         "Handler error: no such order"},
        {{400, "not JSON", NULL}, PARLEY_REJECTED, 1, 400, "HTTP 400"},
        {{401, "", NULL}, PARLEY_REJECTED, 1, 401, "HTTP 401"},
        {{403, DETAIL("Forbidden"), NULL}, PARLEY_REJECTED, 1, 403, "Forbidden"},
        {{404, DETAIL("Not Found"), NULL}, PARLEY_REJECTED, 1, 404, "Not Found"},
        {{405, DETAIL("Method Not Allowed"), NULL},
         PARLEY_REJECTED,
         1,
         405,
         "Method Not Allowed"},
        {{409, "", NULL}, PARLEY_REJECTED, 1, 409, "HTTP 409"},
        {{413, "", NULL}, PARLEY_REJECTED, 1, 413, "HTTP 413"},
        {{422, "", NULL}, PARLEY_REJECTED, 1, 422, "HTTP 422"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_row(&rows[i]);
}

/* The handler has run before the status line was written. */
static void a_200_counts_whatever_follows(void)
{
    struct old_answer answers[] = {{200, NULL, NULL}};
    char body[3000];
    struct world world;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    answers[0].body = body;
    world_prepare(&world);
    world.options.http_response_bytes_max = 1024;
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    CHECK_U64(requests(&world), 1);
    world_close(&world);
}

static void passing_failures(void)
{
    static const struct row rows[] = {
        {{500, "oops", NULL}, PARLEY_EXHAUSTED, 3, 500, "HTTP 500"},
        {{502, "", NULL}, PARLEY_EXHAUSTED, 3, 502, "HTTP 502"},
        {{503, DETAIL("busy"), NULL}, PARLEY_EXHAUSTED, 3, 503, "busy"},
        {{504, "", NULL}, PARLEY_EXHAUSTED, 3, 504, "HTTP 504"},
        {{301, "", "Location: http://127.0.0.1:1/\r\n"}, PARLEY_EXHAUSTED, 3, 301, "HTTP 301"},
        {{500, "", NULL}, PARLEY_DELIVERED, 2, 200, ""},
        {{408, "", NULL}, PARLEY_DELIVERED, 2, 200, ""},
        {{0, NULL, NULL}, PARLEY_DELIVERED, 2, 200, ""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_row(&rows[i]);
}

static bool tried_often(void *user)
{
    parley_stats stats = {.size = sizeof(stats)};

    parley_stats_get(((struct world *)user)->node, &stats);
    return stats.http_requests >= 30;
}

static void nobody_there(void)
{
    static const struct old_answer answers[] = {{200, NULL, NULL}};
    struct world world;
    uint16_t port;

    world_prepare(&world);
    world.peer_options.pace = true;
    world.options.http_attempts = 100;
    world.options.breaker_failures = 0;
    WORLD_OPEN(&world, answers);
    port = world.service.port;
    old_stop(&world.service); /* refused from now on */
    for (unsigned i = 0; i < 5; i++)
        CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK(check_until(tried_often, &world));
    memset(&world.service, 0, sizeof(world.service));
    old_start(&world.service, port, answers, 1);
    CHECK(check_wait(&world.tally.results, 5));
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 5); /* refusals have not used up the pace */
    CHECK_U64(requests(&world), 5);
    world_close(&world);
}

static void no_answer_in_time(void)
{
    static const struct old_answer answers[] = {{503, "", NULL}, {0, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_EXHAUSTED), 1);
    CHECK_U64(world.tally.http_code, 503); /* the last answer there was */
    CHECK(requests(&world) >= 3);
    world_close(&world);
}

static void the_same_again(void)
{
    static const struct old_answer answers[] = {
        {503, "", NULL}, {0, NULL, NULL}, {200, NULL, NULL}};
    char id[64], number[64];
    const char *at;
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    CHECK_U64(requests(&world), 3);
    at = strstr(old_body(&world.service, 0), "\"message_id\":");
    snprintf(id, sizeof(id), "%.51s", at != NULL ? at : "");
    snprintf(number, sizeof(number), "\"sequence_num\":1,");
    for (size_t i = 0; i < 3; i++) {
        CHECK_CONTAINS(old_body(&world.service, i), id);
        CHECK_CONTAINS(old_body(&world.service, i), number);
    }
    world_close(&world);
}

/* ---- SEQUENCE_ERROR ---- */

static void sequence_error_row(const struct old_answer *answers, size_t len,
                               parley_outcome outcome)
{
    struct world world;

    world_prepare(&world);
    world.peer_options.envelope_version = PARLEY_ENVELOPE_1_0;
    world.options.http_attempts = 10;
    world_open(&world, answers, len);
    send_one(&world);
    CHECK_U64(outcomes(&world, outcome), 1);
    CHECK_U64(requests(&world), len);
    world_close(&world);
}

#define SEQUENCE_ERROR                      \
    {                                       \
        400, DETAIL("SEQUENCE_ERROR"), NULL \
    }
#define SEQUENCE_ERROR_ROW(answers, outcome) \
    sequence_error_row((answers), sizeof(answers) / sizeof((answers)[0]), (outcome))

static void sequence_errors(void)
{
    static const struct old_answer first[] = {SEQUENCE_ERROR};
    static const struct old_answer after_500[] = {{500, "", NULL}, SEQUENCE_ERROR};
    static const struct old_answer after_silence[] = {{0, NULL, NULL}, SEQUENCE_ERROR};
    static const struct old_answer after_limit[] = {LIMITED, SEQUENCE_ERROR};
    static const struct old_answer after_both[] = {{503, "", NULL}, LIMITED, SEQUENCE_ERROR};

    SEQUENCE_ERROR_ROW(first, PARLEY_REJECTED);
    SEQUENCE_ERROR_ROW(after_500, PARLEY_DELIVERED);
    SEQUENCE_ERROR_ROW(after_silence, PARLEY_DELIVERED);
    SEQUENCE_ERROR_ROW(after_limit, PARLEY_REJECTED); /* the first one was turned away */
    SEQUENCE_ERROR_ROW(after_both, PARLEY_DELIVERED);
}

/* curl itself repeats a request when a reused connection ends without an answer. */
static void sequence_error_after_curls_repeat(void)
{
    static const struct old_answer answers[] = {
        {200, NULL, NULL}, {0, NULL, NULL}, SEQUENCE_ERROR};
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 2);
    CHECK_U64(requests(&world), 3);
    CHECK_U64(world.tally.attempts, 1);
    world_close(&world);
}

/* ---- "0.3" ---- */

static void falls_back_once(void)
{
    static const struct old_answer answers[] = {
        {500, "", NULL}, {200, NULL, NULL}, {400, DETAIL("no"), NULL}, {200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    world.options.http_attempts = 1; /* both forms are one attempt */
    world.options.http_backoff_ms = 600000;
    WORLD_OPEN(&world, answers);
    send_one(&world);
    check_body(old_body(&world.service, 0), BODY_1_0("1"));
    check_body(old_body(&world.service, 1), BODY_0_3);
    send_one(&world);
    send_one(&world);
    check_body(old_body(&world.service, 2), BODY_0_3);
    check_body(old_body(&world.service, 3), BODY_0_3);
    CHECK_U64(requests(&world), 4);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 2);
    CHECK_U64(outcomes(&world, PARLEY_REJECTED), 1);
    world_close(&world);
}

static void a_refusal_of_its_own_settles_it(void)
{
    static const struct old_answer answers[] = {
        {500, "", NULL}, {400, DETAIL("Handler error: x"), NULL}, {200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_TEXT(world.tally.detail, "Handler error: x");
    send_one(&world);
    check_body(old_body(&world.service, 2), BODY_0_3);
    CHECK_U64(outcomes(&world, PARLEY_REJECTED), 1);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    world_close(&world);
}

static void not_the_version(void)
{
    static const struct old_answer answers[] = {{500, "", NULL}};
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_EXHAUSTED), 1);
    CHECK_U64(requests(&world), 4); /* three attempts, the first one in both forms */
    check_body(old_body(&world.service, 1), BODY_0_3);
    CHECK_CONTAINS(old_body(&world.service, 2), "\"version\":\"1.0\"");
    CHECK_CONTAINS(old_body(&world.service, 3), "\"version\":\"1.0\"");
    world_close(&world);
}

static void knows_only_the_newer(void)
{
    static const struct old_answer answers[] = {
        {500, "", NULL},
        {400, DETAIL("Unsupported version: 0.3"), NULL},
        {500, "", NULL},
        {200, NULL, NULL},
        {200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 2);
    CHECK_U64(requests(&world), 5);
    for (size_t i = 2; i < 5; i++)
        CHECK_CONTAINS(old_body(&world.service, i), "\"version\":\"1.0\"");
    world_close(&world);
}

static void silence_settles_nothing(void)
{
    static const struct old_answer answers[] = {
        {500, "", NULL}, {0, NULL, NULL}, LIMITED, {200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    CHECK_U64(requests(&world), 4);
    for (size_t i = 1; i < 4; i++)
        check_body(old_body(&world.service, i), BODY_0_3);
    world_close(&world);
}

/* A parley may stand behind a proxy that answers for it: it has the message in "1.0". */
static void what_may_have_arrived_keeps_its_version(void)
{
    static const struct old_answer answers[] = {
        {0, NULL, NULL}, {500, "", NULL}, {200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    CHECK_U64(requests(&world), 3);
    CHECK_CONTAINS(old_body(&world.service, 2), "\"version\":\"1.0\"");
    CHECK_CONTAINS(old_body(&world.service, 2), "\"sequence_num\":1,");
    world_close(&world);
}

static void configured_versions(void)
{
    static const struct old_answer fails[] = {{500, "", NULL}};
    static const struct old_answer takes[] = {{200, NULL, NULL}};
    struct world world;

    world_prepare(&world);
    world.peer_options.envelope_version = PARLEY_ENVELOPE_1_0;
    WORLD_OPEN(&world, fails);
    send_one(&world);
    CHECK_U64(requests(&world), 3);
    for (size_t i = 0; i < 3; i++)
        CHECK_CONTAINS(old_body(&world.service, i), "\"version\":\"1.0\"");
    world_close(&world);

    world_prepare(&world);
    world.peer_options.envelope_version = PARLEY_ENVELOPE_0_3;
    WORLD_OPEN(&world, takes);
    send_one(&world);
    check_body(old_body(&world.service, 0), BODY_0_3);
    world_close(&world);
}

#define PARLEY_HEADER "Parley: 1; max_batch_bytes=65536\r\n"

static void a_parley_never_falls_back(void)
{
    static const struct old_answer fails[] = {{500, "", NULL}};
    static const struct old_answer parley_fails[] = {{500, "", PARLEY_HEADER}};
    struct world world;

    world_prepare(&world);
    world.peer_options.dialect = PARLEY_DIALECT_PARLEY;
    WORLD_OPEN(&world, fails);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_EXHAUSTED), 1);
    CHECK_U64(requests(&world), 3);
    for (size_t i = 0; i < 3; i++)
        CHECK_CONTAINS(old_body(&world.service, i), "{\"type\":\"batch\"");
    world_close(&world);

    world_prepare(&world);
    WORLD_OPEN(&world, parley_fails);
    send_one(&world);
    CHECK_U64(requests(&world), 3);
    CHECK_CONTAINS(old_body(&world.service, 1), "{\"type\":\"batch\"");
    world_close(&world);
}

static void an_older_peer_becomes_a_parley(void)
{
    static const struct old_answer answers[] = {
        {500, "", NULL}, {200, NULL, NULL}, {200, NULL, PARLEY_HEADER}, {503, "", NULL}};
    struct world world;

    world_prepare(&world);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    send_one(&world);
    check_body(old_body(&world.service, 2), BODY_0_3);
    send_one(&world);
    CHECK_CONTAINS(old_body(&world.service, 3), "{\"type\":\"batch\"");
    CHECK_CONTAINS(old_body(&world.service, 3), "\"first_seq\":3,");
    world_close(&world);
}

static void configured_as_older(void)
{
    static const struct old_answer answers[] = {{200, NULL, PARLEY_HEADER}};
    static const parley_dialect dialects[] = {PARLEY_DIALECT_SERVICE, PARLEY_DIALECT_MANAGER};
    struct world world;

    for (size_t i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++) {
        world_prepare(&world);
        world.peer_options.dialect = dialects[i];
        WORLD_OPEN(&world, answers);
        send_one(&world);
        send_one(&world);
        check_body(old_body(&world.service, 0), BODY_1_0("1"));
        check_body(old_body(&world.service, 1), BODY_1_0("2"));
        world_close(&world);
    }
}

/* ---- Its handler calls us back before it answers ---- */

static void call_back(struct old_service *service, const struct old_request *request)
{
    static const char body[] =
        "{\"version\":\"1.0\",\"msg_type\":\"task\",\"sender_id\":\"old\",\"payload\":{},"
        "\"timestamp\":1,\"nonce\":\"n\",\"session_id\":\"s\",\"sequence_num\":1}";
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(parley_port(service->user)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[1024];
    int fd = socket(AF_INET, SOCK_STREAM, 0), len;
    ssize_t got;

    (void)request;
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    len = snprintf(text, sizeof(text),
                   "POST /message HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                   "Content-Length: %zu\r\n\r\n%s",
                   strlen(body), body);
    CHECK(old_send(fd, text, (size_t)len));
    got = recv(fd, text, sizeof(text) - 1, MSG_WAITALL);
    text[got > 0 ? got : 0] = '\0';
    CHECK_CONTAINS(text, "HTTP/1.1 200 ");
    close(fd);
}

static void inbound_while_ours_is_pending(void)
{
    static const struct old_answer answers[] = {{200, NULL, NULL}};
    struct seen seen = {0};
    struct world world;

    world_prepare(&world);
    world.options.workers = 1; /* the peer and the request meet on it */
    world.options.listen_host = "127.0.0.1";
    world.options.listen_port = 0;
    WORLD_OPEN(&world, answers);
    parley_on_message(world.node, NULL, seen_handler, &seen);
    world.service.before = call_back;
    world.service.user = world.node;
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    CHECK_U64(seen.handled, 1);
    CHECK_U64(requests(&world), 1);
    world_close(&world);
}

static const struct check_test tests[] = {
    {"a request is what it shall be, byte for byte", the_request},
    {"a large request expects nothing and has no chunks", a_large_request},
    {"200 messages are 200 requests in order on one connection", one_at_a_time},
    {"2xx and 4xx are final", final_answers},
    {"a 200 counts whatever follows it", a_200_counts_whatever_follows},
    {"5xx, 408 and lost connections are tried again", passing_failures},
    {"refused connections cost nothing of the pace", nobody_there},
    {"no answer ends as exhausted", no_answer_in_time},
    {"what is sent again keeps its number and message id", the_same_again},
    {"SEQUENCE_ERROR means delivered if an attempt may have arrived", sequence_errors},
    {"SEQUENCE_ERROR after curl's own repeat means delivered",
     sequence_error_after_curls_repeat},
    {"a 500 is tried once as 0.3, which then stays", falls_back_once},
    {"a refusal of its own settles the version", a_refusal_of_its_own_settles_it},
    {"a 500 to 0.3 as well leads back to 1.0", not_the_version},
    {"what may have arrived is not sent as 0.3", what_may_have_arrived_keeps_its_version},
    {"a peer that knows only 1.0 gets 1.0", knows_only_the_newer},
    {"neither silence nor a limit settles the version", silence_settles_nothing},
    {"a configured version stays", configured_versions},
    {"a parley never gets 0.3", a_parley_never_falls_back},
    {"an older peer that becomes a parley gets batches", an_older_peer_becomes_a_parley},
    {"a peer configured as an older one stays one", configured_as_older},
    {"inbound requests are served while ours is pending", inbound_while_ours_is_pending},
};

CHECK_MAIN("older http peers", tests)
