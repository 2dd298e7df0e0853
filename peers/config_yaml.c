/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads conf/peer_service.yaml from libyaml's events, because the tree it can also build
 * has forgotten duplicate keys and aliases. Each key's path is looked up in the table of
 * settings; whatever is not exactly what the table wants ends the reading with
 * "file:line:column: key: expected …". Depth is bounded by the table: a value nested where
 * none is wanted is refused at its first event.
 */
#include "peers/config.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define KEY_MAX (SETTING_PATH_MAX + 96)

/* Where a peer's id stands, to find ids given twice. */
struct id_mark {
    const char *id;
    size_t peer;
    yaml_mark_t mark;
};

struct reader {
    parley_config *config;
    const char *path;
    char *error;
    size_t error_len;
    yaml_parser_t parser;
    yaml_event_t event; /* the last one taken; deleted when the next is */
    FILE *file;
    size_t file_bytes;
    int file_errno;
    struct id_mark *ids;
    size_t ids_len;
    size_t ids_room;
};

/* The key being read: as shown ("peers[3].url") and as in the table ("peers[].url"). */
struct key {
    char shown[KEY_MAX];
    char row[KEY_MAX];
};

/* What the keys of one mapping are set in. */
struct target {
    void *base;
    uint32_t *lines; /* where each row was set; 0: not yet */
};

/* ---- Errors ---- */

__attribute__((format(printf, 4, 5))) static parley_status refuse(const struct reader *reader,
                                                                  yaml_mark_t mark,
                                                                  const char *key,
                                                                  const char *format, ...)
{
    char reason[CONFIG_REASON_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    snprintf(reader->error, reader->error_len, "%s:%zu:%zu: %s%s%s", reader->path,
             mark.line + 1, mark.column + 1, key, key[0] != '\0' ? ": " : "", reason);
    return PARLEY_ECONFIG;
}

/* What an event is, in an operator's words. */
static const char *kind_of(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SEQUENCE_START_EVENT:
        return "a list";
    case YAML_MAPPING_START_EVENT:
        return "a section";
    case YAML_SCALAR_EVENT:
        return "a single value";
    default:
        return "something else";
    }
}

/* ---- Events ---- */

static int read_bytes(void *user, unsigned char *buffer, size_t size, size_t *ret_read)
{
    struct reader *reader = user;

    errno = 0;
    *ret_read = fread(buffer, 1, size, reader->file);
    if (ferror(reader->file)) {
        reader->file_errno = errno != 0 ? errno : EIO;
        return 0;
    }
    reader->file_bytes += *ret_read;
    if (reader->file_bytes > CONFIG_FILE_BYTES_MAX) {
        reader->file_errno = EFBIG;
        return 0;
    }
    return 1;
}

static parley_status parser_failed(const struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;

    if (parser->error == YAML_MEMORY_ERROR)
        return PARLEY_ENOMEM;
    if (reader->file_errno != 0) {
        snprintf(reader->error, reader->error_len, "%s: %s", reader->path,
                 strerror(reader->file_errno));
        return PARLEY_ESYSTEM;
    }
    if (parser->error == YAML_READER_ERROR) {
        snprintf(reader->error, reader->error_len, "%s: expected UTF-8 text: %s at byte %zu",
                 reader->path, parser->problem, parser->problem_offset);
        return PARLEY_ECONFIG;
    }
    return refuse(reader, parser->problem_mark, "", "expected YAML: %s",
                  parser->problem != NULL ? parser->problem : "malformed");
}

/* Anchors, aliases and tags have no meaning here; refusing them keeps what a key says where
 * the key is. */
static parley_status plain_event(const struct reader *reader)
{
    const yaml_event_t *event = &reader->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;

    if (event->type == YAML_ALIAS_EVENT)
        return refuse(reader, event->start_mark, "",
                      "expected a value, found the alias *%.40s",
                      (const char *)event->data.alias.anchor);
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor != NULL)
        return refuse(reader, event->start_mark, "",
                      "expected a value, found the anchor &%.40s", (const char *)anchor);
    if (tag != NULL)
        return refuse(reader, event->start_mark, "", "expected a value, found the tag %.40s",
                      (const char *)tag);
    return PARLEY_OK;
}

static parley_status next(struct reader *reader)
{
    yaml_event_delete(&reader->event);
    if (!yaml_parser_parse(&reader->parser, &reader->event))
        return parser_failed(reader);
    return plain_event(reader);
}

static const char *scalar_text(const yaml_event_t *event)
{
    return (const char *)event->data.scalar.value;
}

static bool scalar_cut(const yaml_event_t *event)
{
    return strlen(scalar_text(event)) != event->data.scalar.length;
}

