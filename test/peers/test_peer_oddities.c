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

/* What a request was sent to is not what the WebSocket turns out to lead to. */
static void older_request_then_parley(void)
{
    struct old_manager manager;
    struct old_end http;
    struct fate fate;
    char ack[256];

    old_manager_init(&manager, PARLEY_WEBSOCKET_FIRST);
    manager.options.connect_grace_ms = 50;
    manager.options.http_backoff_ms = 20;
    old_manager_open(&manager);
    manager_send(&manager, "{}", &fate);
    if (old_accept(manager.listener, &manager.end) && old_accept(manager.listener, &http)) {
        CHECK(strncmp(http.request, "POST /message ", 14) == 0);
        old_switch_protocols(&manager.end);
        old_say(&manager.end, PARLEY_GREETING);
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "HELLO");
        old_hang_up(&http); /* it may have run the message */
        old_hear(&manager.end);
        snprintf(ack, sizeof(ack),
                 "{\"type\":\"ACK\",\"payload\":{\"session_id\":\"%s\","
                 "\"ack_seq\":1,\"rejected\":[]}}",
                 old_member(manager.end.text, "session_id"));
        old_say(&manager.end, ack);
        check_fate(&fate, PARLEY_DELIVERED);
        CHECK_U64(fate.attempts, 2);
        CHECK(fate.maybe_duplicate);
    }
    old_manager_stop(&manager);
}

/* Answers the next request on the connection, or on a new one. */
static bool respond(struct old_manager *manager, const char *path, const char *status,
                    const char *body)
{
    char request[32];
    bool came = manager->end.fd < 0 ? old_accept(manager->listener, &manager->end)
                                    : old_request(&manager->end);

    if (!CHECK(came))
        return false;
    snprintf(request, sizeof(request), "POST %s HTTP", path);
    CHECK(strncmp(manager->end.request, request, strlen(request)) == 0);
    old_respond(&manager->end, status, body);
    return true;
}

static void start_http(struct old_manager *manager)
{
    old_manager_init(manager, PARLEY_HTTP_ONLY);
    old_manager_open(manager);
}

/* A batch whose acknowledgement cannot be read may have run. */
static void unreadable_then_older(void)
{
    struct old_manager manager;
    struct fate fates[2];

    start_http(&manager);
    manager_send(&manager, "{}", &fates[0]);
    respond(&manager, "/message", "200 OK\r\nParley: 1", "{}");
    check_fate(&fates[0], PARLEY_DELIVERED);
    manager_send(&manager, "{}", &fates[1]);
    respond(&manager, "/messages", "200 OK", "garbage");
    respond(&manager, "/messages", "404 Not Found", "{}");
    respond(&manager, "/message", "200 OK", "{}");
    check_fate(&fates[1], PARLEY_DELIVERED);
    CHECK(fates[1].maybe_duplicate);
    old_manager_stop(&manager);
}

/* A connection that ends under a request; the same again draws a 500. Without its number
 * nobody could tell that "0.3" was a repeat, so it stays as it is. */
static void resent_in_the_same_version(void)
{
    struct old_manager manager;
    struct fate fates[2];

    start_http(&manager);
    manager_send(&manager, "{}", &fates[0]);
    respond(&manager, "/message", "200 OK", "{}");
    check_fate(&fates[0], PARLEY_DELIVERED);
    manager_send(&manager, "{}", &fates[1]);
    CHECK(old_request(&manager.end));
    old_hang_up(&manager.end); /* it may have run it */
    respond(&manager, "/message", "500 No", "{}");
    if (respond(&manager, "/message", "200 OK", "{}") && manager.end.text != NULL)
        CHECK_TEXT(old_member(manager.end.text, "version"), "1.0");
    check_fate(&fates[1], PARLEY_DELIVERED);
    CHECK(fates[1].maybe_duplicate);
    old_manager_stop(&manager);
}

/* ---- Answers that come late ---- */

