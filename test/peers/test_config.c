/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration as an operator meets it: what is accepted, what is refused and in which
 * words; environment, dotted keys, and the list of what is in effect.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parley.h"
#include "peers/settings.h"
#include "test/check.h"
#include "test/peers/config_files.h"

/* ---- What is accepted ---- */

static void good_files_load(void)
{
    static const char *const files[] = {
        "",
        "# only a comment\n",
        "---\n...\n",
        "null\n",
        "{}\n",
        "node:\ntransport:\nlimits:\npeers:\n",
        "transport:\n  http:\n",
        "transport: {http: {attempts: 5}}\n",
        "node:\n  listen_host: ::1\n",
        "node: {listen_host: \"::\"}\n",
        "node: {id: \"17\"}\n",
        "node: {id: 10.0.0.1}\n",
        "node: {id: ~}\n",
        "node: {listen_port: 65535}\n",
        "runtime: {thread_stack_bytes: 0}\n",
        "runtime: {thread_stack_bytes: 65536}\n",
        "runtime: {mailbox_messages_max: 1048575, mailbox_bytes_max: 4294967232}\n",
        "transport: {preference: \"http_only\"}\n",
        "peers: []\n",
        "peers: [{id: a}]\n",
        "%YAML 1.1\n---\nnode: {listen_port: 1}\n",
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char error[ERROR_MAX] = "";
        parley_config *config = NULL;

        if (!CHECK_STATUS(config_text(files[i], error, &config), OK))
            fprintf(stderr, "    file: %s    error: %s\n", files[i], error);
        parley_config_free(config);
    }
}

static void values_reach_their_options(void)
{
    parley_config *config = config_good("node: {id: n-1, listen_host: 127.0.0.1,"
                                        " listen_port: 8080, accept_websocket: false}\n"
                                        "runtime: {workers: 3, memory_bytes_max: 8589934592,"
                                        " thread_pin: true}\n"
                                        "transport:\n"
                                        "  preference: http_first\n"
                                        "  ttl_ms: 1\n"
                                        "  websocket: {in_flight_max: 16384}\n"
                                        "  http: {attempts: 7, timeout_ms: 99}\n"
                                        "limits: {session_idle_s: 5}\n");
    const parley_options *options = parley_config_options(config);

    CHECK_TEXT(options->node_id, "n-1");
    CHECK_TEXT(options->listen_host, "127.0.0.1");
    CHECK_U64(options->listen_port, 8080);
    CHECK(!options->accept_websocket);
    CHECK_U64(options->workers, 3);
    CHECK_U64(options->memory_bytes_max, UINT64_C(8589934592));
    CHECK(options->thread_pin);
    CHECK_U64(options->preference, PARLEY_HTTP_FIRST);
    CHECK_U64(options->ttl_ms, 1);
    CHECK_U64(options->in_flight_max, 16384);
    CHECK_U64(options->http_attempts, 7);
    CHECK_U64(options->http_timeout_ms, 99);
    CHECK_U64(options->session_idle_s, 5);
    CHECK_U64(options->http_backoff_ms, 1000); /* not named: the default */
    parley_config_free(config);
}

static void peers_keep_their_order_and_options(void)
{
    parley_config *config = config_good("peers:\n"
                                        "  - id: b\n"
                                        "    url: http://127.0.0.1:9001\n"
                                        "    dialect: service\n"
                                        "    mailbox_messages_max: 5\n"
                                        "    mailbox_bytes_max: 4096\n"
                                        "    ttl_ms: 7\n"
                                        "  - id: a\n"
                                        "    preference: websocket_first\n");
    const parley_options *options = parley_config_options(config);

    CHECK_U64(options->peers_len, 2);
    CHECK_TEXT(options->peers[0].id, "b");
    CHECK_TEXT(options->peers[0].url, "http://127.0.0.1:9001");
    CHECK_U64(options->peers[0].options.dialect, PARLEY_DIALECT_SERVICE);
    CHECK(!options->peers[0].options.preference_set);
    CHECK_U64(options->peers[0].options.mailbox_messages_max, 5);
    CHECK_U64(options->peers[0].options.mailbox_bytes_max, 4096);
    CHECK_U64(options->peers[0].options.ttl_ms, 7);
    CHECK_TEXT(options->peers[1].id, "a");
    CHECK(options->peers[1].url == NULL);
    CHECK(options->peers[1].options.preference_set); /* named, though it is the default */
    CHECK_U64(options->peers[1].options.preference, PARLEY_WEBSOCKET_FIRST);
    parley_config_free(config);
}

