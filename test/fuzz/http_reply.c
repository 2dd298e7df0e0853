/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers to our own requests: the input is everything a server says, over a socket,
 * through curl and the callbacks that read headers and collect the body. An input that does
 * not begin as an answer is a script for one that is known in every part, so that what is
 * read from it is known, too.
 */
#include "transport/http_easy.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "test/fuzz/fuzz.h"

#define RESPONSE_MAX 3000
#define ANSWER_MAX   16384 /* less than a socket holds */

static const struct http_worker_options options = {.in_flight_max = 1,
                                                   .connect_timeout_ms = 5000,
                                                   .timeout_ms = 5000,
                                                   .response_bytes_max = RESPONSE_MAX};

/* ---- one exchange ---- */

static char listener_name[32];
static int connections[8]; /* accepted, closed after the exchange */
static size_t connections_len;

/* A name in the abstract namespace: curl connects to it without a file and without waiting. */
static int listener(void)
{
    static int listening = -1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t len;

    if (listening >= 0)
        return listening;
    snprintf(listener_name, sizeof(listener_name), "parley-fuzz-%ld", (long)getpid());
    memcpy(address.sun_path + 1, listener_name, strlen(listener_name));
    len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(listener_name));
    listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    FUZZ_CHECK(listening >= 0);
    FUZZ_CHECK(bind(listening, (struct sockaddr *)&address, len) == 0);
    FUZZ_CHECK(listen(listening, 8) == 0);
    return listening;
}

/* Says everything to the first connection, at once; a request sent again is not answered. */
static void serve(const char *answer, size_t len, bool *said)
{
    int connection = accept4(listener(), NULL, NULL, SOCK_CLOEXEC);

    if (connection < 0)
        return;
    if (!*said)
        FUZZ_CHECK(send(connection, answer, len, MSG_NOSIGNAL) == (ssize_t)len);
    *said = true;
    shutdown(connection, SHUT_WR);
    connections[connections_len++] = connection;
}

static CURLcode carry(CURLM *multi, const char *answer, size_t len)
{
    bool said = false;
    int running = 1, left;

    while (running > 0) {
        FUZZ_CHECK(curl_multi_perform(multi, &running) == CURLM_OK);
        serve(answer, len, &said);
        if (running > 0)
            curl_multi_poll(multi, NULL, 0, 1, NULL);
    }
    return curl_multi_info_read(multi, &left)->data.result;
}

static void exchange(const char *answer, size_t len, struct http_call *call)
{
    static CURLM *multi;
    struct alloc alloc = fuzz_alloc();
    struct http_easy easy;

    (void)listener();
    if (multi == NULL)
        multi = curl_multi_init();
    http_easy_init(&easy, &alloc, &options);
    FUZZ_CHECK(http_easy_begin(&easy, call) == PARLEY_OK);
    curl_easy_setopt(easy.handle, CURLOPT_ABSTRACT_UNIX_SOCKET, listener_name);
    curl_easy_setopt(easy.handle, CURLOPT_FORBID_REUSE, 1L);
    FUZZ_CHECK(curl_multi_add_handle(multi, easy.handle) == CURLM_OK);
    FUZZ_CHECK(http_easy_finish(&easy, carry(multi, answer, len)) == call);
    FUZZ_CHECK(curl_multi_remove_handle(multi, easy.handle) == CURLM_OK);
    http_easy_fini(&easy);
    while (connections_len > 0)
        close(connections[--connections_len]);
}

static bool says(const char *text, size_t len, const char *word)
{
    char *copy = fuzz_text(text, len);
    bool found = false;

    /* a header may stand behind a NUL */
    for (size_t at = 0; at < len && !found; at += strlen(copy + at) + 1)
        found = strcasestr(copy + at, word) != NULL;
    free(copy);
    return found;
}

