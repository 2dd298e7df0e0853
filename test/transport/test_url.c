/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses: what is taken and in which spelling it comes out, what is refused and why.
 */
#include "test/check.h"
#include "transport/url.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *text;
    bool tls;
    const char *host;
    uint16_t port;
    const char *path;
    const char *http; /* url_http() with the suffix "/message" */
    const char *authority;
} good[] = {
    {"http://h", false, "h", 80, "", "http://h:80/message", "h"},
    {"https://h", true, "h", 443, "", "https://h:443/message", "h"},
    {"ws://h", false, "h", 80, "", "http://h:80/message", "h"},
    {"wss://h", true, "h", 443, "", "https://h:443/message", "h"},
    {"http://h:8002", false, "h", 8002, "", "http://h:8002/message", "h:8002"},
    {"https://h:80", true, "h", 80, "", "https://h:80/message", "h:80"},
    {"http://h:443", false, "h", 443, "", "http://h:443/message", "h:443"},
    {"http://h:1", false, "h", 1, "", "http://h:1/message", "h:1"},
    {"http://h:65535", false, "h", 65535, "", "http://h:65535/message", "h:65535"},
    {"http://h:00080", false, "h", 80, "", "http://h:80/message", "h"},
    {"http://h/", false, "h", 80, "", "http://h:80/message", "h"},
    {"http://h///", false, "h", 80, "", "http://h:80/message", "h"},
    {"http://h/a", false, "h", 80, "/a", "http://h:80/a/message", "h"},
    {"http://h/a/", false, "h", 80, "/a", "http://h:80/a/message", "h"},
    {"http://h:9/a/b.c/", false, "h", 9, "/a/b.c", "http://h:9/a/b.c/message", "h:9"},
    {"http://h/a%20b%2f", false, "h", 80, "/a%20b%2f", "http://h:80/a%20b%2f/message", "h"},
    {"http://h/a@b:c", false, "h", 80, "/a@b:c", "http://h:80/a@b:c/message", "h"},
    {"http://h/.../x", false, "h", 80, "/.../x", "http://h:80/.../x/message", "h"},
    {"HTTP://EXAMPLE.Com/Path", false, "example.com", 80, "/Path",
     "http://example.com:80/Path/message", "example.com"},
    {"wSs://Peer-1.example_x.org:1234", true, "peer-1.example_x.org", 1234, "",
     "https://peer-1.example_x.org:1234/message", "peer-1.example_x.org:1234"},
    {"http://127.0.0.1:8080", false, "127.0.0.1", 8080, "", "http://127.0.0.1:8080/message",
     "127.0.0.1:8080"},
    {"http://1.2.3.4.example", false, "1.2.3.4.example", 80, "",
     "http://1.2.3.4.example:80/message", "1.2.3.4.example"},
    {"http://[::1]", false, "::1", 80, "", "http://[::1]:80/message", "[::1]"},
    {"https://[2001:DB8::A]:8443/p/", true, "2001:db8::a", 8443, "/p",
     "https://[2001:db8::a]:8443/p/message", "[2001:db8::a]:8443"},
    {"ws://[::ffff:127.0.0.1]:1", false, "::ffff:127.0.0.1", 1, "",
     "http://[::ffff:127.0.0.1]:1/message", "[::ffff:127.0.0.1]:1"},
};

