/* SPDX-License-Identifier: Apache-2.0
 *
 * Setting an option costs little, but curl copies strings and a peer's requests differ in
 * few things: so whatever never changes is set when a handle is made, and a call sets its
 * URL, its body (not copied) and, when it differs from the last one's, the method. Request
 * headers are a list inside the transfer whose nodes point into the call.
 */
#include "transport/http_easy.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "runtime/clock.h"

#define CONNECTION_IDLE_MAX_S 60  /* below the keep-alive of servers we know: 75 s */
#define RESPONSE_BYTES_MIN    512 /* first allocation; most answers fit */
#define STARTS_MAX            2   /* see http_worker.h: resent */
#define HEADER_VALUE_MAX      128 /* of the answer's headers we read */

/* ---- the answer's headers ---- */

/* Copies a header's value without surrounding space if `line` is that header. */
static bool header_value(const char *line, size_t len, const char *name, char *value)
{
    size_t name_len = strlen(name);

    if (len < name_len || strncasecmp(line, name, name_len) != 0)
        return false;
    line += name_len;
    len -= name_len;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    while (len > 0 && strchr(" \t\r\n", line[len - 1]) != NULL)
        len--;
    if (len >= HEADER_VALUE_MAX)
        return false;
    memcpy(value, line, len);
    value[len] = '\0';
    return true;
}

/* Reads decimal digits, clamped. @return how many there were */
static size_t read_u32(const char *text, uint32_t *ret_value)
{
    size_t len = strspn(text, "0123456789");
    uint64_t value = 0;

    for (size_t i = 0; i < len && value <= UINT32_MAX; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    *ret_value = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    return len;
}

/* RFC 9110, 10.2.3: seconds or a date. A date gone by, or nonsense, is "none said". */
static uint32_t parse_retry_after(const char *value)
{
    int64_t now_s = (int64_t)(clock_wall_us() / 1000000);
    uint32_t seconds = 0;
    int64_t when_s;

    if (read_u32(value, &seconds) > 0 && value[strspn(value, "0123456789")] == '\0')
        return seconds;
    when_s = (int64_t)curl_getdate(value, NULL);
    if (when_s <= now_s)
        return 0;
    return when_s - now_s > UINT32_MAX ? UINT32_MAX : (uint32_t)(when_s - now_s);
}

/* "1; max_batch_bytes=65536; max_message_bytes=1048576"; parameters we do not know are for
 * later versions. */
static void parse_parley(const char *value, struct http_call *call)
{
    size_t len = read_u32(value, &call->parley_version);

    value += len;
    while (len > 0 && *value != '\0') {
        if (*value != ';' && *value != ' ') {
            call->parley_version = 0; /* not what PROTOCOL.md says: not a parley */
            return;
        }
        value += strspn(value, "; ");
        if (strncmp(value, "max_batch_bytes=", 16) == 0)
            read_u32(value + 16, &call->parley_batch_bytes);
        else if (strncmp(value, "max_message_bytes=", 18) == 0)
            read_u32(value + 18, &call->parley_message_bytes);
        value += strcspn(value, "; ");
    }
}

static size_t take_header(char *line, size_t size, size_t count, void *user)
{
    struct http_easy *easy = user;
    struct http_call *call = easy->call;
    size_t len = size * count;
    char value[HEADER_VALUE_MAX];

    if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        /* a status line: what an interim answer (1xx) said before it does not count */
        call->retry_after_s = call->parley_version = call->parley_batch_bytes = 0;
        call->parley_message_bytes = 0;
    } else if (header_value(line, len, "Retry-After:", value)) {
        call->retry_after_s = parse_retry_after(value);
    } else if (header_value(line, len, "Parley:", value)) {
        parse_parley(value, call);
    }
    return len;
}

/* ---- the answer's body ---- */

/* Makes room for `len` more bytes and a NUL. */
static bool reserve(struct http_easy *easy, size_t len)
{
    size_t needed = easy->call->response_len + len + 1;
    size_t capacity = easy->response_capacity;
    char *grown;

    if (needed <= capacity)
        return true;
    capacity = capacity * 2 > RESPONSE_BYTES_MIN ? capacity * 2 : RESPONSE_BYTES_MIN;
    if (capacity < needed)
        capacity = needed;
    grown = alloc_resize(easy->alloc, easy->call->response, capacity);
    if (grown == NULL)
        return false;
    easy->call->response = grown;
    easy->response_capacity = capacity;
    return true;
}

static size_t take_body(char *data, size_t size, size_t count, void *user)
{
    struct http_easy *easy = user;
    struct http_call *call = easy->call;
    size_t len = size * count;

    assert(call->response_len <= easy->options->response_bytes_max);
    if (len > easy->options->response_bytes_max - call->response_len) {
        easy->refused = PARLEY_EPROTO;
        return 0;
    }
    if (!reserve(easy, len)) {
        easy->refused = PARLEY_ENOMEM;
        return 0;
    }
    memcpy(call->response + call->response_len, data, len);
    call->response_len += len;
    call->response[call->response_len] = '\0';
    return len;
}

