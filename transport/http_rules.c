/* SPDX-License-Identifier: Apache-2.0
 *
 * What a request's head must look like before anything above sees it (PROTOCOL.md, A
 * node's endpoints). lws checks little of this: it ignores Transfer-Encoding, takes any
 * number as a length, and upgrades whatever has a key.
 *
 * Reads headers only while lws has them, which is during the callback.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "transport/line.h"

#define LENGTH_DIGITS_MAX 18 /* fits 63 bits */
#define KEY_CHARS         24 /* base64 of 16 bytes */

static const struct {
    enum lws_token_indexes token;
    const char *name;
} methods[] = {
    {WSI_TOKEN_GET_URI, "GET"},         {WSI_TOKEN_POST_URI, "POST"},
    {WSI_TOKEN_HEAD_URI, "HEAD"},       {WSI_TOKEN_PUT_URI, "PUT"},
    {WSI_TOKEN_DELETE_URI, "DELETE"},   {WSI_TOKEN_PATCH_URI, "PATCH"},
    {WSI_TOKEN_OPTIONS_URI, "OPTIONS"},
};

static size_t method_index(struct lws *wsi)
{
    size_t i = 0;

    while (i < LWS_ARRAY_SIZE(methods) && lws_hdr_total_length(wsi, methods[i].token) == 0)
        i++;
    return i;
}

const char *http_method(struct lws *wsi)
{
    size_t i = method_index(wsi);

    return i < LWS_ARRAY_SIZE(methods) ? methods[i].name : "";
}

char *http_header(struct lws *wsi, enum lws_token_indexes token, char *buffer, size_t len)
{
    if (lws_hdr_copy(wsi, buffer, (int)len, token) <= 0)
        buffer[0] = '\0';
    return buffer;
}

char *http_path(struct lws *wsi, char *buffer, size_t len)
{
    size_t i = method_index(wsi);

    buffer[0] = '\0';
    if (i < LWS_ARRAY_SIZE(methods))
        http_header(wsi, methods[i].token, buffer, len);
    return buffer;
}

/* lws has cut the query at each '&' and undone the percent signs. */
char *http_query(struct lws *wsi, char *buffer, size_t len)
{
    size_t used = 0;

    buffer[0] = '\0';
    for (int i = 0; used + 2 < len; i++) {
        size_t at = used > 0 ? used + 1 : 0;
        int got = lws_hdr_copy_fragment(wsi, buffer + at, (int)(len - at),
                                        WSI_TOKEN_HTTP_URI_ARGS, i);

        if (got < 0)
            break;
        if (at > 0)
            buffer[used] = '&';
        used = at + (size_t)got;
    }
    buffer[used] = '\0';
    return buffer;
}

/* An empty value counts: the header is there. */
static bool present(struct lws *wsi, enum lws_token_indexes token)
{
    char empty[1];

    return lws_hdr_total_length(wsi, token) > 0 ||
           lws_hdr_copy_fragment(wsi, empty, sizeof(empty), token, 0) == 0;
}

static bool repeated(struct lws *wsi, enum lws_token_indexes token)
{
    return lws_hdr_fragment_length(wsi, token, 1) > 0;
}

static void trim_end(char *text)
{
    size_t len = strlen(text);

    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        text[--len] = '\0';
}

static bool parse_length(struct lws *wsi, size_t *ret_length)
{
    char text[LENGTH_DIGITS_MAX + 8];
    size_t length = 0, i;

    if (repeated(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) ||
        lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0)
        return false;
    trim_end(text);
    for (i = 0; text[i] >= '0' && text[i] <= '9' && i < LENGTH_DIGITS_MAX; i++)
        length = length * 10 + (size_t)(text[i] - '0');
    if (i == 0 || text[i] != '\0')
        return false;
    *ret_length = length;
    return true;
}

/* lws undoes %00 as well: what is behind it would be there and not be seen. */
static bool path_is_whole(struct lws *wsi)
{
    char path[HEADER_BYTES_MAX + 1];
    size_t i = method_index(wsi);

    return i < LWS_ARRAY_SIZE(methods) &&
           strlen(http_path(wsi, path, sizeof(path))) ==
               (size_t)lws_hdr_total_length(wsi, methods[i].token);
}