/* A manager with one message that has ended as sent for its silence. */
static bool start_silent(struct old_manager *manager)
{
    struct fate fate;

    old_manager_init(manager, PARLEY_WEBSOCKET_ONLY);
    manager->options.ack_timeout_ms = 300;
    old_manager_open(manager);
    manager_send(manager, "{\"n\":1}", &fate);
    if (!old_welcome(manager->listener, &manager->end))
        return false;
    old_hear(&manager->end);
    check_fate(&fate, PARLEY_SENT);
    return true;
}

static void send_and_hear(struct old_manager *manager, struct fate *fate)
{
    manager_send(manager, "{}", fate);
    old_hear(&manager->end);
}

static void late_error(void)
{
    struct old_manager manager;
    struct fate fates[3];

    if (start_silent(&manager)) {
        send_and_hear(&manager, &fates[0]);
        old_error(&manager.end, "Handler error: took long");
        check_fate(&fates[0], PARLEY_SENT);
        send_and_hear(&manager, &fates[1]);
        old_receive(&manager.end, "3"); /* all before it is settled */
        check_fate(&fates[1], PARLEY_DELIVERED);
        send_and_hear(&manager, &fates[2]);
        old_error(&manager.end, "Handler error: no");
        check_fate(&fates[2], PARLEY_REJECTED);
    }
    old_manager_stop(&manager);
}

static void late_receipt(void)
{
    struct old_manager manager;
    struct fate fate;

    if (start_silent(&manager)) {
        send_and_hear(&manager, &fate);
        old_receive(&manager.end, NULL); /* the first one's */
        old_say(&manager.end, "{\"type\":\"ping\",\"payload\":{}}");
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "pong"); /* all was read */
        CHECK_U64(fate.known, 0);
        old_receive(&manager.end, NULL);
        check_fate(&fate, PARLEY_DELIVERED);
    }
    old_manager_stop(&manager);
}

static void error_after_expiry(void)
{
    struct old_manager manager;
    struct fate fates[2];

    if (old_manager_start(&manager)) {
        send_one(manager.node, manager.peer, "{}", 100, &fates[0]);
        old_hear(&manager.end);
        check_fate(&fates[0], PARLEY_EXPIRED);
        send_and_hear(&manager, &fates[1]);
        old_error(&manager.end, "Handler error: 1");
        check_fate(&fates[1], PARLEY_SENT);
    }
    old_manager_stop(&manager);
}

/* Three are refused one after another, and a fourth is sent meanwhile. */
static void errors_in_a_row(void)
{
    struct old_manager manager;
    struct fate fates[5];

    if (old_manager_start(&manager)) {
        for (unsigned n = 0; n < 3; n++)
            send_and_hear(&manager, &fates[n]);
        old_error(&manager.end, "Handler error: 1");
        check_fate(&fates[2], PARLEY_SENT);
        old_error(&manager.end, "Handler error: 2");
        send_and_hear(&manager, &fates[3]);
        old_error(&manager.end, "Handler error: 3");
        check_fate(&fates[3], PARLEY_SENT);
        CHECK_CONTAINS(fates[3].detail, "another");
        old_receive(&manager.end, "4");
        send_and_hear(&manager, &fates[4]);
        old_error(&manager.end, "Handler error: 5");
        check_fate(&fates[4], PARLEY_REJECTED);
    }
    old_manager_stop(&manager);
}

/* ---- A limit that something else may have reached ---- */

static bool accept_post(struct old_manager *manager)
{
    while (old_accept(manager->listener, &manager->end)) {
        if (strncmp(manager->end.request, "POST ", 5) == 0)
            return true;
        old_respond(&manager->end, "403 Forbidden", "");
        old_hang_up(&manager->end);
    }
    return false;
}

