/* SPDX-License-Identifier: Apache-2.0
 *
 * One HTTP call: what goes out, what comes back, and how each way of failing is told.
 */
#include <openssl/ssl.h>
#include <time.h>

#include "test/transport/http_fixture.h"

/* Has the server answer with exactly these bytes. */
static void carry_say(struct fixture *fixture, struct http_call *call, const char *answer)
{
    static char url[64];

    prepare(fixture, call, url, "/say", answer);
    carry(fixture, call);
}

/* ... and close. */
static void carry_say_close(struct fixture *fixture, struct http_call *call,
                            const char *answer)
{
    static char url[64];

    prepare(fixture, call, url, "/say-close", answer);
    carry(fixture, call);
}

/* ---- answers ---- */

static void answer_comes_back_whole(void)
{
    struct fixture fixture;
    struct http_call call;
    char url[64];

    set_up(&fixture, &defaults);
    prepare(&fixture, &call, url, "/ok", "{}");
    carry(&fixture, &call);
    CHECK_STATUS(call.status, OK);
    CHECK_U64(call.code, 200);
    CHECK_TEXT(call.response, "fine");
    CHECK_U64(call.response_len, 4);
    CHECK(!call.unsent && !call.resent);
    CHECK_U64(call.retry_after_s, 0);
    CHECK_U64(call.parley_version, 0);
    CHECK_TEXT(call.detail, "");

    http_call_clear(fixture.http, &call);
    CHECK(call.response == NULL && call.code == 0 && call.response_len == 0);
    carry(&fixture, &call); /* the request is still there */
    CHECK_TEXT(call.response, "fine");
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
}

static void every_status_is_an_answer(void)
{
    static const unsigned codes[] = {200, 201, 204, 302, 400, 401,
                                     404, 408, 429, 500, 503, 599};
    struct fixture fixture;
    struct http_call call;
    char answer[128];

    set_up(&fixture, &defaults);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        snprintf(answer, sizeof(answer), "HTTP/1.1 %u Said so\r\nContent-Length: 0\r\n\r\n",
                 codes[i]);
        carry_say(&fixture, &call, answer);
        CHECK_STATUS(call.status, OK);
        CHECK_U64(call.code, codes[i]);
        CHECK_TEXT(call.response, ""); /* empty, but there */
        http_call_clear(fixture.http, &call);
    }
    tear_down(&fixture);
}

static void interim_answer_does_not_count(void)
{
    struct fixture fixture;
    struct http_call call;

    set_up(&fixture, &defaults);
    carry_say(&fixture, &call,
              "HTTP/1.1 103 Early\r\nRetry-After: 9\r\nParley: 1\r\n\r\n"
              "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    CHECK_STATUS(call.status, OK);
    CHECK_U64(call.code, 200);
    CHECK_TEXT(call.response, "ok");
    CHECK_U64(call.retry_after_s, 0);
    CHECK_U64(call.parley_version, 0);
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
}

static uint32_t retry_after_of(struct fixture *fixture, const char *value)
{
    struct http_call call;
    char answer[256];
    uint32_t seconds;

    snprintf(answer, sizeof(answer),
             "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: %s\r\n\r\n", value);
    carry_say(fixture, &call, answer);
    CHECK_STATUS(call.status, OK);
    CHECK_U64(call.code, 503);
    seconds = call.retry_after_s;
    http_call_clear(fixture->http, &call);
    return seconds;
}

static void retry_after_is_read_in_both_forms(void)
{
    struct fixture fixture;
    time_t later = time(NULL) + 3600;
    struct tm when;
    char date[64];

    set_up(&fixture, &defaults);
    CHECK_U64(retry_after_of(&fixture, "7"), 7);
    CHECK_U64(retry_after_of(&fixture, "  120  "), 120);
    CHECK_U64(retry_after_of(&fixture, "0"), 0);
    CHECK_U64(retry_after_of(&fixture, "99999999999999999999"), UINT32_MAX);
    CHECK_U64(retry_after_of(&fixture, "soon"), 0);
    CHECK_U64(retry_after_of(&fixture, "-5"), 0);
    CHECK_U64(retry_after_of(&fixture, "7 apples"), 0);
    CHECK_U64(retry_after_of(&fixture, ""), 0);
    CHECK_U64(retry_after_of(&fixture, "Fri, 31 Dec 1999 23:59:59 GMT"), 0);

    gmtime_r(&later, &when);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &when);
    /* the clock went on since; an hour would be a wrong unit, not a slow machine */
    CHECK(retry_after_of(&fixture, date) - 1 < 3600);
    tear_down(&fixture);
}