struct refusal http_rules_request(struct lws *wsi, size_t body_bytes_max,
                                  size_t *ret_content_length, bool *ret_has_length)
{
    size_t length = 0;
    bool has_length = present(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH);

    if (lws_hdr_total_length(wsi, WSI_TOKEN_HOST) == 0 || repeated(wsi, WSI_TOKEN_HOST))
        return (struct refusal){400, "Exactly one Host header is required"};
    if (!path_is_whole(wsi))
        return (struct refusal){400, "Invalid path"};
    if (present(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING))
        return (struct refusal){400, "Transfer-Encoding is not supported"};
    if (has_length && !parse_length(wsi, &length))
        return (struct refusal){400, "Invalid Content-Length"};
    if (!has_length && present(wsi, WSI_TOKEN_POST_URI))
        return (struct refusal){411, "Content-Length is required"};
    if (length > body_bytes_max)
        return (struct refusal){413, "Message too large"};
    *ret_content_length = length;
    *ret_has_length = has_length;
    return (struct refusal){0, NULL};
}

/* ---- Upgrades ---- */

static bool is_base64(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '+' || c == '/';
}

static bool key_is_valid(struct lws *wsi)
{
    char key[KEY_CHARS + 8];

    http_header(wsi, WSI_TOKEN_KEY, key, sizeof(key));
    trim_end(key);
    if (strlen(key) != KEY_CHARS || strcmp(key + KEY_CHARS - 2, "==") != 0)
        return false;
    for (size_t i = 0; i < KEY_CHARS - 2; i++) {
        if (!is_base64(key[i]))
            return false;
    }
    return true;
}

static bool path_is(struct lws *wsi, const char *expected)
{
    char path[64];

    return strcmp(http_path(wsi, path, sizeof(path)), expected) == 0;
}

static bool equals(struct lws *wsi, enum lws_token_indexes token, const char *expected)
{
    char value[32];

    http_header(wsi, token, value, sizeof(value));
    trim_end(value);
    return strcasecmp(value, expected) == 0;
}

static bool connection_says_upgrade(struct lws *wsi)
{
    char value[128];
    char *rest = NULL;

    http_header(wsi, WSI_TOKEN_CONNECTION, value, sizeof(value));
    for (char *token = strtok_r(value, ", \t", &rest); token != NULL;
         token = strtok_r(NULL, ", \t", &rest)) {
        if (strcasecmp(token, "upgrade") == 0)
            return true;
    }
    return false;
}

struct refusal http_rules_upgrade(struct lws *wsi, bool accept_websocket)
{
    size_t length = 0;
    bool has_length;
    struct refusal refusal = http_rules_request(wsi, 0, &length, &has_length);

    if (refusal.code != 0)
        return refusal;
    if (!equals(wsi, WSI_TOKEN_UPGRADE, "websocket"))
        return (struct refusal){400, "Unsupported upgrade"};
    if (!accept_websocket || !path_is(wsi, WS_PATH))
        return (struct refusal){404, "Not Found"};
    if (!present(wsi, WSI_TOKEN_GET_URI) || !equals(wsi, WSI_TOKEN_HTTP, "HTTP/1.1"))
        return (struct refusal){400, "An upgrade needs GET and HTTP/1.1"};
    if (!equals(wsi, WSI_TOKEN_VERSION, "13"))
        return (struct refusal){426, "Sec-WebSocket-Version must be 13"};
    if (!key_is_valid(wsi))
        return (struct refusal){400, "Invalid Sec-WebSocket-Key"};
    if (!connection_says_upgrade(wsi))
        return (struct refusal){400, "Connection must say upgrade"};
    if (present(wsi, WSI_TOKEN_PROTOCOL))
        return (struct refusal){400, "No subprotocol is spoken here"};
    if (present(wsi, WSI_TOKEN_ORIGIN))
        return (struct refusal){403, "Origin not allowed"};
    return (struct refusal){0, NULL};
}

const char *http_status_text(unsigned code)
{
    static const struct {
        unsigned code;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
    };

    for (size_t i = 0; i < LWS_ARRAY_SIZE(texts); i++) {
        if (texts[i].code == code)
            return texts[i].text;
    }
    return "Other";
}
