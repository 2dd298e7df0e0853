/* SPDX-License-Identifier: Apache-2.0
 *
 * What we say to an older server over WebSocket, and what its answers mean.
 */
#include "test/peers/old_manager.h"

/* ---- What goes out ---- */

static void check_keys_in_order(const char *json)
{
    static const char *const keys[] = {
        "payload",           "timestamp",         "nonce",        "signature",
        "encrypted_payload", "sender_public_key", "jwt_token",    "sender_id",
        "recipient_id",      "session_id",        "sequence_num", "version",
        "msg_type",          "message_id",        "type",         "seq"};
    const char *at = json;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && at != NULL; i++) {
        char pattern[64];

        snprintf(pattern, sizeof(pattern), "\"%s\":", keys[i]);
        at = strstr(at, pattern);
        if (!CHECK(at != NULL))
            fprintf(stderr, "%s is not in its place in %s\n", keys[i], json);
    }
}

static void one_envelope_a_frame(void)
{
    struct old_manager manager;
    struct fate fates[2];
    char id[64];

    if (old_manager_start(&manager)) {
        manager_send(&manager, "{\"n\":1}", &fates[0]);
        old_hear(&manager.end); /* no HELLO: the first frame is the message */
        check_keys_in_order(manager.end.text);
        CHECK_CONTAINS(manager.end.text, "{\"payload\":{\"n\":1},\"timestamp\":");
        CHECK_TEXT(old_member(manager.end.text, "type"), "peer_message");
        CHECK_TEXT(old_member(manager.end.text, "msg_type"), "test");
        CHECK_TEXT(old_member(manager.end.text, "sender_id"), "sender");
        CHECK_TEXT(old_member(manager.end.text, "sequence_num"), "1");
        CHECK_TEXT(old_member(manager.end.text, "seq"), "1");
        snprintf(id, sizeof(id), "%s", old_member(manager.end.text, "message_id"));
        manager_send(&manager, "{\"n\":2}", &fates[1]);
        old_hear(&manager.end);
        CHECK_TEXT(old_member(manager.end.text, "seq"), "2");
        CHECK(strcmp(old_member(manager.end.text, "message_id"), id) != 0);
        old_receive(&manager.end, "1");
        old_receive(&manager.end, "2");
        check_fate(&fates[0], PARLEY_DELIVERED);
        check_fate(&fates[1], PARLEY_DELIVERED);
        CHECK(!fates[1].maybe_duplicate);
    }
    old_manager_stop(&manager);
}

struct flood {
    struct old_manager *manager;
    struct fate fates[200];
};

/* 64 unanswered, whatever waits behind them. */
static void so_many_in_flight(void)
{
    struct old_manager manager;
    struct flood flood;
    char seq[16];

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    manager.peer_options.pace = false;
    old_manager_open(&manager);
    for (unsigned n = 0; n < 200; n++)
        manager_send(&manager, "{}", &flood.fates[n]);
    if (old_welcome(manager.listener, &manager.end)) {
        for (unsigned n = 1; n <= 200; n++) {
            old_hear(&manager.end);
            snprintf(seq, sizeof(seq), "%u", n);
            CHECK_TEXT(old_member(manager.end.text, "seq"), seq);
            if (n == 64) {
                struct pollfd more = {.fd = manager.end.fd, .events = POLLIN};

                CHECK(poll(&more, 1, 50) == 0);
            }
            if (n >= 64) {
                snprintf(seq, sizeof(seq), "%u", n - 63);
                old_receive(&manager.end, seq);
            }
        }
        for (unsigned n = 0; n < 137; n++)
            check_fate(&flood.fates[n], PARLEY_DELIVERED);
    }
    old_manager_stop(&manager);
}

