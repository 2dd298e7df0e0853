/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/yaml.h"

#include <string.h>

#include "peers/cli/cli.h"

#define COMMENT_COLUMN 44

/* Levels of nesting: dots, or two for a list entry. */
static int depth_of(const char *section)
{
    int depth = 1;

    for (; *section != '\0'; section++)
        depth += *section == '.' || *section == '[';
    return depth;
}

/* Writes the headings from the last section to this one: those it does not begin with. */
static void open_section(struct yaml *yaml, const char *section)
{
    size_t start = 0;
    int depth = 0;

    for (;;) {
        size_t len = strcspn(section + start, ".[");
        size_t end = start + len;
        bool open = strncmp(section, yaml->section, end) == 0 &&
                    strchr(".[", yaml->section[end]) != NULL; /* '\0' too */

        if (!open)
            fprintf(yaml->file, "%s%s%*s%.*s:\n", depth == 0 && yaml->started ? "\n" : "",
                    yaml->prefix, depth * 2, "", (int)len, section + start);
        if (section[end] != '.')
            break; /* the end, or a list entry: its dash comes with its first key */
        start = end + 1;
        depth++;
    }
    snprintf(yaml->section, sizeof(yaml->section), "%s", section);
    yaml->started = true;
}

const char *yaml_key(struct yaml *yaml, const char *key, int *ret_indent, bool *ret_dash)
{
    const char *dot = strrchr(key, '.');
    char section[YAML_KEY_MAX];
    bool opened;

    snprintf(section, sizeof(section), "%.*s", (int)(dot - key), key);
    opened = strcmp(section, yaml->section) != 0;
    if (opened)
        open_section(yaml, section);
    *ret_indent = depth_of(section) * 2;
    *ret_dash = opened && strchr(section, '[') != NULL;
    return dot + 1;
}

/* What YAML would not take for text, though it is made of letters. */
static bool is_word(const char *value)
{
    static const char *const others[] = {"true", "false", "null", "yes", "no", "on", "off"};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcmp(value, others[i]) == 0)
            return false;
    }
    return value[0] != '\0' && value[strspn(value, "abcdefghijklmnopqrstuvwxyz_")] == '\0';
}

/* Names such as http_first need no quotes; everything else gets them, as JSON has them. */
void yaml_value(const char *value, bool text, char *buffer, size_t len)
{
    FILE *memory;

    buffer[0] = '\0';
    if (!text || is_word(value)) {
        snprintf(buffer, len, "%s", value);
        return;
    }
    memory = fmemopen(buffer, len, "w");
    if (memory == NULL)
        return;
    cli_json_string(memory, value);
    fclose(memory);
}

void yaml_line(struct yaml *yaml, const char *key, const char *value, bool text,
               const char *about)
{
    char quoted[YAML_VALUE_MAX] = "";
    int indent, used;
    bool dash;
    const char *name = yaml_key(yaml, key, &indent, &dash);

    if (value != NULL)
        yaml_value(value, text, quoted, sizeof(quoted));
    used = fprintf(yaml->file, "%s%*s%s%s:%s%s", yaml->prefix, indent - (dash ? 2 : 0), "",
                   dash            ? "- "
                   : value == NULL ? "# "
                                   : "",
                   name, value != NULL ? " " : "", quoted);
    fprintf(yaml->file, "%*s # %s\n", used < COMMENT_COLUMN ? COMMENT_COLUMN - used : 0, "",
            about);
}