/* ---- the request ---- */

/* Runs each time curl is about to send the request. */
static int before_request(void *user, char *remote, char *local, int remote_port,
                          int local_port)
{
    struct http_easy *easy = user;

    (void)remote;
    (void)local;
    (void)remote_port;
    (void)local_port;
    if (easy->starts == STARTS_MAX)
        return CURL_PREREQFUNC_ABORT;
    easy->starts++;
    return CURL_PREREQFUNC_OK;
}

/* What every call of this handle has in common. */
static bool set_constants(struct http_easy *easy)
{
    const struct http_worker_options *options = easy->options;
    CURL *handle = easy->handle;
    bool ok = true;

#define SET(option, value) \
    (ok = curl_easy_setopt(handle, CURLOPT_##option, (value)) == CURLE_OK && ok)
    SET(PRIVATE, easy);
    SET(ERRORBUFFER, easy->error);
    SET(NOSIGNAL, 1L);
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(PROTOCOLS_STR, "http,https");
    SET(FOLLOWLOCATION, 0L);
    SET(PROXY, ""); /* also keeps http_proxy and its kin out */
    SET(NETRC, (long)CURL_NETRC_IGNORED);
    SET(SSL_VERIFYPEER, 1L);
    SET(SSL_VERIFYHOST, 2L);
    SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2); /* old services may have no 1.3 */
    SET(TCP_NODELAY, 1L);
    SET(TCP_KEEPALIVE, 1L);
    SET(MAXAGE_CONN, (long)CONNECTION_IDLE_MAX_S);
    SET(CONNECTTIMEOUT_MS, (long)options->connect_timeout_ms);
    SET(TIMEOUT_MS, (long)options->timeout_ms);
    SET(MAXFILESIZE_LARGE, (curl_off_t)options->response_bytes_max);
    /* a transfer that ends during name resolution leaves the resolver's thread to itself
     * instead of waiting for it, which would hold up every other transfer */
    SET(QUICK_EXIT, 1L);
    SET(PREREQFUNCTION, before_request);
    SET(PREREQDATA, easy);
    SET(HEADERFUNCTION, take_header);
    SET(HEADERDATA, easy);
    SET(WRITEFUNCTION, take_body);
    SET(WRITEDATA, easy);
    SET(HTTPHEADER, &easy->headers[0]); /* its links change, its head does not */
    SET(POST, 1L);
#undef SET
    return ok;
}

static bool make_handle(struct http_easy *easy)
{
    easy->handle = curl_easy_init();
    if (easy->handle == NULL)
        return false;
    easy->get = false;
    easy->timeout_ms = 0;
    if (set_constants(easy))
        return true;
    curl_easy_cleanup(easy->handle);
    easy->handle = NULL;
    return false;
}

/* curl only reads the list, although its type does not say so. */
static struct curl_slist *link_header(struct curl_slist *last, const char *text)
{
    struct curl_slist *node = last + 1;

    node->data = (char *)(uintptr_t)text;
    node->next = NULL;
    last->next = node;
    return node;
}

static void link_headers(struct http_easy *easy, const struct http_call *call)
{
    struct curl_slist *last = &easy->headers[0];
    bool typed = call->get;

    last->data = (char *)(uintptr_t) "Expect:"; /* sends none: it would cost a second */
    last->next = NULL;
    for (size_t i = 0; i < HTTP_HEADERS_MAX && call->headers[i] != NULL; i++) {
        typed = typed || strncasecmp(call->headers[i], "Content-Type:", 13) == 0;
        last = link_header(last, call->headers[i]);
    }
    if (!typed)
        link_header(last, "Content-Type: application/json");
}

static bool set_method(struct http_easy *easy, const struct http_call *call)
{
    if (call->get == easy->get)
        return true;
    if (curl_easy_setopt(easy->handle, call->get ? CURLOPT_HTTPGET : CURLOPT_POST, 1L) !=
        CURLE_OK)
        return false;
    easy->get = call->get;
    return true;
}

static bool set_timeout(struct http_easy *easy, const struct http_call *call)
{
    const struct http_worker_options *options = easy->options;
    uint32_t own = call->timeout_ms;

    if (own == easy->timeout_ms)
        return true;
    easy->timeout_ms = own;
    return curl_easy_setopt(easy->handle, CURLOPT_TIMEOUT_MS,
                            (long)(own != 0 ? own : options->timeout_ms)) == CURLE_OK &&
           curl_easy_setopt(easy->handle, CURLOPT_CONNECTTIMEOUT_MS,
                            (long)(own != 0 ? own : options->connect_timeout_ms)) == CURLE_OK;
}

/* The body's size first: POSTFIELDS without one would measure it. Never NULL: curl would
 * read the body from standard input. */
static bool set_body(struct http_easy *easy, const struct http_call *call)
{
    if (call->get)
        return true;
    return curl_easy_setopt(easy->handle, CURLOPT_POSTFIELDSIZE_LARGE,
                            (curl_off_t)call->body_len) == CURLE_OK &&
           curl_easy_setopt(easy->handle, CURLOPT_POSTFIELDS,
                            call->body != NULL ? call->body : "") == CURLE_OK;
}

void http_easy_init(struct http_easy *easy, const struct alloc *alloc,
                    const struct http_worker_options *options)
{
    *easy = (struct http_easy){.alloc = alloc, .options = options};
}

void http_easy_fini(struct http_easy *easy)
{
    assert(easy->call == NULL);
    curl_easy_cleanup(easy->handle);
    easy->handle = NULL;
}

parley_status http_easy_begin(struct http_easy *easy, struct http_call *call)
{
    assert(easy->call == NULL);
    assert(call->response == NULL);
    if (easy->handle == NULL && !make_handle(easy))
        return PARLEY_ENOMEM;
    link_headers(easy, call);
    if (!set_method(easy, call) || !set_timeout(easy, call) || !set_body(easy, call) ||
        curl_easy_setopt(easy->handle, CURLOPT_URL, call->url) != CURLE_OK)
        return PARLEY_ENOMEM;
    easy->call = call;
    easy->refused = PARLEY_OK;
    easy->starts = 0;
    easy->response_capacity = 0;
    easy->error[0] = '\0';
    return PARLEY_OK;
}

/* ---- the outcome ---- */

static parley_status status_of(CURLcode code, bool started)
{
    switch (code) {
    case CURLE_OK:
        return PARLEY_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return PARLEY_ETIMEDOUT;
    case CURLE_OUT_OF_MEMORY:
        return PARLEY_ENOMEM;
    case CURLE_UNSUPPORTED_PROTOCOL: /* an answer without a status line, or a wrong URL */
        return started ? PARLEY_EPROTO : PARLEY_EUNREACHABLE;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_FILESIZE_EXCEEDED:
        return PARLEY_EPROTO;
    default:
        return PARLEY_EUNREACHABLE;
    }
}

/* curl counts the bytes of request it handed to the socket, over all connections it used.
 * Without a single one (no address, refused, connect timeout, TLS) nothing can have
 * arrived. CURLINFO_CONNECT_TIME would not do: it is 0 on a reused connection. Before the
 * first start the count is still the previous transfer's. */
static bool nothing_sent(const struct http_easy *easy)
{
    long request_bytes = 0;

    if (easy->starts == 0)
        return true;
    return curl_easy_getinfo(easy->handle, CURLINFO_REQUEST_SIZE, &request_bytes) ==
               CURLE_OK &&
           request_bytes == 0;
}

static void drop_response(struct http_easy *easy)
{
    alloc_free(easy->alloc, easy->call->response);
    easy->call->response = NULL;
    easy->call->response_len = 0;
}

static void set_detail(struct http_call *call, const char *text)
{
    snprintf(call->detail, sizeof(call->detail), "%.*s", HTTP_DETAIL_MAX - 1, text);
}

/* curl reads any number behind "HTTP/2", one that overflows included. @return 0: none */
static unsigned status_code(const struct http_easy *easy)
{
    long code = 0;

    curl_easy_getinfo(easy->handle, CURLINFO_RESPONSE_CODE, &code);
    return code >= 100 && code <= 999 ? (unsigned)code : 0;
}

/* The status line and the body; an empty one is a string, too. */
static parley_status take_answer(struct http_easy *easy)
{
    struct http_call *call = easy->call;

    if (call->response == NULL)
        call->response = alloc_zeroed(easy->alloc, 1);
    if (call->response == NULL)
        return PARLEY_ENOMEM;
    return call->code != 0 ? PARLEY_OK : PARLEY_EPROTO;
}

static const char *why(const struct http_easy *easy, CURLcode code)
{
    if (easy->refused == PARLEY_EPROTO || code == CURLE_FILESIZE_EXCEEDED)
        return "the answer is larger than transport.http.response_bytes_max";
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return "the connection ended twice without an answer";
    if (code == CURLE_OK)
        return "the answer's status is not a number from 100 to 999";
    return easy->error[0] != '\0' ? easy->error : curl_easy_strerror(code);
}

static struct http_call *let_go(struct http_easy *easy)
{
    struct http_call *call = easy->call;

    if (call->status != PARLEY_OK) {
        call->unsent = nothing_sent(easy);
        drop_response(easy);
    }
    call->resent = easy->starts > 1;
    easy->call = NULL;
    return call;
}

struct http_call *http_easy_finish(struct http_easy *easy, CURLcode code)
{
    struct http_call *call = easy->call;

    call->status =
        easy->refused != PARLEY_OK ? easy->refused : status_of(code, easy->starts > 0);
    call->code = status_code(easy);
    if (call->status == PARLEY_OK)
        call->status = take_answer(easy);
    if (call->status == PARLEY_ENOMEM)
        set_detail(call, parley_strerror(PARLEY_ENOMEM));
    else if (call->status != PARLEY_OK)
        set_detail(call, why(easy, code));
    return let_go(easy);
}

struct http_call *http_easy_abandon(struct http_easy *easy, const char *detail)
{
    easy->call->status = PARLEY_ECLOSED;
    set_detail(easy->call, detail);
    return let_go(easy);
}
