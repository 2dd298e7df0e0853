/* SPDX-License-Identifier: Apache-2.0
 *
 * A node as older senders meet it: every form of envelope, every refusal and every endpoint,
 * asked over real sockets and compared to the byte where bytes are promised.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/peers/nodes.h"

#define ANSWER_MAX 8192

struct world {
    parley *node;
    _Atomic(uint64_t) ran, late;
    pthread_mutex_t mutex;
    char last[512]; /* under the mutex: what the handler was given */
    parley_token token;
};

static parley_verdict handle(const parley_incoming *message, char *detail, void *user)
{
    struct world *world = user;

    pthread_mutex_lock(&world->mutex);
    snprintf(world->last, sizeof(world->last), "%s %s %.*s [%s] %llu (%s) %.1f %d",
             message->sender, message->type, (int)message->payload_len, message->payload,
             message->session_id, (unsigned long long)message->number, message->message_id,
             message->timestamp, (int)message->transport);
    world->token = message->token;
    pthread_mutex_unlock(&world->mutex);
    atomic_fetch_add(&world->ran, 1);
    if (strcmp(message->type, "reject") == 0) {
        snprintf(detail, PARLEY_DETAIL_MAX, "no such order");
        return PARLEY_REJECT;
    }
    if (strcmp(message->type, "later") == 0) {
        atomic_fetch_add(&world->late, 1);
        return PARLEY_LATER;
    }
    return PARLEY_ACCEPT;
}

static void world_open(struct world *world, uint32_t workers, uint32_t nonces_max)
{
    parley_options options;

    memset(world, 0, sizeof(*world));
    pthread_mutex_init(&world->mutex, NULL);
    node_options(&options, "me");
    options.workers = workers;
    options.listen_host = "127.0.0.1";
    options.listen_port = 0;
    options.nonces_max = nonces_max;
    options.message_bytes_max = 4096;
    options.on_message = handle;
    options.on_message_user = world;
    world->node = node_open(&options);
}

static void world_close(struct world *world)
{
    CHECK_STATUS(parley_close(world->node), OK);
}

/* ---- Asking ---- */

