/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses: what is accepted has one spelling, which parses to the same address, fits the
 * buffers it is written into or says that it does not. The same bytes then stand for a
 * request's query.
 */
#include "transport/url.h"

#include "peers/query.h"
#include "test/fuzz/fuzz.h"

#define WHOLE_MAX 2048

static void check_parts(const struct url *url)
{
    size_t path_len = strnlen(url->path, sizeof(url->path));
    size_t host_len = strnlen(url->host, sizeof(url->host));

    FUZZ_CHECK(host_len > 0 && host_len <= URL_HOST_MAX && path_len <= URL_PATH_MAX);
    FUZZ_CHECK(strspn(url->host, "0123456789abcdefghijklmnopqrstuvwxyz.-_:") == host_len);
    FUZZ_CHECK(url->port != 0);
    FUZZ_CHECK(path_len == 0 || (url->path[0] == '/' && url->path[path_len - 1] != '/'));
    FUZZ_CHECK(strpbrk(url->path, "?#@\\ \t\r\n\"<>") == NULL || strchr(url->path, '@'));
    FUZZ_CHECK(strstr(url->path, "/../") == NULL && strstr(url->path, "/./") == NULL);
}

/* Writes the address and parses it again; exactly enough room suffices, one less does not. */
static void check_spelling(const struct url *url)
{
    char whole[WHOLE_MAX], error[160];
    size_t len = url_http(url, "", whole, sizeof(whole));
    char *exact = fuzz_memory(len + 1);
    struct url again;

    memset(&again, 0xee, sizeof(again));
    FUZZ_CHECK(len > 0 && len == strlen(whole));
    FUZZ_CHECK(url_http(url, "", exact, len + 1) == len && strcmp(exact, whole) == 0);
    FUZZ_CHECK(url_http(url, "", exact, len) == 0);
    FUZZ_CHECK(url_parse(whole, &again, error, sizeof(error)) == PARLEY_OK);
    FUZZ_CHECK(again.tls == url->tls && again.port == url->port);
    FUZZ_CHECK(strcmp(again.host, url->host) == 0 && strcmp(again.path, url->path) == 0);
    len = url_authority(url->host, url->port, url->tls, exact, len + 1);
    FUZZ_CHECK(len > 0 && len == strlen(exact));
    FUZZ_CHECK(strstr(whole, exact) != NULL); /* without the port, it is a beginning */
    free(exact);
}

static void try_url(const char *text)
{
    char error[160] = "";
    struct url url;

    memset(&url, 0xee, sizeof(url));
    if (url_parse(text, &url, error, sizeof(error)) == PARLEY_OK) {
        check_parts(&url);
        check_spelling(&url);
        return;
    }
    FUZZ_CHECK(strncmp(error, "URL: ", 5) == 0 && error[5] != '\0');
    FUZZ_CHECK(url_parse(text, &url, NULL, 0) == PARLEY_EURL);
}

/* ---- queries ---- */

#define VALUE_MAX 64

/* A value encoded byte by byte is found behind whatever else the query says. */
static void check_encoded(const char *value)
{
    char query[3 * VALUE_MAX + 32] = "a=1&session_id=", again[VALUE_MAX];
    size_t used = strlen(query);

    for (size_t i = 0; value[i] != '\0'; i++, used += 3)
        snprintf(query + used, sizeof(query) - used, "%%%02x", (unsigned char)value[i]);
    snprintf(query + used, sizeof(query) - used, "&session_id=x");
    query_value(query, "session_id", again, sizeof(again));
    FUZZ_CHECK(strcmp(again, value) == 0);
}

static void try_query(const char *text)
{
    char *value = fuzz_memory(VALUE_MAX), *small = fuzz_memory(8);

    query_value(text, "session_id", value, VALUE_MAX);
    FUZZ_CHECK(memchr(value, '\0', VALUE_MAX) != NULL);
    query_value(text, "session_id", small, 8);
    FUZZ_CHECK(strcmp(small, strlen(value) < 8 ? value : "") == 0 || value[0] == '\0');
    if (strstr(text, "session_id=") == NULL)
        FUZZ_CHECK(value[0] == '\0');
    if (value[0] != '\0')
        check_encoded(value);
    free(small);
    free(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = fuzz_text(data, len);

    try_url(text);
    try_query(text);
    free(text);
    return 0;
}