/* Holds whatever was said. */
static void check_outcome(const char *answer, size_t len, const struct http_call *call)
{
    FUZZ_CHECK(memchr(call->detail, '\0', sizeof(call->detail)) != NULL);
    if (call->status == PARLEY_OK) {
        FUZZ_CHECK(call->response != NULL && call->response_len <= RESPONSE_MAX);
        FUZZ_CHECK(call->response[call->response_len] == '\0');
        FUZZ_CHECK(call->code >= 100 && call->code <= 999 && !call->unsent);
    } else {
        FUZZ_CHECK(call->response == NULL && call->response_len == 0);
        FUZZ_CHECK(call->detail[0] != '\0');
    }
    FUZZ_CHECK(call->retry_after_s == 0 || says(answer, len, "retry-after:"));
    FUZZ_CHECK(call->parley_version == 0 || says(answer, len, "parley:"));
    FUZZ_CHECK(call->parley_batch_bytes == 0 || says(answer, len, "max_batch_bytes="));
}

static void try_answer(const char *answer, size_t len, struct http_call *call, bool get)
{
    struct alloc alloc = fuzz_alloc();

    *call = (struct http_call){.get = get,
                               .url = "http://127.0.0.1:9/message",
                               .body = "{}",
                               .body_len = 2,
                               .headers = {"Parley: 1"}};
    exchange(answer, len, call);
    check_outcome(answer, len, call);
    alloc_free(&alloc, call->response);
}

/* ---- known answers ---- */

static uint32_t number(struct fuzz_script *script)
{
    uint32_t value = (uint32_t)fuzz_u16(script) << 16;

    value |= fuzz_u16(script);
    return value >> (fuzz_byte(script) % 32);
}

/* A call cut short before anything was said. */
static void try_abandoned(void)
{
    struct alloc alloc = fuzz_alloc();
    struct http_easy easy;
    struct http_call call = {.url = "http://127.0.0.1:9/", .body = NULL};

    http_easy_init(&easy, &alloc, &options);
    FUZZ_CHECK(http_easy_begin(&easy, &call) == PARLEY_OK);
    FUZZ_CHECK(http_easy_abandon(&easy, "cut short") == &call);
    FUZZ_CHECK(call.status == PARLEY_ECLOSED && call.unsent && !call.resent);
    FUZZ_CHECK(strcmp(call.detail, "cut short") == 0 && call.response == NULL);
    http_easy_fini(&easy);
}

static void try_known(struct fuzz_script *script)
{
    char answer[ANSWER_MAX];
    unsigned code = 200 + fuzz_byte(script) % 250;
    uint32_t after = number(script), batch = number(script);
    size_t body = fuzz_u16(script) % (RESPONSE_MAX + 64), used;
    bool bodiless = code == 204 || code == 304;
    struct http_call call;

    used = (size_t)snprintf(answer, sizeof(answer),
                            "HTTP/1.1 %u X\r\nretry-after:  %u \r\n"
                            "PARLEY: 1; new=%u; max_batch_bytes=%u\r\n"
                            "Content-Length: %zu\r\n\r\n",
                            code, after, after, batch, body);
    memset(answer + used, 'b', body);
    try_answer(answer, used + body, &call, false);
    FUZZ_CHECK(call.retry_after_s == after && call.parley_version == 1);
    FUZZ_CHECK(call.parley_batch_bytes == batch);
    FUZZ_CHECK(call.status == (body <= RESPONSE_MAX || bodiless ? PARLEY_OK : PARLEY_EPROTO));
    if (call.status == PARLEY_OK)
        FUZZ_CHECK(call.code == code && call.response_len == (bodiless ? 0 : body));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_script script = fuzz_script(data, len);
    struct http_call call;

    if (len == 0 || len > ANSWER_MAX)
        return 0;
    if (len == 1)
        try_abandoned();
    else if (data[0] == 'H')
        try_answer((const char *)data, len, &call, len % 2 == 0);
    else
        try_known(&script);
    return 0;
}