static void parley_header_is_read(void)
{
    static const struct {
        const char *header;
        uint32_t version, batch_bytes, message_bytes;
    } cases[] = {
        {"Parley: 1; max_batch_bytes=65536", 1, 65536, 0},
        {"parley: 1", 1, 0, 0},
        {"PARLEY:1;max_batch_bytes=5", 1, 5, 0},
        {"Parley:   1 ;  other=3; max_batch_bytes=7 ; more", 1, 7, 0},
        {"Parley: 2; max_batch_bytes=10", 2, 10, 0},
        {"Parley: 1; max_batch_bytes=99999999999", 1, UINT32_MAX, 0},
        {"Parley: 1; max_batch_bytes=", 1, 0, 0},
        {"Parley: 1; xmax_batch_bytes=3", 1, 0, 0},
        {"Parley: 1; max_batch_bytes=65536; max_message_bytes=1048576", 1, 65536, 1048576},
        {"Parley: 1;max_message_bytes=7;max_batch_bytes=", 1, 0, 7},
        {"Parley: yes", 0, 0, 0},
        {"Parley: 1x", 0, 0, 0},
        {"Parley:", 0, 0, 0},
        {"X-Parley: 1", 0, 0, 0},
        {"Parleys: 1", 0, 0, 0},
    };
    struct fixture fixture;

    set_up(&fixture, &defaults);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_call call;
        char answer[256], seen[128], expected[128];

        snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 0\r\n\r\n",
                 cases[i].header);
        carry_say(&fixture, &call, answer);
        snprintf(seen, sizeof(seen), "%s -> %u, %u, %u", cases[i].header, call.parley_version,
                 call.parley_batch_bytes, call.parley_message_bytes);
        snprintf(expected, sizeof(expected), "%s -> %u, %u, %u", cases[i].header,
                 cases[i].version, cases[i].batch_bytes, cases[i].message_bytes);
        CHECK_TEXT(seen, expected);
        http_call_clear(fixture.http, &call);
    }
    tear_down(&fixture);
}

/* ---- requests ---- */

static void post_says_what_it_carries(void)
{
    struct fixture fixture;
    struct http_call call;
    char url[64];

    set_up(&fixture, &defaults);
    prepare(&fixture, &call, url, "/request", "{\"a\":1}");
    carry(&fixture, &call);
    CHECK_CONTAINS(call.response, "POST /request HTTP/1.1\r\n");
    CHECK_CONTAINS(call.response, "\r\nContent-Type: application/json\r\n");
    CHECK_CONTAINS(call.response, "\r\nContent-Length: 7\r\n");
    CHECK(strcasestr(call.response, "expect") == NULL);
    CHECK(strcasestr(call.response, "transfer-encoding") == NULL);
    CHECK(strcasestr(call.response, "upgrade") == NULL);
    http_call_clear(fixture.http, &call);

    call.headers[0] = "Authorization: Bearer abc";
    call.headers[1] = "Content-Type: application/octet-stream";
    call.headers[2] = "Parley-Session: s";
    call.headers[3] = "X-Fourth: 4";
    carry(&fixture, &call);
    CHECK_CONTAINS(call.response, "\r\nAuthorization: Bearer abc\r\n");
    CHECK_CONTAINS(call.response, "\r\nContent-Type: application/octet-stream\r\n");
    CHECK_CONTAINS(call.response, "\r\nParley-Session: s\r\n");
    CHECK_CONTAINS(call.response, "\r\nX-Fourth: 4\r\n");
    CHECK(strcasestr(call.response, "application/json") == NULL);
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
}

