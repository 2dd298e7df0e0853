/* SPDX-License-Identifier: Apache-2.0
 *
 * How WebSockets end: from either side, inside every callback, and with a peer that does
 * not cooperate. closed() comes exactly once, never inside ws_close().
 */
#include <signal.h>

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

static void closing_sends_the_code_to_the_other_side(void)
{
    start(NULL);
    if (end_connect(&client, &dialled, host_port(&server))) {
        end_close(&dialled, 4009, "gap");
        CHECK(check_wait(&server.ends[0].closed, 1));
        CHECK_U64(server.ends[0].why.code, 4009);
        CHECK(check_wait(&dialled.closed, 1));
        CHECK(dialled.why.was_open);
    }
    stop();
    CHECK_U64(dialled.closed, 1);
    CHECK_U64(server.ends[0].closed, 1);
}

static void a_server_may_close_too(void)
{
    start(NULL);
    if (end_connect(&client, &dialled, host_port(&server))) {
        CHECK(check_wait(&server.ends[0].opened, 1));
        end_close(&server.ends[0], 1008, "New connection established");
        CHECK(check_wait(&dialled.closed, 1));
        CHECK_U64(dialled.why.code, 1008);
        CHECK(check_wait(&server.ends[0].closed, 1));
    }
    stop();
}

static void close_now(struct end *end)
{
    uint64_t before = atomic_load(&end->closed);

    ws_close(&end->ws, 4001, "from a callback");
    ws_close(&end->ws, 4002, "again");
    CHECK_U64(atomic_load(&end->closed), before);
}

static void close_on_receive(struct end *end, char *data, size_t len, bool binary)
{
    (void)data;
    (void)len;
    (void)binary;
    close_now(end);
}

static void close_on_fill(struct end *end, struct ws_batch *batch)
{
    put_frame(batch, WS_TEXT, "last words", 10);
    close_now(end);
}

static void prepare_close_on_opened(struct end *end)
{
    end->on_opened = close_now;
}

static void prepare_close_on_receive(struct end *end)
{
    end->on_received = close_on_receive;
}

static void closing_works_inside_opened(void)
{
    start(NULL);
    dialled.on_opened = close_now;
    if (end_connect(&client, &dialled, host_port(&server))) {
        CHECK(check_wait(&server.ends[0].closed, 1));
        CHECK_U64(server.ends[0].why.code, 4001);
        CHECK(check_wait(&dialled.closed, 1));
    }
    stop();
    start(prepare_close_on_opened);
    if (end_connect(&client, &dialled, host_port(&server))) {
        CHECK(check_wait(&dialled.closed, 1));
        CHECK_U64(dialled.why.code, 4001);
    }
    stop();
}

static void closing_works_inside_received_and_drops_what_follows(void)
{
    start(prepare_close_on_receive);
    dialled.on_fill = send_numbered;
    dialled.to_send = 1000;
    dialled.message_len = 50;
    if (end_connect(&client, &dialled, host_port(&server))) {
        end_write(&dialled);
        CHECK(check_wait(&dialled.closed, 1));
        CHECK_U64(dialled.why.code, 4001);
        CHECK(check_wait(&server.ends[0].closed, 1));
        CHECK_U64(server.ends[0].received, 1);
    }
    stop();
}

static void closing_works_inside_fill_after_what_was_filled(void)
{
    start(NULL);
    dialled.on_fill = close_on_fill;
    if (end_connect(&client, &dialled, host_port(&server))) {
        end_write(&dialled);
        CHECK(check_wait(&server.ends[0].closed, 1));
        CHECK_U64(server.ends[0].received, 1);
        CHECK_TEXT(server.ends[0].last, "last words");
        CHECK_U64(server.ends[0].why.code, 4001);
    }
    stop();
    CHECK_U64(dialled.closed, 1);
}

static struct end second;

