/* SPDX-License-Identifier: Apache-2.0
 *
 * Which dialect a peer is spoken to in, anew for every connection, and what becomes of its
 * messages when a connection is refused, replaced or lost.
 */
#include "test/peers/old_manager.h"

#define RECEIVED \
    "{\"status\":\"received\",\"entity_id\":\"old\",\"verification\":\"disabled\"}"

static void refuse_upgrade(struct old_manager *manager)
{
    struct old_end end;

    if (old_accept(manager->listener, &end)) {
        CHECK(strncmp(end.request, "GET ", 4) == 0);
        old_respond(&end, "403 Forbidden", "");
    }
    old_hang_up(&end);
}

/* Takes connections, refusing upgrades, until one is a POST. */
static bool accept_post(struct old_manager *manager, struct old_end *end)
{
    while (old_accept(manager->listener, end)) {
        if (strncmp(end->request, "POST ", 5) == 0)
            return true;
        old_respond(end, "403 Forbidden", "");
        old_hang_up(end);
    }
    return false;
}

/* ---- Choosing ---- */

static void silence_for_2_s_is_a_manager(void)
{
    struct old_manager manager;
    struct fate fate;

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    old_manager_open(&manager);
    manager_send(&manager, "{}", &fate);
    if (old_accept(manager.listener, &manager.end)) {
        old_switch_protocols(&manager.end);
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "peer_message");
        old_receive(&manager.end, "1");
        check_fate(&fate, PARLEY_DELIVERED);
    }
    old_manager_stop(&manager);
}

static void a_first_frame_that_is_no_greeting_is_a_managers(void)
{
    struct old_manager manager;
    struct fate fate;

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    old_manager_open(&manager);
    manager_send(&manager, "{}", &fate);
    if (old_accept(manager.listener, &manager.end)) {
        old_switch_protocols(&manager.end);
        old_say(&manager.end, "{\"type\":\"ping\",\"payload\":{\"seq\":1}}");
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "pong");
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "peer_message");
        old_receive(&manager.end, "1");
        check_fate(&fate, PARLEY_DELIVERED);
    }
    old_manager_stop(&manager);
}

static void a_parley_by_configuration_stays_one(void)
{
    struct old_manager manager;
    struct fate fate;

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    manager.peer_options.dialect = PARLEY_DIALECT_PARLEY;
    old_manager_open(&manager);
    send_one(manager.node, manager.peer, "{}", 300, &fate);
    if (old_welcome(manager.listener, &manager.end)) {
        CHECK_TEXT(old_hear(&manager.end), ""); /* not a word but the close */
        CHECK_U64(manager.end.code, 1000);
        check_fate(&fate, PARLEY_EXPIRED);
        CHECK_U64(fate.attempts, 0);
    }
    old_manager_stop(&manager);
}

#define NEW_GREETING                                             \
    "{\"type\":\"status\",\"payload\":{\"event\":\"connected\"," \
    "\"entity_id\":\"old\",\"session_id\":\"s\",\"capabilities\":[\"parley/1\"]}}"

static void acknowledge(struct old_end *end, const char *number)
{
    char text[256];

    snprintf(text, sizeof(text),
             "{\"type\":\"ACK\",\"payload\":{\"session_id\":\"%s\",\"ack_seq\":%s,"
             "\"rejected\":[]}}",
             old_member(end->text, "session_id"), number);
    old_say(end, text);
}

static void a_manager_by_configuration_stays_one(void)
{
    struct old_manager manager;
    struct fate fate;

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    manager.peer_options.dialect = PARLEY_DIALECT_MANAGER;
    old_manager_open(&manager);
    manager_send(&manager, "{}", &fate);
    if (old_accept(manager.listener, &manager.end)) {
        old_switch_protocols(&manager.end);
        old_say(&manager.end, NEW_GREETING);
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "peer_message");
        old_receive(&manager.end, "1");
        check_fate(&fate, PARLEY_DELIVERED);
    }
    old_manager_stop(&manager);
}