/* One transfer is reused for all of them: nothing of one call may show in the next. */
static void calls_leave_nothing_behind(void)
{
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call post, get;
    char post_url[64], get_url[64];

    options.in_flight_max = 1;
    set_up(&fixture, &options);
    prepare(&fixture, &post, post_url, "/request", "body");
    prepare(&fixture, &get, get_url, "/request", NULL);
    get.get = true;
    post.headers[0] = "X-Secret: 1";
    for (unsigned i = 0; i < 3; i++) {
        carry(&fixture, &post);
        CHECK_CONTAINS(post.response, "POST /request");
        CHECK_CONTAINS(post.response, "X-Secret: 1");
        CHECK_CONTAINS(post.response, "Content-Length: 4\r\n");
        carry(&fixture, &get);
        CHECK_CONTAINS(get.response, "GET /request");
        CHECK(strstr(get.response, "X-Secret") == NULL);
        CHECK(strcasestr(get.response, "Content-") == NULL);
        http_call_clear(fixture.http, &post);
        http_call_clear(fixture.http, &get);
    }
    post.headers[0] = NULL;
    post.body = NULL; /* an empty POST */
    post.body_len = 0;
    carry(&fixture, &post);
    CHECK_CONTAINS(post.response, "Content-Length: 0\r\n");
    CHECK(strstr(post.response, "X-Secret") == NULL);
    http_call_clear(fixture.http, &post);
    tear_down(&fixture);
}

static void large_body_arrives_whole(void)
{
    const size_t len = 1024 * 1024 + 17;
    struct fixture fixture;
    struct http_call call;
    char url[64], expected[64], *body = malloc(len);

    for (size_t i = 0; i < len; i++)
        body[i] = (char)(i * 7 + i / 251);
    set_up(&fixture, &defaults);
    prepare(&fixture, &call, url, "/length", NULL);
    call.body = body;
    call.body_len = len;
    carry(&fixture, &call);
    CHECK_STATUS(call.status, OK);
    snprintf(expected, sizeof(expected), "%zu %u", len, checksum(body, len));
    CHECK_TEXT(call.response, expected);
    http_call_clear(fixture.http, &call);

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/request", fixture.server->port);
    carry(&fixture, &call); /* no 100-continue is asked for, which would cost a second */
    CHECK(strcasestr(call.response, "expect") == NULL);
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
    free(body);
}

static void redirect_is_not_followed(void)
{
    struct fixture fixture;
    struct http_call call;
    char answer[256];

    set_up(&fixture, &defaults);
    snprintf(answer, sizeof(answer),
             "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%u/ok\r\n"
             "Content-Length: 0\r\n\r\n",
             fixture.server->port);
    carry_say(&fixture, &call, answer);
    CHECK_STATUS(call.status, OK);
    CHECK_U64(call.code, 302);
    CHECK_U64(atomic_load(&fixture.server->requests), 1);
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
}

