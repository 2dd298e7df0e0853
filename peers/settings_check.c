/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of a whole parley_options, whether a file or code filled it. Single settings
 * are judged by the table; what concerns two at once is written out here.
 */
#include "peers/settings.h"

#include <inttypes.h>
#include <stdio.h>

struct checker {
    char *error;
    size_t error_len;
};

/* Names the setting; a peer's as "peers[3].url". */
static parley_status refuse(const struct checker *checker, const struct setting *setting,
                            size_t peer, struct setting_value value)
{
    char expected[256], found[64], path[SETTING_PATH_MAX];

    setting_expected(setting, expected, sizeof(expected));
    setting_format(setting, value, found, sizeof(found));
    if (setting_hidden(setting, value.text) != NULL)
        snprintf(found, sizeof(found), "%s", setting_hidden(setting, value.text));
    if (setting_of_peer(setting))
        snprintf(path, sizeof(path), "peers[%zu]%s", peer,
                 setting->path + sizeof("peers[]") - 1);
    else
        snprintf(path, sizeof(path), "%s", setting->path);
    if (checker->error != NULL)
        snprintf(checker->error, checker->error_len, "%s: expected %s, found %s", path,
                 expected, found[0] != '\0' ? found : "nothing");
    return setting->type == SETTING_URL ? PARLEY_EURL : PARLEY_EINVAL;
}

static parley_status check_rows(const struct checker *checker, bool of_peer, size_t peer,
                                const void *base)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        struct setting_value value;

        if (!setting_has_value(setting) || setting_of_peer(setting) != of_peer)
            continue;
        value = setting_load(setting, base);
        if (!setting_allows(setting, value))
            return refuse(checker, setting, peer, value);
    }
    return PARLEY_OK;
}

static parley_status check_peers(const struct checker *checker, const parley_options *options)
{
    if (options->peers_len > options->peers_max) {
        if (checker->error != NULL)
            snprintf(checker->error, checker->error_len,
                     "peers: expected at most runtime.peers_max (%" PRIu32
                     ") entries, found %zu",
                     options->peers_max, options->peers_len);
        return PARLEY_EINVAL;
    }
    for (size_t i = 0; i < options->peers_len; i++) {
        const parley_peer_entry *entry = &options->peers[i];
        parley_status status = check_rows(checker, true, i, entry);

        if (status == PARLEY_OK && entry->id == NULL)
            status =
                refuse(checker, settings_find("peers[].id"), i, (struct setting_value){0});
        if (status != PARLEY_OK)
            return status;
    }
    return PARLEY_OK;
}

parley_status settings_check(const parley_options *options, char *error, size_t error_len)
{
    const struct checker checker = {error, error_len};
    parley_status status = check_rows(&checker, false, 0, options);

    if (status != PARLEY_OK)
        return status;
    if (options->reconnect_min_ms > options->reconnect_max_ms) {
        if (error != NULL)
            snprintf(error, error_len,
                     "transport.websocket.reconnect_min_ms: expected at most "
                     "reconnect_max_ms (%" PRIu32 "), found %" PRIu32,
                     options->reconnect_max_ms, options->reconnect_min_ms);
        return PARLEY_EINVAL;
    }
    return check_peers(&checker, options);
}
