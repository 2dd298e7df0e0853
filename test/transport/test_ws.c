/* SPDX-License-Identifier: Apache-2.0
 *
 * WebSockets over real sockets: two transports of one process talking, and a socket driven
 * by hand where the other side must misbehave.
 */
#include "test/transport/host.h"

static struct host server, client;
static struct end dialled;

static void start(void (*prepare)(struct end *end))
{
    host_start(&server, 1);
    server.prepare = prepare;
    host_start(&client, 1);
    memset(&dialled, 0, sizeof(dialled));
}

static void stop(void)
{
    host_stop(&client);
    host_stop(&server);
}

static void say_hello(struct end *end, struct ws_batch *batch)
{
    if (end->sent++ == 0)
        put_frame(batch, WS_TEXT, "hello", 5);
}

static void a_message_comes_back(void)
{
    start(prepare_echo);
    dialled.on_fill = say_hello;
    if (end_connect(&client, &dialled, host_port(&server))) {
        end_write(&dialled);
        CHECK(check_wait(&dialled.received, 1));
        CHECK_TEXT(dialled.last, "hello");
        CHECK(!dialled.last_binary);
        CHECK_TEXT(server.query, "session_id=abc");
        CHECK_TEXT(server.remote, "127.0.0.1");
        CHECK_TEXT(server.authorization, "");
        CHECK(dialled.ws.role == WS_CLIENT && server.ends[0].ws.role == WS_SERVER);
        CHECK(dialled.ws.received_ns > 0);
    }
    stop();
    CHECK_U64(dialled.closed, 1);
    CHECK(dialled.why.was_open);
    CHECK_U64(server.ends[0].closed, 1);
}

static void the_authorization_header_arrives(void)
{
    struct ws_target target;
    char value[3000];

    start(NULL);
    memset(value, 'j', sizeof(value));
    memcpy(value, "Bearer ", 7);
    value[200] = '\0';
    target = target_of(host_port(&server));
    target.authorization = value;
    CHECK_STATUS(end_dial(&client, &dialled, &target), OK);
    CHECK(check_wait(&dialled.opened, 1));
    CHECK_TEXT(server.authorization, value);
    stop();
}

static void the_owner_may_refuse_an_upgrade(void)
{
    struct ws_target target;

    start(NULL);
    server.refuse = 403;
    target = target_of(host_port(&server));
    CHECK_STATUS(end_dial(&client, &dialled, &target), OK);
    CHECK(check_wait(&dialled.closed, 1));
    CHECK(!dialled.why.was_open);
    CHECK_U64(dialled.why.http_status, 403);
    CHECK_U64(dialled.opened, 0);
    stop();
    CHECK_U64(dialled.closed, 1);
}

static void an_unknown_path_is_answered_with_404(void)
{
    struct ws_target target;

    start(NULL);
    target = target_of(host_port(&server));
    target.path = "/elsewhere";
    CHECK_STATUS(end_dial(&client, &dialled, &target), OK);
    CHECK(check_wait(&dialled.closed, 1));
    CHECK_U64(dialled.why.http_status, 404);
    stop();
}

static void a_refused_port_ends_the_dial_once(void)
{
    struct ws_target target;
    uint16_t port;
    int fd = raw_listen(&port);
    parley_status status;

    close(fd);
    host_start(&client, 1);
    memset(&dialled, 0, sizeof(dialled));
    target = target_of(port);
    status = end_dial(&client, &dialled, &target);
    if (status == PARLEY_OK) {
        CHECK(check_wait(&dialled.closed, 1));
        CHECK(!dialled.why.was_open);
        CHECK_U64(dialled.why.http_status, 0);
    } else {
        CHECK_STATUS(status, EUNREACHABLE);
    }
    host_stop(&client);
    CHECK_U64(dialled.closed, status == PARLEY_OK);
}