static int dial(const struct world *world)
{
    struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(parley_port(world->node)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

static int start_asking(const struct world *world, const char *request)
{
    int fd = dial(world);

    CHECK(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
    return fd;
}

static char *read_answer(int fd, char *answer)
{
    size_t len = 0;
    ssize_t got;

    while (len < ANSWER_MAX - 1 && (got = recv(fd, answer + len, ANSWER_MAX - 1 - len, 0)) > 0)
        len += (size_t)got;
    answer[len] = '\0';
    close(fd);
    return answer;
}

static int start_posting(const struct world *world, const char *body)
{
    char request[ANSWER_MAX];

    snprintf(request, sizeof(request),
             "POST /message HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    return start_asking(world, request);
}

static const char *post_body(const struct world *world, const char *body)
{
    static char answer[ANSWER_MAX];

    return read_answer(start_posting(world, body), answer);
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");

    return end != NULL ? end + 4 : "(no answer)";
}

static bool check_answer(const char *answer, unsigned code, const char *body)
{
    char status[32];
    bool held;

    snprintf(status, sizeof(status), "HTTP/1.1 %u ", code);
    held = CHECK(strncmp(answer, status, strlen(status)) == 0);
    held = CHECK_TEXT(body_of(answer), body) && held;
    if (!held)
        fprintf(stderr, "    answer: %s\n", answer);
    return held;
}

#define RECEIVED     "{\"status\":\"received\",\"entity_id\":\"me\",\"verification\":\"disabled\"}"
#define DETAIL(text) "{\"detail\":\"" text "\"}"

static bool check_received(const struct world *world, const char *body)
{
    bool held = check_answer(post_body(world, body), 200, RECEIVED);

    if (!held)
        fprintf(stderr, "    to: %s\n", body);
    return held;
}

static bool check_refused(const struct world *world, const char *body, const char *detail)
{
    char expected[512];
    bool held;

    snprintf(expected, sizeof(expected), DETAIL("%s"), detail);
    held = check_answer(post_body(world, body), 400, expected);
    if (!held)
        fprintf(stderr, "    to: %s\n", body);
    return held;
}

static void check_last(struct world *world, const char *expected)
{
    pthread_mutex_lock(&world->mutex);
    CHECK_TEXT(world->last, expected);
    pthread_mutex_unlock(&world->mutex);
}

/* ---- Forms ---- */

static void forms(void)
{
    static const struct {
        const char *body, *seen;
    } cases[] = {
        {"{\"payload\":{\"a\":1},\"timestamp\":1700000000.5,\"nonce\":\"AAECAwQFBgcICQoLDA0O"
         "Dw==\",\"signature\":null,\"encrypted_payload\":null,\"sender_public_key\":null,"
         "\"jwt_token\":null,\"sender_id\":\"s1\",\"recipient_id\":\"me\",\"session_id\":"
         "\"S\","
         "\"sequence_num\":1,\"version\":\"1.0\",\"msg_type\":\"task_delegate\"}",
         "s1 task_delegate {\"a\":1} [S] 1 () 1700000000.5 2"},
        {"{\"version\":\"1.0\",\"msg_type\":\"status\",\"sender_id\":\"s2\",\"payload\":{},"
         "\"timestamp\":\"2023-11-14T22:13:20+00:00\",\"nonce\":"
         "\"000102030405060708090a0b0c0d0e0f\",\"session_id\":\"S\",\"sequence_num\":1}",
         "s2 status {} [S] 1 () 1700000000.0 2"},
        {"{\"version\":\"1.0\",\"msg_type\":\"status\",\"sender_id\":\"s3\",\"payload\":{},"
         "\"timestamp\":\"2023-11-14T22:13:20Z\",\"nonce\":\"any text at all\","
         "\"session_id\":\"S\",\"sequence_num\":\"7\",\"message_id\":\"m\"}",
         "s3 status {} [S] 7 (m) 1700000000.0 2"},
        {"{\"from\":\"s4\",\"type\":\"hello\",\"payload\":{\"x\":[]},\"timestamp\":"
         "1700000000}",
         "s4 hello {\"x\":[]} [] 0 () 1700000000.0 2"},
        {"{\"from\":\"s5\",\"type\":\"hello\",\"payload\":{},\"timestamp\":"
         "\"2023-11-14T22:13:20.500000\"}",
         "s5 hello {} [] 0 () 1700000000.5 2"},
        {"{\"version\":\"0.3\",\"msg_type\":\"status\",\"sender_id\":\"s6\",\"payload\":{},"
         "\"timestamp\":\"2023-11-15T00:13:20+02:00\",\"nonce\":\"n\"}",
         "s6 status {} [] 0 () 1700000000.0 2"},
        {"{\"version\":\"0.3\",\"msg_type\":\"status\",\"sender_id\":\"s7\",\"payload\":{},"
         "\"timestamp\":1700000000,\"session_id\":null,\"sequence_num\":null,\"nonce\":null,"
         "\"message_id\":null,\"recipient_id\":null,\"unknown\":{\"a\":[null]}}",
         "s7 status {} [] 0 () 1700000000.0 2"},
        {"{\"version\":null,\"from\":\"s8\",\"type\":\"no such type\",\"payload\":{},"
         "\"timestamp\":1.0e3}",
         "s8 no such type {} [] 0 () 1000.0 2"},
    };
    struct world world;

    world_open(&world, 2, 1024);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_received(&world, cases[i].body);
        check_last(&world, cases[i].seen);
    }
    CHECK_U64(world.ran, sizeof(cases) / sizeof(cases[0]));
    world_close(&world);
}

static void nobody_handles_it(void)
{
    parley *node = receiver_open(0, true);
    struct world world = {.node = node};
    parley_stats stats = {.size = sizeof(stats)};

    check_answer(post_body(&world, "{\"from\":\"a\",\"type\":\"what\",\"payload\":{},"
                                   "\"timestamp\":1}"),
                 200,
                 "{\"status\":\"received\",\"entity_id\":\"receiver\",\"verification\":"
                 "\"disabled\"}");
    CHECK_STATUS(parley_stats_get(node, &stats), OK);
    CHECK_U64(stats.unhandled, 1);
    world_close(&world);
}

#define GOOD_TAIL "\"payload\":{},\"timestamp\":1"

static void refusals(void)
{
    static const struct {
        const char *body, *detail;
    } cases[] = {
        {"", "Invalid JSON"},
        {"{", "Invalid JSON"},
        {"{\"version\":\"9\",}", "Invalid JSON"},
        {"{\"a\":1,\"a\":2}", "Invalid JSON"},
        {"{\"version\":\"1.0\"} x", "Invalid JSON"},
        {"[]", "Unknown message format"},
        {"7", "Unknown message format"},
        {"{}", "Unknown message format"},
        {"{\"from\":\"a\",\"payload\":{}}", "Unknown message format"},
        {"{\"sender_id\":\"a\",\"msg_type\":\"t\"," GOOD_TAIL "}", "Unknown message format"},
        {"{\"version\":\"2.0\"}", "Unsupported version: 2.0"},
        {"{\"version\":1.0}", "Unsupported version: 1.0"},
        {"{\"version\":\"0.2\",\"from\":\"a\",\"type\":\"t\"," GOOD_TAIL "}",
         "Unsupported version: 0.2"},
        {"{\"version\":\"1.0\",\"msg_type\":\"t\",\"sender_id\":\"a\"," GOOD_TAIL "}",
         "Missing required field: session_id"},
        {"{\"version\":\"1.0\",\"msg_type\":\"t\",\"sender_id\":\"a\",\"session_id\":\"S\"," //
         GOOD_TAIL "}",
         "Missing required field: sequence_num"},
        {"{\"version\":\"1.0\",\"msg_type\":\"t\",\"sender_id\":\"a\",\"session_id\":null,"
         "\"sequence_num\":null," GOOD_TAIL "}",
         "Missing required field: session_id"},
        {"{\"version\":\"0.3\",\"sender_id\":\"a\"," GOOD_TAIL "}",
         "Missing required field: msg_type"},
        {"{\"version\":\"0.3\",\"msg_type\":\"t\"," GOOD_TAIL "}",
         "Missing required field: sender_id"},
        {"{\"version\":\"0.3\",\"msg_type\":\"t\",\"sender_id\":\"a b\"," GOOD_TAIL "}",
         "Invalid field: sender_id"},
        {"{\"version\":\"0.3\",\"msg_type\":\"t\",\"sender_id\":\"a\",\"timestamp\":1}",
         "Missing required field: payload"},
        {"{\"from\":\"a\",\"type\":\"t\",\"payload\":{}}",
         "Missing required field: timestamp"},
        {"{\"from\":\"a\",\"type\":\"reject\"," GOOD_TAIL "}", "Handler error: no such order"},
    };
    struct world world;

    world_open(&world, 1, 1024);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_refused(&world, cases[i].body, cases[i].detail);
    CHECK_U64(world.ran, 1);
    world_close(&world);
}

/* ---- Numbers and repeats ---- */

static const char *envelope(const char *sender, const char *type, unsigned number,
                            const char *nonce, const char *message_id)
{
    static char text[1024];

    snprintf(text, sizeof(text),
             "{\"version\":\"1.0\",\"msg_type\":\"%s\",\"sender_id\":\"%s\",\"session_id\":"
             "\"S\",\"sequence_num\":%u,\"nonce\":%s,\"message_id\":%s," GOOD_TAIL "}",
             type, sender, number, nonce, message_id);
    return text;
}

static uint64_t stat_gaps(struct world *world)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(world->node, &stats), OK);
    return stats.sequence_gaps;
}

static void sequence(void)
{
    struct world world;

    world_open(&world, 2, 1024);
    check_received(&world, envelope("a", "t", 5, "\"n5\"", "null")); /* starts anywhere */
    CHECK_U64(stat_gaps(&world), 0);
    check_received(&world, envelope("a", "t", 6, "\"n6\"", "null"));
    check_refused(&world, envelope("a", "t", 6, "\"new\"", "null"), "SEQUENCE_ERROR");
    check_refused(&world, envelope("a", "t", 2, "null", "null"), "SEQUENCE_ERROR");
    check_received(&world, envelope("a", "t", 6, "\"n6\"", "null")); /* the nonce came */
    check_received(&world, envelope("a", "t", 5, "\"n5\"", "null"));
    CHECK_U64(world.ran, 2);
    check_received(&world, envelope("a", "t", 9, "null", "null")); /* a gap */
    CHECK_U64(stat_gaps(&world), 1);
    check_refused(&world, envelope("a", "t", 8, "null", "null"), "SEQUENCE_ERROR");
    check_received(&world, envelope("a", "t", 10, "null", "null"));
    CHECK_U64(stat_gaps(&world), 1);
    check_received(&world, envelope("b", "t", 1, "\"n5\"", "null")); /* another sender's */
    CHECK_U64(world.ran, 5);
    world_close(&world);
}

static void repeats(void)
{
    struct world world;

    world_open(&world, 2, 1024);
    check_received(&world, envelope("a", "t", 1, "\"n1\"", "\"m1\""));
    check_received(&world, envelope("a", "t", 1, "\"n2\"", "\"m1\"")); /* fresh nonce */
    check_received(&world, envelope("a", "t", 4, "\"n1\"", "\"m9\"")); /* replayed nonce */
    CHECK_U64(world.ran, 1);
    check_received(&world, envelope("a", "t", 2, "\"m1\"", "\"n1\"")); /* other kinds */
    CHECK_U64(world.ran, 2);
    check_refused(&world, envelope("a", "reject", 3, "\"n3\"", "\"m3\""),
                  "Handler error: no such order");
    check_refused(&world, envelope("a", "reject", 3, "\"n3\"", "\"m3\""),
                  "Handler error: no such order");
    CHECK_U64(world.ran, 3);
    /* an escaped letter is the same letter */
    check_received(&world, envelope("a", "t", 4, "\"x\\u0041\"", "null"));
    check_received(&world, envelope("a", "t", 4, "\"xA\"", "null"));
    CHECK_U64(world.ran, 4);
    world_close(&world);
}

static void repeats_without_numbers(void)
{
    static const char legacy[] = "{\"from\":\"a\",\"type\":\"t\"," GOOD_TAIL "}";
    static const char named[] =
        "{\"from\":\"a\",\"type\":\"t\",\"message_id\":\"m\"," GOOD_TAIL "}";
    static const char older[] = "{\"version\":\"0.3\",\"msg_type\":\"t\",\"sender_id\":\"a\","
                                "\"nonce\":\"n\"," GOOD_TAIL "}";
    static const char told[] = "{\"version\":\"0.3\",\"msg_type\":\"t\",\"sender_id\":\"a\","
                               "\"session_id\":\"S\"," GOOD_TAIL "}";
    struct world world;

    world_open(&world, 2, 1024);
    for (unsigned i = 0; i < 3; i++) {
        check_received(&world, legacy); /* nothing to know it by */
        check_received(&world, named);
        check_received(&world, older);
        check_received(&world, told); /* takes no number of the session's */
    }
    CHECK_U64(world.ran, 8);
    check_received(&world, envelope("a", "t", 1, "null", "null"));
    check_received(&world, envelope("a", "t", 2, "null", "null"));
    CHECK_U64(world.ran, 10);
    CHECK_U64(stat_gaps(&world), 0);
    world_close(&world);
}

static void forgotten_beyond_the_limit(void)
{
    struct world world;
    char nonce[32];

    world_open(&world, 1, 16);
    for (unsigned i = 1; i <= 17; i++) {
        snprintf(nonce, sizeof(nonce), "\"n%u\"", i);
        check_received(&world, envelope("a", "t", i, nonce, "null"));
    }
    check_refused(&world, envelope("a", "t", 1, "\"n1\"", "null"), "SEQUENCE_ERROR");
    check_received(&world, envelope("a", "t", 2, "\"n2\"", "null"));
    CHECK_U64(world.ran, 17);
    world_close(&world);
}

static bool both_wait(void *user)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(((struct world *)user)->node, &stats), OK);
    return stats.repeats >= 1;
}