static void paced(void)
{
    struct old_manager manager;
    struct fate fates[4];
    struct timespec from, to;

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    manager.peer_options.rate_burst = 2;
    manager.peer_options.rate_per_min = 600;
    old_manager_open(&manager);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (unsigned n = 0; n < 4; n++)
        manager_send(&manager, "{}", &fates[n]);
    if (old_welcome(manager.listener, &manager.end)) {
        for (unsigned n = 0; n < 4; n++)
            old_hear(&manager.end);
        clock_gettime(CLOCK_MONOTONIC, &to);
        CHECK_TEXT(old_member(manager.end.text, "seq"), "4");
        CHECK((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 200);
    }
    old_manager_stop(&manager);
}

/* ---- Acknowledgements ---- */

static void received_by_number_in_any_order(void)
{
    struct old_manager manager;
    struct fate fates[3];

    if (old_manager_start(&manager)) {
        for (unsigned n = 0; n < 3; n++) {
            manager_send(&manager, "{}", &fates[n]);
            old_hear(&manager.end);
        }
        old_receive(&manager.end, "3");
        check_fate(&fates[2], PARLEY_DELIVERED);
        old_receive(&manager.end, "\"1\"");
        check_fate(&fates[0], PARLEY_DELIVERED);
        CHECK_U64(fates[1].known, 0);
        old_say(&manager.end, "{\"type\":\"status\",\"seq\":2,\"payload\":{\"event\":"
                              "\"message_received\",\"original_type\":\"peer_message\"}}");
        check_fate(&fates[1], PARLEY_DELIVERED);
        CHECK_U64(fates[1].transport, PARLEY_TRANSPORT_WEBSOCKET);
    }
    old_manager_stop(&manager);
}

static void received_without_a_number_means_the_oldest(void)
{
    struct old_manager manager;
    struct fate fates[3];

    if (old_manager_start(&manager)) {
        for (unsigned n = 0; n < 3; n++) {
            manager_send(&manager, "{}", &fates[n]);
            old_hear(&manager.end);
        }
        old_receive(&manager.end, "2");
        check_fate(&fates[1], PARLEY_DELIVERED);
        old_receive(&manager.end, NULL);
        check_fate(&fates[0], PARLEY_DELIVERED);
        old_receive(&manager.end, "null");
        check_fate(&fates[2], PARLEY_DELIVERED);
        old_receive(&manager.end, NULL); /* nothing is left to be meant */
    }
    old_manager_stop(&manager);
}

/* A manager without a handler for pong says so; it must not acknowledge a message. */
static void other_answers_acknowledge_nothing(void)
{
    struct old_manager manager;
    struct fate fate;

    if (old_manager_start(&manager)) {
        manager_send(&manager, "{}", &fate);
        old_hear(&manager.end);
        old_say(&manager.end, "{\"type\":\"status\",\"payload\":{\"event\":"
                              "\"message_received\",\"original_type\":\"pong\",\"seq\":1}}");
        old_say(&manager.end, "{\"type\":\"status\",\"payload\":{\"event\":\"busy\"}}");
        old_receive(&manager.end, "7");
        old_receive(&manager.end, "-1");
        old_say(&manager.end, "{\"type\":\"pong\",\"payload\":{\"seq\":1}}");
        old_say(&manager.end, "{\"type\":\"ping\",\"payload\":{}}");
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "pong"); /* all was read */
        CHECK_U64(fate.known, 0);
        old_receive(&manager.end, "1");
        check_fate(&fate, PARLEY_DELIVERED);
    }
    old_manager_stop(&manager);
}

static void silence_is_sent(void)
{
    struct old_manager manager;
    struct fate fates[2];

    old_manager_init(&manager, PARLEY_WEBSOCKET_FIRST);
    manager.options.ack_timeout_ms = 60;
    manager.options.connect_grace_ms = 20000;
    old_manager_open(&manager);
    manager_send(&manager, "{\"n\":1}", &fates[0]);
    if (old_welcome(manager.listener, &manager.end)) {
        old_hear(&manager.end);
        check_fate(&fates[0], PARLEY_SENT);
        CHECK_U64(fates[0].attempts, 1);
        CHECK(!fates[0].maybe_duplicate);
        old_receive(&manager.end, "1"); /* too late: it has its result */
        manager_send(&manager, "{\"n\":2}", &fates[1]);
        CHECK_TEXT(old_member(old_hear(&manager.end), "seq"), "2"); /* not 1 again */
        check_fate(&fates[1], PARLEY_SENT);
        CHECK_U64(fates[0].known, 1);
    }
    check_adds_up(manager.node);
    old_manager_stop(&manager);
}

/* ---- Errors ---- */

