/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict on purpose: what passes here is given to curl, libwebsockets and getaddrinfo(),
 * which disagree about odd addresses. So one spelling per address comes out (lower-case
 * host, explicit port, no trailing slash), and what two parsers could read differently is
 * refused: credentials, escapes in the host, half-numeric hosts, dot segments, bytes beyond
 * ASCII.
 */
#include "transport/url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LABEL_MAX 63 /* RFC 1035, 2.3.4 */

#define DIGITS "0123456789"
#define HEX    DIGITS "abcdefABCDEF"
#define ALNUM  DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME   ALNUM "-_."
/* RFC 3986, 3.3: pchar without its escapes, and the slash between segments */
#define PATH ALNUM "-._~!$&'()*+,;=:@/"

/* The functions below return NULL, or what is wrong in words. */

static const struct scheme {
    const char *prefix;
    bool tls;
} schemes[] = {{"http://", false}, {"https://", true}, {"ws://", false}, {"wss://", true}};

static const char *parse_scheme(const char **text, struct url *url)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t len = strlen(schemes[i].prefix);

        if (strncasecmp(*text, schemes[i].prefix, len) == 0) {
            url->tls = schemes[i].tls;
            *text += len;
            return NULL;
        }
    }
    return "expected http://, https://, ws:// or wss://";
}

static void copy_lower(char *to, const char *from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] - 'A' + 'a' : from[i]);
    to[len] = '\0';
}

/* Dots separate labels of 1 to 63 bytes that neither begin nor end with a hyphen. */
static bool labels_fine(const char *host)
{
    for (;;) {
        size_t len = strcspn(host, ".");

        if (len == 0 || len > LABEL_MAX || host[0] == '-' || host[len - 1] == '-')
            return false;
        if (host[len] == '\0')
            return true;
        host += len + 1;
    }
}

/* getaddrinfo() reads "127.1" and "0x7f.1" as IPv4 too; curl and others may not. */
static bool looks_numeric(const char *host)
{
    const char *dot = strrchr(host, '.');
    const char *last = dot != NULL ? dot + 1 : host;

    if (last[0] != '\0' && last[strspn(last, DIGITS)] == '\0')
        return true;
    return strncmp(last, "0x", 2) == 0 && last[2 + strspn(last + 2, HEX)] == '\0';
}

static const char *parse_name(const char **text, struct url *url)
{
    size_t len = strspn(*text, NAME);
    struct in_addr ipv4;

    if (len == 0)
        return "expected a host";
    if (len > URL_HOST_MAX)
        return "the host is too long";
    copy_lower(url->host, *text, len);
    if (looks_numeric(url->host)) {
        if (inet_pton(AF_INET, url->host, &ipv4) != 1)
            return "expected four decimal numbers in a numeric IPv4 host";
    } else if (!labels_fine(url->host)) {
        return "malformed host name";
    }
    *text += len;
    return NULL;
}

static const char *parse_brackets(const char **text, struct url *url)
{
    size_t len = strcspn(*text + 1, "]");
    struct in6_addr ipv6;

    if ((*text)[1 + len] == '\0' || len >= INET6_ADDRSTRLEN)
        return "malformed IPv6 address in brackets";
    copy_lower(url->host, *text + 1, len);
    if (inet_pton(AF_INET6, url->host, &ipv6) != 1)
        return "malformed IPv6 address in brackets";
    *text += len + 2;
    return NULL;
}

static const char *parse_port(const char **text, struct url *url)
{
    uint32_t port = 0;
    size_t len;

    url->port = url->tls ? 443 : 80;
    if (**text != ':')
        return NULL;
    len = strspn(++*text, DIGITS);
    for (size_t i = 0; i < len && port <= UINT16_MAX; i++)
        port = port * 10 + (uint32_t)((*text)[i] - '0');
    if (len == 0 || port == 0 || port > UINT16_MAX)
        return "expected a port from 1 to 65535";
    url->port = (uint16_t)port;
    *text += len;
    return NULL;
}