static void many_peers_load(void)
{
    enum { PEERS = 3000 };
    char *text = malloc(64 * (size_t)PEERS), id[24];
    size_t used = 0;
    parley_config *config;
    const parley_options *options;

    config_need(text != NULL);
    used += (size_t)sprintf(text, "peers:\n");
    for (int i = 0; i < PEERS; i++)
        used += (size_t)sprintf(text + used, "- {id: p%d, url: \"http://h%d:80\"}\n", i, i);
    config = config_good(text);
    options = parley_config_options(config);
    CHECK_U64(options->peers_len, PEERS);
    for (int i = 0; i < PEERS; i++) {
        snprintf(id, sizeof(id), "p%d", i);
        if (!CHECK_TEXT(options->peers[i].id, id))
            break;
    }
    parley_config_free(config);
    free(text);
}

/* ---- What is refused, and in which words ---- */

struct bad {
    const char *yaml;
    const char *error; /* after the file's name */
};

static void expect_refusals(const struct bad *bad, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char error[ERROR_MAX] = "";
        parley_config *config = NULL;

        CHECK_STATUS(config_text(bad[i].yaml, error, &config), ECONFIG);
        CHECK_TEXT(error, bad[i].error);
        CHECK(config == NULL);
        parley_config_free(config);
    }
}

#define EXPECT_REFUSALS(list) expect_refusals((list), sizeof(list) / sizeof((list)[0]))

static void unknown_keys_get_the_nearest_one(void)
{
    static const struct bad bad[] = {
        {"transport:\n  http:\n    attemps: 3\n",
         ":3:5: transport.http.attemps: expected a known key; nearest is "
         "transport.http.attempts"},
        {"trasnport: {}\n", ":1:1: trasnport: expected a known key; nearest is transport"},
        {"limits: {ttl_ms: 5}\n",
         ":1:10: limits.ttl_ms: expected a known key; nearest is transport.ttl_ms"},
        {"zzzzzzzzzzzz: 1\n", ":1:1: zzzzzzzzzzzz: expected a known key"},
        {"peers:\n  - id: a\n    utl: http://a\n",
         ":3:5: peers[0].utl: expected a known key; nearest is peers[].url"},
        {"node.id: a\n", ":1:1: node.id: expected nested sections, found a dotted key"},
        {"peers[].id: a\n", ":1:1: peers[].id: expected nested sections, found a dotted key"},
        {"node: {? [a] : 1}\n", ":1:10: node: expected a key, found a list"},
        {"node: {\"id\\0x\": a}\n", ":1:8: node.id: expected a known key; nearest is node.id"},
    };

    EXPECT_REFUSALS(bad);
}