static void dial_again(struct end *end)
{
    struct ws_target target = target_of(host_port(&server));

    second.host = end->host;
    ws_close(&end->ws, 1000, "nothing to close any more");
    CHECK_STATUS(ws_connect(end->host->transport, end->ws.worker, &second.ws, &target), OK);
}

static void dialling_works_inside_closed(void)
{
    start(NULL);
    memset(&second, 0, sizeof(second));
    dialled.on_closed = dial_again;
    if (end_connect(&client, &dialled, host_port(&server))) {
        end_close(&dialled, 1000, "");
        CHECK(check_wait(&second.opened, 1));
        dialled.on_closed = NULL;
    }
    stop();
    CHECK_U64(second.closed, 1);
}

static void a_closed_ws_can_be_dialled_again(void)
{
    start(NULL);
    for (uint64_t i = 1; i <= 5; i++) {
        struct ws_target target = target_of(host_port(&server));

        CHECK_STATUS(end_dial(&client, &dialled, &target), OK);
        CHECK(check_wait(&dialled.opened, 1));
        end_close(&dialled, 1000, "bye");
        CHECK(check_wait(&dialled.closed, 1));
        memset(&dialled, 0, sizeof(dialled));
    }
    stop();
}

static void a_peer_that_reads_nothing_cannot_hold_up_the_close(void)
{
    int fd, small = 4096;

    start(NULL);
    fd = raw_connect(host_port(&server));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    close(fd);
    fd = raw_websocket(host_port(&server));
    CHECK(check_wait(&server.ends[0].opened, 1));
    server.ends[0].on_fill = send_numbered;
    server.ends[0].to_send = 100;
    server.ends[0].message_len = 1024 * 1024;
    end_write(&server.ends[0]);
    end_close(&server.ends[0], 1000, "enough");
    CHECK(check_wait(&server.ends[0].closed, 1));
    close(fd);
    stop();
}

static void shutdown_here(struct worker *worker, void *argument)
{
    struct host *host = argument;

    transport_worker_shutdown(host->transport, worker);
}

static void shutdown_closes_what_was_accepted_with_1001(void)
{
    uint16_t port;
    int fd;

    start(NULL);
    port = host_port(&server);
    if (end_connect(&client, &dialled, port)) {
        host_on(&server, 0, shutdown_here, &server);
        CHECK(check_wait(&dialled.closed, 1));
        CHECK_U64(dialled.why.code, 1001);
        CHECK(check_wait(&server.ends[0].closed, 1));
        fd = raw_connect(port);
        CHECK(fd < 0); /* nobody listens */
    }
    stop();
}

static void sigpipe_is_left_alone(void)
{
    struct sigaction before, seen;

    memset(&before, 0, sizeof(before));
    before.sa_handler = SIG_DFL;
    sigaction(SIGPIPE, &before, NULL);
    start(prepare_echo);
    CHECK(end_connect(&client, &dialled, host_port(&server)));
    sigaction(SIGPIPE, NULL, &seen);
    CHECK(seen.sa_handler == SIG_DFL);
    stop();
    sigaction(SIGPIPE, NULL, &seen);
    CHECK(seen.sa_handler == SIG_DFL);
}

static const struct check_test tests[] = {
    {"closing sends the code to the other side", closing_sends_the_code_to_the_other_side},
    {"a server may close too", a_server_may_close_too},
    {"closing works inside opened", closing_works_inside_opened},
    {"closing works inside received and drops what follows",
     closing_works_inside_received_and_drops_what_follows},
    {"closing works inside fill, after what was filled",
     closing_works_inside_fill_after_what_was_filled},
    {"dialling works inside closed", dialling_works_inside_closed},
    {"a closed ws can be dialled again", a_closed_ws_can_be_dialled_again},
    {"a peer that reads nothing cannot hold up the close",
     a_peer_that_reads_nothing_cannot_hold_up_the_close},
    {"shutdown closes what was accepted with 1001",
     shutdown_closes_what_was_accepted_with_1001},
    {"SIGPIPE is left alone", sigpipe_is_left_alone},
};

CHECK_MAIN("ws_close", tests)
