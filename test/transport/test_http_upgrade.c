/* SPDX-License-Identifier: Apache-2.0
 *
 * Upgrades to WebSocket as a node grants and refuses them.
 */
#include "test/transport/http_client.h"

#define UPGRADE(version, key)                                   \
    "GET " WS_PATH " HTTP/1.1\r\n" HOST                         \
    "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" \
    "Sec-WebSocket-Version: " version "\r\nSec-WebSocket-Key: " key "\r\n"
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

static void upgrades_need_version_13(void)
{
    start();
    check_refused(UPGRADE("12", KEY) "\r\n", "426");
    CHECK_CONTAINS(ask_and_close(UPGRADE("8", KEY) "\r\n"), "Sec-WebSocket-Version: 13\r\n");
    check_refused("GET " WS_PATH " HTTP/1.1\r\n" HOST "Upgrade: websocket\r\n"
                  "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
                  "426");
    CHECK_U64(server.accepted, 0);
    stop();
}

static void upgrades_need_a_16_byte_key(void)
{
    start();
    check_refused(UPGRADE("13", "dGhlIHNhbXBsZSBub25jZQ") "\r\n", "400");
    check_refused(UPGRADE("13", "dGhlIHNhbXBsZSBub25j") "\r\n", "400");
    check_refused(UPGRADE("13", "dGhlIHNhbXBsZSBub25jZQ!=") "\r\n", "400");
    check_refused(UPGRADE("13", "dGhlIHNhbXBsZS?ub25jZQ==") "\r\n", "400");
    check_refused(UPGRADE("13", KEY) "Sec-WebSocket-Key: " KEY "\r\n\r\n", "400");
    check_refused("GET " WS_PATH " HTTP/1.1\r\n" HOST "Upgrade: websocket\r\n"
                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
                  "400");
    CHECK_U64(server.accepted, 0);
    stop();
}

static void upgrades_from_browsers_are_refused(void)
{
    start();
    check_refused(UPGRADE("13", KEY) "Origin: http://evil.example\r\n\r\n", "403");
    check_refused(UPGRADE("13", KEY) "Origin: null\r\n\r\n", "403");
    check_refused(UPGRADE("13", KEY) "Origin:\r\n\r\n", "403");
    check_refused(UPGRADE("13", KEY) "Sec-WebSocket-Protocol: chat\r\n\r\n", "400");
    CHECK_U64(server.accepted, 0);
    stop();
}

static void upgrades_need_get_and_http_1_1_and_the_path(void)
{
    start();
    check_refused("GET " WS_PATH " HTTP/1.0\r\n" UPGRADE_HEADERS "\r\n", "400");
    check_refused("POST " WS_PATH " HTTP/1.1\r\n" UPGRADE_HEADERS "Content-Length: 0\r\n\r\n",
                  "400");
    check_refused("GET / HTTP/1.1\r\n" UPGRADE_HEADERS "\r\n", "404");
    check_refused("GET " WS_PATH "/more HTTP/1.1\r\n" UPGRADE_HEADERS "\r\n", "404");
    check_refused("GET " WS_PATH " HTTP/1.1\r\n" UPGRADE_HEADERS "Host: again\r\n\r\n", "400");
    check_refused("GET " WS_PATH " HTTP/1.1\r\n" UPGRADE_HEADERS
                  "Transfer-Encoding: chunked\r\n\r\n",
                  "400");
    check_refused("GET " WS_PATH " HTTP/1.1\r\n" HOST "Upgrade: websocket\r\n"
                  "Connection: close\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: " KEY "\r\n\r\n",
                  "400");
    CHECK_U64(server.accepted, 0);
    stop();
}

static void a_node_without_websockets_answers_404(void)
{
    host_init(&server, 1);
    server.options.accept_websocket = false;
    CHECK_STATUS(host_open(&server, NULL, 0), OK);
    check_refused("GET " WS_PATH " HTTP/1.1\r\n" UPGRADE_HEADERS "\r\n", "404");
    CHECK_U64(server.accepted, 0);
    stop();
}