static void wrong_types_are_refused(void)
{
    static const struct bad bad[] = {
        {"transport: {http: {attempts: many}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found \"many\""},
        {"transport: {http: {attempts: \"3\"}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found \"3\""},
        {"transport: {http: {attempts: 3.5}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found \"3.5\""},
        {"transport: {http: {attempts: 0x3}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found \"0x3\""},
        {"transport: {http: {attempts: 03}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found 03"},
        {"transport: {ttl_ms: 60s}\n",
         ":1:21: transport.ttl_ms: expected a number from 1 to 604800000, found \"60s\""},
        {"transport: {http: {attempts: }}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found nothing"},
        {"transport: {http: {attempts: [3]}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found a list"},
        {"transport: {http: 3}\n",
         ":1:19: transport.http: expected a section of keys, found a single value"},
        {"transport: [http]\n", ":1:12: transport: expected a section of keys, found a list"},
        {"node: {id: {a: b}}\n",
         ":1:12: node.id: expected 1 to 128 characters of A-Z a-z 0-9 . _ : -, found a "
         "section"},
        {"node: {id: 17}\n",
         ":1:12: node.id: expected 1 to 128 characters of A-Z a-z 0-9 . _ : -, found 17 "
         "(text needs quotes here)"},
        {"node: {id: true}\n",
         ":1:12: node.id: expected 1 to 128 characters of A-Z a-z 0-9 . _ : -, found true "
         "(text needs quotes here)"},
        {"node: {accept_websocket: yes}\n",
         ":1:26: node.accept_websocket: expected true or false, found \"yes\""},
        {"node: {accept_websocket: \"true\"}\n",
         ":1:26: node.accept_websocket: expected true or false, found \"true\""},
        {"transport: {preference: fastest}\n",
         ":1:25: transport.preference: expected websocket_first, websocket_only, http_first "
         "or http_only, found \"fastest\""},
        {"- node\n", ":1:1: expected sections such as node and transport, found a list"},
        {"node\n", ":1:1: expected sections such as node and transport, found a single value"},
        {"peers: {id: a}\n", ":1:8: peers: expected a list of peers, found a section"},
        {"peers: [a]\n",
         ":1:9: peers[0]: expected keys such as id and url, found a single value"},
    };

    EXPECT_REFUSALS(bad);
}

static void values_out_of_range_are_refused(void)
{
    static const struct bad bad[] = {
        {"transport: {http: {attempts: 0}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found 0"},
        {"transport: {http: {attempts: -1}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found -1"},
        {"transport: {http: {attempts: 18446744073709551617}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found "
         "18446744073709551617"},
        {"transport: {http: {attempts: 4294967297}}\n",
         ":1:30: transport.http.attempts: expected a number from 1 to 100, found 4294967297"},
        {"node: {listen_port: 65536}\n",
         ":1:21: node.listen_port: expected a port number from 0 to 65535, found 65536"},
        {"runtime: {mailbox_messages_max: 1048576}\n",
         ":1:33: runtime.mailbox_messages_max: expected a number from 1 to 1048575, found "
         "1048576"},
        {"runtime: {mailbox_bytes_max: 4294967233}\n",
         ":1:30: runtime.mailbox_bytes_max: expected a number from 4096 to 4294967232, found "
         "4294967233"},
        {"runtime: {thread_stack_bytes: 1}\n",
         ":1:31: runtime.thread_stack_bytes: expected 0 or a number from 65536 to 1073741824, "
         "found 1"},
        {"node: {listen_host: localhost}\n",
         ":1:21: node.listen_host: expected a numeric IPv4 or IPv6 address, found "
         "\"localhost\""},
        {"node: {id: \"a b\"}\n",
         ":1:12: node.id: expected 1 to 128 characters of A-Z a-z 0-9 . _ : -, found \"a b\""},
        {"peers: [{id: a, url: \"ftp://a\"}]\n",
         ":1:22: peers[0].url: expected a URL such as http://host:port, found \"ftp://a\""},
        {"transport: {websocket: {reconnect_min_ms: 9, reconnect_max_ms: 8}}\n",
         ": transport.websocket.reconnect_min_ms: expected at most reconnect_max_ms (8), "
         "found 9"},
        {"runtime: {peers_max: 1}\npeers: [{id: a}, {id: b}]\n",
         ": peers: expected at most runtime.peers_max (1) entries, found 2"},
    };

    EXPECT_REFUSALS(bad);
}

