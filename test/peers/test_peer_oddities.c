/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers that come late, mean something else, or cannot be true, from peers that change
 * between one connection and the next.
 */
#include "test/peers/old_manager.h"

#define PARLEY_GREETING                                           \
    "{\"type\":\"status\",\"payload\":{\"event\":\"connected\","  \
    "\"entity_id\":\"old\",\"session_id\":\"s\",\"capabilities\"" \
    ":[\"parley/1\"]}}"

static bool http_is_under_way(void *user)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(user, &stats), OK);
    return stats.http_requests >= 1;
}

/* A request that never found a connection was a parley's when it began, and unpaced; then
 * the other side's WebSocket is an older server's. */
static void unpaced_request_unsent(void)
{
    struct old_manager manager;
    struct fate fate;
    char url[64], ws_url[64];
    int silent;
    uint16_t port = old_listen(&silent); /* accepts, and says nothing: no TLS there */

    old_manager_init(&manager, PARLEY_WEBSOCKET_FIRST);
    manager.options.http_connect_timeout_ms = 1500;
    manager.options.http_attempts = 1;
    manager.options.reconnect_min_ms = 200;
    manager.node = node_open(&manager.options);
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
    snprintf(ws_url, sizeof(ws_url), "http://127.0.0.1:%u/ws/v1/peers", manager.port);
    manager.peer_options.ws_url = ws_url;
    CHECK_STATUS(
        parley_peer_add(manager.node, "old", url, &manager.peer_options, &manager.peer), OK);
    CHECK_STATUS(parley_connect(manager.node, manager.peer), OK);
    if (old_accept(manager.listener, &manager.end)) {
        old_switch_protocols(&manager.end);
        old_say(&manager.end, PARLEY_GREETING);
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "HELLO");
        old_hang_up(&manager.end);
        manager_send(&manager, "{}", &fate);
        CHECK(check_until(http_is_under_way, manager.node));
        if (old_welcome(manager.listener, &manager.end)) {
            CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "peer_message");
            old_receive(&manager.end, "1");
            check_fate(&fate, PARLEY_DELIVERED);
            CHECK_U64(fate.transport, PARLEY_TRANSPORT_WEBSOCKET);
        }
    }
    close(silent);
    old_manager_stop(&manager);
}

static const struct check_test tests[] = {
    {"an unpaced request that found no connection gives no turn back", unpaced_request_unsent},
};

CHECK_MAIN("odd answers", tests)
