/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of settings: its defaults are the documented ones, conf/peer_service.yaml tells
 * the truth about them and about ranges, and options filled by code meet the same bounds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parley.h"
#include "peers/config.h"
#include "peers/settings.h"
#include "test/check.h"
#include "test/peers/config_files.h"

/* ---- Defaults ---- */

static void defaults_are_the_documented_ones(void)
{
    parley_options options;

    parley_options_init(&options);
    CHECK_U64(options.size, sizeof(options));
    CHECK(options.node_id == NULL && options.listen_host == NULL);
    CHECK_U64(options.listen_port, 0);
    CHECK(options.accept_websocket && options.websocket_enabled && options.parley_protocol);
    CHECK_U64(options.workers, 0);
    CHECK_U64(options.mailbox_messages_max, 16384);
    CHECK_U64(options.mailbox_bytes_max, 16u << 20);
    CHECK_U64(options.memory_bytes_max, 1u << 30);
    CHECK_U64(options.run_messages_max, 256);
    CHECK_U64(options.run_time_us, 500);
    CHECK_U64(options.peers_max, 1000000);
    CHECK_U64(options.thread_stack_bytes, 0);
    CHECK(!options.thread_pin);
    CHECK_U64(options.preference, PARLEY_WEBSOCKET_FIRST);
    CHECK_U64(options.ttl_ms, 60000);
    CHECK_U64(options.connect_timeout_ms, 5000);
    CHECK_U64(options.connect_grace_ms, 250);
    CHECK_U64(options.reconnect_min_ms, 1000);
    CHECK_U64(options.reconnect_max_ms, 60000);
    CHECK_U64(options.reconnect_attempts, 10);
    CHECK_U64(options.heartbeat_interval_ms, 30000);
    CHECK_U64(options.heartbeat_grace_ms, 10000);
    CHECK_U64(options.batch_bytes_max, 65536);
    CHECK_U64(options.in_flight_max, 1024);
    CHECK_U64(options.http_attempts, 3);
    CHECK_U64(options.http_backoff_ms, 1000);
    CHECK_U64(options.http_connect_timeout_ms, 5000);
    CHECK_U64(options.http_timeout_ms, 10000);
    CHECK_U64(options.http_in_flight_max, 64);
    CHECK_U64(options.http_response_bytes_max, 1u << 20);
    CHECK_U64(options.message_bytes_max, 1u << 20);
    CHECK_U64(options.json_depth_max, 32);
    CHECK_U64(options.connections_max, 20000);
    CHECK_U64(options.guests_max, 1024);
    CHECK_U64(options.session_idle_s, 3600);
    CHECK(options.identity_file == NULL && options.trusted_keys_dir == NULL);
    CHECK(options.identity_seed == NULL && options.state_dir == NULL);
    CHECK(!options.tokens_required);
    CHECK_U64(options.signatures, PARLEY_SIGNATURES_AUTO);
    CHECK_U64(options.sessions, PARLEY_SESSIONS_AUTO);
    CHECK_U64(options.clock_skew_s, 60);
    CHECK_U64(options.nonce_window_s, 300);
    CHECK(options.peers == NULL && options.peers_len == 0);
    CHECK(options.allocator == NULL && options.log == NULL);
}

static void peer_defaults_inherit_and_keep_order(void)
{
    parley_peer_options options;

    memset(&options, 0xff, sizeof(options));
    parley_peer_options_init(&options);
    CHECK_U64(options.size, sizeof(options));
    CHECK(!options.preference_set);
    CHECK_U64(options.dialect, PARLEY_DIALECT_AUTO);
    CHECK(options.ws_url == NULL);
    CHECK_U64(options.mailbox_messages_max, 0);
    CHECK_U64(options.mailbox_bytes_max, 0);
    CHECK_U64(options.ttl_ms, 0);
}

static void every_default_lies_in_its_range(void)
{
    parley_options options;
    char error[ERROR_MAX] = "";

    parley_options_init(&options);
    CHECK_STATUS(settings_check(&options, error, sizeof(error)), OK);
    CHECK_TEXT(error, "");
}

/* ---- The shipped file ---- */