static void yaml_beyond_plain_values_is_refused(void)
{
    static const struct bad bad[] = {
        {"node:\n  id: a\nnode:\n  id: b\n",
         ":3:1: node: expected once, found again (first on line 1)"},
        {"node:\n  id: a\n  id: b\n",
         ":3:3: node.id: expected once, found again (first on line 2)"},
        {"peers:\n- id: a\n  id: b\n",
         ":3:3: peers[0].id: expected once, found again (first on line 2)"},
        {"peers:\n- id: a\n- id: b\n- id: a\n",
         ":4:3: peers[2].id: expected an id of its own, found peers[0]'s \"a\""},
        {"peers:\n- url: http://a\n", ":2:3: peers[0]: expected the key id, found none"},
        {"peers:\n- id: \n", ":2:3: peers[0]: expected the key id, found none"},
        {"node: {id: &a x}\n", ":1:12: expected a value, found the anchor &a"},
        {"node: {id: *a}\n", ":1:12: expected a value, found the alias *a"},
        {"node: {id: !!str x}\n",
         ":1:12: expected a value, found the tag tag:yaml.org,2002:str"},
        {"node: {<<: *b}\n", ":1:8: node.<<: expected a known key"},
        {"node: {}\n---\nnode: {}\n", ":2:1: expected one document, found another"},
        {"node: {id: \"a\\0b\"}\n", ":1:12: node.id: expected text without NUL characters"},
        {"node: [\n", ":1:7: node: expected a section of keys, found a list"},
        {"node: {id: a\n", ":2:1: expected YAML: did not find expected ',' or '}'"},
        {"node:\n\tid: a\n",
         ":2:1: expected YAML: found character that cannot start any token"},
    };

    EXPECT_REFUSALS(bad);
}

static void bytes_that_are_not_text_are_refused(void)
{
    char error[ERROR_MAX] = "";
    parley_config *config = NULL;

    CHECK_STATUS(config_bytes("node:\n  id: \xff\xfe\n", 14, error, &config), ECONFIG);
    CHECK_CONTAINS(error, ": expected UTF-8 text: ");
    CHECK_STATUS(config_bytes("a\0b", 3, error, &config), ECONFIG);
    CHECK_CONTAINS(error, ": expected UTF-8 text: control characters are not allowed");
    CHECK(config == NULL);
}

/* Every prefix of a large valid file and a byte changed anywhere end in a status, never in a
 * crash; under the sanitizers this also finds leaks. */
static void damaged_files_end_in_a_status(void)
{
    char *text = config_shipped_text();
    size_t len = strlen(text);
    struct check_random random = {check_seed(11)};

    for (int i = 0; i < 300; i++) {
        char error[ERROR_MAX] = "", kept;
        parley_config *config = NULL;
        size_t at = check_random_below(&random, len);
        parley_status status = config_bytes(text, at, error, &config);

        CHECK(status == PARLEY_OK || (status == PARLEY_ECONFIG && error[0] != '\0'));
        parley_config_free(config);
        config = NULL;
        kept = text[at];
        text[at] = (char)check_random_below(&random, 256);
        status = config_bytes(text, len, error, &config);
        CHECK(status == PARLEY_OK || (status == PARLEY_ECONFIG && error[0] != '\0'));
        parley_config_free(config);
        text[at] = kept;
    }
    free(text);
}

static void unreadable_files_say_why(void)
{
    char error[ERROR_MAX] = "";
    parley_config *config = NULL;

    CHECK_STATUS(parley_config_load("/nonexistent/p.yaml", error, sizeof(error), &config),
                 ESYSTEM);
    CHECK_TEXT(error, "/nonexistent/p.yaml: No such file or directory");
    CHECK_STATUS(parley_config_load("/", error, sizeof(error), &config), ESYSTEM);
    CHECK_TEXT(error, "/: Is a directory");
    CHECK_STATUS(parley_config_load("/nonexistent/p.yaml", NULL, 0, &config), ESYSTEM);
    CHECK(config == NULL);
}

static void short_error_buffers_are_not_overrun(void)
{
    char error[8] = {0, 0, 0, 0, 0, 0, 0, 'x'};
    parley_config *config = NULL;

    CHECK_STATUS(parley_config_load("/nonexistent/p.yaml", error, 7, &config), ESYSTEM);
    CHECK_TEXT(error, "/nonex");
    CHECK(error[7] == 'x');
}