/* The shape of CVE-2025-11677: lws answers a foreign upgrade, forgets the headers, and
 * asks whether to confirm it. */
static void foreign_upgrades_are_refused_and_do_no_harm(void)
{
    static const char *const shapes[] = {
        "GET / HTTP/1.1\r\n" HOST "Upgrade: foobar\r\nConnection: Upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST "Upgrade: foobar\r\nConnection: Upgrade\r\n\r\n"
        "GET / HTTP/1.1\r\n" HOST "Upgrade: foobar\r\n\r\n",
        "GET " WS_PATH " HTTP/1.1\r\n" HOST "Upgrade: websockets\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST "Upgrade: foobar\r\nUpgrade: websocket\r\n\r\n"};
    char answer[4096] = "";

    start();
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        int fd = raw_connect(host_port(&server));

        CHECK(raw_send(fd, shapes[i], strlen(shapes[i])));
        CHECK(raw_until_closed(fd, answer, sizeof(answer)));
        CHECK(strncmp(answer, "HTTP/1.", 7) == 0 && answer[9] == '4');
        CHECK(strstr(answer, " 101 ") == NULL);
        close(fd);
    }
    CHECK_U64(server.accepted + server.requests, 0);
    CHECK_CONTAINS(ask_and_close("GET /alive HTTP/1.0\r\n" HOST "\r\n"), "GET /alive");
    stop();
}

static void frames_sent_with_the_upgrade_are_not_lost(void)
{
    uint8_t bytes[1024];
    size_t len = (size_t)snprintf((char *)bytes, sizeof(bytes),
                                  "GET " WS_PATH " HTTP/1.1\r\n" UPGRADE_HEADERS "\r\n");
    int fd;

    start();
    len += raw_frame(bytes + len, 0x81, "early", 5);
    len += raw_frame(bytes + len, 0x81, "bird", 4);
    fd = raw_connect(host_port(&server));
    CHECK(raw_send(fd, bytes, len));
    CHECK(check_wait(&server.ends[0].received, 2));
    CHECK_TEXT(server.ends[0].last, "bird");
    close(fd);
    stop();
}

static void an_upgrade_may_follow_requests(void)
{
    static const char upgrade[] = "GET " WS_PATH "?token=a.b HTTP/1.1\r\n" UPGRADE_HEADERS
                                  "Authorization: Bearer z\r\n\r\n";
    uint8_t frame[64];
    int fd;

    start();
    fd = raw_connect(host_port(&server));
    CHECK_CONTAINS(ask_on(fd, "GET /1 HTTP/1.1\r\n" HOST "\r\n"), "GET /1");
    CHECK_CONTAINS(ask_on(fd, upgrade), " 101 ");
    CHECK_TEXT(server.query, "token=a.b");
    CHECK_TEXT(server.authorization, "Bearer z");
    CHECK(raw_send(fd, frame, raw_frame(frame, 0x81, "hi", 2)));
    CHECK(check_wait(&server.ends[0].received, 1));
    close(fd);
    stop();
}

static const struct check_test tests[] = {
    {"upgrades need version 13", upgrades_need_version_13},
    {"upgrades need a 16-byte key", upgrades_need_a_16_byte_key},
    {"upgrades from browsers are refused", upgrades_from_browsers_are_refused},
    {"upgrades need GET, HTTP/1.1 and the path", upgrades_need_get_and_http_1_1_and_the_path},
    {"a node without WebSockets answers 404", a_node_without_websockets_answers_404},
    {"foreign upgrades are refused and do no harm",
     foreign_upgrades_are_refused_and_do_no_harm},
    {"frames sent with the upgrade are not lost", frames_sent_with_the_upgrade_are_not_lost},
    {"an upgrade may follow requests", an_upgrade_may_follow_requests},
};

CHECK_MAIN("http_upgrade", tests)
