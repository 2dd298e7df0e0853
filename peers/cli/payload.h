/* SPDX-License-Identifier: Apache-2.0
 *
 * Payloads of send and broadcast, one after the other in the order of the command line:
 * texts, whole files, or the lines of one file. What is read stays within the limit of one
 * message plus one read, however long the input is.
 */
#ifndef PARLEY_PEERS_CLI_PAYLOAD_H
#define PARLEY_PEERS_CLI_PAYLOAD_H

#include "peers/cli/cli.h"

struct payload_source {
    const char *text; /* the payload itself; NULL: read from `file` */
    const char *name; /* of the file, for messages; NULL: standard input */
    int file;         /* -1: not open */
};

struct payloads {
    const struct cli_setup *setup;
    struct payload_source *sources;
    size_t sources_len;
    size_t at;   /* the source being read */
    bool lines;  /* each line is a payload */
    bool ended;  /* end of the source's file */
    bool given;  /* the source's only payload */
    char *bytes; /* what was read of it */
    size_t start, used, room;
    size_t bytes_max; /* of one payload */
    size_t line;      /* number of the last line taken */
};

enum payload_state {
    PAYLOAD_READY, /* here is one */
    PAYLOAD_READ,  /* payloads_read() first, once payloads_file() can be read */
    PAYLOAD_END,
    PAYLOAD_FAILED, /* said so */
};

/** Makes room for as many sources. @return CLI_OK or CLI_FAILED */
enum cli_exit payloads_init(struct payloads *payloads, const struct cli_setup *setup,
                            size_t sources_max);

/** A payload is at most what one message may be. */
void payloads_bound(struct payloads *payloads, const parley_options *options);

/** Adds a payload, or standard input for "-". */
enum cli_exit payloads_add_text(struct payloads *payloads, const char *text);

/** Adds a file, or standard input for "-". */
enum cli_exit payloads_add_file(struct payloads *payloads, const char *path);

/** Opens the files, so that one that is missing is found before anything is sent. */
enum cli_exit payloads_open(struct payloads *payloads);

/** The next payload, valid until the next call of payloads_next() or payloads_read(). */
enum payload_state payloads_next(struct payloads *payloads, const char **ret_text,
                                 size_t *ret_len);

/** The descriptor that payloads_read() reads. */
int payloads_file(const struct payloads *payloads);

/** Reads once. @return CLI_OK, or CLI_FAILED having said why */
enum cli_exit payloads_read(struct payloads *payloads);

/** Says what is wrong with the payload that payloads_next() gave last, the `number`-th. */
enum cli_exit payloads_refused(const struct payloads *payloads, size_t number,
                               parley_status status);

void payloads_free(struct payloads *payloads);

#endif