/* ---- The environment ---- */

static void expect_environment(const char *name, const char *value, parley_status expected,
                               const char *message)
{
    char error[ERROR_MAX] = "";
    parley_config *config = NULL;

    setenv(name, value, 1);
    CHECK_TEXT(parley_status_name(parley_config_load(NULL, error, sizeof(error), &config)),
               parley_status_name(expected));
    CHECK_TEXT(error, message);
    unsetenv(name);
    parley_config_free(config);
}

static void environment_overrides_the_file(void)
{
    parley_config *config;

    setenv("PARLEY_TRANSPORT_HTTP_ATTEMPTS", "5", 1);
    setenv("PARLEY_NODE_ID", "17", 1); /* outside YAML a number may be a name */
    config = config_good("node: {id: a}\ntransport: {http: {attempts: 4, backoff_ms: 9}}\n");
    unsetenv("PARLEY_TRANSPORT_HTTP_ATTEMPTS");
    unsetenv("PARLEY_NODE_ID");
    CHECK_U64(parley_config_options(config)->http_attempts, 5);
    CHECK_U64(parley_config_options(config)->http_backoff_ms, 9);
    CHECK_TEXT(parley_config_options(config)->node_id, "17");
    parley_config_free(config);
}

static void misspelt_variables_are_refused_by_name(void)
{
    expect_environment("PARLEY_TRANSPORT_HTTP_ATTEMPT", "5", PARLEY_ECONFIG,
                       "environment: PARLEY_TRANSPORT_HTTP_ATTEMPT: expected a known "
                       "setting; nearest is PARLEY_TRANSPORT_HTTP_ATTEMPTS");
    expect_environment("PARLEY_TRANSPORT_HTTP_ATTEMPTS", "none", PARLEY_ECONFIG,
                       "environment: PARLEY_TRANSPORT_HTTP_ATTEMPTS: expected a number from 1 "
                       "to 100, found \"none\"");
    expect_environment("PARLEY_NODE", "x", PARLEY_ECONFIG,
                       "environment: PARLEY_NODE: expected a known setting");
    expect_environment("PARLEY_PEERS_0_ID", "x", PARLEY_ECONFIG,
                       "environment: PARLEY_PEERS_0_ID: expected a known setting");
    expect_environment("PARLEY_SOMETHING_ELSE", "x", PARLEY_OK, "");
    expect_environment("PARLEY_NODELIST", "x", PARLEY_OK, "");
    expect_environment("PARLEY_NODE_ID", "", PARLEY_OK, "");
}

static void variables_that_miss_their_section_are_refused_too(void)
{
    expect_environment("PARLEY_TRASNPORT_HTTP_ATTEMPTS", "5", PARLEY_ECONFIG,
                       "environment: PARLEY_TRASNPORT_HTTP_ATTEMPTS: expected a known "
                       "setting; nearest is PARLEY_TRANSPORT_HTTP_ATTEMPTS");
    expect_environment("PARLEY_NODEID", "x", PARLEY_ECONFIG,
                       "environment: PARLEY_NODEID: expected a known setting; nearest is "
                       "PARLEY_NODE_ID");
    expect_environment("PARLEY_HTTP_ATTEMPTS", "5", PARLEY_ECONFIG,
                       "environment: PARLEY_HTTP_ATTEMPTS: expected a known setting; nearest "
                       "is PARLEY_TRANSPORT_HTTP_ATTEMPTS");
    expect_environment("PARLEY_WORKERS", "5", PARLEY_ECONFIG,
                       "environment: PARLEY_WORKERS: expected a known setting; nearest is "
                       "PARLEY_RUNTIME_WORKERS");
}

