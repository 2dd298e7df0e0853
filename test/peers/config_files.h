/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading configurations in tests: from text, and the one that is shipped.
 */
#ifndef PARLEY_TEST_PEERS_CONFIG_FILES_H
#define PARLEY_TEST_PEERS_CONFIG_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parley.h"
#include "test/check.h"

#define ERROR_MAX 512

/* Ends the program when the machine, not the code under test, fails. */
static inline void config_need(bool held)
{
    if (!held) {
        fprintf(stderr, "the test cannot be set up here\n");
        exit(1);
    }
}

/* The repository's root, from where this program lies: BUILD/test/peers/test_config. */
static inline void config_shipped_path(char *path, size_t len)
{
    char self[512];
    ssize_t self_len = readlink("/proc/self/exe", self, sizeof(self) - 1);

    config_need(self_len > 0);
    self[self_len] = '\0';
    for (;;) {
        char *slash = strrchr(self, '/');

        config_need(slash != NULL);
        *slash = '\0';
        snprintf(path, len, "%.480s/conf/peer_service.yaml", self);
        if (access(path, R_OK) == 0)
            return;
    }
}

/* Loads `text` as a file and strips the file's name, which no test can know, from the error.
 */
static inline parley_status config_bytes(const char *text, size_t len, char *error,
                                         parley_config **ret_config)
{
    char path[] = "/tmp/parley_test_config_XXXXXX", seen[ERROR_MAX] = "";
    int file = mkstemp(path);
    parley_status status;

    config_need(file >= 0);
    config_need(write(file, text, len) == (ssize_t)len);
    close(file);
    status = parley_config_load(path, seen, sizeof(seen), ret_config);
    unlink(path);
    snprintf(error, ERROR_MAX, "%s",
             strncmp(seen, path, strlen(path)) == 0 ? seen + strlen(path) : seen);
    return status;
}

static inline parley_status config_text(const char *text, char *error,
                                        parley_config **ret_config)
{
    return config_bytes(text, strlen(text), error, ret_config);
}

static inline parley_config *config_good(const char *text)
{
    char error[ERROR_MAX] = "";
    parley_config *config = NULL;
    parley_status status = config_text(text, error, &config);

    CHECK_STATUS(status, OK);
    CHECK_TEXT(error, "");
    config_need(config != NULL);
    return config;
}

static inline char *config_shipped_text(void)
{
    char path[600];
    FILE *file;
    char *text = calloc(1, 65536);

    config_shipped_path(path, sizeof(path));
    file = fopen(path, "re");
    config_need(file != NULL && text != NULL);
    CHECK(fread(text, 1, 65535, file) > 0);
    fclose(file);
    return text;
}

#endif