static void a_dead_address_does_not_disturb_a_second_dial(void)
{
    struct ws_target target;

    start(prepare_echo);
    target = target_of(1);
    target.address = "not an address";
    if (end_dial(&client, &dialled, &target) == PARLEY_OK)
        CHECK(check_wait(&dialled.closed, 1));
    memset(&dialled, 0, sizeof(dialled));
    CHECK(end_connect(&client, &dialled, host_port(&server)));
    stop();
}

static void targets_lws_would_cut_are_refused(void)
{
    static char path[4000], host[200];
    struct ws_target target;

    start(NULL);
    memset(path, '/', sizeof(path) - 1);
    target = target_of(host_port(&server));
    target.path = path;
    CHECK_STATUS(end_dial(&client, &dialled, &target), EUNREACHABLE);
    memset(host, 'h', sizeof(host) - 1);
    target = target_of(host_port(&server));
    target.host = host;
    CHECK_STATUS(end_dial(&client, &dialled, &target), EUNREACHABLE);
    CHECK_U64(dialled.closed, 0);
    stop();
}

static void a_silent_server_is_given_up_after_the_timeout(void)
{
    struct ws_target target;
    uint16_t port;
    int fd = raw_listen(&port);

    host_start(&client, 1);
    memset(&dialled, 0, sizeof(dialled));
    target = target_of(port);
    target.timeout_ms = 50;
    CHECK_STATUS(end_dial(&client, &dialled, &target), OK);
    CHECK(check_wait(&dialled.closed, 1));
    CHECK_TEXT(dialled.detail, "timed out");
    CHECK(!dialled.why.was_open);
    host_stop(&client);
    CHECK_U64(dialled.closed, 1);
    close(fd);
}

static void a_dial_can_be_abandoned(void)
{
    struct ws_target target;
    uint16_t port;
    int fd = raw_listen(&port);

    host_start(&client, 1);
    memset(&dialled, 0, sizeof(dialled));
    target = target_of(port);
    CHECK_STATUS(end_dial(&client, &dialled, &target), OK);
    end_close(&dialled, 1000, "");
    CHECK(check_wait(&dialled.closed, 1));
    CHECK_TEXT(dialled.detail, "abandoned");
    host_stop(&client);
    CHECK_U64(dialled.closed, 1);
    close(fd);
}

static void what_a_server_answers_instead_is_reported(void)
{
    static const char answer[] = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
                                 "Content-Length: 0\r\n\r\n";
    struct ws_target target;
    uint16_t port;
    int fd = raw_listen(&port), peer;
    char request[4096];

    host_start(&client, 1);
    memset(&dialled, 0, sizeof(dialled));
    target = target_of(port);
    target.authorization = "Bearer abc";
    CHECK_STATUS(end_dial(&client, &dialled, &target), OK);
    peer = accept(fd, NULL, NULL);
    if (CHECK(raw_answer(peer, request, sizeof(request)))) {
        CHECK_CONTAINS(request, "GET " WS_PATH "?session_id=abc HTTP/1.1\r\n");
        CHECK_CONTAINS(request, "Authorization: Bearer abc\r\n");
        CHECK_CONTAINS(request, "Sec-WebSocket-Version: 13\r\n");
        CHECK(strstr(request, "Extensions") == NULL && strstr(request, "Origin") == NULL);
    }
    CHECK(raw_send(peer, answer, strlen(answer)));
    CHECK(check_wait(&dialled.closed, 1));
    CHECK_U64(dialled.why.http_status, 302); /* not followed */
    host_stop(&client);
    close(peer);
    close(fd);
}

/* ---- Many, and large ---- */

static void receive_numbered(struct end *end, char *data, size_t len, bool binary)
{
    uint64_t number = 0;

    memcpy(&number, data, len < 8 ? len : 8);
    CHECK(binary);
    if (number != atomic_load(&end->received) || len != end->host->ends[0].message_len)
        CHECK_U64(number, atomic_load(&end->received));
}

