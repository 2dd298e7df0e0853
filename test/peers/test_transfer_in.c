/* SPDX-License-Identifier: Apache-2.0
 *
 * Chunks of older senders at a node, posted over real sockets to /message: any order, any of
 * the sender's sessions, every form; the completing piece gets the handler's answer.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peers/base64.h"
#include "test/peers/nodes.h"

#define BODY_MAX 32768

struct world {
    parley *node;
    _Atomic(uint64_t) ran;
    char type[80], payload[BODY_MAX];
    size_t payload_len;
    parley_token token;
};

static parley_verdict handle(const parley_incoming *message, char *detail, void *user)
{
    struct world *world = user;

    snprintf(world->type, sizeof(world->type), "%s", message->type);
    world->payload_len =
        message->payload_len < BODY_MAX ? message->payload_len : (size_t)BODY_MAX - 1;
    memcpy(world->payload, message->payload, world->payload_len);
    world->payload[world->payload_len] = '\0';
    world->token = message->token;
    atomic_fetch_add(&world->ran, 1);
    if (strcmp(message->type, "reject") == 0) {
        snprintf(detail, PARLEY_DETAIL_MAX, "no room");
        return PARLEY_REJECT;
    }
    return strcmp(message->type, "later") == 0 ? PARLEY_LATER : PARLEY_ACCEPT;
}

static void world_open(struct world *world)
{
    parley_options options;

    memset(world, 0, sizeof(*world));
    node_options(&options, "me");
    options.listen_host = "127.0.0.1";
    options.transfer_bytes_max = 20000;
    options.on_message = handle;
    options.on_message_user = world;
    world->node = node_open(&options);
}

static void world_close(struct world *world)
{
    CHECK_STATUS(parley_close(world->node), OK);
}

/* ---- Posting ---- */