static void shipped_file_holds_the_defaults(void)
{
    char path[600], error[ERROR_MAX] = "";
    parley_config *config = NULL;
    parley_options defaults;

    config_shipped_path(path, sizeof(path));
    parley_options_init(&defaults);
    if (!CHECK_STATUS(parley_config_load(path, error, sizeof(error), &config), OK)) {
        CHECK_TEXT(error, "");
        return;
    }
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        struct setting_value seen, expected;
        char seen_text[64], expected_text[64];

        if (!setting_has_value(setting) || setting_of_peer(setting))
            continue;
        seen = setting_load(setting, parley_config_options(config));
        expected = setting_load(setting, &defaults);
        setting_format(setting, seen, seen_text, sizeof(seen_text));
        setting_format(setting, expected, expected_text, sizeof(expected_text));
        if (!CHECK_TEXT(seen_text, expected_text))
            fprintf(stderr, "    key: %s\n", setting->path);
    }
    CHECK_U64(parley_config_options(config)->peers_len, 0);
    parley_config_free(config);
}

static void shipped_file_names_every_key(void)
{
    char path[600], error[ERROR_MAX] = "";
    parley_config *config = NULL;

    config_shipped_path(path, sizeof(path));
    config_need(parley_config_load(path, error, sizeof(error), &config) == PARLEY_OK);
    for (size_t i = 0; i < settings_count(); i++) {
        if (!setting_of_peer(settings_at(i)) && !CHECK(config->lines[i] != 0))
            fprintf(stderr, "    key: %s\n", settings_at(i)->path);
    }
    parley_config_free(config);
}

/* Every comment line of the example peer, with its '#' removed, is a peer the reader takes. */
static void shipped_example_peer_is_valid_and_complete(void)
{
    char *text = config_shipped_text(), *line = NULL, *rest = strstr(text, "#   peers:");
    char yaml[4096] = "";
    size_t used = 0;
    parley_config *config;
    const parley_peer_entry *peer;

    config_need(rest != NULL);
    while ((line = strsep(&rest, "\n")) != NULL && line[0] == '#') {
        used += (size_t)snprintf(yaml + used, sizeof(yaml) - used, "%s\n", line + 1);
    }
    config = config_good(yaml);
    CHECK_U64(config->peers_len, 1);
    peer = &config->options.peers[0];
    CHECK_TEXT(peer->id, "orders-1");
    CHECK_TEXT(peer->url, "https://orders-1:8443");
    CHECK_TEXT(peer->options.ws_url, "wss://push:8444/ws");
    CHECK(peer->options.preference_set && peer->options.preference == PARLEY_HTTP_FIRST);
    for (size_t i = 0; i < settings_count(); i++) {
        char leaf[SETTING_PATH_MAX + 2];

        if (!setting_of_peer(settings_at(i)))
            continue;
        snprintf(leaf, sizeof(leaf), "%s:", settings_at(i)->path + strlen("peers[]."));
        CHECK_CONTAINS(yaml, leaf);
    }
    parley_config_free(config);
    free(text);
}

/* "1048575" → "1,048,575" */
static void group_digits(uint64_t number, char *buffer)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, number);

    for (int i = 0; i < len; i++) {
        *buffer++ = digits[i];
        if ((len - i) % 3 == 1 && i + 1 < len)
            *buffer++ = ',';
    }
    *buffer = '\0';
}

/* Copies the comment above line `number` (from 1), its line breaks made spaces. */
static void comment_above(const char *text, uint32_t number, char *buffer, size_t len)
{
    size_t used = 0;

    buffer[0] = '\0';
    for (uint32_t line = 1; line < number && text != NULL; line++) {
        const char *word = text + strspn(text, " ");

        if (*word != '#')
            used = 0; /* a comment ends at the first line that is none */
        else
            used += (size_t)snprintf(buffer + used, len - used, "%.*s ",
                                     (int)strcspn(word + 1, "\n"), word + 1);
        text = strchr(text, '\n');
        text = text != NULL ? text + 1 : NULL;
    }
}

static void shipped_comments_state_the_ranges(void)
{
    char path[600], error[ERROR_MAX] = "", *text = config_shipped_text();
    parley_config *config = NULL;

    config_shipped_path(path, sizeof(path));
    config_need(parley_config_load(path, error, sizeof(error), &config) == PARLEY_OK);
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        char low[32], high[32], range[80], comment[2048];

        if ((setting->type != SETTING_U32 && setting->type != SETTING_U64 &&
             setting->type != SETTING_PORT) ||
            setting_of_peer(setting))
            continue;
        group_digits(setting->minimum, low);
        group_digits(setting->maximum, high);
        snprintf(range, sizeof(range), "%s to %s", low, high);
        comment_above(text, config->lines[i], comment, sizeof(comment));
        if (!CHECK_CONTAINS(comment, range))
            fprintf(stderr, "    key: %s\n", setting->path);
    }
    parley_config_free(config);
    free(text);
}

/* ---- Options given in code ---- */