static void prepare_numbered(struct end *end)
{
    end->on_received = receive_numbered;
    end->message_len = dialled.message_len;
}

static void send_many(uint64_t count, size_t len)
{
    start(prepare_numbered);
    dialled.on_fill = send_numbered;
    dialled.to_send = count;
    dialled.message_len = len;
    if (end_connect(&client, &dialled, host_port(&server))) {
        end_write(&dialled);
        CHECK(check_wait(&server.ends[0].received, count));
        CHECK_U64(server.ends[0].received_bytes, count * len);
    }
    stop();
    CHECK(dialled.ws.bytes_out > count * len);
}

static void many_frames_share_few_writes(void)
{
    send_many(50000, 100);
    CHECK_U64(server.ends[0].received, 50000);
    CHECK(dialled.filled < 50000 / 50);
}

static void frames_of_every_size_arrive_whole_and_in_order(void)
{
    static const size_t lengths[] = {8, 125, 126, 4096, 65535, 65536, 70000, 1024 * 1024};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        send_many(lengths[i] < 10000 ? 200 : 20, lengths[i]);
}

static void large_messages_come_back_from_a_server(void)
{
    start(prepare_echo);
    dialled.on_fill = send_numbered;
    dialled.to_send = 3;
    dialled.message_len = 1024 * 1024;
    if (end_connect(&client, &dialled, host_port(&server))) {
        end_write(&dialled);
        CHECK(check_wait(&dialled.received, 3));
        CHECK_U64(dialled.received_bytes, 3 * 1024 * 1024);
    }
    stop();
}

static void a_thousand_echoes_both_ways_at_once(void)
{
    start(prepare_echo);
    dialled.on_fill = send_numbered;
    dialled.to_send = 20000;
    dialled.message_len = 60;
    if (end_connect(&client, &dialled, host_port(&server))) {
        end_write(&dialled);
        CHECK(check_wait(&dialled.received, 20000));
    }
    stop();
}

/* ---- By hand ---- */

static void fragments_are_put_together(void)
{
    static uint8_t frames[400 * 1024];
    static char text[300001];
    size_t len = 0;
    int fd;

    start(NULL);
    fd = raw_websocket(host_port(&server));
    memset(text, 'f', 300000);
    len += raw_frame(frames + len, 0x01, text, 100000);
    len += raw_frame(frames + len, 0x89, "p", 1); /* a ping may come between */
    len += raw_frame(frames + len, 0x00, text + 100000, 100000);
    len += raw_frame(frames + len, 0x00, "", 0);
    len += raw_frame(frames + len, 0x80, text + 200000, 100000);
    len += raw_frame(frames + len, 0x81, "next", 4);
    CHECK(raw_send(fd, frames, len));
    CHECK(check_wait(&server.ends[0].received, 2));
    CHECK_U64(server.ends[0].received_bytes, 300004);
    CHECK_TEXT(server.ends[0].last, "next");
    close(fd);
    stop();
}

static void an_empty_message_is_a_message(void)
{
    uint8_t frame[16];
    int fd;

    start(NULL);
    fd = raw_websocket(host_port(&server));
    CHECK(raw_send(fd, frame, raw_frame(frame, 0x82, "", 0)));
    CHECK(check_wait(&server.ends[0].received, 1));
    CHECK_U64(server.ends[0].last_len, 0);
    CHECK(server.ends[0].last_binary);
    close(fd);
    stop();
}

/* Reads server frames until a close frame. @return its code, 0 when none came */
static unsigned close_code(int fd)
{
    uint8_t head[2], payload[65536];

    while (raw_exact(fd, head, 2) && (head[1] & 0x7f) < 126 &&
           raw_exact(fd, payload, head[1] & 0x7f)) {
        if ((head[0] & 0x0f) == WS_CLOSE)
            return (head[1] & 0x7f) >= 2 ? (unsigned)payload[0] << 8 | payload[1] : 1005;
    }
    return 0;
}