/* Over HTTP, too: single envelopes, although its answers say that it is a parley. */
static void a_manager_by_configuration_gets_no_batches(void)
{
    struct old_manager manager;
    struct fate fate;

    old_manager_init(&manager, PARLEY_HTTP_ONLY);
    manager.peer_options.dialect = PARLEY_DIALECT_MANAGER;
    old_manager_open(&manager);
    manager_send(&manager, "{}", &fate);
    if (old_accept(manager.listener, &manager.end)) {
        for (unsigned n = 0; n < 2; n++) {
            CHECK(strncmp(manager.end.request, "POST /message ", 14) == 0);
            old_respond(&manager.end, "200 OK\r\nParley: 1; max_batch_bytes=65536", RECEIVED);
            check_fate(&fate, PARLEY_DELIVERED);
            if (n == 0) {
                manager_send(&manager, "{}", &fate);
                CHECK(old_request(&manager.end));
            }
        }
    }
    old_manager_stop(&manager);
}

static bool welcome_again(struct old_manager *manager)
{
    old_hang_up(&manager->end);
    return old_accept(manager->listener, &manager->end);
}

static void upgraded_on_the_next_connection_and_back(void)
{
    struct old_manager manager;
    struct fate fates[3];

    if (!old_manager_start(&manager))
        return;
    manager_send(&manager, "{}", &fates[0]);
    CHECK_TEXT(old_member(old_hear(&manager.end), "seq"), "1");
    old_receive(&manager.end, "1");
    check_fate(&fates[0], PARLEY_DELIVERED);
    manager_send(&manager, "{}", &fates[1]);
    CHECK_TEXT(old_member(old_hear(&manager.end), "seq"), "2");
    if (welcome_again(&manager)) { /* it has become a parley, and forgotten all */
        old_switch_protocols(&manager.end);
        old_say(&manager.end, NEW_GREETING);
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "HELLO");
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "batch");
        CHECK_TEXT(old_member(manager.end.text, "base_seq"), "2");
        CHECK_TEXT(old_member(manager.end.text, "first_seq"), "2");
        acknowledge(&manager.end, "2");
        check_fate(&fates[1], PARLEY_DELIVERED);
        CHECK(fates[1].maybe_duplicate); /* it ran before, or not */
    }
    if (welcome_again(&manager)) { /* and an older one again */
        old_switch_protocols(&manager.end);
        old_say(&manager.end, OLD_GREETING);
        manager_send(&manager, "{}", &fates[2]);
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "peer_message");
        CHECK_TEXT(old_member(manager.end.text, "seq"), "3");
        old_receive(&manager.end, "3");
        check_fate(&fates[2], PARLEY_DELIVERED);
        CHECK(!fates[2].maybe_duplicate);
    }
    old_manager_stop(&manager);
}

/* Silence after a network's failure says nothing; from an older server it would come again. */
static void silence_of_a_parley_is_a_loss(void)
{
    struct old_manager manager;
    struct fate fate;

    if (!old_manager_start(&manager))
        return;
    for (unsigned i = 0; i < 2 && welcome_again(&manager); i++) {
        old_switch_protocols(&manager.end);
        if (i == 0) {
            old_say(&manager.end, NEW_GREETING);
            CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "HELLO");
            manager_send(&manager, "{}", &fate);
            CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "batch");
        }
    }
    check_state(&manager, PARLEY_PEER_IDLE, "no greeting within 2 s");
    if (welcome_again(&manager)) {
        old_switch_protocols(&manager.end);
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "peer_message");
        old_receive(&manager.end, "1");
        check_fate(&fate, PARLEY_DELIVERED);
    }
    old_manager_stop(&manager);
}

