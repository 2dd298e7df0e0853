/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP as a node serves it, spoken by hand byte for byte: what is handed up, what is
 * refused before, and that a refusal is readable (no reset) whatever the client still sends.
 */
#include "test/transport/http_client.h"

static void a_get_is_handed_up_with_what_came(void)
{
    int fd;

    start();
    fd = raw_connect(host_port(&server));
    CHECK_CONTAINS(ask_on(fd, "GET /health?a=1&b=x%20y HTTP/1.1\r\n" HOST
                              "Authorization: Bearer t\r\nParley-Session: s1\r\n\r\n"),
                   "GET /health ?a=1&b=x y auth=Bearer t session=s1 from=127.0.0.1 body=");
    close(fd);
    stop();
}

static void a_posts_body_arrives_whole(void)
{
    static char request[300 * 1024], answer[310 * 1024];
    size_t body = 200 * 1024;
    int len, fd;

    start();
    fd = raw_connect(host_port(&server));
    len = snprintf(request, 200,
                   "POST /message HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", body);
    memset(request + len, 'b', body);
    request[len] = '<';
    request[(size_t)len + body - 1] = '>';
    CHECK(raw_send(fd, request, (size_t)len + 1000)); /* and in pieces */
    CHECK(raw_send(fd, request + len + 1000, body - 1000));
    if (CHECK(raw_answer(fd, answer, sizeof(answer)))) {
        CHECK_CONTAINS(answer, "body=<bbb");
        CHECK(strcmp(answer + strlen(answer) - 6, "bbbbb>") == 0);
    }
    close(fd);
    stop();
}

