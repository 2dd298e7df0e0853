/* SPDX-License-Identifier: Apache-2.0
 *
 * Settings, told one by one with dotted keys, as YAML: sections open as they come.
 */
#ifndef PARLEY_PEERS_CLI_YAML_H
#define PARLEY_PEERS_CLI_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define YAML_KEY_MAX   256
#define YAML_VALUE_MAX 8192

struct yaml {
    FILE *file;
    const char *prefix;         /* of each line: "# " for an example */
    bool started;               /* sections are parted by blank lines */
    char section[YAML_KEY_MAX]; /* of the last key: "transport.http", "peers[0]" */
};

/** Opens the key's section if need be. @return the key's own name; `ret_indent` blanks go
 *  before it, and with `ret_dash` two of them are "- " */
const char *yaml_key(struct yaml *yaml, const char *key, int *ret_indent, bool *ret_dash);

/** Writes a value as YAML wants it: quoted where it could be taken for something else. */
void yaml_value(const char *value, bool text, char *buffer, size_t len);

/** Writes one line: a key with its value, or commented out without, and what it means. */
void yaml_line(struct yaml *yaml, const char *key, const char *value, bool text,
               const char *about);

#endif