/* "/./" and "/../" are resolved by some clients and sent as they are by others. */
static bool has_dot_segment(const char *path)
{
    for (const char *slash = strchr(path, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        size_t len = strcspn(slash + 1, "/");

        if (len > 0 && len <= 2 && strspn(slash + 1, ".") >= len)
            return true;
    }
    return false;
}

static const char *refused_byte(char byte)
{
    switch (byte) {
    case '?':
        return "a query is not allowed";
    case '#':
        return "a fragment is not allowed";
    case '%':
        return "malformed escape: expected % and two hex digits";
    default:
        return "white space, control characters and bytes that need an escape are not allowed";
    }
}

static const char *parse_path(const char *text, struct url *url)
{
    size_t len = strspn(text, PATH);

    while (text[len] == '%' && text[len + 1] != '\0' && strspn(text + len + 1, HEX) >= 2) {
        len += 3;
        len += strspn(text + len, PATH);
    }
    if (text[len] != '\0')
        return refused_byte(text[len]);
    while (len > 0 && text[len - 1] == '/')
        len--;
    if (len > URL_PATH_MAX)
        return "the path is too long";
    memcpy(url->path, text, len);
    url->path[len] = '\0';
    return has_dot_segment(url->path) ? "a path with . or .. segments is not allowed" : NULL;
}

static const char *parse(const char *text, struct url *url)
{
    const char *wrong = parse_scheme(&text, url);
    size_t authority_len;

    if (wrong != NULL)
        return wrong;
    authority_len = strcspn(text, "/?#");
    if (memchr(text, '@', authority_len) != NULL)
        return "user and password are not allowed";
    if (*text != '[' && memchr(text, ':', authority_len) != memrchr(text, ':', authority_len))
        return "malformed port, or an IPv6 address without brackets";
    wrong = *text == '[' ? parse_brackets(&text, url) : parse_name(&text, url);
    if (wrong == NULL)
        wrong = parse_port(&text, url);
    if (wrong != NULL)
        return wrong;
    if (*text != '\0' && strchr("/?#", *text) == NULL)
        return "unexpected character after host and port";
    return parse_path(text, url);
}

parley_status url_parse(const char *text, struct url *ret_url, char *error, size_t error_len)
{
    struct url url;
    const char *wrong = text != NULL ? parse(text, &url) : "expected a URL";

    if (wrong != NULL) {
        if (error != NULL && error_len > 0)
            snprintf(error, error_len, "URL: %s", wrong);
        return PARLEY_EURL;
    }
    *ret_url = url;
    return PARLEY_OK;
}

/* snprintf's answer as ours: the length, 0 when it did not fit. */
static size_t fitted(int written, size_t len)
{
    return written > 0 && (size_t)written < len ? (size_t)written : 0;
}

static bool is_ipv6(const struct url *url)
{
    return strchr(url->host, ':') != NULL;
}

size_t url_http(const struct url *url, const char *suffix, char *buffer, size_t len)
{
    bool ipv6 = is_ipv6(url);

    return fitted(snprintf(buffer, len, "%s://%s%s%s:%u%s%s", url->tls ? "https" : "http",
                           ipv6 ? "[" : "", url->host, ipv6 ? "]" : "", (unsigned)url->port,
                           url->path, suffix),
                  len);
}

size_t url_authority(const char *host, uint16_t port, bool tls, char *buffer, size_t len)
{
    bool brackets = strchr(host, ':') != NULL; /* IPv6 */
    const char *open = brackets ? "[" : "", *close = brackets ? "]" : "";

    if (port == (tls ? 443 : 80))
        return fitted(snprintf(buffer, len, "%s%s%s", open, host, close), len);
    return fitted(snprintf(buffer, len, "%s%s%s:%u", open, host, close, (unsigned)port), len);
}