/* A repeat while the handler owes its answer waits for it, and holds nobody up. */
static void repeat_of_a_late_one(parley_status status, unsigned code, const char *body)
{
    char first[ANSWER_MAX], again[ANSWER_MAX];
    struct world world;
    parley_token token;
    int fd_first, fd_again;

    world_open(&world, 2, 1024);
    fd_first = start_posting(&world, envelope("a", "later", 1, "\"n1\"", "null"));
    CHECK(check_wait(&world.late, 1));
    token = world.token;
    fd_again = start_posting(&world, envelope("a", "later", 1, "\"n1\"", "null"));
    CHECK(check_until(both_wait, &world));
    check_received(&world, envelope("a", "t", 2, "\"n2\"", "null")); /* does not wait */
    CHECK_STATUS(parley_message_finish(world.node, token, status, "too late"), OK);
    check_answer(read_answer(fd_first, first), code, body);
    check_answer(read_answer(fd_again, again), code, body);
    check_answer(post_body(&world, envelope("a", "later", 1, "\"n1\"", "null")), code, body);
    CHECK_U64(world.late, 1);
    world_close(&world);
}

static void repeats_of_late_ones(void)
{
    repeat_of_a_late_one(PARLEY_OK, 200, RECEIVED);
    repeat_of_a_late_one(PARLEY_EREFUSED, 400, DETAIL("Handler error: too late"));
}