static void proxy_in_the_environment_is_ignored(void)
{
    static const char *const names[] = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"};
    struct fixture fixture;
    struct http_call call;
    char url[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        setenv(names[i], "http://127.0.0.1:1", 1);
    unsetenv("no_proxy");
    unsetenv("NO_PROXY");
    set_up(&fixture, &defaults);
    prepare(&fixture, &call, url, "/ok", "{}");
    carry(&fixture, &call);
    CHECK_STATUS(call.status, OK);
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unsetenv(names[i]);
}

/* ---- failures ---- */

static void answer_over_the_cap_breaks_the_protocol(void)
{
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call call;
    char answer[2048], body[1002];

    options.response_bytes_max = 1000;
    memset(body, 'x', sizeof(body));
    body[1001] = '\0';
    set_up(&fixture, &options);

    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n%.1000s",
             body);
    carry_say(&fixture, &call, answer);
    CHECK_STATUS(call.status, OK);
    CHECK_U64(call.response_len, 1000);
    http_call_clear(fixture.http, &call);

    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n%s",
             body);
    carry_say(&fixture, &call, answer); /* announced */
    CHECK_STATUS(call.status, EPROTO);
    CHECK_CONTAINS(call.detail, "larger than");
    CHECK(call.response == NULL && call.response_len == 0 && !call.unsent);

    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\n\r\n%s", body);
    carry_say_close(&fixture, &call, answer); /* not announced */
    CHECK_STATUS(call.status, EPROTO);
    CHECK_CONTAINS(call.detail, "larger than");
    CHECK(call.response == NULL && !call.unsent);
    tear_down(&fixture);
}

static void what_is_not_http_breaks_the_protocol(void)
{
    static const char *const answers[] = {
        "SSH-2.0-OpenSSH_9.2\r\n",
        "220 mail.example ESMTP\r\n",
        "{\"hello\":1}",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/2 65736 OK\r\n\r\n", /* in 16 bits it would be 200 */
        "HTTP/2 99999999999999999999 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
    };
    struct fixture fixture;

    set_up(&fixture, &defaults);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct http_call call;

        carry_say_close(&fixture, &call, answers[i]);
        CHECK_STATUS(call.status, EPROTO);
        CHECK(!call.unsent && call.response == NULL);
        CHECK(call.detail[0] != '\0');
    }
    tear_down(&fixture);
}

static void refused_connection_is_unsent(void)
{
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call good, bad;
    char good_url[64], bad_url[64];
    uint16_t port;
    int refusing = refuse_somewhere(&port);

    options.in_flight_max = 1; /* the same transfer for all */
    set_up(&fixture, &options);
    prepare(&fixture, &good, good_url, "/ok", "{}");
    prepare(&fixture, &bad, bad_url, "/ok", "{}");
    snprintf(bad_url, sizeof(bad_url), "http://127.0.0.1:%u/ok", port);
    for (unsigned i = 0; i < 3; i++) {
        carry(&fixture, &good);
        CHECK_STATUS(good.status, OK);
        http_call_clear(fixture.http, &good);
        carry(&fixture, &bad);
        CHECK_STATUS(bad.status, EUNREACHABLE);
        CHECK(bad.unsent && !bad.resent);
        CHECK_U64(bad.code, 0);
        CHECK_CONTAINS(bad.detail, "connect");
        http_call_clear(fixture.http, &bad);
    }
    tear_down(&fixture);
    close(refusing);
}

static void unusable_url_is_unsent(void)
{
    static const char *const urls[] = {"ftp://127.0.0.1/x", "file:///etc/hostname", "http://",
                                       "http://no.such.host.invalid/", "gopher://127.0.0.1/"};
    struct fixture fixture;

    set_up(&fixture, &defaults);
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct http_call call = {.reply_to = &fixture.client->actor, .url = urls[i]};

        carry(&fixture, &call);
        CHECK_STATUS(call.status, EUNREACHABLE);
        CHECK(call.unsent);
        CHECK(call.response == NULL && call.detail[0] != '\0');
    }
    tear_down(&fixture);
}

/* Connections that the kernel neither completes nor refuses: the backlog is full. */
static void connect_timeout_is_unsent(void)
{
    struct http_worker_options options = defaults;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct fixture fixture;
    struct http_call call;
    char url[64];
    int listener, filler[8];
    uint16_t port;

    listener = listen_anywhere(0, &port);
    address.sin_port = htons(port);
    for (size_t i = 0; i < 8; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(filler[i], (struct sockaddr *)&address, sizeof(address));
    }
    options.connect_timeout_ms = 200;
    set_up(&fixture, &options);
    prepare(&fixture, &call, url, "/ok", "{}");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/ok", port);
    carry(&fixture, &call);
    CHECK_STATUS(call.status, ETIMEDOUT);
    CHECK(call.unsent);
    tear_down(&fixture);
    for (size_t i = 0; i < 8; i++)
        close(filler[i]);
    close(listener);
}