/* A number given up while the peer was a parley is passed over, not said. */
static void no_voids_to_older_peers(void)
{
    struct old_manager manager;
    struct fate fates[3];

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    old_manager_open(&manager);
    manager_send(&manager, "{\"n\":1}", &fates[0]);
    if (old_accept(manager.listener, &manager.end)) {
        old_switch_protocols(&manager.end);
        old_say(&manager.end, NEW_GREETING);
        old_hear(&manager.end);
        CHECK_TEXT(old_member(old_hear(&manager.end), "type"), "batch");
        send_one(manager.node, manager.peer, "{\"n\":2}", 1000, &fates[1]);
        CHECK_TEXT(old_member(old_hear(&manager.end), "first_seq"), "2");
        manager_send(&manager, "{\"n\":3}", &fates[2]);
        CHECK_TEXT(old_member(old_hear(&manager.end), "first_seq"), "3");
        check_fate(&fates[1], PARLEY_EXPIRED);
    }
    if (welcome_again(&manager)) {
        old_switch_protocols(&manager.end);
        old_say(&manager.end, OLD_GREETING);
        CHECK_TEXT(old_member(old_hear(&manager.end), "seq"), "1");
        CHECK_TEXT(old_member(old_hear(&manager.end), "seq"), "3");
        CHECK_TEXT(old_member(manager.end.text, "n"), "3");
        old_receive(&manager.end, "1");
        old_receive(&manager.end, "3");
        check_fate(&fates[0], PARLEY_DELIVERED);
        check_fate(&fates[2], PARLEY_DELIVERED);
        CHECK(fates[0].maybe_duplicate && fates[2].maybe_duplicate);
    }
    old_manager_stop(&manager);
}

/* ---- Refused, replaced, lost ---- */

static void a_refused_upgrade_leaves_http(void)
{
    struct old_manager manager;
    struct fate fate;

    old_manager_init(&manager, PARLEY_WEBSOCKET_FIRST);
    manager.options.reconnect_min_ms = 60000;
    old_manager_open(&manager);
    manager_send(&manager, "{}", &fate);
    refuse_upgrade(&manager);
    if (old_accept(manager.listener, &manager.end)) {
        CHECK(strncmp(manager.end.request, "POST /message ", 14) == 0);
        old_respond(&manager.end, "200 OK", RECEIVED);
        check_fate(&fate, PARLEY_DELIVERED);
        CHECK_U64(fate.transport, PARLEY_TRANSPORT_HTTP);
        CHECK(!fate.maybe_duplicate);
    }
    check_state(&manager, PARLEY_PEER_BACKOFF, "refused with 403");
    old_manager_stop(&manager);
}

static void a_newer_connection_is_not_fought(void)
{
    struct old_manager manager;

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    manager.options.reconnect_min_ms = 1; /* any connection has lived by then */
    old_manager_open(&manager);
    CHECK_STATUS(parley_connect(manager.node, manager.peer), OK);
    if (old_welcome(manager.listener, &manager.end)) {
        check_state(&manager, PARLEY_PEER_OPEN, "");
        old_close(&manager.end, 1008, "New connection established");
        check_state(&manager, PARLEY_PEER_BACKOFF, "1008");
        old_hang_up(&manager.end);
        CHECK(old_welcome(manager.listener, &manager.end)); /* later, it comes again */
    }
    old_manager_stop(&manager);
}

static void lost_ones_go_by_http_and_say_so(void)
{
    struct old_manager manager;
    struct fate fates[3];
    struct old_end post;

    old_manager_init(&manager, PARLEY_WEBSOCKET_FIRST);
    manager.options.connect_grace_ms = 20000;
    old_manager_open(&manager);
    manager_send(&manager, "{\"n\":1}", &fates[0]);
    manager_send(&manager, "{\"n\":2}", &fates[1]);
    if (old_welcome(manager.listener, &manager.end)) {
        old_hear(&manager.end);
        old_hear(&manager.end);
        old_receive(&manager.end, "1");
        check_fate(&fates[0], PARLEY_DELIVERED);
        old_hang_up(&manager.end);
        if (accept_post(&manager, &post)) {
            CHECK_TEXT(old_member(post.text, "n"), "2");
            CHECK_TEXT(old_member(post.text, "sequence_num"), "2");
            old_respond(&post, "200 OK", RECEIVED);
            check_fate(&fates[1], PARLEY_DELIVERED);
            send_one(manager.node, manager.peer, "{\"n\":3}", 0, &fates[2]);
            CHECK(old_request(&post));
            CHECK_TEXT(old_member(post.text, "n"), "3");
            old_respond(&post, "200 OK", RECEIVED);
            check_fate(&fates[2], PARLEY_DELIVERED);
        }
        old_hang_up(&post);
        CHECK(!fates[0].maybe_duplicate);
        CHECK(fates[1].maybe_duplicate);
        CHECK_U64(fates[1].attempts, 2);
        CHECK(!fates[2].maybe_duplicate);
    }
    check_adds_up(manager.node);
    old_manager_stop(&manager);
}