static int start(const struct world *world, const char *body)
{
    struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(parley_port(world->node)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char head[256];
    int len = snprintf(head, sizeof(head),
                       "POST /message HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                       strlen(body));

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(send(fd, head, (size_t)len, MSG_NOSIGNAL) == len);
    CHECK(send(fd, body, strlen(body), MSG_NOSIGNAL) == (ssize_t)strlen(body));
    return fd;
}

/* @return the status code; the answer's text in `answer` */
static unsigned finish(int fd, char answer[2048])
{
    size_t len = 0;
    ssize_t got;

    while (len < 2047 && (got = recv(fd, answer + len, 2047 - len, 0)) > 0)
        len += (size_t)got;
    answer[len] = '\0';
    close(fd);
    return len > 12 ? (unsigned)strtoul(answer + 9, NULL, 10) : 0;
}

static unsigned number; /* of the next envelope, so that each is new */

static void envelope(char *body, const char *session, const char *payload)
{
    char numbered[160] = "";

    number++;
    if (session != NULL)
        snprintf(numbered, sizeof(numbered), "\"session_id\":\"%s\",\"sequence_num\":%u,",
                 session, number);
    snprintf(body, BODY_MAX,
             "{\"version\":\"%s\",\"msg_type\":\"chunk\",\"sender_id\":\"old\",%s"
             "\"timestamp\":1.5,\"nonce\":\"n%u\",\"payload\":%s}",
             session != NULL ? "1.0" : "0.3", numbered, number, payload);
}

static unsigned post_chunk(const struct world *world, const char *session, const char *payload,
                           char answer[2048])
{
    static char body[BODY_MAX];

    envelope(body, session, payload);
    return finish(start(world, body), answer);
}

/* Piece `index` of `text` cut every `size` bytes, as an older sender does it. */
static const char *piece(const char *id, const char *text, size_t size, size_t index)
{
    static char payload[BODY_MAX];
    size_t len = strlen(text), total = (len + size - 1) / size, from = index * size;
    size_t some = len - from < size ? len - from : size;
    char encoded[16384] = "";

    base64_encode(text + from, some, encoded);
    snprintf(payload, sizeof(payload),
             "{\"message_id\":\"%s\",\"chunk_index\":%zu,\"total_chunks\":%zu,"
             "\"data\":\"%s\",\"is_last\":%s}",
             id, index, total, encoded, index + 1 == total ? "true" : "false");
    return payload;
}

#define WHOLE \
    "{\"original_msg_type\": \"big\", \"data\": {\"text\": \"\\u00e9\", \"n\": [1, 2]}}"

/* ---- Tests ---- */

static void any_order_over_any_session(void)
{
    static const size_t order[] = {6, 2, 0, 5, 2, 1, 4, 0, 3}; /* two of them twice */
    static const char *const sessions[] = {"s1", "s2", NULL};
    char answer[2048];
    struct world world;

    world_open(&world);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        CHECK_U64(atomic_load(&world.ran), 0);
        CHECK_U64(post_chunk(&world, sessions[i % 3], piece("t", WHOLE, 11, order[i]), answer),
                  200);
    }
    CHECK_U64(atomic_load(&world.ran), 1);
    CHECK_TEXT(world.type, "big");
    CHECK_TEXT(world.payload, "{\"text\": \"\\u00e9\", \"n\": [1, 2]}");
    world_close(&world);
}

static void the_completing_piece_gets_the_handlers_answer(void)
{
    static const char rejected[] = "{\"original_msg_type\":\"reject\",\"data\":{\"a\":1}}";
    static const char later[] = "{\"original_msg_type\":\"later\",\"data\":{\"a\":1}}";
    static char body[BODY_MAX];
    char answer[2048];
    struct world world;
    int fd;

    world_open(&world);
    CHECK_U64(post_chunk(&world, "s", piece("r", rejected, 30, 1), answer), 200);
    CHECK_U64(post_chunk(&world, "s", piece("r", rejected, 30, 0), answer), 400);
    CHECK_CONTAINS(answer, "{\"detail\":\"Handler error: no room\"}");

    CHECK_U64(post_chunk(&world, "s", piece("l", later, 30, 0), answer), 200);
    envelope(body, "s", piece("l", later, 30, 1));
    fd = start(&world, body);
    CHECK(check_wait(&world.ran, 2));
    CHECK_STATUS(parley_message_finish(world.node, world.token, PARLEY_EREFUSED, "changed"),
                 OK);
    CHECK_U64(finish(fd, answer), 400);
    CHECK_CONTAINS(answer, "{\"detail\":\"Handler error: changed\"}");
    world_close(&world);
}

static void other_forms(void)
{
    static const char text[] = "{\"original_msg_type\":\"big\",\"data\":{\"a\":1}}";
    char payload[1024], answer[2048], encoded[128] = "", escaped[256];
    struct world world;

    world_open(&world);
    base64_encode(text, strlen(text), encoded);
    snprintf(payload, sizeof(payload),
             "{\"chunk\":{\"transfer_id\":\"a\",\"chunk_index\":0,\"total_chunks\":1,"
             "\"data\":\"%s\",\"checksum\":\"00000000000000000000000000000000\"}}",
             encoded);
    CHECK_U64(post_chunk(&world, "s", payload, answer), 400);
    CHECK_CONTAINS(answer, "checksum");
    /* of the piece, and of its base64: SHA-256, the first half */
    snprintf(payload, sizeof(payload),
             "{\"chunk\":{\"transfer_id\":\"a\",\"chunk_index\":0,\"total_chunks\":1,"
             "\"data\":\"%s\",\"checksum\":\"3351f23b2647e13f172da8e8b12488cb\"}}",
             encoded);
    CHECK_U64(post_chunk(&world, "s", payload, answer), 200);
    snprintf(payload, sizeof(payload),
             "{\"chunk\":{\"transfer_id\":\"b\",\"chunk_index\":0,\"total_chunks\":1,"
             "\"data\":\"%s\",\"checksum\":\"51d3b7d9b1325a9df4d8e3d25f847257\"}}",
             encoded);
    CHECK_U64(post_chunk(&world, "s", payload, answer), 200);
    CHECK_U64(atomic_load(&world.ran), 2);

    snprintf(escaped, sizeof(escaped), "\\u0065%s", encoded + 1); /* an 'e' written out */
    snprintf(
        payload, sizeof(payload),
        "{\"chunk_id\":\"c\",\"chunk_index\":\"0\",\"total_chunks\":\"1\",\"data\":\"%s\"}",
        escaped);
    CHECK_U64(post_chunk(&world, NULL, payload, answer), 200);
    CHECK_U64(atomic_load(&world.ran), 3);
    CHECK_TEXT(world.payload, "{\"a\":1}");
    world_close(&world);
}

static void what_is_no_transfer(void)
{
    static const struct {
        const char *text, *detail;
    } cases[] = {
        {"[]", "original_msg_type"},
        {"{\"original_msg_type\":\"x\"}", "without data"},
        {"{\"original_msg_type\":\"x\",\"data\":[]}", "without data"},
        {"{\"original_msg_type\":\"chunk\",\"data\":{}}", "of a chunk"},
        {"{\"original_msg_type\":\"x\",\"data\":{\"a\":1,\"a\":2}}", "not JSON"},
        {"{\"original_msg_type\":\"x\",\"data\":{\"a\":\"\xff\"}}", "not JSON"},
        {"{\"original_msg_type\":\"x\",\"data\":{}} ,", "not JSON"},
    };
    char id[16], answer[2048];
    struct world world;

    world_open(&world);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(id, sizeof(id), "t%zu", i);
        CHECK_U64(post_chunk(&world, "s", piece(id, cases[i].text, 500, 0), answer), 400);
        CHECK_CONTAINS(answer, cases[i].detail);
    }
    CHECK_U64(post_chunk(&world, "s", "{\"chunk_id\":\"x\"}", answer), 400);
    CHECK_U64(post_chunk(&world, "s",
                         "{\"chunk_id\":\"x\",\"chunk_index\":0,\"total_chunks\":1,"
                         "\"data\":\"AAA\"}",
                         answer),
              400);
    CHECK_CONTAINS(answer, "not base64");
    CHECK_U64(atomic_load(&world.ran), 0);
    world_close(&world);
}

