/* SPDX-License-Identifier: Apache-2.0
 *
 * What others can make a node keep, and what it takes from them at most: on raw sockets.
 */
#include "test/peers/older_client.h"

#define PAYLOAD_MAX   2048
#define DETAIL        "no such order"
#define REJECTIONS    320
#define UNREAD_FRAMES 1000
#define SILENT        80
#define ANSWER_MAX    4096

/* An allocator that counts what is out, and fails once when told to. */
struct memory {
    _Atomic(int64_t) out;  /* blocks not freed yet */
    _Atomic(int64_t) left; /* allocations before the one that fails; negative: none does */
};

struct served {
    parley *node;
    struct memory memory;
    _Atomic(uint64_t) handled;
};

static void *allocate(size_t bytes, void *user)
{
    struct memory *memory = user;
    void *block = atomic_fetch_sub(&memory->left, 1) == 0 ? NULL : malloc(bytes);

    if (block != NULL)
        atomic_fetch_add(&memory->out, 1);
    return block;
}

static void *resize(void *block, size_t bytes, void *user)
{
    struct memory *memory = user;
    void *moved = atomic_fetch_sub(&memory->left, 1) == 0 ? NULL : realloc(block, bytes);

    if (moved != NULL && block == NULL)
        atomic_fetch_add(&memory->out, 1);
    return moved;
}

static void release(void *block, void *user)
{
    struct memory *memory = user;

    atomic_fetch_sub(&memory->out, 1);
    free(block);
}

static parley_verdict handle(const parley_incoming *message, char *detail, void *user)
{
    struct served *served = user;

    atomic_fetch_add(&served->handled, 1);
    if (strcmp(message->type, "reject") != 0)
        return PARLEY_ACCEPT;
    snprintf(detail, PARLEY_DETAIL_MAX, DETAIL);
    return PARLEY_REJECT;
}

static void serve(struct served *served, uint32_t workers, uint32_t guests_max)
{
    const parley_allocator counted = {allocate, resize, release, &served->memory};
    parley_options options;

    memset(served, 0, sizeof(*served));
    atomic_store(&served->memory.left, -1);
    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.workers = workers;
    options.guests_max = guests_max;
    options.message_bytes_max = PAYLOAD_MAX;
    options.allocator = &counted;
    served->node = node_open(&options);
    parley_on_message(served->node, NULL, handle, served);
}

static void stop(struct served *served)
{
    CHECK_STATUS(parley_close(served->node), OK);
    CHECK_U64(atomic_load(&served->memory.out), 0);
}

/* @return the answer; "" when the node closed without one */
static const char *post_to(const struct served *served, const char *path, const char *body,
                           char answer[ANSWER_MAX])
{
    int fd = raw_connect((uint16_t)parley_port(served->node));
    char request[2 * PAYLOAD_MAX + 512];

    snprintf(
        request, sizeof(request),
        "POST %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
        path, strlen(body), body);
    answer[0] = '\0';
    if (CHECK(raw_send(fd, request, strlen(request))))
        raw_until_closed(fd, answer, ANSWER_MAX);
    close(fd);
    return answer;
}

static void envelope(char *text, size_t len, const char *sender, unsigned number,
                     const char *payload)
{
    snprintf(text, len,
             "{\"type\":\"peer_message\",\"version\":\"1.0\",\"msg_type\":\"job\","
             "\"sender_id\":\"%s\",\"session_id\":\"s\",\"sequence_num\":%u,\"timestamp\":1,"
             "\"payload\":%s}",
             sender, number, payload);
}

/* ---- Acknowledgements that nobody reads ---- */

static void reject_many(const struct served *served)
{
    struct client client;
    char *text = malloc(64 * (REJECTIONS + 2)), *at = text;

    client_open(&client, served->node, "?entity_id=c&session_id=s");
    at +=
        sprintf(at, "{\"type\":\"batch\",\"session_id\":\"s\",\"base_seq\":1,\"first_seq\":1,"
                    "\"messages\":[");
    for (unsigned i = 0; i < REJECTIONS; i++)
        at += sprintf(at, "%s{\"msg_type\":\"reject\",\"timestamp\":1,\"payload\":{}}",
                      i > 0 ? "," : "");
    at += sprintf(at, "]}");
    CHECK(client_send(&client, 0x81, text, (size_t)(at - text)));
    CHECK_CONTAINS(client_hear(&client), DETAIL);
    client_close(&client);
    free(text);
}