static void a_message_over_the_limit_is_closed_with_1009(void)
{
    static uint8_t frames[1200 * 1024];
    static char data[1100 * 1024];
    size_t len = 0;
    int fd;

    start(NULL);
    fd = raw_websocket(host_port(&server));
    len = raw_frame(frames, 0x82, data, 1024 * 1024); /* exactly the limit is taken */
    CHECK(raw_send(fd, frames, len));
    CHECK(check_wait(&server.ends[0].received, 1));
    len = raw_frame(frames, 0x82, data, 1024 * 1024 + 1);
    CHECK(raw_send(fd, frames, len));
    CHECK_U64(close_code(fd), 1009);
    CHECK(raw_send(fd, frames, raw_frame(frames, 0x88, "\x03\xf1", 2)));
    CHECK(check_wait(&server.ends[0].closed, 1));
    CHECK_U64(server.ends[0].received, 1);
    close(fd);
    stop();
}

static void fragments_over_the_limit_are_closed_with_1009(void)
{
    static uint8_t frames[1400 * 1024];
    static char data[700 * 1024];
    size_t len = 0;
    int fd;

    start(NULL);
    fd = raw_websocket(host_port(&server));
    len = raw_frame(frames, 0x02, data, sizeof(data));
    len += raw_frame(frames + len, 0x80, data, sizeof(data) / 2 + 1024);
    CHECK(raw_send(fd, frames, len));
    CHECK_U64(close_code(fd), 1009);
    close(fd);
    CHECK(check_wait(&server.ends[0].closed, 1));
    CHECK_U64(server.ends[0].received, 0);
    stop();
}

static void an_announced_giant_is_refused_at_once(void)
{
    static const uint8_t head[] = {0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4, 'x', 'y'};
    int fd;

    start(NULL);
    fd = raw_websocket(host_port(&server));
    CHECK(raw_send(fd, head, sizeof(head)));
    CHECK_U64(close_code(fd), 1009);
    close(fd);
    stop();
}

static void bad_utf8_is_closed_with_1007(void)
{
    uint8_t frame[16];
    int fd;

    start(NULL);
    fd = raw_websocket(host_port(&server));
    CHECK(raw_send(fd, frame, raw_frame(frame, 0x81, "\xc3\x28", 2)));
    CHECK_U64(close_code(fd), 1007);
    close(fd);
    CHECK(check_wait(&server.ends[0].closed, 1));
    CHECK_U64(server.ends[0].received, 0);
    stop();
}

static void a_peer_that_vanishes_mid_frame_is_noticed(void)
{
    static uint8_t frame[70000];
    static char data[60000];
    int fd;

    start(NULL);
    fd = raw_websocket(host_port(&server));
    raw_frame(frame, 0x82, data, sizeof(data));
    CHECK(raw_send(fd, frame, 30000));
    close(fd);
    CHECK(check_wait(&server.ends[0].closed, 1));
    CHECK(server.ends[0].why.was_open);
    CHECK_U64(server.ends[0].why.code, 0);
    CHECK_U64(server.ends[0].received, 0);
    stop();
}

static void the_peers_close_code_is_reported(void)
{
    uint8_t frame[16];
    int fd;

    start(NULL);
    fd = raw_websocket(host_port(&server));
    CHECK(raw_send(fd, frame, raw_frame(frame, 0x88, "\x03\xf0yes", 5)));
    CHECK_U64(close_code(fd), 1008); /* echoed */
    CHECK(check_wait(&server.ends[0].closed, 1));
    CHECK_U64(server.ends[0].why.code, 1008);
    close(fd);
    stop();
}

static void a_ping_draws_a_pong_and_ours_are_counted(void)
{
    uint8_t frame[16], pong[6];
    int fd;

    start(NULL);
    fd = raw_websocket(host_port(&server));
    CHECK(raw_send(fd, frame, raw_frame(frame, 0x89, "echo", 4)));
    CHECK(raw_exact(fd, pong, 6));
    CHECK_BYTES(pong, 6,
                "\x8a\x04"
                "echo",
                6);
    close(fd);
    stop();
}