/* An empty section ("http:" with all its keys commented out) is no mistake. */
static bool is_null(const yaml_event_t *event)
{
    const char *text;

    if (event->type != YAML_SCALAR_EVENT ||
        event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    text = scalar_text(event);
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

/* ---- Keys ---- */

static void key_append(struct key *key, const struct key *parent, const char *name)
{
    const char *dot = parent->row[0] != '\0' ? "." : "";

    snprintf(key->shown, sizeof(key->shown), "%.128s%s%.64s", parent->shown, dot, name);
    snprintf(key->row, sizeof(key->row), "%.128s%s%.64s", parent->row, dot, name);
}

static parley_status unknown_key(const struct reader *reader, const struct key *key)
{
    const char *nearest = settings_nearest(key->row);

    return refuse(reader, reader->event.start_mark, key->shown, "expected a known key%s%s",
                  nearest != NULL ? "; nearest is " : "", nearest != NULL ? nearest : "");
}

/* Takes the key the reader stands on: known, and not yet in this mapping. */
static parley_status take_key(const struct reader *reader, const struct key *parent,
                              const struct target *target, struct key *ret_key,
                              const struct setting **ret_setting)
{
    const yaml_event_t *event = &reader->event;
    const struct setting *setting;
    uint32_t *line;

    if (event->type != YAML_SCALAR_EVENT)
        return refuse(reader, event->start_mark, parent->shown, "expected a key, found %s",
                      kind_of(event));
    key_append(ret_key, parent, scalar_text(event));
    if (strpbrk(scalar_text(event), ".[") != NULL)
        return refuse(reader, event->start_mark, ret_key->shown,
                      "expected nested sections, found a dotted key");
    setting = scalar_cut(event) ? NULL : settings_find(ret_key->row);
    if (setting == NULL)
        return unknown_key(reader, ret_key);
    line = &target->lines[settings_index(setting)];
    if (*line != 0)
        return refuse(reader, event->start_mark, ret_key->shown,
                      "expected once, found again (first on line %u)", (unsigned)*line);
    *line = (uint32_t)event->start_mark.line + 1;
    *ret_setting = setting;
    return PARLEY_OK;
}

/* ---- Values ---- */

static parley_status take_value(struct reader *reader, const struct key *key,
                                const struct setting *setting, void *base)
{
    const yaml_event_t *event = &reader->event;
    char reason[CONFIG_REASON_MAX];
    parley_status status;

    if (event->type != YAML_SCALAR_EVENT) {
        setting_expected(setting, reason, sizeof(reason));
        return refuse(reader, event->start_mark, key->shown, "expected %s, found %s", reason,
                      kind_of(event));
    }
    if (scalar_cut(event))
        return refuse(reader, event->start_mark, key->shown,
                      "expected text without NUL characters");
    status = config_assign(reader->config, setting, base, scalar_text(event),
                           event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? CONFIG_PLAIN
                                                                               : CONFIG_QUOTED,
                           reason, sizeof(reason));
    if (status == PARLEY_ECONFIG)
        return refuse(reader, event->start_mark, key->shown, "%s", reason);
    return status;
}

static parley_status read_section(struct reader *reader, const struct key *parent,
                                  const struct target *target);

/* ---- The list of peers ---- */

static parley_status remember_id(struct reader *reader, size_t peer, yaml_mark_t mark)
{
    if (reader->ids_len == reader->ids_room) {
        size_t room = reader->ids_room == 0 ? 16 : reader->ids_room * 2;
        void *grown =
            alloc_resize(&reader->config->alloc, reader->ids, room * sizeof(*reader->ids));

        if (grown == NULL)
            return PARLEY_ENOMEM;
        reader->ids = grown;
        reader->ids_room = room;
    }
    reader->ids[reader->ids_len++] =
        (struct id_mark){reader->config->peers[peer].id, peer, mark};
    return PARLEY_OK;
}

static parley_status read_peer(struct reader *reader, size_t peer)
{
    uint32_t lines[SETTINGS_MAX] = {0};
    yaml_mark_t mark = reader->event.start_mark;
    struct key key = {.row = "peers[]"};
    struct target target = {.lines = lines};
    parley_status status;

    snprintf(key.shown, sizeof(key.shown), "peers[%zu]", peer);
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return refuse(reader, mark, key.shown, "expected keys such as id and url, found %s",
                      kind_of(&reader->event));
    if (peer >= settings_find("runtime.peers_max")->maximum)
        return refuse(reader, mark, key.shown, "expected fewer peers");
    target.base = config_peer_add(reader->config);
    if (target.base == NULL)
        return PARLEY_ENOMEM;
    status = read_section(reader, &key, &target);
    if (status != PARLEY_OK)
        return status;
    if (reader->config->peers[peer].id == NULL)
        return refuse(reader, mark, key.shown, "expected the key id, found none");
    return remember_id(reader, peer, mark);
}

static int order_ids(const void *a, const void *b)
{
    const struct id_mark *left = a, *right = b;
    int order = strcmp(left->id, right->id);

    return order != 0 ? order : (left->peer > right->peer) - (left->peer < right->peer);
}

static parley_status check_ids(struct reader *reader)
{
    struct id_mark *ids = reader->ids;
    char key[KEY_MAX];

    if (reader->ids_len > 1)
        qsort(ids, reader->ids_len, sizeof(*ids), order_ids);
    for (size_t i = 1; i < reader->ids_len; i++) {
        if (strcmp(ids[i - 1].id, ids[i].id) != 0)
            continue;
        snprintf(key, sizeof(key), "peers[%zu].id", ids[i].peer);
        return refuse(reader, ids[i].mark, key,
                      "expected an id of its own, found peers[%zu]'s \"%.40s\"",
                      ids[i - 1].peer, ids[i].id);
    }
    return PARLEY_OK;
}

/* Reads the list of peers, the reader standing on its value. */
static parley_status read_peers(struct reader *reader)
{
    parley_status status = PARLEY_OK;

    if (is_null(&reader->event))
        return PARLEY_OK;
    if (reader->event.type != YAML_SEQUENCE_START_EVENT)
        return refuse(reader, reader->event.start_mark, "peers",
                      "expected a list of peers, found %s", kind_of(&reader->event));
    for (size_t peer = 0; status == PARLEY_OK; peer++) {
        status = next(reader);
        if (status != PARLEY_OK)
            return status;
        if (reader->event.type == YAML_SEQUENCE_END_EVENT)
            return check_ids(reader);
        status = read_peer(reader, peer);
    }
    return status;
}

/* ---- Sections ---- */

static parley_status read_setting(struct reader *reader, const struct key *key,
                                  const struct setting *setting, const struct target *target)
{
    assert(setting != NULL);
    if (setting->type == SETTING_LIST)
        return read_peers(reader);
    if (setting->type != SETTING_SECTION)
        return take_value(reader, key, setting, target->base);
    if (is_null(&reader->event))
        return PARLEY_OK;
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return refuse(reader, reader->event.start_mark, key->shown,
                      "expected a section of keys, found %s", kind_of(&reader->event));
    return read_section(reader, key, target);
}

/* Reads a mapping, the reader standing on its start. Recursion is bounded by the table. */
static parley_status read_section(struct reader *reader, const struct key *parent,
                                  const struct target *target)
{
    parley_status status;

    for (;;) {
        const struct setting *setting = NULL;
        struct key key;

        status = next(reader);
        if (status != PARLEY_OK || reader->event.type == YAML_MAPPING_END_EVENT)
            return status;
        status = take_key(reader, parent, target, &key, &setting);
        if (status == PARLEY_OK)
            status = next(reader);
        if (status == PARLEY_OK)
            status = read_setting(reader, &key, setting, target);
        if (status != PARLEY_OK)
            return status;
    }
}

/* ---- The file ---- */

static parley_status read_document(struct reader *reader)
{
    const struct key root = {.shown = "", .row = ""};
    const struct target target = {&reader->config->options, reader->config->lines};
    parley_status status = next(reader);

    if (status != PARLEY_OK || is_null(&reader->event))
        return status;
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return refuse(reader, reader->event.start_mark, "",
                      "expected sections such as node and transport, found %s",
                      kind_of(&reader->event));
    return read_section(reader, &root, &target);
}

static parley_status read_stream(struct reader *reader)
{
    bool read = false;
    parley_status status;

    for (;;) {
        status = next(reader);
        if (status != PARLEY_OK || reader->event.type == YAML_STREAM_END_EVENT)
            return status;
        if (reader->event.type != YAML_DOCUMENT_START_EVENT)
            continue;
        if (read)
            return refuse(reader, reader->event.start_mark, "",
                          "expected one document, found another");
        read = true;
        status = read_document(reader);
        if (status != PARLEY_OK)
            return status;
    }
}

parley_status config_read_file(parley_config *config, const char *path, char *error,
                               size_t error_len)
{
    struct reader reader = {
        .config = config, .path = path, .error = error, .error_len = error_len};
    parley_status status;

    reader.file = fopen(path, "rbe");
    if (reader.file == NULL) {
        snprintf(error, error_len, "%s: %s", path, strerror(errno));
        return PARLEY_ESYSTEM;
    }
    if (!yaml_parser_initialize(&reader.parser)) {
        fclose(reader.file);
        return PARLEY_ENOMEM;
    }
    yaml_parser_set_input(&reader.parser, read_bytes, &reader);
    status = read_stream(&reader);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    fclose(reader.file);
    alloc_free(&config->alloc, reader.ids);
    return status;
}
