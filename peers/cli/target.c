/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/target.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Flags ---- */

static enum cli_exit take_url(struct target_flags *flags, const struct cli_setup *setup,
                              const char *url)
{
    if (flags->urls_len == TARGET_URLS_MAX)
        return cli_fail(setup, CLI_USAGE, "--url can be given %d times", TARGET_URLS_MAX);
    flags->urls[flags->urls_len++] = url;
    return CLI_OK;
}

static enum cli_exit take_way(struct target_flags *flags, const struct cli_setup *setup,
                              const char *name)
{
    static const char *const names[] = {
        [TARGET_WAY_AUTO] = "auto",
        [TARGET_WAY_WEBSOCKET] = "ws",
        [TARGET_WAY_HTTP] = "http",
        [TARGET_WAY_BOTH] = "both",
    };
    size_t len = flags->both_allowed ? 4 : 3;

    for (size_t i = 0; i < len; i++) {
        if (strcmp(names[i], name) == 0) {
            flags->way = (enum target_way)i;
            return CLI_OK;
        }
    }
    return cli_fail(setup, CLI_USAGE, "--transport %.40s: expected %s", name,
                    flags->both_allowed ? "auto, ws, http or both" : "auto, ws or http");
}

enum cli_exit target_take(struct target_flags *flags, struct cli_setup *setup, int letter,
                          char *argument)
{
    switch (letter) {
    case TARGET_FLAG_URL:
        return take_url(flags, setup, argument);
    case TARGET_FLAG_PEER_ID:
        flags->peer_id = argument;
        return CLI_OK;
    case TARGET_FLAG_TRANSPORT:
        return take_way(flags, setup, argument);
    case TARGET_FLAG_DIALECT:
        flags->dialect = argument;
        return CLI_OK;
    case TARGET_FLAG_VERSION:
        flags->version = argument;
        return CLI_OK;
    case TARGET_FLAG_NO_PACE:
        flags->no_pace = true;
        return CLI_OK;
    case TARGET_FLAG_TOKEN_FILE:
        flags->token_file = argument;
        return CLI_OK;
    case TARGET_FLAG_TOKEN_IN_QUERY:
        flags->token_in_query = true;
        return CLI_OK;
    default:
        return cli_take(setup, letter, argument);
    }
}

/* ---- What flags override ---- */

static void apply_way(enum target_way way, parley_peer_options *options)
{
    if (way == TARGET_WAY_AUTO)
        return;
    options->preference = way == TARGET_WAY_WEBSOCKET ? PARLEY_WEBSOCKET_ONLY
                          : way == TARGET_WAY_HTTP    ? PARLEY_HTTP_ONLY
                                                      : PARLEY_WEBSOCKET_FIRST;
    options->preference_set = true;
}