static void ping_here(struct worker *worker, void *argument)
{
    struct end *end = argument;

    (void)worker;
    end->ws.received_ns = 0;
    ws_ping(&end->ws);
}

struct sight {
    struct end *end;
    uint64_t received_ns;
};

static void look(struct worker *worker, void *argument)
{
    struct sight *sight = argument;

    (void)worker;
    sight->received_ns = sight->end->ws.received_ns;
}

static bool heard(void *user)
{
    struct sight *sight = user;

    host_on(sight->end->host, 0, look, sight);
    return sight->received_ns != 0;
}

static void a_pong_counts_as_received(void)
{
    struct sight sight;

    start(NULL);
    if (end_connect(&client, &dialled, host_port(&server))) {
        CHECK(check_wait(&server.ends[0].opened, 1));
        host_on(&client, 0, ping_here, &dialled);
        sight = (struct sight){&dialled, 0};
        CHECK(check_until(heard, &sight));
        host_on(&server, 0, ping_here, &server.ends[0]);
        sight = (struct sight){&server.ends[0], 0};
        CHECK(check_until(heard, &sight));
        CHECK_U64(dialled.received + server.ends[0].received, 0);
    }
    stop();
}

static void count_here(struct worker *worker, void *argument)
{
    *(size_t *)argument = transport_worker_connections(client.transport, worker);
}

static void connections_are_counted(void)
{
    size_t count = 0;

    start(NULL);
    if (end_connect(&client, &dialled, host_port(&server))) {
        CHECK(check_wait(&server.ends[0].opened, 1));
        host_on(&client, 0, count_here, &count);
        CHECK_U64(count, 1);
    }
    stop();
}

static const struct check_test tests[] = {
    {"a message comes back", a_message_comes_back},
    {"the Authorization header arrives", the_authorization_header_arrives},
    {"the owner may refuse an upgrade", the_owner_may_refuse_an_upgrade},
    {"an unknown path is answered with 404", an_unknown_path_is_answered_with_404},
    {"a refused port ends the dial once", a_refused_port_ends_the_dial_once},
    {"a dead address does not disturb a second dial",
     a_dead_address_does_not_disturb_a_second_dial},
    {"targets lws would cut are refused", targets_lws_would_cut_are_refused},
    {"a silent server is given up after the timeout",
     a_silent_server_is_given_up_after_the_timeout},
    {"a dial can be abandoned", a_dial_can_be_abandoned},
    {"what a server answers instead is reported", what_a_server_answers_instead_is_reported},
    {"many frames share few writes", many_frames_share_few_writes},
    {"frames of every size arrive whole and in order",
     frames_of_every_size_arrive_whole_and_in_order},
    {"large messages come back from a server", large_messages_come_back_from_a_server},
    {"thousands of echoes both ways at once", a_thousand_echoes_both_ways_at_once},
    {"fragments are put together", fragments_are_put_together},
    {"an empty message is a message", an_empty_message_is_a_message},
    {"a message over the limit is closed with 1009",
     a_message_over_the_limit_is_closed_with_1009},
    {"fragments over the limit are closed with 1009",
     fragments_over_the_limit_are_closed_with_1009},
    {"an announced giant is refused at once", an_announced_giant_is_refused_at_once},
    {"bad UTF-8 is closed with 1007", bad_utf8_is_closed_with_1007},
    {"a peer that vanishes mid-frame is noticed", a_peer_that_vanishes_mid_frame_is_noticed},
    {"the peer's close code is reported", the_peers_close_code_is_reported},
    {"a ping draws a pong", a_ping_draws_a_pong_and_ours_are_counted},
    {"a pong counts as received", a_pong_counts_as_received},
    {"connections are counted", connections_are_counted},
};

CHECK_MAIN("ws", tests)
