/* SPDX-License-Identifier: Apache-2.0
 *
 * A configuration: options, and the memory their texts live in. Shared by the public
 * functions (config.c) and the reader of YAML (config_yaml.c).
 */
#ifndef PARLEY_PEERS_CONFIG_H
#define PARLEY_PEERS_CONFIG_H

#include <stdint.h>

#include "parley.h"
#include "peers/settings.h"
#include "runtime/alloc.h"

#define CONFIG_FILE_BYTES_MAX (256u << 20)
#define CONFIG_REASON_MAX     384

struct parley_config {
    struct alloc alloc;
    parley_options options;
    char *texts[SETTINGS_MAX]; /* what `options` points to, by row; NULL: not ours */
    parley_peer_entry *peers;  /* owns its texts */
    size_t peers_len;
    size_t peers_room;
    uint32_t lines[SETTINGS_MAX]; /* where the file set a row, from 1; 0: it did not */
};

/** How a value was written, which decides what it may mean. */
enum config_style {
    CONFIG_PLAIN,    /* bare in YAML: 5 and true are not text */
    CONFIG_QUOTED,   /* quoted in YAML: always text */
    CONFIG_VERBATIM, /* outside YAML: whatever the setting wants */
};

/**
 * Sets one row from text, copying it.
 *
 * @param base   &config->options, or the parley_peer_entry being read
 * @param reason receives "expected …, found …" with PARLEY_ECONFIG
 * @return PARLEY_OK; PARLEY_ECONFIG; PARLEY_ENOMEM; on failure nothing changed
 */
parley_status config_assign(parley_config *config, const struct setting *setting, void *base,
                            const char *text, enum config_style style, char *reason,
                            size_t reason_len);

/** Frees a text of this setting; wipes a secret before. NULL is allowed. */
void config_text_free(const parley_config *config, const struct setting *setting, char *text);

/** Appends an empty peer and returns it, or NULL when out of memory. */
parley_peer_entry *config_peer_add(parley_config *config);

/** Reads a file into the configuration; the contract is parley_config_load()'s. */
parley_status config_read_file(parley_config *config, const char *path, char *error,
                               size_t error_len);

/** Applies PARLEY_… overrides; PARLEY_ECONFIG ("environment: NAME: expected …") or
 *  PARLEY_ENOMEM. */
parley_status config_read_environment(parley_config *config, char *error, size_t error_len);

#endif