/* @return the index of `name`; -1: it is none of them */
static int index_of(const char *const *names, size_t len, const char *name)
{
    for (size_t i = 0; i < len; i++) {
        if (strcmp(names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

static enum cli_exit apply_dialect(const struct target_flags *flags,
                                   const struct cli_setup *setup, parley_peer_options *options)
{
    static const char *const names[] = {
        [PARLEY_DIALECT_AUTO] = "auto",
        [PARLEY_DIALECT_PARLEY] = "parley",
        [PARLEY_DIALECT_MANAGER] = "manager",
        [PARLEY_DIALECT_SERVICE] = "service",
    };

    int found;

    if (flags->dialect == NULL)
        return CLI_OK;
    found = index_of(names, sizeof(names) / sizeof(names[0]), flags->dialect);
    if (found < 0)
        return cli_fail(setup, CLI_USAGE,
                        "--dialect %.40s: expected auto, parley, manager or service",
                        flags->dialect);
    options->dialect = (parley_dialect)found;
    return CLI_OK;
}

static enum cli_exit apply_version(const struct target_flags *flags,
                                   const struct cli_setup *setup, parley_peer_options *options)
{
    static const char *const names[] = {
        [PARLEY_ENVELOPE_AUTO] = "auto",
        [PARLEY_ENVELOPE_1_0] = "1.0",
        [PARLEY_ENVELOPE_0_3] = "0.3",
    };

    int found;

    if (flags->version == NULL)
        return CLI_OK;
    found = index_of(names, sizeof(names) / sizeof(names[0]), flags->version);
    if (found < 0)
        return cli_fail(setup, CLI_USAGE,
                        "--envelope-version %.40s: expected auto, 1.0 or 0.3", flags->version);
    options->envelope_version = (parley_envelope_version)found;
    return CLI_OK;
}

static enum cli_exit apply(const struct target_flags *flags, const struct cli_setup *setup,
                           const struct targets *targets, parley_peer_entry *entry)
{
    enum cli_exit code = apply_dialect(flags, setup, &entry->options);

    if (code == CLI_OK)
        code = apply_version(flags, setup, &entry->options);
    /* ping asks the library, which says so itself */
    if (code == CLI_OK && flags->way == TARGET_WAY_WEBSOCKET && !flags->both_allowed &&
        entry->options.dialect == PARLEY_DIALECT_SERVICE)
        return cli_fail(setup, CLI_USAGE,
                        "--transport ws: %.128s is of dialect service, which has no WebSocket",
                        entry->id);
    apply_way(flags->way, &entry->options);
    if (flags->no_pace)
        entry->options.pace = false;
    if (flags->token_in_query)
        entry->options.token_in_query = true;
    /* the environment's token is nothing to show to every peer there is */
    if (targets->token[0] != '\0' && (flags->token_file != NULL || flags->urls_len > 0))
        entry->options.token = targets->token;
    return code;
}

/* ---- The token ---- */

static enum cli_exit check_token(const struct cli_setup *setup, const char *name,
                                 const char *token)
{
    for (const char *at = token; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~')
            return cli_fail(setup, CLI_USAGE,
                            "%.200s: expected a token without spaces, on one line", name);
    }
    if (token[0] == '\0' || strlen(token) > TARGET_TOKEN_MAX)
        return cli_fail(setup, CLI_USAGE, "%.200s: expected a token of 1 to %d characters",
                        name, TARGET_TOKEN_MAX);
    return CLI_OK;
}

static enum cli_exit read_token(struct targets *targets, const struct target_flags *flags,
                                const struct cli_setup *setup)
{
    const char *value = getenv("PARLEY_TOKEN");
    size_t len;
    FILE *file;

    cli_guard_memory(); /* the environment is part of it */
    if (flags->token_file == NULL) {
        if (value == NULL || value[0] == '\0' || flags->urls_len == 0)
            return CLI_OK;
        snprintf(targets->token, sizeof(targets->token), "%s", value);
        return check_token(setup, "PARLEY_TOKEN", targets->token);
    }
    file = fopen(flags->token_file, "re");
    if (file == NULL)
        return cli_fail(setup, CLI_FAILED, "%.200s: %s", flags->token_file, strerror(errno));
    len = fread(targets->token, 1, sizeof(targets->token) - 1, file);
    if (ferror(file)) {
        fclose(file);
        return cli_fail(setup, CLI_FAILED, "%.200s: cannot be read", flags->token_file);
    }
    fclose(file);
    while (len > 0 && strchr("\r\n", targets->token[len - 1]) != NULL)
        len--;
    targets->token[len] = '\0';
    return check_token(setup, flags->token_file, targets->token);
}

/* ---- Peers ---- */

/* A name for a peer of which only the address is known: its "host:port". */
static void id_from_url(const char *url, char *id, size_t len)
{
    const char *host = strstr(url, "://");
    size_t used = 0;

    host = host != NULL ? host + 3 : url;
    for (; *host != '\0' && *host != '/' && used + 1 < len; host++) {
        if (isalnum((unsigned char)*host) || strchr(".-:_", *host) != NULL)
            id[used++] = *host;
    }
    id[used] = '\0';
    if (used == 0) /* the library says what is wrong with such an address */
        snprintf(id, len, "peer");
}

/* Two addresses of one host and port get names that differ. */
static void make_unique(struct targets *targets, size_t at)
{
    char *id = targets->ids[at];
    size_t len = strlen(id);

    if (len > TARGET_ID_MAX - 4)
        len = TARGET_ID_MAX - 4;
    for (size_t i = 0; i < at; i++) {
        if (strcmp(targets->ids[i], id) == 0) {
            snprintf(id + len, TARGET_ID_MAX + 1 - len, "-%zu", at + 1);
            return;
        }
    }
}

static enum cli_exit allocate(struct targets *targets, const struct cli_setup *setup,
                              size_t len)
{
    targets->entries = calloc(len + 1, sizeof(*targets->entries));
    targets->ids = calloc(len + 1, sizeof(*targets->ids));
    if (targets->entries == NULL || targets->ids == NULL) {
        cli_fail(setup, CLI_FAILED, "out of memory");
        return CLI_FAILED;
    }
    targets->len = len;
    return CLI_OK;
}

static enum cli_exit find_urls(struct targets *targets, const struct target_flags *flags,
                               const struct cli_setup *setup)
{
    enum cli_exit code = allocate(targets, setup, flags->urls_len);

    for (size_t i = 0; i < flags->urls_len && code == CLI_OK; i++) {
        parley_peer_entry *entry = &targets->entries[i];

        parley_peer_options_init(&entry->options);
        id_from_url(flags->urls[i], targets->ids[i], sizeof(targets->ids[i]));
        make_unique(targets, i);
        entry->id = flags->peer_id != NULL ? flags->peer_id : targets->ids[i];
        entry->url = flags->urls[i];
        code = apply(flags, setup, targets, entry);
    }
    return code;
}

static enum cli_exit unknown_peer(const struct target_flags *flags,
                                  const struct cli_setup *setup)
{
    const parley_options *options = setup->options;
    const char **names = calloc(options->peers_len + 1, sizeof(*names));
    const char *nearest = NULL;

    if (names != NULL) {
        for (size_t i = 0; i < options->peers_len; i++)
            names[i] = options->peers[i].id;
        nearest = cli_nearest(flags->peer_id, names);
    }
    cli_fail(setup, CLI_USAGE, "no peer \"%.128s\" in the configuration%s%s%s", flags->peer_id,
             nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "",
             nearest != NULL ? "?" : "");
    free(names);
    return CLI_USAGE;
}

enum cli_exit targets_find_one(struct targets *targets, const struct target_flags *flags,
                               const struct cli_setup *setup)
{
    const parley_options *options = setup->options;
    enum cli_exit code = read_token(targets, flags, setup);

    if (code != CLI_OK)
        return code;
    if (flags->urls_len > 0)
        return find_urls(targets, flags, setup);
    for (size_t i = 0; i < options->peers_len; i++) {
        if (strcmp(options->peers[i].id, flags->peer_id) != 0)
            continue;
        if (options->peers[i].url == NULL)
            return cli_fail(setup, CLI_UNREACHABLE,
                            "%s has no url: it connects to a node, and only that can reach it",
                            flags->peer_id);
        code = allocate(targets, setup, 1);
        if (code != CLI_OK)
            return code;
        targets->entries[0] = options->peers[i];
        return apply(flags, setup, targets, &targets->entries[0]);
    }
    return unknown_peer(flags, setup);
}

enum cli_exit targets_find_all(struct targets *targets, const struct target_flags *flags,
                               const struct cli_setup *setup)
{
    const parley_options *options = setup->options;
    enum cli_exit code = read_token(targets, flags, setup);

    if (code != CLI_OK)
        return code;
    if (flags->urls_len > 0)
        return find_urls(targets, flags, setup);
    if (options->peers_len == 0)
        return cli_fail(setup, CLI_USAGE, "expected --url, or a configuration with peers");
    code = allocate(targets, setup, options->peers_len);
    for (size_t i = 0; i < options->peers_len && code == CLI_OK; i++) {
        targets->entries[i] = options->peers[i];
        code = apply(flags, setup, targets, &targets->entries[i]);
    }
    return code;
}

void targets_free(struct targets *targets)
{
    free(targets->entries);
    free(targets->ids);
    targets->entries = NULL;
    targets->ids = NULL;
    targets->len = 0;
}

/* The library names settings; where a flag stands for one, that is named. */
static enum cli_exit open_failed(const struct targets *targets, const struct cli_setup *setup,
                                 parley_status status, const char *error)
{
    bool by_flags = targets->ids[0][0] != '\0' && strncmp(error, "peers[", 6) == 0;
    const char *key = by_flags ? strstr(error, "].") : NULL;

    if (key != NULL && strncmp(key, "].url:", 6) == 0)
        return cli_fail(setup, CLI_USAGE, "--url%s", key + 5);
    if (key != NULL && strncmp(key, "].id:", 5) == 0)
        return cli_fail(setup, CLI_USAGE, "--peer-id%s", key + 4);
    return cli_open_failed(setup, status, error);
}

enum cli_exit targets_open(const struct targets *targets, const struct cli_setup *setup,
                           parley **ret_runtime)
{
    char error[CLI_ERROR_MAX] = "";
    parley_options *options = setup->options;
    parley_status status;

    options->peers = targets->entries;
    options->peers_len = targets->len;
    options->workers = targets->len == 1 ? 1 : options->workers;
    options->listen_host = NULL; /* a node may be running with the same configuration */
    status = parley_open(options, error, sizeof(error), ret_runtime);
    return status == PARLEY_OK ? CLI_OK : open_failed(targets, setup, status, error);
}

enum cli_exit target_check_type(const struct cli_setup *setup, parley *runtime,
                                const char *type)
{
    if (parley_on_message(runtime, type, NULL, NULL) != PARLEY_EINVAL)
        return CLI_OK;
    return cli_fail(setup, CLI_USAGE,
                    "--type %.80s: expected a type of 1 to 64 characters of A-Z a-z 0-9 "
                    ". _ : - that is not one of the protocol's own",
                    type);
}
