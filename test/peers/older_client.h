/* SPDX-License-Identifier: Apache-2.0
 *
 * An older WebSocket client on a raw socket, which says exactly what it is told to.
 */
#ifndef PARLEY_TEST_OLDER_CLIENT_H
#define PARLEY_TEST_OLDER_CLIENT_H

#include <stdarg.h>

#include "test/peers/nodes.h"
#include "test/transport/host.h"

#define CLIENT_TEXT_MAX 4096

struct client {
    int fd;
    char upgrade[2048];         /* the answer to it */
    char text[CLIENT_TEXT_MAX]; /* heard last */
    unsigned code;              /* of the close frame, once it came */
    char reason[128];
};

static inline void client_open_with(struct client *client, const parley *node,
                                    const char *query, const char *headers)
{
    char request[1024];

    memset(client, 0, sizeof(*client));
    client->fd = raw_connect((uint16_t)parley_port(node));
    snprintf(request, sizeof(request),
             "GET " WS_PATH "%s HTTP/1.1\r\n" UPGRADE_HEADERS "%s\r\n", query, headers);
    CHECK(raw_send(client->fd, request, strlen(request)) &&
          raw_answer(client->fd, client->upgrade, sizeof(client->upgrade)));
    CHECK_CONTAINS(client->upgrade, " 101 ");
}

static inline void client_close(struct client *client)
{
    close(client->fd);
}

static inline bool client_send(struct client *client, uint8_t first, const char *text,
                               size_t len)
{
    uint8_t *frame = malloc(len + 16);
    bool sent = raw_send(client->fd, frame, raw_frame(frame, first, text, len));

    free(frame);
    return sent;
}

static inline void client_say(struct client *client, const char *format, ...)
{
    char text[CLIENT_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    CHECK(client_send(client, 0x81, text, strlen(text)));
}

/* Answers the close frame, as it must, or the node waits. */
static inline void client_closed(struct client *client, size_t len)
{
    client_send(client, 0x88, client->text, len < 2 ? 0 : 2);
    if (len >= 2) {
        client->code = (unsigned)(uint8_t)client->text[0] << 8 | (uint8_t)client->text[1];
        snprintf(client->reason, sizeof(client->reason), "%.*s", (int)(len - 2),
                 client->text + 2);
    }
    client->text[0] = '\0';
}

/* The next text; "" when the node closes or nothing comes. Pings are passed over. */
static inline const char *client_hear(struct client *client)
{
    for (;;) {
        uint8_t head[4];
        size_t len;

        client->text[0] = '\0';
        if (!raw_exact(client->fd, head, 2))
            return "";
        len = head[1];
        if (len == 126) {
            if (!raw_exact(client->fd, head + 2, 2))
                return "";
            len = (size_t)head[2] << 8 | head[3];
        }
        if (!CHECK(len < sizeof(client->text)) || !raw_exact(client->fd, client->text, len))
            return "";
        client->text[len] = '\0';
        if ((head[0] & 15) == 1)
            return client->text;
        if ((head[0] & 15) == 8) {
            client_closed(client, len);
            return "";
        }
    }
}

/* Opens, and hears the greeting. */
static inline void client_open(struct client *client, const parley *node, const char *query)
{
    client_open_with(client, node, query, "");
    CHECK_CONTAINS(client_hear(client),
                   "{\"type\":\"status\",\"payload\":{\"event\":\"connected\",\"entity_id\":");
}

/* One of the older client's frames: seven keys. */
static inline void client_frame(struct client *client, const char *from, const char *type,
                                const char *id, const char *payload)
{
    client_say(client,
               "{\"message_id\":\"%s\",\"type\":\"%s\",\"from_entity\":\"%s\",\"to_entity\":"
               "\"receiver\",\"timestamp\":1700000000.5,\"payload\":%s,\"signature\":null}",
               id, type, from, payload);
}

static inline void client_hello(struct client *client, const char *from)
{
    client_frame(client, from, "HELLO", "h-1",
                 "{\"version\":\"1.2\",\"capabilities\":[\"websocket\",\"ed25519\","
                 "\"heartbeat\"]}");
    CHECK_CONTAINS(client_hear(client), "\"type\":\"READY\",\"from_entity\":\"receiver\",");
}

/* Everything said before this has been answered. */
static inline void client_sync(struct client *client)
{
    client_say(client, "{\"type\":\"ping\",\"seq\":\"sync\"}");
    CHECK_CONTAINS(client_hear(client), "{\"type\":\"pong\",\"payload\":{\"seq\":\"sync\",");
}

#endif