static void silence_times_out(void)
{
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call call;
    char url[64];

    options.timeout_ms = 200;
    set_up(&fixture, &options);
    for (unsigned i = 0; i < 2; i++) {
        prepare(&fixture, &call, url, "/silent", "{}");
        carry(&fixture, &call);
        CHECK_STATUS(call.status, ETIMEDOUT);
        CHECK(!call.unsent); /* on a reused connection, too, where connecting took no time */
        CHECK(call.detail[0] != '\0');
        prepare(&fixture, &call, url, "/ok", "{}");
        carry(&fixture, &call);
        CHECK_STATUS(call.status, OK);
        http_call_clear(fixture.http, &call);
    }
    tear_down(&fixture);
}

static void connection_lost_is_unreachable_but_sent(void)
{
    struct fixture fixture;
    struct http_call call;

    set_up(&fixture, &defaults);
    carry_say_close(&fixture, &call, ""); /* no answer at all */
    CHECK_STATUS(call.status, EUNREACHABLE);
    CHECK(!call.unsent && !call.resent);
    carry_say_close(&fixture, &call,
                    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthat was not all");
    CHECK_STATUS(call.status, EUNREACHABLE);
    CHECK(!call.unsent && call.response == NULL && call.response_len == 0);
    tear_down(&fixture);
}

/* A TLS server for one connection, with a certificate it signed itself. */
struct tls_server {
    int fd;
    uint16_t port;
    SSL_CTX *context;
    pthread_t thread;
    _Atomic(uint64_t) requests;
};

static void sign_oneself(SSL_CTX *context)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);

    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
                               -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    CHECK(SSL_CTX_use_certificate(context, certificate) == 1);
    CHECK(SSL_CTX_use_PrivateKey(context, key) == 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void *serve_tls(void *user)
{
    struct tls_server *server = user;
    int fd = accept(server->fd, NULL, NULL);
    SSL *ssl = SSL_new(server->context);
    char byte;

    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1 && SSL_read(ssl, &byte, 1) == 1)
        atomic_fetch_add(&server->requests, 1);
    SSL_free(ssl);
    close(fd);
    return NULL;
}

static void untrusted_certificate_gets_no_request(void)
{
    struct tls_server server = {.context = SSL_CTX_new(TLS_server_method())};
    struct fixture fixture;
    struct http_call call;
    char url[64];

    sign_oneself(server.context);
    server.fd = listen_anywhere(8, &server.port);
    set_up(&fixture, &defaults);
    pthread_create(&server.thread, NULL, serve_tls, &server);
    prepare(&fixture, &call, url, "/ok", "{}");
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/ok", server.port);
    carry(&fixture, &call);
    CHECK_STATUS(call.status, EUNREACHABLE);
    CHECK(call.unsent);
    CHECK_CONTAINS(call.detail, "certificate");
    pthread_join(server.thread, NULL);
    CHECK_U64(atomic_load(&server.requests), 0);
    close(server.fd);
    SSL_CTX_free(server.context);
    tear_down(&fixture);
}

static void host_names_are_resolved(void)
{
    struct fixture fixture;
    struct http_call call;
    char url[64];

    set_up(&fixture, &defaults);
    prepare(&fixture, &call, url, "/ok", "{}");
    snprintf(url, sizeof(url), "http://localhost:%u/ok", fixture.server->port);
    carry(&fixture, &call);
    CHECK_STATUS(call.status, OK);
    CHECK_TEXT(call.response, "fine");
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
}

/* ---- connections ---- */