static void an_empty_post_is_a_request(void)
{
    int fd;

    start();
    fd = raw_connect(host_port(&server));
    CHECK_CONTAINS(ask_on(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"),
                   "POST /x ? auth= session= from=127.0.0.1 body=");
    CHECK_CONTAINS(ask_on(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi"),
                   "body=hi");
    close(fd);
    stop();
}

static void every_method_is_handed_up(void)
{
    static const char *const methods[] = {"PUT", "DELETE", "PATCH", "OPTIONS"};
    char request[200], expected[64];
    int fd;

    start();
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        fd = raw_connect(host_port(&server));
        snprintf(request, sizeof(request), "%s /m HTTP/1.1\r\n" HOST "\r\n", methods[i]);
        snprintf(expected, sizeof(expected), "%s /m ?", methods[i]);
        CHECK_CONTAINS(ask_on(fd, request), expected);
        close(fd);
        fd = raw_connect(host_port(&server));
        snprintf(request, sizeof(request),
                 "%s /m HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", methods[i]);
        CHECK_CONTAINS(ask_on(fd, request), "body=abc");
        close(fd);
    }
    stop();
}

static void head_is_answered_without_a_body(void)
{
    const char *answer;

    start();
    answer = ask_and_close("HEAD /health HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    CHECK_CONTAINS(answer, "HTTP/1.1 200 OK\r\n");
    CHECK(strlen(answer) > 4 && strcmp(answer + strlen(answer) - 4, "\r\n\r\n") == 0);
    stop();
}

static void requests_follow_each_other_on_a_connection(void)
{
    char request[200], expected[32];
    int fd;

    start();
    fd = raw_connect(host_port(&server));
    for (int i = 0; i < 50; i++) {
        snprintf(request, sizeof(request),
                 i % 2 ? "GET /%d HTTP/1.1\r\n" HOST "\r\n"
                       : "POST /%d HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nbody",
                 i);
        snprintf(expected, sizeof(expected), "%s /%d ?", i % 2 ? "GET" : "POST", i);
        if (!CHECK_CONTAINS(ask_on(fd, request), expected))
            break;
    }
    close(fd);
    stop();
}

static void what_is_sent_ahead_ends_the_connection_after_the_answer(void)
{
    static const char *const ahead[] = {
        "GET /1 HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\n" HOST "\r\n",
        "GET /1 HTTP/1.1\r\n" HOST "\r\n"
        "POST /2 HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nok",
        "POST /1 HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nok"
        "POST /2 HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nok"
        "GET /3 HTTP/1.1\r\n" HOST "\r\n",
        "POST /1 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\nX"};

    start();
    for (uint64_t i = 0; i < sizeof(ahead) / sizeof(ahead[0]); i++) {
        const char *answer = ask_and_close(ahead[i]);

        CHECK_CONTAINS(answer, " /1 ");
        CHECK(strstr(answer + 1, "HTTP/1.1 ") == NULL); /* one answer */
        CHECK_U64(server.requests, i + 1);
    }
    stop();
}

static void http_1_0_closes_unless_asked_not_to(void)
{
    int fd;

    start();
    CHECK_CONTAINS(ask_and_close("GET /old HTTP/1.0\r\n" HOST "\r\n"), "GET /old");
    CHECK_CONTAINS(ask_and_close("GET /new HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"),
                   "Connection: close");
    fd = raw_connect(host_port(&server));
    CHECK_CONTAINS(ask_on(fd, "GET /a HTTP/1.0\r\n" HOST "Connection: keep-alive\r\n\r\n"),
                   "Connection: keep-alive");
    CHECK_CONTAINS(ask_on(fd, "GET /b HTTP/1.0\r\n" HOST "\r\n"), "GET /b");
    close(fd);
    stop();
}

/* ---- Answers ---- */

static void reply_405(struct host *host, struct http_exchange *exchange)
{
    struct http_reply reply = {.code = 405, .body = "{}", .body_len = 2, .allow = "POST"};

    (void)host;
    http_respond(exchange, &reply);
}

static void reply_429(struct host *host, struct http_exchange *exchange)
{
    struct http_reply reply = {.code = 429, .retry_after_s = 30, .close = true};

    (void)host;
    http_respond(exchange, &reply);
}

static void an_answers_headers_are_what_was_asked_for(void)
{
    const char *answer;
    int fd;

    host_init(&server, 1);
    server.options.parley_header = "1; max_batch_bytes=65536";
    CHECK_STATUS(host_open(&server, NULL, 0), OK);
    server.request = reply_405;
    fd = raw_connect(host_port(&server));
    answer = ask_on(fd, "GET /message HTTP/1.1\r\n" HOST "\r\n");
    CHECK_CONTAINS(answer, "HTTP/1.1 405 Method Not Allowed\r\n");
    CHECK_CONTAINS(answer, "\r\nAllow: POST\r\n");
    CHECK_CONTAINS(answer, "\r\nContent-Type: application/json\r\n");
    CHECK_CONTAINS(answer, "\r\nParley: 1; max_batch_bytes=65536\r\n");
    CHECK_CONTAINS(answer, "\r\nContent-Length: 2\r\n");
    CHECK_CONTAINS(answer, "\r\n\r\n{}");
    close(fd);
    server.request = reply_429;
    answer = ask_and_close("GET /message HTTP/1.1\r\n" HOST "\r\n");
    CHECK_CONTAINS(answer, "HTTP/1.1 429 Too Many Requests\r\n");
    CHECK_CONTAINS(answer, "\r\nRetry-After: 30\r\n");
    CHECK_CONTAINS(answer, "\r\nConnection: close\r\n");
    stop();
}

#define LARGE_BYTES (3 * 1024 * 1024)

static void reply_large(struct host *host, struct http_exchange *exchange)
{
    char *body = malloc(LARGE_BYTES);
    struct http_reply reply = {.code = 200, .body = body, .body_len = LARGE_BYTES};

    (void)host;
    memset(body, 'L', LARGE_BYTES);
    http_respond(exchange, &reply);
    free(body);
}

static void a_large_answer_arrives_whole(void)
{
    static char answer[LARGE_BYTES + 1024];
    static const char request[] = "GET /stats HTTP/1.1\r\n" HOST "\r\n";
    int fd;

    start();
    server.request = reply_large;
    fd = raw_connect(host_port(&server));
    for (int i = 0; i < 2; i++) {
        CHECK(raw_send(fd, request, strlen(request)));
        CHECK(raw_answer(fd, answer, sizeof(answer)));
        CHECK(strlen(answer) > LARGE_BYTES);
    }
    close(fd);
    stop();
}

static void respond_here(struct worker *worker, void *argument)
{
    struct host *host = argument;
    struct http_exchange *exchange = host->pending;

    (void)worker;
    host->pending = NULL;
    request_echo(host, exchange);
}

static void an_answer_may_come_later(void)
{
    static const char *const requests[] = {
        "POST /1 HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nwait",
        "GET /2 HTTP/1.1\r\n" HOST "\r\n", "GET /3 HTTP/1.1\r\n" HOST "\r\n"};
    char answer[2048], expected[16];
    int fd;

    start();
    server.keep_pending = true;
    fd = raw_connect(host_port(&server));
    for (uint64_t i = 1; i <= 3; i++) {
        snprintf(expected, sizeof(expected), " /%u ", (unsigned)i);
        CHECK(raw_send(fd, requests[i - 1], strlen(requests[i - 1])));
        CHECK(check_wait(&server.requests, i));
        host_on(&server, 0, respond_here, &server);
        CHECK(raw_answer(fd, answer, sizeof(answer)));
        CHECK_CONTAINS(answer, expected);
    }
    close(fd);
    stop();
    CHECK_U64(server.gone, 0);
}

static void a_request_sent_while_another_waits_is_not_lost(void)
{
    static const char first[] = "GET /1 HTTP/1.1\r\n" HOST "\r\n";
    static const char next[] = "POST /2 HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nok";
    char answer[2048];
    int fd;

    start();
    server.keep_pending = true;
    fd = raw_connect(host_port(&server));
    CHECK(raw_send(fd, first, strlen(first)));
    CHECK(check_wait(&server.requests, 1));
    CHECK(raw_send(fd, next, strlen(next)));
    host_on(&server, 0, respond_here, &server);
    CHECK(raw_answer(fd, answer, sizeof(answer)));
    CHECK_CONTAINS(answer, " /1 ");
    CHECK(check_wait(&server.requests, 2));
    host_on(&server, 0, respond_here, &server);
    CHECK(raw_answer(fd, answer, sizeof(answer)));
    CHECK_CONTAINS(answer, "body=ok");
    close(fd);
    stop();
    CHECK_U64(server.gone, 0);
}

static void a_client_that_goes_takes_its_request_along(void)
{
    static const char request[] = "GET /slow HTTP/1.1\r\n" HOST "\r\n";
    int fd;

    start();
    server.keep_pending = true;
    fd = raw_connect(host_port(&server));
    CHECK(raw_send(fd, request, strlen(request)));
    CHECK(check_wait(&server.requests, 1));
    close(fd);
    CHECK(check_wait(&server.gone, 1));
    CHECK(server.pending == NULL);
    stop();
    CHECK_U64(server.gone, 1);
}

static void shutdown_here(struct worker *worker, void *argument)
{
    transport_worker_shutdown(((struct host *)argument)->transport, worker);
}

static void shutdown_takes_unanswered_requests_along(void)
{
    static const char request[] = "POST /slow HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n1";
    char rest[16];
    int fd;

    start();
    server.keep_pending = true;
    fd = raw_connect(host_port(&server));
    CHECK(raw_send(fd, request, strlen(request)));
    CHECK(check_wait(&server.requests, 1));
    host_on(&server, 0, shutdown_here, &server);
    CHECK(check_wait(&server.gone, 1));
    CHECK(raw_some(fd, rest, sizeof(rest)) <= 0);
    close(fd);
    stop();
}

static void stopping_takes_unanswered_requests_along(void)
{
    static const char request[] = "GET /slow HTTP/1.1\r\n" HOST "\r\n";
    int fd;

    start();
    server.keep_pending = true;
    fd = raw_connect(host_port(&server));
    CHECK(raw_send(fd, request, strlen(request)));
    CHECK(check_wait(&server.requests, 1));
    stop();
    CHECK_U64(server.gone, 1);
    close(fd);
}

static void an_expectation_is_answered(void)
{
    static const char head[] =
        "POST /e HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    char answer[2048];
    int fd;

    start();
    fd = raw_connect(host_port(&server));
    CHECK(raw_send(fd, head, strlen(head)));
    CHECK(raw_answer(fd, answer, sizeof(answer)));
    CHECK_CONTAINS(answer, "HTTP/1.1 100 Continue\r\n");
    CHECK(raw_send(fd, "abc", 3));
    CHECK(raw_answer(fd, answer, sizeof(answer)));
    CHECK_CONTAINS(answer, "body=abc");
    close(fd);
    stop();
}

/* ---- Refusals ---- */

static void exactly_one_host_is_required(void)
{
    start();
    check_refused("GET / HTTP/1.1\r\n\r\n", "400");
    check_refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400");
    check_refused("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "400");
    check_refused("GET / HTTP/1.1\r\nHost:\r\n\r\n", "400");
    stop();
}

static void a_path_with_a_nul_is_refused(void)
{
    start();
    check_refused("GET /%00health HTTP/1.1\r\n" HOST "\r\n", "400");
    stop();
}

static void transfer_encoding_is_refused(void)
{
    start();
    check_refused("POST /message HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                  "5\r\nhello\r\n0\r\n\r\n",
                  "400");
    check_refused("POST /message HTTP/1.1\r\n" HOST "Content-Length: 5\r\n"
                  "Transfer-Encoding: chunked\r\n\r\nhello",
                  "400");
    check_refused("GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", "400");
    check_refused("GET / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n", "400");
    stop();
}

static void a_length_is_digits_only_and_single(void)
{
    static const char *const lengths[] = {"+5",
                                          "-5",
                                          "5x",
                                          "x5",
                                          "0x5",
                                          "5,5",
                                          "5 5",
                                          "",
                                          " ",
                                          "1e3",
                                          "5.0",
                                          "99999999999999999999999999",
                                          "18446744073709551617"};
    char request[256];

    start();
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        snprintf(request, sizeof(request),
                 "POST /message HTTP/1.1\r\n" HOST "Content-Length: %s\r\n\r\nhello",
                 lengths[i]);
        check_refused(request, "400");
    }
    check_refused("POST /message HTTP/1.1\r\n" HOST
                  "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
                  "400");
    check_refused("GET / HTTP/1.1\r\n" HOST "Content-Length: 5x\r\n\r\nhello", "400");
    stop();
}

static void a_post_needs_a_length(void)
{
    start();
    check_refused("POST /message HTTP/1.1\r\n" HOST "\r\n", "411");
    check_refused("POST /message HTTP/1.1\r\n" HOST "\r\n{\"a\":1}", "411");
    stop();
}

static void too_large_a_body_is_refused_before_it_is_read(void)
{
    static char request[400 * 1024];
    char answer[4096];
    int fd, len;

    start();
    check_refused("POST /message HTTP/1.1\r\n" HOST "Content-Length: 2000000\r\n\r\n", "413");
    fd = raw_connect(host_port(&server));
    len = snprintf(request, sizeof(request),
                   "POST /message HTTP/1.1\r\n" HOST "Content-Length: 1052673\r\n\r\n");
    memset(request + len, 'x', sizeof(request) - (size_t)len);
    CHECK(raw_send(fd, request, sizeof(request))); /* the client goes on sending */
    CHECK(raw_until_closed(fd, answer, sizeof(answer)));
    CHECK_CONTAINS(answer, "HTTP/1.1 413 ");
    close(fd);
    stop();
    CHECK_U64(server.requests, 0);
}

static void exactly_the_largest_body_is_taken(void)
{
    size_t body = 1024 * 1024 + 4096;
    char *request = malloc(body + 200), *answer = malloc(body + 2048);
    int fd, len;

    start();
    fd = raw_connect(host_port(&server));
    len = snprintf(request, 200, "POST /m HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
                   body);
    memset(request + len, 'x', body);
    CHECK(raw_send(fd, request, (size_t)len + body));
    CHECK(raw_answer(fd, answer, body + 2048));
    CHECK(strlen(answer) > body);
    close(fd);
    stop();
    free(request);
    free(answer);
}

static void what_is_no_http_is_cut_off(void)
{
    static const char *const noise[] = {"\r\n\r\n\r\n",
                                        "\x16\x03\x01\x02\x05\x01",
                                        "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n",
                                        "BREW /pot HTTP/1.1\r\n" HOST "\r\n",
                                        "GET\r\n\r\n",
                                        "GET / HTTP/1.1\r\nGET / HTTP/1.1\r\n\r\n",
                                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
    char answer[4096];

    start();
    for (size_t i = 0; i < sizeof(noise) / sizeof(noise[0]); i++) {
        int fd = raw_connect(host_port(&server));

        raw_send(fd, noise[i], strlen(noise[i]));
        shutdown(fd, SHUT_WR);
        raw_until_closed(fd, answer, sizeof(answer)); /* answered or reset, but over */
        close(fd);
    }
    CHECK_U64(server.requests, 0);
    CHECK_CONTAINS(ask_and_close("GET /alive HTTP/1.0\r\n" HOST "\r\n"), "GET /alive");
    stop();
}

static void a_head_too_long_is_cut_off(void)
{
    static char request[64 * 1024];
    char answer[4096];
    int fd;

    start();
    memset(request, 'h', sizeof(request));
    request[snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nX: ")] = 'h';
    fd = raw_connect(host_port(&server));
    raw_send(fd, request, sizeof(request));
    raw_until_closed(fd, answer, sizeof(answer));
    close(fd);
    CHECK_U64(server.requests, 0);
    CHECK_CONTAINS(ask_and_close("GET /alive HTTP/1.0\r\n" HOST "\r\n"), "GET /alive");
    stop();
}

static const struct check_test tests[] = {
    {"a GET is handed up with what came", a_get_is_handed_up_with_what_came},
    {"a POST's body arrives whole", a_posts_body_arrives_whole},
    {"an empty POST is a request", an_empty_post_is_a_request},
    {"every method is handed up", every_method_is_handed_up},
    {"HEAD is answered without a body", head_is_answered_without_a_body},
    {"requests follow each other on a connection", requests_follow_each_other_on_a_connection},
    {"what is sent ahead ends the connection after the answer",
     what_is_sent_ahead_ends_the_connection_after_the_answer},
    {"HTTP/1.0 closes unless asked not to", http_1_0_closes_unless_asked_not_to},
    {"an answer's headers are what was asked for", an_answers_headers_are_what_was_asked_for},
    {"a large answer arrives whole", a_large_answer_arrives_whole},
    {"an answer may come later", an_answer_may_come_later},
    {"a request sent while another waits is not lost",
     a_request_sent_while_another_waits_is_not_lost},
    {"a client that goes takes its request along", a_client_that_goes_takes_its_request_along},
    {"shutdown takes unanswered requests along", shutdown_takes_unanswered_requests_along},
    {"stopping takes unanswered requests along", stopping_takes_unanswered_requests_along},
    {"an expectation is answered", an_expectation_is_answered},
    {"exactly one Host is required", exactly_one_host_is_required},
    {"a path with a NUL is refused", a_path_with_a_nul_is_refused},
    {"Transfer-Encoding is refused", transfer_encoding_is_refused},
    {"a length is digits only and single", a_length_is_digits_only_and_single},
    {"a POST needs a length", a_post_needs_a_length},
    {"too large a body is refused before it is read",
     too_large_a_body_is_refused_before_it_is_read},
    {"exactly the largest body is taken", exactly_the_largest_body_is_taken},
    {"what is no HTTP is cut off", what_is_no_http_is_cut_off},
    {"a head too long is cut off", a_head_too_long_is_cut_off},
};

CHECK_MAIN("http_server", tests)