/* With base_seq it is a parley's: its detail is the handler's own, its numbers say it all. */
static void a_parleys_envelope(void)
{
    static const char good[] =
        "{\"version\":\"1.0\",\"msg_type\":\"t\",\"sender_id\":\"a\",\"session_id\":\"S\","
        "\"sequence_num\":3,\"base_seq\":3,\"nonce\":\"x\"," GOOD_TAIL "}";
    static const char refused[] = "{\"version\":\"1.0\",\"msg_type\":\"reject\",\"sender_id\":"
                                  "\"a\",\"session_id\":\"S\","
                                  "\"sequence_num\":4,\"base_seq\":3," GOOD_TAIL "}";
    static const char gap[] =
        "{\"version\":\"1.0\",\"msg_type\":\"t\",\"sender_id\":\"a\",\"session_id\":\"S\","
        "\"sequence_num\":9,\"base_seq\":4," GOOD_TAIL "}";
    struct world world;

    world_open(&world, 1, 1024);
    for (unsigned i = 0; i < 2; i++) {
        check_received(&world, good);
        check_refused(&world, refused, "no such order");
    }
    check_answer(post_body(&world, gap), 409, DETAIL("SEQUENCE_GAP"));
    CHECK_U64(world.ran, 2);
    world_close(&world);
}

