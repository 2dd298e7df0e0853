/* SPDX-License-Identifier: Apache-2.0
 *
 * parley_config: options from a file, then from the environment, then from flags, each
 * overriding the one before. Every value goes through config_assign(), so that the three
 * agree on what is permitted. One thread at a time.
 */
#include "peers/config.h"

#include <stdio.h>
#include <string.h>

static parley_status fill(parley_config *config, const char *path, char *error,
                          size_t error_len)
{
    char reason[CONFIG_REASON_MAX] = "";
    parley_status status = PARLEY_OK;

    if (path != NULL)
        status = config_read_file(config, path, error, error_len);
    if (status == PARLEY_OK)
        status = config_read_environment(config, error, error_len);
    if (status != PARLEY_OK)
        return status;
    if (settings_check(&config->options, reason, sizeof(reason)) == PARLEY_OK)
        return PARLEY_OK;
    snprintf(error, error_len, "%s%s%s", path != NULL ? path : "", path != NULL ? ": " : "",
             reason);
    return PARLEY_ECONFIG;
}

parley_status parley_config_load(const char *path, char *error, size_t error_len,
                                 parley_config **ret_config)
{
    char unread[1];
    struct alloc alloc;
    parley_config *config;
    parley_status status;

    if (error == NULL || error_len == 0) {
        error = unread;
        error_len = sizeof(unread);
    }
    error[0] = '\0';
    alloc_init(&alloc, NULL);
    config = alloc_zeroed(&alloc, sizeof(*config));
    if (config == NULL)
        return PARLEY_ENOMEM;
    config->alloc = alloc;
    parley_options_init(&config->options);
    status = fill(config, path, error, error_len);
    if (status != PARLEY_OK) {
        parley_config_free(config);
        return status;
    }
    *ret_config = config;
    return PARLEY_OK;
}

parley_status parley_config_set(parley_config *config, const char *key, const char *value,
                                char *error, size_t error_len)
{
    char unread[1], reason[CONFIG_REASON_MAX];
    const struct setting *setting = settings_find(key);
    const char *nearest;
    parley_status status;

    if (error == NULL || error_len == 0) {
        error = unread;
        error_len = sizeof(unread);
    }
    if (setting == NULL) {
        nearest = settings_nearest(key);
        snprintf(error, error_len, "%.80s: expected a known key%s%s", key,
                 nearest != NULL ? "; nearest is " : "", nearest != NULL ? nearest : "");
        return PARLEY_ECONFIG;
    }
    if (!setting_has_value(setting) || setting_of_peer(setting)) {
        snprintf(error, error_len, "%s: expected a key with one value, which this is not",
                 key);
        return PARLEY_ECONFIG;
    }
    status = config_assign(config, setting, &config->options, value, CONFIG_VERBATIM, reason,
                           sizeof(reason));
    if (status == PARLEY_ECONFIG)
        snprintf(error, error_len, "%s: %s", key, reason);
    return status;
}

parley_options *parley_config_options(parley_config *config)
{
    return &config->options;
}

static void tell(const struct setting *setting, const char *key, const void *base,
                 parley_setting_fn each, void *user)
{
    char number[SETTING_TEXT_MAX + 1];
    struct setting_value value = setting_load(setting, base);
    const char *text = NULL;

    if (setting_is_text(setting)) {
        text = value.text;
        if (text != NULL && setting->type == SETTING_SECRET)
            text = SETTING_SECRET_SHOWN;
    } else if (setting_is_set(setting, base)) {
        setting_format(setting, value, number, sizeof(number));
        text = number;
    }
    each(key, text, setting_is_text(setting) || setting->type == SETTING_ENUM, setting->text,
         user);
}

static void tell_peer(size_t index, const parley_peer_entry *entry, parley_setting_fn each,
                      void *user)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        char key[SETTING_PATH_MAX + 24];

        if (!setting_of_peer(setting))
            continue;
        snprintf(key, sizeof(key), "peers[%zu]%s", index, setting->path + strlen("peers[]"));
        tell(setting, key, entry, each, user);
    }
}

void parley_config_each(const parley_config *config, parley_setting_fn each, void *user)
{
    const parley_options *options = &config->options;

    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);

        if (setting_has_value(setting) && !setting_of_peer(setting))
            tell(setting, setting->path, options, each, user);
    }
    for (size_t i = 0; i < options->peers_len; i++)
        tell_peer(i, &options->peers[i], each, user);
}

/* Every text of a peer, whatever keys there are. */
static void free_texts(const parley_config *config, const parley_peer_entry *entry)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);

        if (setting_of_peer(setting) && setting_has_value(setting) && setting_is_text(setting))
            config_text_free(config, setting,
                             (char *)(uintptr_t)setting_load(setting, entry).text);
    }
}

void parley_config_free(parley_config *config)
{
    struct alloc alloc;

    if (config == NULL)
        return;
    alloc = config->alloc;
    for (size_t i = 0; i < settings_count(); i++)
        config_text_free(config, settings_at(i), config->texts[i]);
    for (size_t i = 0; i < config->peers_len; i++)
        free_texts(config, &config->peers[i]);
    alloc_free(&alloc, config->peers);
    alloc_free(&alloc, config);
}
