/* SPDX-License-Identifier: Apache-2.0
 *
 * Overrides from the environment: PARLEY_TRANSPORT_HTTP_ATTEMPTS sets
 * transport.http.attempts. A variable that names no setting is refused when it starts with
 * a section's name, is near a setting's name or lacks only its section, because a misspelt
 * override that is silently ignored costs hours. Others are not ours: PARLEY_TOKEN is the
 * command's, and Kubernetes makes PARLEY_PORT and more of a service called parley.
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

static bool can_override(const struct setting *setting)
{
    return setting_has_value(setting) && !setting_of_peer(setting);
}

/* The row a variable sets, or NULL. */
static const struct setting *variable_setting(const char *name)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        char candidate[SETTING_PATH_MAX + sizeof(VARIABLE_PREFIX)];

        if (!can_override(setting))
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

/* The setting whose name without its first sections this is: http.attempts. */
static const struct setting *setting_by_tail(const char *path)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);
        const char *dot = setting->path;

        while (can_override(setting) && (dot = strchr(dot, '.')) != NULL) {
            char tail[SETTING_PATH_MAX];

            snprintf(tail, sizeof(tail), "%s", ++dot);
            for (char *at = tail; (at = strchr(at, '.')) != NULL;)
                *at = '_';
            if (strcmp(tail, path) == 0)
                return setting;
        }
    }
    return NULL;
}

/* The setting that a misspelt variable was meant to name, or NULL. Of one that may not be
 * for us fewer letters can be wrong. */
static const struct setting *setting_meant(const char *name, bool ours)
{
    char path[SETTING_PATH_MAX];
    const struct setting *setting;
    const char *nearest;
    size_t i;

    name += strlen(VARIABLE_PREFIX);
    for (i = 0; i + 1 < sizeof(path) && name[i] != '\0'; i++)
        path[i] = (char)tolower((unsigned char)name[i]);
    path[i] = '\0';
    setting = setting_by_tail(path);
    if (setting != NULL)
        return setting;
    nearest = ours ? settings_nearest(path) : settings_near(path, i < 8 ? 1 : 2);
    setting = nearest != NULL ? settings_find(nearest) : NULL;
    return setting != NULL && can_override(setting) ? setting : NULL;
}

static parley_status refuse_variable(const char *name, const struct setting *meant,
                                     char *error, size_t error_len)
{
    char candidate[SETTING_PATH_MAX + sizeof(VARIABLE_PREFIX)] = "";

    if (meant != NULL)
        variable_name(meant->path, candidate, sizeof(candidate));
    snprintf(error, error_len, "environment: %.80s: expected a known setting%s%s", name,
             meant != NULL ? "; nearest is " : "", candidate);
    return PARLEY_ECONFIG;
}

static parley_status read_variable(parley_config *config, const char *name, const char *value,
                                   char *error, size_t error_len)
{
    const struct setting *setting = variable_setting(name);
    char reason[CONFIG_REASON_MAX];
    parley_status status;

    if (setting == NULL) {
        bool ours = variable_is_ours(name);
        const struct setting *meant = setting_meant(name, ours);

        if (meant == NULL && !ours)
            return PARLEY_OK;
        return refuse_variable(name, meant, error, error_len);
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
        status = read_variable(config, name, equals + 1, error, error_len);
        if (status != PARLEY_OK)
            return status;
    }
    return PARLEY_OK;
}
