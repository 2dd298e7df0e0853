/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules for a request's head, over header tables as libwebsockets would hold them: this
 * file stands in for its four functions that read them, with its limits and its way of
 * joining what came more than once. What passes the rules is checked again, in other words.
 *
 * The input is a head: "GET /path?query HTTP/1.1", then "Name: value" lines.
 */
#include <ctype.h>

#include "test/fuzz/fuzz.h"
#include "transport/line.h"

#define VALUES_MAX 24
#define BODY_MAX   65536

struct value {
    enum lws_token_indexes token;
    const char *text;
    size_t len;
};

struct lws {
    struct value values[VALUES_MAX];
    size_t len;
};

/* ---- libwebsockets' part ---- */

/* The `index`-th value of a header, NULL: there are fewer. */
static const struct value *value_at(const struct lws *wsi, enum lws_token_indexes token,
                                    int index)
{
    for (size_t i = 0; i < wsi->len; i++) {
        if (wsi->values[i].token == token && index-- == 0)
            return &wsi->values[i];
    }
    return NULL;
}

int lws_hdr_total_length(struct lws *wsi, enum lws_token_indexes h)
{
    const struct value *value;
    size_t len = 0;

    for (int i = 0; (value = value_at(wsi, h, i)) != NULL; i++)
        len += value->len + (i > 0);
    return (int)len;
}

int lws_hdr_fragment_length(struct lws *wsi, enum lws_token_indexes h, int frag_idx)
{
    const struct value *value = value_at(wsi, h, frag_idx);

    return value != NULL ? (int)value->len : 0;
}

int lws_hdr_copy_fragment(struct lws *wsi, char *dest, int len, enum lws_token_indexes h,
                          int frag_idx)
{
    const struct value *value = value_at(wsi, h, frag_idx);

    if (value == NULL || value->len >= (size_t)len)
        return -1;
    memcpy(dest, value->text, value->len);
    dest[value->len] = '\0';
    return (int)value->len;
}

int lws_hdr_copy(struct lws *wsi, char *dest, int len, enum lws_token_indexes h)
{
    int total = lws_hdr_total_length(wsi, h);
    const struct value *value;

    *dest = '\0';
    if (total == 0)
        return 0;
    if (total >= len)
        return -1;
    for (int i = 0; (value = value_at(wsi, h, i)) != NULL; i++) {
        if (i > 0)
            *dest++ = ',';
        memcpy(dest, value->text, value->len);
        dest += value->len;
    }
    *dest = '\0';
    return total;
}

/* ---- the head ---- */

static const struct {
    const char *name;
    enum lws_token_indexes token;
} methods[] = {
    {"GET", WSI_TOKEN_GET_URI},         {"POST", WSI_TOKEN_POST_URI},
    {"HEAD", WSI_TOKEN_HEAD_URI},       {"PUT", WSI_TOKEN_PUT_URI},
    {"DELETE", WSI_TOKEN_DELETE_URI},   {"PATCH", WSI_TOKEN_PATCH_URI},
    {"OPTIONS", WSI_TOKEN_OPTIONS_URI},
};

static void add(struct lws *wsi, enum lws_token_indexes token, const char *text, size_t len)
{
    if (wsi->len < VALUES_MAX)
        wsi->values[wsi->len++] = (struct value){token, text, len};
}

/* What comes again begins with a space of lws's own, so that it is never empty. */
static void add_header(struct lws *wsi, enum lws_token_indexes token, char *text)
{
    if (value_at(wsi, token, 0) != NULL)
        *--text = ' '; /* the colon's place, or a space's */
    add(wsi, token, text, strlen(text));
}