/* Each empty batch draws an acknowledgement with every rejection, in ten frames. The session
 * may be another worker's: one of several connections is likely to be. */
static void unread_acknowledgements(void)
{
    static const char batch[] = "{\"type\":\"batch\",\"session_id\":\"s\",\"base_seq\":1,"
                                "\"first_seq\":321,\"messages\":[]}";
    static const char repeat[] = "{\"type\":\"batch\",\"session_id\":\"s\",\"base_seq\":1,"
                                 "\"first_seq\":1,\"messages\":[{\"msg_type\":\"reject\","
                                 "\"timestamp\":1,\"sender_id\":\"c\",\"payload\":{}}]}";
    char answer[ANSWER_MAX];
    struct served served;
    int64_t before, after;

    serve(&served, 4, 1024);
    reject_many(&served);
    for (unsigned round = 0; round < 4; round++) {
        struct client client;

        client_open(&client, served.node, "?entity_id=c&session_id=s");
        before = atomic_load(&served.memory.out);
        for (unsigned i = 0; i < UNREAD_FRAMES; i++)
            client_send(&client, 0x81, batch, sizeof(batch) - 1);
        client_say(&client, "{\"type\":\"ping\",\"seq\":\"sync\"}");
        while (strstr(client_hear(&client), "\"sync\"") == NULL && client.text[0] != '\0')
            ;
        /* the session has handled them all when it answers this */
        CHECK_CONTAINS(post_to(&served, "/messages", repeat, answer), "\"ack_seq\":");
        after = atomic_load(&served.memory.out);
        CHECK(after - before < 3 * UNREAD_FRAMES); /* requests that are on their way home */
        client_close(&client);
    }
    stop(&served);
}

/* ---- Sessions ---- */

static void silent_connections_do_not_lock_out(void)
{
    struct client clients[SILENT];
    struct served served;
    char answer[ANSWER_MAX], body[512], text[64];
    unsigned refused = 0;

    serve(&served, 1, SILENT + 32);
    for (unsigned i = 0; i < SILENT; i++) {
        snprintf(text, sizeof(text), "?entity_id=c-%u&session_id=s", i);
        client_open(&clients[i], served.node, text);
    }
    for (unsigned i = 0; i < 96; i++) {
        snprintf(text, sizeof(text), "stranger-%u", i);
        envelope(body, sizeof(body), text, 1, "{}");
        if (strstr(post_to(&served, "/message", body, answer), " 200 ") == NULL)
            refused++;
    }
    CHECK(refused <= 8); /* while those that are connected are passed by */
    for (unsigned i = 0; i < SILENT; i++)
        client_close(&clients[i]);
    stop(&served);
}

/* What is over must not be taken for what is wrong, or the sender gives a message up. */
static void no_room_for_a_session(void)
{
    struct served served;
    struct client first, second;

    serve(&served, 1, 1);
    client_open(&first, served.node, "?entity_id=a&session_id=s");
    client_open(&second, served.node, "?entity_id=b");
    client_say(&second,
               "{\"type\":\"batch\",\"session_id\":\"s\",\"base_seq\":1,\"first_seq\":1,"
               "\"messages\":[]}");
    CHECK_TEXT(client_hear(&second), "");
    CHECK_U64(second.code, 4013);
    client_close(&first);
    client_close(&second);
    stop(&served);
}

/* ---- One message ---- */

static void largest_payload(void)
{
    char answer[ANSWER_MAX], body[2 * PAYLOAD_MAX], payload[PAYLOAD_MAX + 2];
    struct served served;

    serve(&served, 1, 1024);
    for (unsigned extra = 0; extra < 2; extra++) {
        snprintf(payload, sizeof(payload), "{\"a\":\"%0*u\"}", PAYLOAD_MAX - 8 + (int)extra,
                 0u);
        envelope(body, sizeof(body), "a", 1 + extra, payload);
        CHECK_CONTAINS(post_to(&served, "/message", body, answer),
                       extra == 0 ? " 200 OK\r\n" : "{\"detail\":\"Message too large\"}");
    }
    CHECK_CONTAINS(answer, " 413 ");
    CHECK_U64(served.handled, 1);
    stop(&served);
}