static void connection_is_kept(void)
{
    struct fixture fixture;
    struct http_call call;
    char url[64];

    set_up(&fixture, &defaults);
    for (unsigned i = 0; i < 30; i++) {
        prepare(&fixture, &call, url, "/ok", "{}");
        carry(&fixture, &call);
        CHECK_STATUS(call.status, OK);
        http_call_clear(fixture.http, &call);
    }
    CHECK_U64(atomic_load(&fixture.server->connections), 1);
    CHECK_U64(atomic_load(&fixture.server->requests), 30);
    tear_down(&fixture);
}

static void lost_reused_connection_is_resent_once_and_said(void)
{
    struct fixture fixture;
    struct http_call call;
    char url[64];

    set_up(&fixture, &defaults);
    prepare(&fixture, &call, url, "/ok", "{}");
    carry(&fixture, &call);
    CHECK(!call.resent);
    http_call_clear(fixture.http, &call);
    /* the server reads it on the old connection and closes; then it comes on a new one */
    prepare(&fixture, &call, url, "/drop-used", "{}");
    carry(&fixture, &call);
    CHECK_STATUS(call.status, OK);
    CHECK_TEXT(call.response, "first");
    CHECK(call.resent);
    CHECK_U64(atomic_load(&fixture.server->requests), 3);
    CHECK_U64(atomic_load(&fixture.server->connections), 2);
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
}

static void request_never_goes_out_three_times(void)
{
    struct fixture fixture;
    struct http_call calls[3], call;
    char urls[3][64], url[64];

    set_up(&fixture, &defaults);
    for (unsigned i = 0; i < 3; i++) { /* three idle connections to lose */
        prepare(&fixture, &calls[i], urls[i], "/hold", "{}");
        http_worker_submit(fixture.http, &calls[i]);
    }
    CHECK(check_wait(&fixture.server->held, 3));
    server_release(fixture.server, 3);
    CHECK(check_wait(&fixture.client->completed, 3));
    for (unsigned i = 0; i < 3; i++)
        http_call_clear(fixture.http, &calls[i]);

    prepare(&fixture, &call, url, "/drop", "{}");
    carry(&fixture, &call);
    CHECK_STATUS(call.status, EUNREACHABLE);
    CHECK_CONTAINS(call.detail, "twice");
    CHECK(call.resent && !call.unsent);
    CHECK_U64(atomic_load(&fixture.server->requests), 5);
    tear_down(&fixture);
}

static const struct check_test tests[] = {
    {"an answer comes back whole", answer_comes_back_whole},
    {"every status is an answer", every_status_is_an_answer},
    {"an interim answer does not count", interim_answer_does_not_count},
    {"Retry-After is read in both forms", retry_after_is_read_in_both_forms},
    {"the Parley header is read", parley_header_is_read},
    {"a POST says what it carries", post_says_what_it_carries},
    {"calls leave nothing behind", calls_leave_nothing_behind},
    {"a large body arrives whole", large_body_arrives_whole},
    {"a redirect is not followed", redirect_is_not_followed},
    {"a proxy in the environment is ignored", proxy_in_the_environment_is_ignored},
    {"an answer over the cap breaks the protocol", answer_over_the_cap_breaks_the_protocol},
    {"what is not HTTP breaks the protocol", what_is_not_http_breaks_the_protocol},
    {"a refused connection is unsent", refused_connection_is_unsent},
    {"an unusable URL is unsent", unusable_url_is_unsent},
    {"a connect timeout is unsent", connect_timeout_is_unsent},
    {"silence times out", silence_times_out},
    {"a lost connection is unreachable but sent", connection_lost_is_unreachable_but_sent},
    {"an untrusted certificate gets no request", untrusted_certificate_gets_no_request},
    {"host names are resolved", host_names_are_resolved},
    {"a connection is kept", connection_is_kept},
    {"a lost reused connection is resent once",
     lost_reused_connection_is_resent_once_and_said},
    {"a request never goes out three times", request_never_goes_out_three_times},
};

CHECK_MAIN("http easy", tests)