/* ---- Endpoints ---- */

static const char *ask(const struct world *world, const char *method, const char *path,
                       const char *rest)
{
    static char answer[ANSWER_MAX];
    char request[ANSWER_MAX];

    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s",
             method, path, rest);
    return read_answer(start_asking(world, request), answer);
}

/* The whole answer, head included; the time in it, which differs, is taken out. */
static void check_whole(const char *answer, const char *first_lines, const char *body)
{
    char expected[ANSWER_MAX], seen[ANSWER_MAX];
    char *time;

    snprintf(seen, sizeof(seen), "%s", answer);
    time = strstr(seen, "\"timestamp\":\"");
    snprintf(expected, sizeof(expected),
             "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
             "Connection: close\r\nParley: 1; max_batch_bytes=65536; "
             "max_message_bytes=4096\r\n",
             first_lines, strlen(body));
    if (time != NULL && CHECK(strlen(time) == 13 + 32 + 2)) {
        CHECK(time[13 + 10] == 'T' && strcmp(time + 13 + 26, "+00:00\"}") == 0);
        memset(time + 13, 't', 32);
    }
    if (!CHECK(strncmp(seen, expected, strlen(expected)) == 0) ||
        !CHECK_TEXT(body_of(seen), body))
        fprintf(stderr, "    seen %s\n    expected %s\n", seen, expected);
}

static void get_endpoints(void)
{
    char health[1024], name[64] = "";
    unsigned stats_entries = 0;
    parley_peer peer;
    struct world world;

#define COUNT(member, unit, description) stats_entries++;
    PARLEY_STATS_MAP(COUNT)
#undef COUNT
    world_open(&world, 2, 1024);
    CHECK_STATUS(parley_peer_add(world.node, "p1", "http://127.0.0.1:9/x", NULL, &peer), OK);
    CHECK_STATUS(parley_peer_add(world.node, "p2", NULL, NULL, &peer), OK);
    snprintf(health, sizeof(health),
             "{\"entity_id\":\"me\",\"port\":%u,\"peers\":2,\"healthy_peers\":2,"
             "\"total_stats_entries\":%u,\"crypto_available\":true,\"signing_enabled\":false,"
             "\"verification_enabled\":false,\"public_key\":null,\"status\":\"healthy\","
             "\"timestamp\":\"tttttttttttttttttttttttttttttttt\"}",
             parley_port(world.node), stats_entries);
    check_whole(ask(&world, "GET", "/health", "\r\n"), "200 OK", health);
    check_whole(ask(&world, "GET", "/peers", "\r\n"), "200 OK",
                "{\"entity_id\":\"me\",\"peers\":[{\"entity_id\":\"p1\",\"address\":"
                "\"http://127.0.0.1:9/x\",\"has_public_key\":false},{\"entity_id\":\"p2\","
                "\"address\":\"\",\"has_public_key\":false}],\"count\":2}");
    check_whole(ask(&world, "GET", "/public-key", "\r\n"), "200 OK",
                "{\"entity_id\":\"me\",\"public_key\":null}");
    check_whole(ask(&world, "GET", "/", "\r\n"), "200 OK",
                "{\"entity_id\":\"me\",\"service\":\"peer-communication\",\"version\":\"1.0\","
                "\"peers_count\":2,\"crypto_available\":true,\"signing_enabled\":false,"
                "\"verification_enabled\":false}");
    snprintf(name, sizeof(name), "%.40s", body_of(ask(&world, "GET", "/stats", "\r\n")));
    CHECK_TEXT(name, "{\"entity_id\":\"me\",\"stats\":{\"accepted\":0,");
    world_close(&world);
}