static void an_error_for_one_rejects_it(void)
{
    struct old_manager manager;
    struct fate fates[2];

    if (old_manager_start(&manager)) {
        manager_send(&manager, "{}", &fates[0]);
        old_hear(&manager.end);
        old_error(&manager.end, "Handler error: no such task");
        check_fate(&fates[0], PARLEY_REJECTED);
        CHECK_TEXT(fates[0].detail, "Handler error: no such task");
        old_error(&manager.end, "Handler error: nobody's");
        manager_send(&manager, "{}", &fates[1]);
        old_hear(&manager.end);
        old_receive(&manager.end, "2");
        check_fate(&fates[1], PARLEY_DELIVERED);
    }
    old_manager_stop(&manager);
}

static void an_error_for_several_rejects_none(void)
{
    struct old_manager manager;
    struct fate fates[3];

    if (old_manager_start(&manager)) {
        for (unsigned n = 0; n < 3; n++) {
            manager_send(&manager, "{}", &fates[n]);
            old_hear(&manager.end);
        }
        old_receive(&manager.end, "1");
        check_fate(&fates[0], PARLEY_DELIVERED);
        old_error(&manager.end, "Handler error: no");
        check_fate(&fates[1], PARLEY_SENT);
        check_fate(&fates[2], PARLEY_SENT);
        CHECK_CONTAINS(fates[1].detail, "another");
        CHECK_CONTAINS(fates[2].detail, "Handler error: no");
    }
    old_manager_stop(&manager);
}

static void an_error_with_a_number_rejects_that_one(void)
{
    struct old_manager manager;
    struct fate fates[2];

    if (old_manager_start(&manager)) {
        for (unsigned n = 0; n < 2; n++) {
            manager_send(&manager, "{}", &fates[n]);
            old_hear(&manager.end);
        }
        old_say(&manager.end,
                "{\"type\":\"error\",\"seq\":2,\"payload\":{\"error\":\"Handler error: b\"}}");
        check_fate(&fates[1], PARLEY_REJECTED);
        CHECK_U64(fates[0].known, 0);
        old_receive(&manager.end, "1");
        check_fate(&fates[0], PARLEY_DELIVERED);
    }
    old_manager_stop(&manager);
}

static void a_rate_limit_rejects_nothing(void)
{
    struct old_manager manager;
    struct fate fates[2];

    if (old_manager_start(&manager)) {
        for (unsigned n = 0; n < 2; n++) {
            send_one(manager.node, manager.peer, "{}", 1000, &fates[n]);
            old_hear(&manager.end);
        }
        old_error(&manager.end, "Rate limit exceeded (100 msg/min)");
        check_fate(&fates[0], PARLEY_EXPIRED); /* waiting for the minute to pass */
        check_fate(&fates[1], PARLEY_EXPIRED);
        CHECK_U64(fates[0].attempts, 1);
        CHECK(!fates[0].maybe_duplicate);
    }
    old_manager_stop(&manager);
}

/* ---- What it asks ---- */

static void pings_are_answered_and_pongs_never(void)
{
    struct old_manager manager;

    if (old_manager_start(&manager)) {
        old_say(&manager.end, "{\"type\":\"pong\",\"payload\":{\"seq\":1}}");
        old_say(&manager.end, "{\"type\":\"ping\",\"payload\":{\"seq\":41}}");
        old_say(&manager.end, "{\"type\":\"ping\",\"seq\":\"a\",\"payload\":{}}");
        CHECK_CONTAINS(old_hear(&manager.end),
                       "{\"type\":\"pong\",\"payload\":{\"seq\":41,\"timestamp\":");
        CHECK_CONTAINS(manager.end.text, "},\"seq\":41,\"timestamp\":\"20");
        CHECK_CONTAINS(old_hear(&manager.end),
                       "{\"type\":\"pong\",\"payload\":{\"seq\":\"a\"");
        old_say(&manager.end, "{\"type\":\"pong\",\"payload\":{}}");
        old_say(&manager.end, "{\"type\":\"ping\",\"payload\":{}}");
        CHECK_CONTAINS(old_hear(&manager.end),
                       "{\"type\":\"pong\",\"payload\":{\"seq\":null,");
    }
    old_manager_stop(&manager);
}