static const struct {
    const char *text;
    const char *error; /* part of it */
} bad[] = {
    {NULL, "expected a URL"},
    {"", "expected http://"},
    {"h:80", "expected http://"},
    {"//h", "expected http://"},
    {"http:/h", "expected http://"},
    {"http:h", "expected http://"},
    {"ftp://h", "expected http://"},
    {"file:///etc/passwd", "expected http://"},
    {" http://h", "expected http://"},
    {"http://", "expected a host"},
    {"http:///path", "expected a host"},
    {"http://:80", "expected a host"},
    {"http://?q", "expected a host"},
    {"http://.", "malformed host"},
    {"http://h.", "malformed host"},
    {"http://a..b", "malformed host"},
    {"http://-a", "malformed host"},
    {"http://a-.b", "malformed host"},
    {"http://h_st\xc3\xa9", "unexpected character"},
    {"http://h%41", "unexpected character"},
    {"http://a b", "unexpected character"},
    {"http://a\\b", "unexpected character"},
    {"http://127.1", "IPv4"},
    {"http://256.0.0.1", "IPv4"},
    {"http://2130706433", "IPv4"},
    {"http://0x7f000001", "IPv4"},
    {"http://1.2.3.0x4", "IPv4"},
    {"http://h:", "port"},
    {"http://h:/p", "port"},
    {"http://h:0", "port"},
    {"http://h:000", "port"},
    {"http://h:70000", "port"},
    {"http://h:65536", "port"},
    {"http://h:4294967376", "port"},
    {"http://h:99999999999999999999999999", "port"},
    {"http://h:-1", "port"},
    {"http://h:+1", "port"},
    {"http://h: 80", "port"},
    {"http://h:80x", "unexpected character"},
    {"http://h:80 ", "unexpected character"},
    {"http://user@h", "user and password"},
    {"http://user:secret@h", "user and password"},
    {"http://@h", "user and password"},
    {"http://h:80@evil", "user and password"},
    {"http://h?q=1", "query"},
    {"http://h/?", "query"},
    {"http://h/p?token=x", "query"},
    {"http://h#f", "fragment"},
    {"http://h/p#f", "fragment"},
    {"http://h/a b", "white space"},
    {"http://h/ ", "white space"},
    {"http://h/\n", "white space"},
    {"http://h/\r\nX: y", "white space"},
    {"http://h/\x01", "control"},
    {"http://h/\x7f", "control"},
    {"http://h/\xc3\xa9", "escape"},
    {"http://h/a\\b", "escape"},
    {"http://h/<a>", "escape"},
    {"http://h/%", "escape"},
    {"http://h/%4", "escape"},
    {"http://h/%zz", "escape"},
    {"http://h/./p", "segments"},
    {"http://h/a/..", "segments"},
    {"http://h/../../p/", "segments"},
    {"http://::1", "brackets"},
    {"http://2001:db8::1", "brackets"},
    {"http://fe80::1:80", "brackets"},
    {"http://h:80:80", "malformed port"},
    {"http://[::1", "brackets"},
    {"http://[]", "brackets"},
    {"http://[h]", "brackets"},
    {"http://[127.0.0.1]", "brackets"},
    {"http://[fe80::1%25eth0]", "brackets"},
    {"http://[::1]x", "unexpected character"},
    {"http://[::1]:0", "port"},
    {"http://[::1]]", "unexpected character"},
};

static void good_ones_come_out_in_one_spelling(void)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char error[128] = "", text[2048];
        struct url url;

        if (url_parse(good[i].text, &url, error, sizeof(error)) != PARLEY_OK) {
            fprintf(stderr, "%s: ", good[i].text);
            CHECK_TEXT(error, "");
            continue;
        }
        CHECK(url.tls == good[i].tls);
        CHECK_TEXT(url.host, good[i].host);
        CHECK_U64(url.port, good[i].port);
        CHECK_TEXT(url.path, good[i].path);
        CHECK_U64(url_http(&url, "/message", text, sizeof(text)), strlen(good[i].http));
        CHECK_TEXT(text, good[i].http);
        CHECK_U64(url_authority(url.host, url.port, url.tls, text, sizeof(text)),
                  strlen(good[i].authority));
        CHECK_TEXT(text, good[i].authority);
    }
}

static void bad_ones_are_refused_with_a_reason(void)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char error[128] = "accepted", seen[256];
        struct url url = {.port = 4711};
        parley_status status = url_parse(bad[i].text, &url, error, sizeof(error));

        snprintf(seen, sizeof(seen), "%s -> %s", bad[i].text ? bad[i].text : "(NULL)", error);
        CHECK_CONTAINS(seen, bad[i].error);
        CHECK(status == PARLEY_EURL);
        CHECK_U64(url.port, 4711); /* the output is untouched */
    }
}

/* What comes out parses again, to the same. */
static void output_parses_again(void)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct url first, second;
        char text[2048];

        CHECK(url_parse(good[i].text, &first, NULL, 0) == PARLEY_OK);
        CHECK(url_http(&first, "", text, sizeof(text)) > 0);
        CHECK(url_parse(text, &second, NULL, 0) == PARLEY_OK);
        CHECK_TEXT(second.host, first.host);
        CHECK_TEXT(second.path, first.path);
        CHECK_U64(second.port, first.port);
        CHECK(second.tls == first.tls);
    }
}

/* "http://" and `count` bytes, with a dot after every 50 where it is a host name. */
static void long_host(char *text, size_t count)
{
    memcpy(text, "http://", 7);
    for (size_t i = 0; i < count; i++)
        text[7 + i] = i % 51 == 50 ? '.' : 'a';
    text[7 + count] = '\0';
}

