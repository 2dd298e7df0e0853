/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer without a URL that is an older client, or speaks in lower case: reached over the
 * connection it opened to us.
 */
#include "test/peers/old_player.h"

#define HELLO                                                                           \
    "{\"message_id\":\"h1\",\"type\":\"HELLO\",\"from_entity\":\"oldie\","              \
    "\"to_entity\":\"receiver\",\"timestamp\":1700000000.5,\"payload\":"                \
    "{\"version\":\"1.2\",\"capabilities\":[\"websocket\",\"ed25519\",\"heartbeat\"]}," \
    "\"signature\":null}"

struct visit {
    parley *node;
    parley_peer peer;
    struct old_end end;
};

static void visit_open(struct visit *visit, parley_dialect dialect, uint32_t ack_timeout_ms)
{
    parley_peer_options peer_options;
    parley_options options;

    memset(visit, 0, sizeof(*visit));
    visit->end.fd = -1;
    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.listen_port = 0;
    options.ack_timeout_ms = ack_timeout_ms;
    visit->node = node_open(&options);
    parley_peer_options_init(&peer_options);
    peer_options.dialect = dialect;
    CHECK_STATUS(parley_peer_add(visit->node, "oldie", NULL, &peer_options, &visit->peer), OK);
}

static bool visit_as_client(struct visit *visit)
{
    if (!old_connect(parley_port(visit->node), "", &visit->end))
        return false;
    old_say(&visit->end, HELLO);
    return true;
}

static void visit_close(struct visit *visit)
{
    old_hang_up(&visit->end);
    CHECK_STATUS(parley_close(visit->node), OK);
}

/* The next frame of this type; what comes before it is not this test's. */
static const char *hear_type(struct visit *visit, const char *type)
{
    char member[64];

    snprintf(member, sizeof(member), "\"type\":\"%s\"", type);
    while (old_hear(&visit->end)[0] != '\0') {
        if (strstr(visit->end.text, member) != NULL)
            break;
    }
    return visit->end.text;
}

static void acknowledge(struct visit *visit, const char *message_id)
{
    char text[512];

    snprintf(text, sizeof(text),
             "{\"message_id\":\"a\",\"type\":\"ACK\",\"from_entity\":\"oldie\","
             "\"to_entity\":\"receiver\",\"timestamp\":1700000000.5,"
             "\"payload\":{\"ack_message_id\":\"%s\"},\"signature\":null}",
             message_id);
    old_say(&visit->end, text);
}

static void its_seven_keys_and_its_ack(void)
{
    struct visit visit;
    struct fate fates[2];

    visit_open(&visit, PARLEY_DIALECT_AUTO, 20000);
    send_one(visit.node, visit.peer, "{\"n\":1}", 0, &fates[0]); /* it waits for the client */
    if (visit_as_client(&visit)) {
        const char *frame = hear_type(&visit, "MESSAGE");

        CHECK_CONTAINS(frame, "\"payload\":{\"n\":1}");
        CHECK_TEXT(old_member(frame, "from_entity"), "receiver");
        CHECK_TEXT(old_member(frame, "to_entity"), "oldie");
        CHECK_TEXT(old_member(frame, "signature"), "null");
        CHECK_TEXT(old_member(frame, "msg_type"), "test");
        CHECK(strtod(old_member(frame, "timestamp"), NULL) > 1.7e9);
        CHECK_U64(strlen(old_member(frame, "message_id")), 36);
        send_one(visit.node, visit.peer, "{\"n\":2}", 0, &fates[1]);
        acknowledge(&visit, old_member(frame, "message_id"));
        check_fate(&fates[0], PARLEY_DELIVERED);
        frame = hear_type(&visit, "MESSAGE");
        acknowledge(&visit, "00000000-0000-4000-8000-000000000000"); /* nobody's */
        acknowledge(&visit, "nonsense");
        acknowledge(&visit, old_member(frame, "message_id"));
        check_fate(&fates[1], PARLEY_DELIVERED);
        CHECK_U64(fates[1].transport, PARLEY_TRANSPORT_WEBSOCKET);
    }
    visit_close(&visit);
}