static void check_405(const struct world *world, const char *method, const char *path,
                      const char *allow, bool head)
{
    char line[64];
    const char *answer = ask(world, method, path, "Content-Length: 0\r\n\r\n");

    snprintf(line, sizeof(line), "\r\nAllow: %s\r\n", allow);
    CHECK_CONTAINS(answer, line);
    check_answer(answer, 405, head ? "" : DETAIL("Method Not Allowed"));
    CHECK_CONTAINS(answer, "Content-Length: 31\r\n");
}

static void refused_requests(void)
{
    static const char *const gets[] = {"/health", "/peers", "/stats", "/public-key", "/"};
    struct world world;

    world_open(&world, 2, 1024);
    for (size_t i = 0; i < sizeof(gets) / sizeof(gets[0]); i++) {
        check_405(&world, "POST", gets[i], "GET", false);
        check_405(&world, "DELETE", gets[i], "GET", false);
        check_405(&world, "HEAD", gets[i], "GET", true);
    }
    check_405(&world, "GET", "/message", "POST", false);
    check_405(&world, "PUT", "/messages", "POST", false);
    check_405(&world, "POST", "/ws/v1/peers", "GET", false);
    check_whole(ask(&world, "GET", "/ws/v1/peers", "\r\n"), "426 Upgrade Required",
                DETAIL("Upgrade Required"));
    check_whole(ask(&world, "GET", "/nothing", "\r\n"), "404 Not Found", DETAIL("Not Found"));
    check_whole(ask(&world, "GET", "/message/", "\r\n"), "404 Not Found", DETAIL("Not Found"));
    check_whole(ask(&world, "POST", "/message", "\r\n"), "411 Length Required",
                DETAIL("Content-Length is required"));
    check_whole(ask(&world, "POST", "/message", "Content-Length: 99999999\r\n\r\n"),
                "413 Content Too Large", DETAIL("Message too large"));
    check_whole(ask(&world, "POST", "/message",
                    "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"),
                "400 Bad Request", DETAIL("Transfer-Encoding is not supported"));
    check_whole(ask(&world, "POST", "/message", "Content-Length: 0\r\n\r\n"),
                "400 Bad Request", DETAIL("Invalid JSON"));
    world_close(&world);
}

/* A body may hold a batch, and is larger than a message may be. */
static void one_large_message(void)
{
    char body[6000], filler[5000], head[64];
    struct world world;

    memset(filler, 'x', sizeof(filler));
    world_open(&world, 1, 1024);               /* message_bytes_max is 4096 */
    for (int len = 4086; len <= 4087; len++) { /* and 10 around it */
        int body_len = snprintf(body, sizeof(body),
                                "{\"from\":\"a\",\"type\":\"t\",\"timestamp\":1,"
                                "\"payload\":{\"text\":\"%.*s\"}}",
                                len - 1, filler);

        snprintf(head, sizeof(head), "Content-Length: %d\r\n\r\n", body_len);
        memmove(body + strlen(head), body, (size_t)body_len + 1);
        memcpy(body, head, strlen(head)); /* NOLINT(bugprone-not-null-terminated-result) */
        if (len == 4086)
            CHECK_CONTAINS(ask(&world, "POST", "/message", body), "200 OK");
        else
            check_whole(ask(&world, "POST", "/message", body), "413 Content Too Large",
                        DETAIL("Message too large"));
    }
    world_close(&world);
}

static const struct check_test tests[] = {
    {"a message over the limit is refused although its body is not", one_large_message},
    {"every form of envelope is taken", forms},
    {"an unknown type is 200", nobody_handles_it},
    {"each refusal has its detail, the earliest fault first", refusals},
    {"numbers follow the old rule", sequence},
    {"a message id or nonce again gets its outcome again, and is not run", repeats},
    {"without a number, ids and nonces tell repeats", repeats_without_numbers},
    {"beyond nonces_max the oldest is forgotten", forgotten_beyond_the_limit},
    {"a repeat waits for a late handler, and nobody else does", repeats_of_late_ones},
    {"an envelope with base_seq follows the parley's rule", a_parleys_envelope},
    {"GET answers have their keys in order", get_endpoints},
    {"wrong methods, paths and lengths are refused to the byte", refused_requests},
};

CHECK_MAIN("message forms", tests)