/* ---- Too long for one frame ---- */

static char *large_payload(size_t len)
{
    char *payload = malloc(len + 16);
    int head = snprintf(payload, 16, "{\"x\":\"");

    memset(payload + head, 'x', len);
    snprintf(payload + head + len, 3, "\"}");
    return payload;
}

/* Hears pieces and acknowledges them, until the last one. @return how many came */
static unsigned hear_chunks(struct old_end *end)
{
    char number[32];
    unsigned count = 0;

    for (;;) {
        const char *text = old_hear(end);
        bool last = strstr(text, "\"is_last\":true") != NULL;

        snprintf(number, sizeof(number), "%u", count);
        if (!CHECK_TEXT(old_member(text, "msg_type"), "chunk") ||
            !CHECK_TEXT(old_member(text, "chunk_index"), number) ||
            !CHECK_TEXT(old_member(text, "original_msg_type"), "test"))
            return count;
        CHECK(strlen(text) < 10000);
        count++;
        old_receive(end, old_member(text, "seq"));
        if (last)
            return count;
    }
}

static void large_ones_go_in_chunks(void)
{
    struct old_manager manager;
    char *payload = large_payload(30000);
    struct fate fate, small;

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    old_manager_open(&manager);
    manager_send(&manager, payload, &fate);
    if (old_welcome(manager.listener, &manager.end)) {
        CHECK_U64(hear_chunks(&manager.end), 5); /* of 6144 bytes each */
        check_fate(&fate, PARLEY_DELIVERED);
        manager_send(&manager, "{}", &small);
        CHECK_TEXT(old_member(old_hear(&manager.end), "seq"), "6");
        old_receive(&manager.end, "6");
        check_fate(&small, PARLEY_DELIVERED);
    }
    free(payload);
    old_manager_stop(&manager);
}

static void a_refused_chunk_ends_the_whole(void)
{
    static const char refusal[] =
        "{\"type\":\"error\",\"payload\":{\"error\":\"Handler error: full\",\"seq\":1}}";
    struct old_manager manager;
    char *payload = large_payload(300000);
    struct fate fate, small;

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    old_manager_open(&manager);
    manager_send(&manager, payload, &fate);
    if (old_welcome(manager.listener, &manager.end)) {
        CHECK_TEXT(old_member(old_hear(&manager.end), "seq"), "1");
        CHECK_TEXT(old_member(old_hear(&manager.end), "seq"), "2");
        old_say(&manager.end, refusal);
        check_fate(&fate, PARLEY_REJECTED);
        CHECK_CONTAINS(fate.detail, "full");
        manager_send(&manager, "{}", &small); /* the rest was not sent */
        CHECK_TEXT(old_member(old_hear(&manager.end), "seq"), "3");
        old_receive(&manager.end, "3");
        check_fate(&small, PARLEY_DELIVERED);
    }
    free(payload);
    old_manager_stop(&manager);
}

/* ---- Addresses ---- */

static void dials(const char *url, const char *ws_url, const char *request)
{
    struct old_manager manager;
    char text[2][128];

    old_manager_init(&manager, PARLEY_WEBSOCKET_ONLY);
    snprintf(text[0], sizeof(text[0]), "http://127.0.0.1:%u%s", manager.port, url);
    snprintf(text[1], sizeof(text[1]), "ws://127.0.0.1:%u%s", manager.port,
             ws_url != NULL ? ws_url : "");
    CHECK_STATUS(parley_open(&manager.options, NULL, 0, &manager.node), OK);
    manager.peer_options.ws_url = ws_url != NULL ? text[1] : NULL;
    CHECK_STATUS(
        parley_peer_add(manager.node, "old", text[0], &manager.peer_options, &manager.peer),
        OK);
    CHECK_STATUS(parley_connect(manager.node, manager.peer), OK);
    if (old_accept(manager.listener, &manager.end))
        CHECK_CONTAINS(manager.end.request, request);
    old_manager_stop(&manager);
}