/* What Kubernetes and Docker set beside a service called parley, and the command's own. */
static void variables_of_others_are_left_alone(void)
{
    static const char *const others[] = {
        "PARLEY_PORT",
        "PARLEY_SERVICE_HOST",
        "PARLEY_SERVICE_PORT",
        "PARLEY_PORT_8800_TCP",
        "PARLEY_PORT_8800_TCP_PORT",
        "PARLEY_PORT_8800_TCP_PROTO",
        "PARLEY_SERVICE_PORT_HTTP",
        "PARLEY_NAME",
        "PARLEY_PORT_8800_TCP_ADDR",
        "PARLEY_HOME",
        "PARLEY_TOKEN",
    };

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        expect_environment(others[i], "tcp://10.0.0.1:8800", PARLEY_OK, "");
}

static void every_setting_has_a_variable_of_its_own(void)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        char name[SETTING_PATH_MAX + 8] = "PARLEY_", wanted[64], seen[64], error[ERROR_MAX];
        size_t used = strlen(name);
        parley_config *config = NULL;
        struct setting_value value = {.number = setting->maximum};

        if (!setting_has_value(setting) || setting_of_peer(setting) ||
            setting_is_text(setting) || strstr(setting->path, "reconnect_m") != NULL)
            continue;
        for (const char *c = setting->path; *c != '\0'; c++)
            name[used++] = *c == '.' ? '_' : (char)toupper((unsigned char)*c);
        setting_format(setting, value, wanted, sizeof(wanted));
        setenv(name, wanted, 1);
        if (CHECK_STATUS(parley_config_load(NULL, error, sizeof(error), &config), OK)) {
            value = setting_load(setting, parley_config_options(config));
            setting_format(setting, value, seen, sizeof(seen));
            CHECK_TEXT(seen, wanted);
        }
        unsetenv(name);
        parley_config_free(config);
    }
}

/* ---- parley_config_set ---- */

static void set_takes_dotted_keys(void)
{
    parley_config *config = config_good("node: {id: a}\n");
    char error[ERROR_MAX] = "";
    const parley_options *options = parley_config_options(config);

    CHECK_STATUS(
        parley_config_set(config, "transport.http.attempts", "9", error, sizeof(error)), OK);
    CHECK_STATUS(parley_config_set(config, "node.id", "b", error, sizeof(error)), OK);
    CHECK_STATUS(parley_config_set(config, "node.accept_websocket", "false", NULL, 0), OK);
    CHECK_U64(options->http_attempts, 9);
    CHECK_TEXT(options->node_id, "b");
    CHECK(!options->accept_websocket);
    CHECK_STATUS(parley_config_set(config, "node.id", "", error, sizeof(error)), OK);
    CHECK(options->node_id == NULL);
    parley_config_free(config);
}

static void set_refuses_as_the_file_does_and_changes_nothing(void)
{
    static const struct {
        const char *key, *value, *error;
    } bad[] = {
        {"transport.http.attempts", "0",
         "transport.http.attempts: expected a number from 1 to 100, found 0"},
        {"transport.http.attempt", "5",
         "transport.http.attempt: expected a known key; nearest is transport.http.attempts"},
        {"node.id", "a b",
         "node.id: expected 1 to 128 characters of A-Z a-z 0-9 . _ : -, found \"a b\""},
        {"transport", "5", "transport: expected a key with one value, which this is not"},
        {"peers", "a", "peers: expected a key with one value, which this is not"},
        {"peers[].id", "a", "peers[].id: expected a key with one value, which this is not"},
        {"", "a", ": expected a known key"},
    };
    parley_config *config = config_good("node: {id: a}\n");

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char error[ERROR_MAX] = "";

        CHECK_STATUS(parley_config_set(config, bad[i].key, bad[i].value, error, sizeof(error)),
                     ECONFIG);
        CHECK_TEXT(error, bad[i].error);
    }
    CHECK_U64(parley_config_options(config)->http_attempts, 3);
    CHECK_TEXT(parley_config_options(config)->node_id, "a");
    parley_config_free(config);
}

/* ---- parley_config_each ---- */

struct listing {
    char text[16384];
    uint64_t keys;
};