static void lengths_are_limited(void)
{
    char text[8 + URL_PATH_MAX + 16], error[128];
    struct url url;

    long_host(text, URL_HOST_MAX - 1);
    CHECK(url_parse(text, &url, NULL, 0) == PARLEY_OK);
    CHECK_U64(strlen(url.host), URL_HOST_MAX - 1);
    long_host(text, URL_HOST_MAX + 1);
    CHECK(url_parse(text, &url, error, sizeof(error)) == PARLEY_EURL);
    CHECK_CONTAINS(error, "too long");

    memcpy(text, "http://", 7);
    memset(text + 7, 'a', 64); /* one label beyond 63 bytes */
    text[7 + 64] = '\0';
    CHECK(url_parse(text, &url, NULL, 0) == PARLEY_EURL);
    text[7 + 63] = '\0';
    CHECK(url_parse(text, &url, NULL, 0) == PARLEY_OK);

    memcpy(text, "http://h/", 9);
    memset(text + 9, 'p', URL_PATH_MAX);
    text[9 + URL_PATH_MAX - 1] = '\0';
    CHECK(url_parse(text, &url, NULL, 0) == PARLEY_OK);
    CHECK_U64(strlen(url.path), URL_PATH_MAX);
    text[9 + URL_PATH_MAX - 1] = 'p';
    text[9 + URL_PATH_MAX] = '\0';
    CHECK(url_parse(text, &url, error, sizeof(error)) == PARLEY_EURL);
    CHECK_CONTAINS(error, "too long");
}

static void buffers_too_small_say_so(void)
{
    char text[32];
    struct url url;

    CHECK(url_parse("https://[::1]:8443/p", &url, NULL, 0) == PARLEY_OK);
    /* https://[::1]:8443/p/m is 22 bytes, and one for the NUL */
    CHECK_U64(url_http(&url, "/m", text, 23), 22);
    CHECK_U64(url_http(&url, "/m", text, 22), 0);
    CHECK_U64(url_http(&url, "/m", text, 0), 0);
    CHECK_U64(url_authority(url.host, url.port, url.tls, text, 11), 10); /* [::1]:8443 */
    CHECK_U64(url_authority(url.host, url.port, url.tls, text, 10), 0);
}

static void error_buffer_may_be_small_or_missing(void)
{
    char error[8];
    struct url url;

    CHECK(url_parse("x", &url, NULL, 0) == PARLEY_EURL);
    CHECK(url_parse("x", &url, error, 0) == PARLEY_EURL);
    CHECK(url_parse("x", &url, error, sizeof(error)) == PARLEY_EURL);
    CHECK_TEXT(error, "URL: ex");
}

/* Random text around the syntax: whatever is accepted keeps its promises. */
static void whatever_is_accepted_is_clean(void)
{
    static const char alphabet[] = "ah.-:/[]@?#%0189 \\_x\xc3\n";
    uint64_t seed = check_seed(11);
    struct check_random random = {seed};

    for (unsigned round = 0; round < 200000; round++) {
        char text[40] = "http://";
        size_t len = 7 + check_random_below(&random, 20);
        struct url url, again;
        char back[2048];

        for (size_t i = 7; i < len; i++)
            text[i] = alphabet[check_random_below(&random, sizeof(alphabet) - 1)];
        if (url_parse(text, &url, NULL, 0) != PARLEY_OK)
            continue;
        if (!CHECK(url.port != 0 && url.host[0] != '\0') ||
            !CHECK(strpbrk(url.host, "/@?#% \\\n[]") == NULL) ||
            !CHECK(strpbrk(url.path, "?# \\\n") == NULL) ||
            !CHECK(url_http(&url, "", back, sizeof(back)) > 0) ||
            !CHECK(url_parse(back, &again, NULL, 0) == PARLEY_OK) ||
            !CHECK(strcmp(url.host, again.host) == 0 && url.port == again.port)) {
            fprintf(stderr, "SEED=%llu round %u: %s\n", (unsigned long long)seed, round, text);
            return;
        }
    }
}

static const struct check_test tests[] = {
    {"good addresses come out in one spelling", good_ones_come_out_in_one_spelling},
    {"bad addresses are refused with a reason", bad_ones_are_refused_with_a_reason},
    {"what comes out parses again", output_parses_again},
    {"lengths are limited", lengths_are_limited},
    {"buffers too small say so", buffers_too_small_say_so},
    {"the error buffer may be small or missing", error_buffer_may_be_small_or_missing},
    {"whatever is accepted is clean", whatever_is_accepted_is_clean},
};

CHECK_MAIN("url", tests)