/* The message may have been taken without a word, and our pong be what was too much. */
static void limited(bool pong, bool expected)
{
    struct old_manager manager;
    struct fate fate;

    old_manager_init(&manager, PARLEY_WEBSOCKET_FIRST);
    old_manager_open(&manager);
    manager_send(&manager, "{}", &fate);
    if (old_welcome(manager.listener, &manager.end)) {
        old_hear(&manager.end);
        if (pong) {
            old_say(&manager.end, "{\"type\":\"ping\",\"payload\":{}}");
            CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "pong");
        }
        old_error(&manager.end, "Rate limit exceeded (100 msg/min)");
        old_close(&manager.end, 1001, "Server shutting down");
        old_hang_up(&manager.end);
        if (accept_post(&manager)) {
            old_respond(&manager.end, "200 OK", "{}");
            check_fate(&fate, PARLEY_DELIVERED);
            CHECK_U64(fate.attempts, 2);
            CHECK(fate.maybe_duplicate == expected);
        }
    }
    old_manager_stop(&manager);
}

static void limited_for_a_pong(void)
{
    limited(true, true);
}

static void limited_alone(void)
{
    limited(false, false);
}

/* What was turned away unread cannot have arrived, though HTTP says that it comes too late. */
static void limited_and_then_late(void)
{
    struct old_manager manager;
    struct fate fate;

    old_manager_init(&manager, PARLEY_WEBSOCKET_FIRST);
    old_manager_open(&manager);
    manager_send(&manager, "{}", &fate);
    if (old_welcome(manager.listener, &manager.end)) {
        old_hear(&manager.end);
        old_say(&manager.end, "{\"type\":\"error\",\"seq\":1,"
                              "\"payload\":{\"error\":\"Rate limit exceeded: too much\"}}");
        old_close(&manager.end, 1001, "Server shutting down");
        old_hang_up(&manager.end);
        if (accept_post(&manager)) {
            old_respond(&manager.end, "400 Bad Request", "{\"detail\":\"SEQUENCE_ERROR\"}");
            check_fate(&fate, PARLEY_REJECTED);
        }
    }
    old_manager_stop(&manager);
}

/* ---- An acknowledgement of what was never sent ---- */

static void too_much_over_http(void)
{
    struct old_manager manager;
    struct fate fate;
    char ack[256];

    old_manager_init(&manager, PARLEY_HTTP_ONLY);
    manager.options.http_attempts = 2;
    manager.peer_options.dialect = PARLEY_DIALECT_PARLEY;
    old_manager_open(&manager);
    send_one(manager.node, manager.peer, "{}", 2000, &fate);
    if (old_accept(manager.listener, &manager.end)) {
        snprintf(ack, sizeof(ack),
                 "{\"type\":\"ACK\",\"payload\":{\"session_id\":\"%s\","
                 "\"ack_seq\":9,\"rejected\":[]}}",
                 old_member(manager.end.text, "session_id"));
        old_respond(&manager.end, "200 OK", ack);
        CHECK(old_request(&manager.end));
        old_respond(&manager.end, "200 OK", ack);
        check_fate(&fate, PARLEY_EXHAUSTED);
        CHECK_U64(fate.attempts, 2);
        CHECK_TEXT(fate.detail, "malformed acknowledgement");
    }
    old_manager_stop(&manager);
}

static const struct check_test tests[] = {
    {"an unpaced request that found no connection gives no turn back", unpaced_request_unsent},
    {"what an older service may have run is a duplicate at a parley",
     older_request_then_parley},
    {"what a parley may have run is a duplicate at an older service", unreadable_then_older},
    {"what may have run before a 500 is not sent as 0.3, and may be a duplicate",
     resent_in_the_same_version},
    {"a late error refuses no later message", late_error},
    {"a late message_received without a number acknowledges no later message", late_receipt},
    {"an error for what has expired refuses no later message", error_after_expiry},
    {"errors in a row refuse none of those behind them", errors_in_a_row},
    {"a rate limit after a pong makes a repeat doubtful", limited_for_a_pong},
    {"a rate limit after nothing but the message does not", limited_alone},
    {"what was turned away unread did not arrive", limited_and_then_late},
    {"an acknowledgement of what was never sent is a failed attempt", too_much_over_http},
};

CHECK_MAIN("odd answers", tests)