static void list(const char *key, const char *value, bool text, const char *about, void *user)
{
    struct listing *listing = user;
    size_t used = strlen(listing->text);

    CHECK(about[0] != '\0');
    snprintf(listing->text + used, sizeof(listing->text) - used, "%s=%s%s\n", key,
             value != NULL ? value : "(unset)", text ? " text" : "");
    listing->keys++;
}

static void each_tells_every_setting_in_effect(void)
{
    parley_config *config = config_good("transport: {http: {attempts: 5}}\n"
                                        "peers: [{id: a, url: \"http://h\", ttl_ms: 3}]\n");
    struct listing *listing = calloc(1, sizeof(*listing));
    uint64_t valued = 0;

    config_need(listing != NULL);
    parley_config_each(config, list, listing);
    for (size_t i = 0; i < settings_count(); i++)
        valued += setting_has_value(settings_at(i));
    CHECK_U64(listing->keys, valued); /* one peer: each of its keys once */
    CHECK_CONTAINS(listing->text, "node.id=(unset) text\n");
    CHECK_CONTAINS(listing->text, "transport.preference=websocket_first text\n");
    CHECK_CONTAINS(listing->text, "transport.http.attempts=5\n");
    CHECK_CONTAINS(listing->text, "runtime.memory_bytes_max=1073741824\n");
    CHECK_CONTAINS(listing->text, "runtime.thread_pin=false\n");
    CHECK_CONTAINS(listing->text, "peers[0].id=a text\n");
    CHECK_CONTAINS(listing->text, "peers[0].preference=(unset) text\n");
    CHECK_CONTAINS(listing->text, "peers[0].ttl_ms=3\n");
    parley_config_free(config);
    free(listing);
}

/* Found by the fuzz target: LeakSanitizer sees a text that free forgets. */
static void free_takes_every_text_of_a_peer(void)
{
    parley_config *config = config_good("peers:\n"
                                        "  - id: b\n"
                                        "    url: http://127.0.0.1:9001\n"
                                        "    ws_url: ws://127.0.0.1:9002/ws\n"
                                        "    token: secret\n");
    const parley_peer_entry *peer = parley_config_options(config)->peers;

    CHECK_TEXT(peer->options.ws_url, "ws://127.0.0.1:9002/ws");
    CHECK_TEXT(peer->options.token, "secret");
    parley_config_free(config);
}

static void free_accepts_null(void)
{
    parley_config_free(NULL);
    CHECK(true);
}

static const struct check_test tests[] = {
    {"good files load", good_files_load},
    {"values reach their options", values_reach_their_options},
    {"peers keep their order and options", peers_keep_their_order_and_options},
    {"thousands of peers load", many_peers_load},
    {"unknown keys get the nearest one", unknown_keys_get_the_nearest_one},
    {"wrong types are refused", wrong_types_are_refused},
    {"values out of range are refused", values_out_of_range_are_refused},
    {"YAML beyond plain values is refused", yaml_beyond_plain_values_is_refused},
    {"bytes that are not text are refused", bytes_that_are_not_text_are_refused},
    {"damaged files end in a status", damaged_files_end_in_a_status},
    {"unreadable files say why", unreadable_files_say_why},
    {"short error buffers are not overrun", short_error_buffers_are_not_overrun},
    {"the environment overrides the file", environment_overrides_the_file},
    {"misspelt variables are refused by name", misspelt_variables_are_refused_by_name},
    {"variables that miss their section are refused, too",
     variables_that_miss_their_section_are_refused_too},
    {"variables of others are left alone", variables_of_others_are_left_alone},
    {"every setting has a variable of its own", every_setting_has_a_variable_of_its_own},
    {"set takes dotted keys", set_takes_dotted_keys},
    {"set refuses as the file does and changes nothing",
     set_refuses_as_the_file_does_and_changes_nothing},
    {"each tells every setting in effect", each_tells_every_setting_in_effect},
    {"free takes every text of a peer", free_takes_every_text_of_a_peer},
    {"free accepts NULL", free_accepts_null},
};

CHECK_MAIN("configuration", tests)
