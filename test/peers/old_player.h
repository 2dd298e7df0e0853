/* SPDX-License-Identifier: Apache-2.0
 *
 * Older peers played by hand on blocking sockets: the server that we dial, and the client
 * that dials us. Every byte is the test's own; every wait ends after 20 s.
 */
#ifndef PARLEY_TEST_OLD_PLAYER_H
#define PARLEY_TEST_OLD_PLAYER_H

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/peers/nodes.h"

#define OLD_WAIT_S      20
#define OLD_REQUEST_MAX 8192
#define OLD_BODY_MAX    (4u << 20)

/** One connection, at either end. */
struct old_end {
    int fd;
    bool client;                   /* frames are masked */
    char request[OLD_REQUEST_MAX]; /* head of the request that came */
    char *text;                    /* the last frame or body, NUL-terminated */
    size_t len;
    unsigned code; /* of the close frame that came */
};

/* ---- Sockets ---- */

static inline uint16_t old_listen(int *ret_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(*ret_fd, (struct sockaddr *)&address, len) == 0);
    CHECK(listen(*ret_fd, 16) == 0);
    CHECK(getsockname(*ret_fd, (struct sockaddr *)&address, &len) == 0);
    return ntohs(address.sin_port);
}

static inline void old_prepare(struct old_end *end, int fd, bool client)
{
    struct timeval wait = {.tv_sec = OLD_WAIT_S};
    int at_once = 1;

    memset(end, 0, sizeof(*end));
    end->fd = fd;
    end->client = client;
    end->text = malloc(OLD_BODY_MAX);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
}

/* Harmless on one that could not be opened, and when repeated. */
static inline void old_hang_up(struct old_end *end)
{
    if (end->fd >= 0)
        close(end->fd);
    free(end->text);
    end->fd = -1;
    end->text = NULL;
}

static inline bool old_read(struct old_end *end, void *bytes, size_t len)
{
    return len == 0 || recv(end->fd, bytes, len, MSG_WAITALL) == (ssize_t)len;
}