static void bombs_and_bounds(void)
{
    static char text[24000], big[40000];
    char payload[256], answer[2048];
    struct world world;

    world_open(&world);
    for (int i = 0; i < 20; i++) {
        snprintf(payload, sizeof(payload),
                 "{\"chunk_id\":\"b%d\",\"chunk_index\":999999999,"
                 "\"total_chunks\":1000000000,\"data\":\"AAAA\"}",
                 i);
        CHECK_U64(post_chunk(&world, "s", payload, answer), 400);
    }
    CHECK_CONTAINS(answer, "transfer_chunks_max");
    memset(text, 'x', sizeof(text) - 1);
    memset(big, 'x', sizeof(big) - 1);
    for (size_t i = 0; i < 6; i++)
        CHECK_U64(post_chunk(&world, "s", piece("l", text, 3900, i), answer), 200);
    CHECK_U64(post_chunk(&world, "s", piece("l", text, 3900, 6), answer), 400);
    CHECK_CONTAINS(answer, "not JSON"); /* it came whole, within the bound */
    for (size_t i = 0; i < 4; i++)
        CHECK_U64(post_chunk(&world, "s", piece("m", big, 5000, i), answer), 200);
    CHECK_U64(post_chunk(&world, "s", piece("m", big, 5000, 4), answer), 400);
    CHECK_CONTAINS(answer, "transfer_bytes_max");
    world_close(&world);
}

static const struct check_test tests[] = {
    {"any order, over any session", any_order_over_any_session},
    {"the completing piece gets the handler's answer",
     the_completing_piece_gets_the_handlers_answer},
    {"other forms, and checksums", other_forms},
    {"what is no transfer", what_is_no_transfer},
    {"bombs and bounds", bombs_and_bounds},
};

CHECK_MAIN("transfer_in", tests)
