/* SPDX-License-Identifier: Apache-2.0
 *
 * Overrides from the environment: PARLEY_TRANSPORT_HTTP_ATTEMPTS sets
 * transport.http.attempts. A variable that starts with a section's name but names no
 * setting is refused, because a misspelt override that is silently ignored costs hours.
 */
#include "peers/config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VARIABLE_PREFIX "PARLEY_"

/* "transport.http.attempts" → "PARLEY_TRANSPORT_HTTP_ATTEMPTS" */
static void variable_name(const char *path, char *name, size_t len)
{
    size_t used = (size_t)snprintf(name, len, VARIABLE_PREFIX);

    for (; *path != '\0' && used + 1 < len; path++)
        name[used++] = *path == '.' ? '_' : (char)toupper((unsigned char)*path);
    name[used] = '\0';
}

/* The row a variable sets, or NULL. */
static const struct setting *variable_setting(const char *name)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        char candidate[SETTING_PATH_MAX + sizeof(VARIABLE_PREFIX)];

        if (!setting_has_value(setting) || setting_of_peer(setting))
            continue;
        variable_name(setting->path, candidate, sizeof(candidate));
        if (strcmp(candidate, name) == 0)
            return setting;
    }
    return NULL;
}

/* Whether a variable's name starts with a section's, so that it must be meant for us. */
static bool variable_is_ours(const char *name)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        char section[SETTING_PATH_MAX + sizeof(VARIABLE_PREFIX)];
        size_t len;

        if (setting_has_value(setting))
            continue;
        variable_name(setting->path, section, sizeof(section));
        len = strlen(section);
        if (strncmp(name, section, len) == 0 && (name[len] == '_' || name[len] == '\0'))
            return true;
    }
    return false;
}

/* The variable nearest to a misspelt one. */
static void suggest_variable(const char *name, char *buffer, size_t len)
{
    char path[SETTING_PATH_MAX];
    const struct setting *setting;
    const char *nearest;
    size_t i;

    for (i = 0; i + 1 < sizeof(path) && name[i] != '\0'; i++)
        path[i] = (char)tolower((unsigned char)name[i]);
    path[i] = '\0';
    buffer[0] = '\0';
    nearest = settings_nearest(path);
    setting = nearest != NULL ? settings_find(nearest) : NULL;
    if (setting != NULL && setting_has_value(setting) && !setting_of_peer(setting)) {
        char candidate[SETTING_PATH_MAX + sizeof(VARIABLE_PREFIX)];

        variable_name(setting->path, candidate, sizeof(candidate));
        snprintf(buffer, len, "; nearest is %s", candidate);
    }
}

static parley_status read_variable(parley_config *config, const char *name, const char *value,
                                   char *error, size_t error_len)
{
    const struct setting *setting = variable_setting(name);
    char reason[CONFIG_REASON_MAX];
    parley_status status;

    if (setting == NULL) {
        suggest_variable(name + strlen(VARIABLE_PREFIX), reason, sizeof(reason));
        snprintf(error, error_len, "environment: %.80s: expected a known setting%s", name,
                 reason);
        return PARLEY_ECONFIG;
    }
    status = config_assign(config, setting, &config->options, value, CONFIG_VERBATIM, reason,
                           sizeof(reason));
    if (status == PARLEY_ECONFIG)
        snprintf(error, error_len, "environment: %s: %s", name, reason);
    return status;
}

parley_status config_read_environment(parley_config *config, char *error, size_t error_len)
{
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++) {
        const char *equals = strchr(*variable, '=');
        char name[2 * SETTING_PATH_MAX];
        parley_status status;

        if (equals == NULL ||
            strncmp(*variable, VARIABLE_PREFIX, strlen(VARIABLE_PREFIX)) != 0)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(equals - *variable), *variable);
        if (!variable_is_ours(name))
            continue;
        status = read_variable(config, name, equals + 1, error, error_len);
        if (status != PARLEY_OK)
            return status;
    }
    return PARLEY_OK;
}