static inline void old_write(struct old_end *end, const void *bytes, size_t len)
{
    CHECK(send(end->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
}

/* ---- HTTP ---- */

static inline bool old_read_head(struct old_end *end)
{
    size_t len = 0;

    while (len < sizeof(end->request) - 1 && old_read(end, end->request + len, 1)) {
        end->request[++len] = '\0';
        if (len >= 4 && memcmp(end->request + len - 4, "\r\n\r\n", 4) == 0)
            return true;
    }
    return false;
}

static inline const char *old_header(const struct old_end *end, const char *name)
{
    const char *at = strcasestr(end->request, name);

    return at != NULL ? at + strlen(name) : "";
}

/** The next request on this connection: its head, and its body in `text`. */
static inline bool old_request(struct old_end *end)
{
    if (!old_read_head(end))
        return false;
    end->len = strtoul(old_header(end, "\r\nContent-Length: "), NULL, 10);
    if (!CHECK(end->len < OLD_BODY_MAX) || !old_read(end, end->text, end->len))
        return false;
    end->text[end->len] = '\0';
    return true;
}

/** Takes the next connection and its first request. @return false: `end` is hung up */
static inline bool old_accept(int listener, struct old_end *end)
{
    struct pollfd waiting = {.fd = listener, .events = POLLIN};

    *end = (struct old_end){.fd = -1};
    if (!CHECK(poll(&waiting, 1, OLD_WAIT_S * 1000) == 1))
        return false;
    old_prepare(end, accept4(listener, NULL, NULL, SOCK_CLOEXEC), false);
    if (CHECK(old_request(end)))
        return true;
    old_hang_up(end);
    return false;
}

static inline void old_respond(struct old_end *end, const char *status, const char *body)
{
    char text[512];
    int len = snprintf(text, sizeof(text),
                       "HTTP/1.1 %s\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       status, strlen(body), body);

    old_write(end, text, (size_t)len);
}

static inline void old_switch_protocols(struct old_end *end)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char hash[EVP_MAX_MD_SIZE], accept[64];
    char text[256];
    int len = snprintf(text, sizeof(text), "%.24s%s",
                       old_header(end, "\r\nSec-WebSocket-Key: "), guid);

    EVP_Digest(text, (size_t)len, hash, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock(accept, hash, 20);
    len = snprintf(text, sizeof(text),
                   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                   (const char *)accept);
    old_write(end, text, (size_t)len);
}

/* ---- Frames ---- */

static inline void old_frame(struct old_end *end, unsigned opcode, const void *data,
                             size_t len)
{
    unsigned char head[8] = {(unsigned char)(0x80 | opcode), end->client ? 0x80 : 0};
    size_t head_len = 2;

    if (len < 126) {
        head[1] |= (unsigned char)len;
    } else {
        head[1] |= 126;
        head[2] = (unsigned char)(len >> 8);
        head[3] = (unsigned char)len;
        head_len = 4;
    }
    if (end->client)
        head_len += 4; /* a mask of zeros */
    old_write(end, head, head_len);
    old_write(end, data, len);
}

static inline void old_say(struct old_end *end, const char *text)
{
    old_frame(end, 1, text, strlen(text));
}

static inline void old_close(struct old_end *end, unsigned code, const char *reason)
{
    char data[125];

    data[0] = (char)(code >> 8);
    data[1] = (char)code;
    snprintf(data + 2, sizeof(data) - 2, "%s", reason);
    old_frame(end, 8, data, 2 + strlen(reason));
}

static inline bool old_read_frame(struct old_end *end, unsigned *ret_opcode)
{
    unsigned char head[2], more[8], mask[4] = {0};
    size_t len;

    if (!old_read(end, head, 2))
        return false;
    len = head[1] & 127u;
    if (len >= 126) {
        size_t bytes = len == 126 ? 2 : 8;

        if (!old_read(end, more, bytes))
            return false;
        len = 0;
        for (size_t i = 0; i < bytes; i++)
            len = len << 8 | more[i];
    }
    if (((head[1] & 0x80) != 0 && !old_read(end, mask, 4)) || !CHECK(len < OLD_BODY_MAX) ||
        (len > 0 && !old_read(end, end->text, len)))
        return false;
    for (size_t i = 0; i < len; i++)
        end->text[i] ^= (char)mask[i % 4];
    end->text[len] = '\0';
    end->len = len;
    *ret_opcode = head[0] & 15u;
    return true;
}

/** The next text frame. @return "" when there is none before the other side closes */
static inline const char *old_hear(struct old_end *end)
{
    unsigned opcode;

    while (old_read_frame(end, &opcode)) {
        if (opcode == 1)
            return end->text;
        if (opcode == 8) {
            end->code = (unsigned char)end->text[0] * 256u + (unsigned char)end->text[1];
            break;
        }
    }
    end->text[0] = '\0';
    return end->text;
}

/* ---- Roles ---- */

#define OLD_GREETING                                                           \
    "{\"type\":\"status\",\"payload\":{\"event\":\"connected\","               \
    "\"entity_id\":\"old\",\"session_id\":\"s\",\"protocol_version\":\"1.1\"," \
    "\"capabilities\":[\"websocket\"],\"timestamp\":\"2026-01-01T00:00:00\"}," \
    "\"timestamp\":\"2026-01-01T00:00:00\",\"message_id\":\"greeting\"}"

/** Takes the next connection, which must be an upgrade, and greets as the older server. */
static inline bool old_welcome(int listener, struct old_end *end)
{
    if (!old_accept(listener, end) ||
        !CHECK(strncmp(end->request, "GET /ws/v1/peers?", 17) == 0))
        return false;
    old_switch_protocols(end);
    old_say(end, OLD_GREETING);
    return true;
}

/** Connects to a node as an older client does. @return false: `end` is hung up */
static inline bool old_connect(uint16_t port, const char *query, struct old_end *end)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[512];
    int len = snprintf(text, sizeof(text),
                       "GET /ws/v1/peers%s HTTP/1.1\r\nHost: localhost\r\n"
                       "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n\r\n",
                       query);

    old_prepare(end, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), true);
    if (CHECK(connect(end->fd, (struct sockaddr *)&address, sizeof(address)) == 0)) {
        old_write(end, text, (size_t)len);
        if (CHECK(old_read_head(end)) && CHECK(strstr(end->request, " 101 ") != NULL) &&
            CHECK(strstr(old_hear(end), "\"event\":\"connected\"") != NULL))
            return true;
    }
    old_hang_up(end);
    return false;
}

/** The text of a member's value, up to the comma or brace behind it; strings without their
 *  quotes. */
static inline const char *old_member(const char *json, const char *key)
{
    static char value[4][256];
    static unsigned turn;
    char pattern[64], *to = value[turn++ % 4];
    const char *at;

    snprintf(pattern, sizeof(pattern), "\"%s\":", key);
    at = strstr(json, pattern);
    if (at == NULL)
        return "(none)";
    at += strlen(pattern);
    snprintf(to, sizeof(value[0]), "%.*s", (int)strcspn(at + (*at == '"'), ",}\""),
             at + (*at == '"'));
    return to;
}

/* ---- Results ---- */

/** What became of one message. */
struct fate {
    _Atomic(uint64_t) known;
    parley_outcome outcome;
    parley_transport transport;
    uint32_t attempts;
    bool maybe_duplicate;
    char detail[PARLEY_DETAIL_MAX];
};

static inline void note_fate(const parley_result *result, void *user)
{
    struct fate *fate = user;

    fate->outcome = result->outcome;
    fate->transport = result->transport;
    fate->attempts = result->attempts;
    fate->maybe_duplicate = result->maybe_duplicate;
    snprintf(fate->detail, sizeof(fate->detail), "%s", result->detail);
    atomic_fetch_add(&fate->known, 1);
}

static inline void send_one(parley *node, parley_peer peer, const char *payload,
                            uint32_t ttl_ms, struct fate *fate)
{
    parley_message message;

    memset(fate, 0, sizeof(*fate));
    parley_message_init(&message, "test", payload, strlen(payload));
    message.ttl_ms = ttl_ms;
    CHECK_STATUS(parley_send(node, peer, &message, note_fate, fate, NULL), OK);
}

static inline void check_fate(struct fate *fate, parley_outcome outcome)
{
    CHECK(check_wait(&fate->known, 1));
    CHECK_TEXT(parley_outcome_name(fate->outcome), parley_outcome_name(outcome));
}

#endif