/* Undoes percent signs in place, NULs included. @return the new length */
static size_t unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; from++) {
        if (from[0] == '%' && isxdigit((unsigned char)from[1]) &&
            isxdigit((unsigned char)from[2])) {
            char digits[] = {from[1], from[2], '\0'};

            *to++ = (char)strtoul(digits, NULL, 16);
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

static void read_first_line(struct lws *wsi, char *line)
{
    char *method = strsep(&line, " "), *target = strsep(&line, " "), *part;

    if (line != NULL)
        add(wsi, WSI_TOKEN_HTTP, line, strlen(line));
    if (target == NULL)
        return;
    part = strsep(&target, "?");
    for (size_t i = 0; i < LWS_ARRAY_SIZE(methods); i++) {
        if (strcmp(methods[i].name, method) == 0)
            add(wsi, methods[i].token, part, unescape(part));
    }
    while ((part = strsep(&target, "&")) != NULL)
        add(wsi, WSI_TOKEN_HTTP_URI_ARGS, part, unescape(part));
}

static void read_header(struct lws *wsi, char *line)
{
    static const struct {
        const char *name;
        enum lws_token_indexes token;
    } names[] = {{"host", WSI_TOKEN_HOST},
                 {"content-length", WSI_TOKEN_HTTP_CONTENT_LENGTH},
                 {"transfer-encoding", WSI_TOKEN_HTTP_TRANSFER_ENCODING},
                 {"upgrade", WSI_TOKEN_UPGRADE},
                 {"connection", WSI_TOKEN_CONNECTION},
                 {"sec-websocket-version", WSI_TOKEN_VERSION},
                 {"sec-websocket-key", WSI_TOKEN_KEY},
                 {"sec-websocket-protocol", WSI_TOKEN_PROTOCOL},
                 {"origin", WSI_TOKEN_ORIGIN}};
    const char *name = strsep(&line, ":");

    if (line == NULL)
        return;
    line += strspn(line, " ");
    for (size_t i = 0; i < LWS_ARRAY_SIZE(names); i++) {
        if (strcasecmp(names[i].name, name) == 0)
            add_header(wsi, names[i].token, line);
    }
}

static void read_head(struct lws *wsi, char *text)
{
    char *line = strsep(&text, "\n");

    wsi->len = 0;
    read_first_line(wsi, line);
    while ((line = strsep(&text, "\n")) != NULL)
        read_header(wsi, line);
}

/* ---- what passes ---- */

static size_t count(const struct lws *wsi, enum lws_token_indexes token)
{
    size_t found = 0;

    while (value_at(wsi, token, (int)found) != NULL)
        found++;
    return found;
}

static void check_refusal(struct refusal refusal)
{
    FUZZ_CHECK(refusal.code >= 400 && refusal.code < 500);
    FUZZ_CHECK(strcmp(http_status_text(refusal.code), "Other") != 0);
    FUZZ_CHECK(refusal.detail != NULL && refusal.detail[0] != '\0');
}

/* Digits only, apart from space behind them, and the number they make. */
static void check_length(const struct value *value, size_t length)
{
    size_t digits = 0, number = 0;

    for (; digits < value->len && isdigit((unsigned char)value->text[digits]); digits++)
        number = number * 10 + (size_t)(value->text[digits] - '0');
    FUZZ_CHECK(digits > 0 && digits <= 18 && number == length);
    for (size_t i = digits; i < value->len; i++)
        FUZZ_CHECK(value->text[i] == ' ' || value->text[i] == '\t');
}

static void check_request(struct lws *wsi)
{
    size_t length = 77;
    bool has_length = false;
    struct refusal refusal = http_rules_request(wsi, BODY_MAX, &length, &has_length);
    char path[HEADER_BYTES_MAX + 1];

    if (refusal.code != 0) {
        check_refusal(refusal);
        return;
    }
    FUZZ_CHECK(count(wsi, WSI_TOKEN_HOST) == 1);
    FUZZ_CHECK(count(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) == 0);
    FUZZ_CHECK(length <= BODY_MAX && (has_length || length == 0));
    FUZZ_CHECK(has_length || count(wsi, WSI_TOKEN_POST_URI) == 0);
    FUZZ_CHECK(has_length == (count(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) == 1));
    if (has_length)
        check_length(value_at(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, 0), length);
    FUZZ_CHECK(http_method(wsi)[0] != '\0');
    http_path(wsi, path, sizeof(path));
}

static bool is(const struct lws *wsi, enum lws_token_indexes token, const char *text)
{
    const struct value *value = value_at(wsi, token, 0);
    size_t len = strlen(text);

    return count(wsi, token) == 1 && value->len >= len &&
           strncasecmp(value->text, text, len) == 0 &&
           strspn(value->text + len, " \t") == value->len - len;
}

static void check_upgrade(struct lws *wsi)
{
    struct refusal refusal = http_rules_upgrade(wsi, true);
    char connection[HEADER_BYTES_MAX + 1];

    if (refusal.code != 0) {
        check_refusal(refusal);
        FUZZ_CHECK(http_rules_upgrade(wsi, false).code != 0);
        return;
    }
    FUZZ_CHECK(http_rules_upgrade(wsi, false).code == 404);
    FUZZ_CHECK(count(wsi, WSI_TOKEN_GET_URI) == 1 && count(wsi, WSI_TOKEN_HOST) == 1);
    FUZZ_CHECK(is(wsi, WSI_TOKEN_GET_URI, "/ws/v1/peers"));
    FUZZ_CHECK(is(wsi, WSI_TOKEN_UPGRADE, "websocket") && is(wsi, WSI_TOKEN_VERSION, "13"));
    FUZZ_CHECK(is(wsi, WSI_TOKEN_HTTP, "HTTP/1.1"));
    FUZZ_CHECK(count(wsi, WSI_TOKEN_ORIGIN) == 0 && count(wsi, WSI_TOKEN_PROTOCOL) == 0);
    FUZZ_CHECK(count(wsi, WSI_TOKEN_KEY) == 1);
    FUZZ_CHECK(strncmp(value_at(wsi, WSI_TOKEN_KEY, 0)->text + 22, "==", 2) == 0);
    http_header(wsi, WSI_TOKEN_CONNECTION, connection, sizeof(connection));
    FUZZ_CHECK(strcasestr(connection, "upgrade") != NULL);
}

/* Copies never pass the buffer, and end. */
static void check_copies(struct lws *wsi)
{
    static const size_t sizes[] = {1, 2, 3, 8, 40, 300};

    for (size_t i = 0; i < LWS_ARRAY_SIZE(sizes); i++) {
        char *buffer = fuzz_memory(sizes[i]);

        FUZZ_CHECK(strlen(http_path(wsi, buffer, sizes[i])) < sizes[i]);
        FUZZ_CHECK(strlen(http_query(wsi, buffer, sizes[i])) < sizes[i]);
        FUZZ_CHECK(strlen(http_header(wsi, WSI_TOKEN_HOST, buffer, sizes[i])) < sizes[i]);
        free(buffer);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = fuzz_text(data, len);
    struct lws wsi;

    read_head(&wsi, text);
    check_request(&wsi);
    check_upgrade(&wsi);
    check_copies(&wsi);
    free(text);
    return 0;
}