static void the_websocket_is_at_its_address(void)
{
    dials("", NULL, "GET /ws/v1/peers?session_id=");
    dials("/a/b", NULL, "GET /a/b/ws/v1/peers?session_id=");
    dials("/a/b", "/push", "GET /push?session_id=");
}

/* ---- No WebSocket at all ---- */

/* Every connection that is made is recorded: none asks for an upgrade. */
static void not_one_websocket_byte(parley_preference preference, parley_dialect dialect)
{
    struct old_manager manager;
    struct fate fates[5];
    struct old_end ends[5];

    old_manager_init(&manager, preference);
    manager.peer_options.dialect = dialect;
    manager.options.heartbeat_interval_ms = 10;
    manager.options.http_backoff_ms = 10;
    old_manager_open(&manager);
    CHECK_STATUS(parley_connect(manager.node, manager.peer), EREFUSED);
    for (unsigned n = 0; n < 5; n++) {
        parley_message message;

        memset(&fates[n], 0, sizeof(fates[n]));
        parley_message_init(&message, "test", "{}", 2);
        message.hint = PARLEY_HINT_WEBSOCKET;
        CHECK_STATUS(
            parley_send(manager.node, manager.peer, &message, note_fate, &fates[n], NULL), OK);
        if (!old_accept(manager.listener, &ends[n]))
            continue;
        CHECK(strncmp(ends[n].request, "POST /message ", 14) == 0);
        CHECK_TEXT(old_header(&ends[n], "\r\nUpgrade"), "");
        old_respond(&ends[n], "200 OK\r\nConnection: close", RECEIVED);
        old_hang_up(&ends[n]); /* the next one has to connect anew */
        check_fate(&fates[n], PARLEY_DELIVERED);
    }
    {
        struct pollfd more = {.fd = manager.listener, .events = POLLIN};

        CHECK(poll(&more, 1, 0) == 0);
    }
    old_manager_stop(&manager);
}

static void http_only_opens_no_websocket(void)
{
    not_one_websocket_byte(PARLEY_HTTP_ONLY, PARLEY_DIALECT_AUTO);
    not_one_websocket_byte(PARLEY_HTTP_ONLY, PARLEY_DIALECT_MANAGER);
}

static void a_service_gets_no_websocket(void)
{
    not_one_websocket_byte(PARLEY_WEBSOCKET_FIRST, PARLEY_DIALECT_SERVICE);
}

static const struct check_test tests[] = {
    {"a server silent for 2 s is a manager", silence_for_2_s_is_a_manager},
    {"a first frame that is no greeting is a manager's",
     a_first_frame_that_is_no_greeting_is_a_managers},
    {"configured as a parley it is nothing else", a_parley_by_configuration_stays_one},
    {"configured as a manager it is nothing else", a_manager_by_configuration_stays_one},
    {"configured as a manager it gets no batches over HTTP",
     a_manager_by_configuration_gets_no_batches},
    {"a peer is upgraded on its next connection, and back",
     upgraded_on_the_next_connection_and_back},
    {"a parley that greets no more is not taken for an older server at once",
     silence_of_a_parley_is_a_loss},
    {"voids are not sent to older peers", no_voids_to_older_peers},
    {"refused with 403 it is reached over HTTP", a_refused_upgrade_leaves_http},
    {"a newer connection of ours is not fought", a_newer_connection_is_not_fought},
    {"what a lost connection held goes by HTTP, maybe a duplicate",
     lost_ones_go_by_http_and_say_so},
    {"large ones go in chunks", large_ones_go_in_chunks},
    {"a refused chunk ends the whole, and the rest is not sent",
     a_refused_chunk_ends_the_whole},
    {"the WebSocket is under the peer's address, unless it has its own",
     the_websocket_is_at_its_address},
    {"http_only sends not one WebSocket byte", http_only_opens_no_websocket},
    {"a service is sent not one WebSocket byte", a_service_gets_no_websocket},
};

CHECK_MAIN("dialects of a WebSocket", tests)
