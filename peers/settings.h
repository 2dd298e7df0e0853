/* SPDX-License-Identifier: Apache-2.0
 *
 * Every key of conf/peer_service.yaml, once: where it lives in parley_options, its type,
 * range, default and meaning. Defaults, the YAML reader, environment overrides,
 * `parley config show` and the range check of options given in code all read this table;
 * a new key is one row here and one in the YAML file (a test compares the two).
 *
 * Immutable: any thread.
 */
#ifndef PARLEY_PEERS_SETTINGS_H
#define PARLEY_PEERS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"

#define SETTINGS_MAX     160  /* rows; bounds arrays that hold one element per row */
#define SETTING_PATH_MAX 128  /* bytes of a dotted key, with its NUL */
#define SETTING_TEXT_MAX 1024 /* bytes of a text value, without its NUL */

enum setting_type {
    SETTING_SECTION, /* holds other keys; has no value */
    SETTING_LIST,    /* of parley_peer_entry */
    SETTING_BOOL,
    SETTING_U32,
    SETTING_U64,
    SETTING_PORT, /* u32 */
    SETTING_ENUM, /* an int's worth, by `names` */
    SETTING_ID,   /* texts: const char *, NULL when unset */
    SETTING_ADDRESS,
    SETTING_URL,
    SETTING_SECRET, /* never shown */
    SETTING_PATH,   /* of a file or directory */
    SETTING_KEY,    /* public, in hex */
};

struct setting {
    const char *path; /* "transport.http.attempts"; a peer's keys: "peers[].url" */
    enum setting_type type;
    size_t offset;      /* into parley_options; of a peer's keys: parley_peer_entry */
    size_t flag_offset; /* of a bool that says "was set"; 0: none */
    uint64_t minimum;   /* numbers */
    uint64_t maximum;
    uint64_t initial;         /* default; texts: NULL */
    bool zero;                /* 0 is allowed too, and means what `text` says */
    const char *const *names; /* SETTING_ENUM: index is the value; ends with NULL */
    const char *text;         /* one line: what it does, its unit */
};

/** A value read from text, or about to be checked. Texts use `text`, the others `number`. */
struct setting_value {
    uint64_t number;
    const char *text;
};

/** Number of rows; settings_at(0 … count-1), in the order of the YAML file. */
size_t settings_count(void);
const struct setting *settings_at(size_t index);
size_t settings_index(const struct setting *setting);

/** How a secret is shown. Nobody has it for a secret: it is what was copied from there. */
#define SETTING_SECRET_SHOWN "********"

/** The row with this path ("peers[].url" for a peer's key), or NULL. */
const struct setting *settings_find(const char *path);

/** The path nearest to a misspelt one ('_' for '.' is no mistake), or NULL when none is near.
 */
const char *settings_nearest(const char *path);

/** The same, allowing so many letters to be wrong. */
const char *settings_near(const char *path, size_t edits_max);

/** Tells whether the row is a key of a list entry, not of parley_options. */
bool setting_of_peer(const struct setting *setting);

/** Tells whether it has a value: not a section, not the list. */
bool setting_has_value(const struct setting *setting);

/** Tells whether its value is text. */
bool setting_is_text(const struct setting *setting);

/** Reads `text` as this setting's type. @return whether it is one; the range may still be
 *  wrong: setting_allows() says */
bool setting_parse(const struct setting *setting, const char *text,
                   struct setting_value *ret_value);

/** Tells whether the value is permitted; an unset text (NULL) always is. */
bool setting_allows(const struct setting *setting, struct setting_value value);

/** Reads from and writes to the structure that `offset` is relative to. */
struct setting_value setting_load(const struct setting *setting, const void *base);
void setting_store(const struct setting *setting, void *base, struct setting_value value);

/** Tells whether it holds a value of its own: not an unset text, nor an inherited enum. */
bool setting_is_set(const struct setting *setting, const void *base);

/** Writes what the setting wants: "a number from 1 to 100". */
void setting_expected(const struct setting *setting, char *buffer, size_t len);

/** What a message says in place of a text that it must not repeat, because of credentials.
 *  @return NULL: it may repeat it */
const char *setting_hidden(const struct setting *setting, const char *text);

/** Writes a value as the file would, without quotes; "" for an unset one. */
void setting_format(const struct setting *setting, struct setting_value value, char *buffer,
                    size_t len);

/**
 * Checks a whole parley_options, whoever filled it.
 *
 * @param error receives "key: expected …, found …"; may be NULL
 * @return PARLEY_OK; PARLEY_EINVAL; PARLEY_EURL (a peer's URL)
 */
parley_status settings_check(const parley_options *options, char *error, size_t error_len);

#endif
