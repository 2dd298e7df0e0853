/* SPDX-License-Identifier: Apache-2.0
 *
 * Configurations: a file is refused with its place and a reason, or every value in it is one
 * the table of settings allows. Lines of the form KEY=VALUE are also given as a flag would
 * give them.
 */
#include "peers/config.h"

#include <sys/mman.h>
#include <unistd.h>

#include "test/fuzz/fuzz.h"

#define ERROR_MAX 512

/* The input as a file; the same one for all inputs. */
static const char *file_of(const uint8_t *data, size_t len)
{
    static char path[48];
    static int file = -1;

    if (file < 0) {
        file = memfd_create("config", MFD_CLOEXEC);
        FUZZ_CHECK(file >= 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    }
    FUZZ_CHECK(ftruncate(file, 0) == 0);
    FUZZ_CHECK(pwrite(file, data, len, 0) == (ssize_t)len);
    return path;
}

static void check_rows(const parley_config *config)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct setting *setting = settings_at(i);

        if (!setting_has_value(setting))
            continue;
        if (!setting_of_peer(setting)) {
            FUZZ_CHECK(setting_allows(setting, setting_load(setting, &config->options)));
            continue;
        }
        for (size_t peer = 0; peer < config->peers_len; peer++)
            FUZZ_CHECK(setting_allows(setting, setting_load(setting, &config->peers[peer])));
    }
}

/* What is shown is true: given as a flag, it changes nothing. Secrets are never shown. */
static void tell(const char *key, const char *value, bool text, const char *about, void *user)
{
    parley_config *config = user;
    const struct setting *setting = settings_find(key);

    (void)text;
    FUZZ_CHECK(key[0] != '\0' && about != NULL);
    if (setting == NULL || value == NULL) /* a peer's, or not set */
        return;
    if (setting->type == SETTING_SECRET)
        FUZZ_CHECK(strcmp(value, "********") == 0);
    else
        FUZZ_CHECK(parley_config_set(config, key, value, NULL, 0) == PARLEY_OK);
}

static void check_good(parley_config *config)
{
    parley_options before = *parley_config_options(config);

    FUZZ_CHECK(settings_check(&before, NULL, 0) == PARLEY_OK);
    FUZZ_CHECK(before.peers_len == config->peers_len);
    check_rows(config);
    parley_config_each(config, tell, config);
    check_rows(config);
    FUZZ_CHECK(settings_check(parley_config_options(config), NULL, 0) == PARLEY_OK);
}

static void try_file(const uint8_t *data, size_t len)
{
    const char *path = file_of(data, len);
    char *error = fuzz_memory(ERROR_MAX), *brief = fuzz_memory(24);
    parley_config *config = NULL;
    parley_status status = parley_config_load(path, error, ERROR_MAX, &config);

    FUZZ_CHECK(memchr(error, '\0', ERROR_MAX) != NULL);
    if (status == PARLEY_OK) {
        FUZZ_CHECK(error[0] == '\0');
        check_good(config);
        parley_config_free(config);
    } else {
        FUZZ_CHECK(status == PARLEY_ECONFIG && config == NULL);
        FUZZ_CHECK(strncmp(error, path, strlen(path)) == 0);
        FUZZ_CHECK(error[strlen(path)] == ':' && strpbrk(error, "\n\r") == NULL);
        FUZZ_CHECK(parley_config_load(path, brief, 24, &config) == status);
        FUZZ_CHECK(strncmp(brief, error, strlen(brief)) == 0 && strlen(brief) < 24);
    }
    free(brief);
    free(error);
}

/* ---- flags ---- */

static void try_flag(parley_config *config, char *line)
{
    char *error = fuzz_memory(ERROR_MAX), *value = strchr(line, '=');

    error[0] = '\0';
    *value++ = '\0';
    if (parley_config_set(config, line, value, error, ERROR_MAX) != PARLEY_OK)
        FUZZ_CHECK(error[0] != '\0' && memchr(error, '\0', ERROR_MAX) != NULL);
    free(error);
}

static void try_flags(const uint8_t *data, size_t len)
{
    char *text = fuzz_text(data, len), *rest = text, *line;
    parley_config *config = NULL;

    FUZZ_CHECK(parley_config_load(NULL, NULL, 0, &config) == PARLEY_OK);
    for (int i = 0; i < 4 && (line = strsep(&rest, "\n")) != NULL; i++) {
        if (strchr(line, '=') != NULL)
            try_flag(config, line);
    }
    check_rows(config);
    parley_config_free(config);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    try_file(data, len);
    if (memchr(data, '=', len) != NULL)
        try_flags(data, len);
    return 0;
}