/* More than its ids' low bits tell apart, and acknowledged last to first. */
static void acks_in_any_order(void)
{
    enum { COUNT = 64, ROUNDS = 3 };
    struct visit visit;
    static struct fate fates[COUNT];
    char ids[COUNT][64];

    visit_open(&visit, PARLEY_DIALECT_AUTO, 20000);
    if (visit_as_client(&visit)) {
        for (unsigned round = 0; round < ROUNDS; round++) {
            for (unsigned n = 0; n < COUNT; n++)
                send_one(visit.node, visit.peer, "{}", 0, &fates[n]);
            for (unsigned n = 0; n < COUNT; n++)
                snprintf(ids[n], sizeof(ids[n]), "%s",
                         old_member(hear_type(&visit, "MESSAGE"), "message_id"));
            for (unsigned n = COUNT; n-- > 0;) {
                acknowledge(&visit, ids[n]);
                check_fate(&fates[n], PARLEY_DELIVERED);
            }
        }
    }
    visit_close(&visit);
}

static void no_ack_is_sent(void)
{
    struct visit visit;
    struct fate fate;

    visit_open(&visit, PARLEY_DIALECT_AUTO, 50);
    send_one(visit.node, visit.peer, "{}", 0, &fate);
    if (visit_as_client(&visit)) {
        hear_type(&visit, "MESSAGE");
        check_fate(&fate, PARLEY_SENT);
        CHECK_U64(fate.attempts, 1);
    }
    visit_close(&visit);
}

static void resent_when_it_comes_again(void)
{
    struct visit visit;
    struct fate fate;
    char id[64];

    visit_open(&visit, PARLEY_DIALECT_AUTO, 20000);
    send_one(visit.node, visit.peer, "{}", 0, &fate);
    if (visit_as_client(&visit)) {
        snprintf(id, sizeof(id), "%s", old_member(hear_type(&visit, "MESSAGE"), "message_id"));
        old_hang_up(&visit.end);
    }
    if (visit_as_client(&visit)) {
        CHECK_TEXT(old_member(hear_type(&visit, "MESSAGE"), "message_id"), id);
        acknowledge(&visit, id);
        check_fate(&fate, PARLEY_DELIVERED);
        CHECK_U64(fate.attempts, 2);
        CHECK(fate.maybe_duplicate);
    }
    visit_close(&visit);
}

static void a_lower_case_client(void)
{
    struct visit visit;
    struct fate fates[2];

    visit_open(&visit, PARLEY_DIALECT_AUTO, 20000);
    send_one(visit.node, visit.peer, "{\"n\":1}", 0, &fates[0]);
    send_one(visit.node, visit.peer, "{\"n\":2}", 0, &fates[1]);
    if (old_connect(parley_port(visit.node), "?entity_id=oldie", &visit.end)) {
        old_say(&visit.end, "{\"type\":\"ping\",\"payload\":{\"seq\":1}}");
        CHECK_TEXT(old_member(hear_type(&visit, "peer_message"), "seq"), "1");
        CHECK_TEXT(old_member(hear_type(&visit, "peer_message"), "seq"), "2");
        old_say(&visit.end, "{\"type\":\"status\",\"payload\":{\"event\":"
                            "\"message_received\",\"original_type\":\"peer_message\","
                            "\"seq\":2}}");
        check_fate(&fates[1], PARLEY_DELIVERED);
        old_say(&visit.end,
                "{\"type\":\"error\",\"payload\":{\"error\":\"Handler error: no\"}}");
        check_fate(&fates[0], PARLEY_REJECTED);
        CHECK_TEXT(fates[0].detail, "Handler error: no");
    }
    visit_close(&visit);
}

static void a_parley_by_configuration_is_not_carried(void)
{
    struct visit visit;
    struct fate fate;

    visit_open(&visit, PARLEY_DIALECT_PARLEY, 20000);
    send_one(visit.node, visit.peer, "{}", 300, &fate);
    if (visit_as_client(&visit)) {
        check_fate(&fate, PARLEY_EXPIRED);
        CHECK_U64(fate.attempts, 0);
    }
    visit_close(&visit);
}

static const struct check_test tests[] = {
    {"an older client gets the keys it knows, and its ACK delivers",
     its_seven_keys_and_its_ack},
    {"an older client may acknowledge in any order", acks_in_any_order},
    {"an older client that does not acknowledge was sent it", no_ack_is_sent},
    {"an older client that comes again gets what it had not acknowledged",
     resent_when_it_comes_again},
    {"a lower-case client answers as a manager does", a_lower_case_client},
    {"configured as a parley it is not reached over an older connection",
     a_parley_by_configuration_is_not_carried},
};

CHECK_MAIN("older clients that connect to us", tests)