static void capabilities_are_exchanged_once(void)
{
    struct old_manager manager;

    if (old_manager_start(&manager)) {
        old_say(&manager.end, "{\"type\":\"capability_exchange\",\"payload\":{}}");
        CHECK_CONTAINS(
            old_hear(&manager.end),
            "{\"type\":\"capability_exchange\",\"payload\":{\"acknowledged\":true,");
        old_say(&manager.end,
                "{\"type\":\"capability_exchange\",\"payload\":{\"acknowledged\":true}}");
        old_say(&manager.end, "{\"type\":\"ping\",\"payload\":{\"seq\":1}}");
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "pong");
    }
    old_manager_stop(&manager);
}

static bool has_unhandled(void *user)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(user, &stats), OK);
    return stats.unhandled >= 2;
}

static void its_messages_reach_the_receiver(void)
{
    struct old_manager manager;

    if (old_manager_start(&manager)) {
        old_say(&manager.end,
                "{\"type\":\"task_update\",\"payload\":{\"n\":1},"
                "\"timestamp\":\"2026-01-01T00:00:00\",\"message_id\":\"a\",\"seq\":1}");
        old_say(&manager.end,
                "{\"payload\":{\"n\":2},\"timestamp\":1700000000.5,\"nonce\":\"AA==\","
                "\"sender_id\":\"old\",\"recipient_id\":\"sender\",\"session_id\":\"x\","
                "\"sequence_num\":1,\"version\":\"1.0\",\"msg_type\":\"task\","
                "\"message_id\":\"b\",\"type\":\"peer_message\"}");
        CHECK(check_until(has_unhandled, manager.node));
    }
    old_manager_stop(&manager);
}

/* ---- Alive or not ---- */

static void silent_ones_are_pinged_and_dropped(void)
{
    struct old_manager manager;
    char answer[256];

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    manager.options.heartbeat_interval_ms = 50;
    manager.options.heartbeat_grace_ms = 600;
    old_manager_open(&manager);
    CHECK_STATUS(parley_connect(manager.node, manager.peer), OK);
    if (old_welcome(manager.listener, &manager.end)) {
        for (unsigned n = 0; n < 2; n++) {
            CHECK_CONTAINS(old_hear(&manager.end), "{\"type\":\"ping\",\"payload\":{\"seq\":");
            CHECK_CONTAINS(manager.end.text, ",\"message_id\":\"");
            snprintf(answer, sizeof(answer), "{\"type\":\"pong\",\"payload\":{\"seq\":%s}}",
                     old_member(manager.end.text, "seq"));
            old_say(&manager.end, answer);
        }
        CHECK_CONTAINS(old_hear(&manager.end), "{\"type\":\"ping\"");
        old_hear(&manager.end); /* unanswered: the end */
        CHECK_TEXT(manager.end.text, "");
        old_hang_up(&manager.end);
        CHECK(old_welcome(manager.listener, &manager.end)); /* and once more */
    }
    old_manager_stop(&manager);
}

static const struct check_test tests[] = {
    {"a message is one complete envelope with a seq", one_envelope_a_frame},
    {"64 messages are unanswered at most", so_many_in_flight},
    {"messages keep to the configured pace", paced},
    {"message_received acknowledges by number", received_by_number_in_any_order},
    {"message_received without a number means the oldest",
     received_without_a_number_means_the_oldest},
    {"what answers something else acknowledges nothing", other_answers_acknowledge_nothing},
    {"silence on an open connection is sent, once", silence_is_sent},
    {"an error rejects the only message it can mean", an_error_for_one_rejects_it},
    {"an error that may mean several rejects none", an_error_for_several_rejects_none},
    {"an error with a number rejects that message", an_error_with_a_number_rejects_that_one},
    {"a rate limit puts messages back", a_rate_limit_rejects_nothing},
    {"pings are answered with their seq, pongs never", pings_are_answered_and_pongs_never},
    {"capability_exchange is answered, its answer is not", capabilities_are_exchanged_once},
    {"its messages reach the receiver", its_messages_reach_the_receiver},
    {"a silent manager is pinged, and dropped when it stays so",
     silent_ones_are_pinged_and_dropped},
};

CHECK_MAIN("an older server over WebSocket", tests)