static void options_in_code_are_checked_against_every_bound(void)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        parley_options options;
        char error[ERROR_MAX] = "";

        if (!setting_has_value(setting) || setting_of_peer(setting) ||
            setting_is_text(setting) || setting->maximum == UINT64_MAX ||
            setting->type == SETTING_BOOL)
            continue;
        parley_options_init(&options);
        setting_store(setting, &options,
                      (struct setting_value){.number = setting->maximum + 1});
        CHECK_STATUS(settings_check(&options, error, sizeof(error)), EINVAL);
        CHECK_CONTAINS(error, setting->path);
        if (setting->minimum == 0)
            continue;
        parley_options_init(&options);
        setting_store(setting, &options,
                      (struct setting_value){.number = setting->minimum - 1});
        CHECK_STATUS(settings_check(&options, error, sizeof(error)), EINVAL);
        CHECK_CONTAINS(error, setting->path);
    }
}

#define ZERO62 "00000000000000000000000000000000000000000000000000000000000000"

static void options_in_code_are_refused_by_name(void)
{
    parley_peer_entry peers[2] = {{.id = "a"}, {.id = "b"}};
    parley_options options;
    char error[ERROR_MAX] = "";

    parley_peer_options_init(&peers[0].options);
    parley_peer_options_init(&peers[1].options);
    parley_options_init(&options);
    options.peers = peers;
    options.peers_len = 2;
    CHECK_STATUS(settings_check(&options, error, sizeof(error)), OK);
    peers[1].url = "nonsense";
    CHECK_STATUS(settings_check(&options, error, sizeof(error)), EURL);
    CHECK_TEXT(error, "peers[1].url: expected a URL such as http://host:port, found nonsense");
    peers[1].url = NULL;
    peers[1].id = NULL;
    CHECK_STATUS(settings_check(&options, error, sizeof(error)), EINVAL);
    CHECK_TEXT(error, "peers[1].id: expected 1 to 128 characters of A-Z a-z 0-9 . _ : -, "
                      "found nothing");
    peers[1].id = "b";
    peers[1].options.dialect = (parley_dialect)9;
    CHECK_STATUS(settings_check(&options, error, sizeof(error)), EINVAL);
    CHECK_TEXT(error, "peers[1].dialect: expected auto, parley, manager or service, found 9");
    peers[1].options.dialect = PARLEY_DIALECT_AUTO;
    peers[1].options.public_key = "01" ZERO62; /* the neutral point */
    CHECK_STATUS(settings_check(&options, error, sizeof(error)), EINVAL);
    CHECK_CONTAINS(error, "peers[1].public_key: expected an Ed25519 public key as 64 hex "
                          "digits, found 0100000000");
    peers[1].options.public_key = "58" ZERO62 "00";
    CHECK_STATUS(settings_check(&options, error, sizeof(error)), EINVAL);
    peers[1].options.public_key =
        "D75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    CHECK_STATUS(settings_check(&options, error, sizeof(error)), OK);
    options.listen_host = "example.org";
    CHECK_STATUS(settings_check(&options, error, sizeof(error)), EINVAL);
    CHECK_TEXT(error, "node.listen_host: expected a numeric IPv4 or IPv6 address, found "
                      "example.org");
    CHECK_STATUS(settings_check(&options, NULL, 0), EINVAL);
}

static void nearest_keys_are_misspellings_only(void)
{
    CHECK_TEXT(settings_nearest("transport.htpp.attempts"), "transport.http.attempts");
    CHECK_TEXT(settings_nearest("transport.attempts"), "transport.http.attempts");
    CHECK_TEXT(settings_nearest("transport_http_attempts"), "transport.http.attempts");
    CHECK_TEXT(settings_nearest("limit"), "limits");
    CHECK(settings_nearest("something.else.altogether") == NULL);
    CHECK(settings_nearest("") == NULL);
}

static const struct check_test tests[] = {
    {"defaults are the documented ones", defaults_are_the_documented_ones},
    {"a peer's defaults inherit and keep order", peer_defaults_inherit_and_keep_order},
    {"every default lies in its range", every_default_lies_in_its_range},
    {"the shipped file holds the defaults", shipped_file_holds_the_defaults},
    {"the shipped file names every key", shipped_file_names_every_key},
    {"the shipped file's example peer is valid and complete",
     shipped_example_peer_is_valid_and_complete},
    {"the shipped file's comments state the ranges", shipped_comments_state_the_ranges},
    {"options in code are checked against every bound",
     options_in_code_are_checked_against_every_bound},
    {"options in code are refused by name", options_in_code_are_refused_by_name},
    {"nearest keys are misspellings only", nearest_keys_are_misspellings_only},
};

CHECK_MAIN("settings", tests)