static const char *nested(unsigned depth, char payload[512])
{
    size_t len = 0;

    for (unsigned i = 1; i < depth; i++)
        len += (size_t)sprintf(payload + len, "{\"a\":");
    len += (size_t)sprintf(payload + len, "{}");
    memset(payload + len, '}', depth - 1);
    payload[len + depth - 1] = '\0';
    return payload;
}

/* 32 levels of a payload, whatever is around it. */
static void deepest_payload(void)
{
    char answer[ANSWER_MAX], body[1024], payload[512];
    struct served served;
    struct client client;

    serve(&served, 1, 1024);
    client_open(&client, served.node, "?entity_id=ws&session_id=s");
    for (unsigned depth = 32; depth <= 33; depth++) {
        bool taken = depth == 32;

        envelope(body, sizeof(body), "http", depth, nested(depth, payload));
        CHECK_CONTAINS(post_to(&served, "/message", body, answer),
                       taken ? " 200 OK\r\n" : "{\"detail\":\"Invalid JSON\"}");
        snprintf(body, sizeof(body),
                 "{\"type\":\"batch\",\"session_id\":\"b\",\"base_seq\":%u,\"first_seq\":%u,"
                 "\"messages\":[{\"msg_type\":\"job\",\"timestamp\":1,\"sender_id\":\"http\","
                 "\"payload\":%s}]}",
                 depth, depth, payload);
        CHECK_CONTAINS(post_to(&served, "/messages", body, answer),
                       taken ? "\"ack_seq\":32" : "{\"detail\":\"Invalid JSON\"}");
        envelope(body, sizeof(body), "ws", depth, payload);
        client_say(&client, "%s", body);
        CHECK_CONTAINS(client_hear(&client),
                       taken ? "message_received" : "{\"error\":\"Invalid JSON format\"}");
    }
    CHECK_U64(served.handled, 3);
    client_close(&client);
    stop(&served);
}

/* A message is not malformed because there is no memory to read it: 400 would be final. */
static void out_of_memory_is_no_malformed_message(void)
{
    char answer[ANSWER_MAX], body[2 * PAYLOAD_MAX], payload[PAYLOAD_MAX];
    unsigned unavailable = 0;
    size_t len = 0;

    len += (size_t)sprintf(payload, "{\"a\":0");
    for (unsigned i = 0; i < 150; i++) /* more keys than are told apart without memory */
        len += (size_t)sprintf(payload + len, ",\"k%u\":0", i);
    sprintf(payload + len, "}");
    envelope(body, sizeof(body), "a", 1, payload);
    for (int64_t successes = 0; successes < 12; successes++) {
        struct served served;

        serve(&served, 1, 1024);
        atomic_store(&served.memory.left, successes);
        post_to(&served, "/message", body, answer);
        atomic_store(&served.memory.left, -1);
        CHECK(strstr(answer, " 400 ") == NULL);
        if (strstr(answer, " 503 ") != NULL)
            unavailable++;
        CHECK_CONTAINS(post_to(&served, "/message", body, answer),
                       served.handled == 0 ? " 200 " : "");
        stop(&served);
    }
    CHECK(unavailable > 0);
}

static const struct check_test tests[] = {
    {"acknowledgements that nobody reads are bounded", unread_acknowledgements},
    {"connections that are silent do not lock strangers out",
     silent_connections_do_not_lock_out},
    {"too many sessions closes with 4013", no_room_for_a_session},
    {"a payload may be as large as the limit, over HTTP too", largest_payload},
    {"a payload may nest as deep as the setting says, whatever is around it", deepest_payload},
    {"out of memory is not taken for malformed JSON", out_of_memory_is_no_malformed_message},
};

CHECK_MAIN("connection bounds", tests)
