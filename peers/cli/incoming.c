/* SPDX-License-Identifier: Apache-2.0
 *
 * An inbound message as listen prints it: a line for people, or one JSON object.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "parley.h"
#include "peers/cli/cli.h"
#include "peers/cli/digest.h"

#define COLUMNS_MIN     20
#define SESSION_COLUMNS 8

static void print_json(const parley_incoming *message, const struct timespec *received,
                       bool digest)
{
    char sha256[DIGEST_TEXT];

    printf("{\"received\":%lld.%06ld,\"sender\":", (long long)received->tv_sec,
           received->tv_nsec / 1000);
    cli_json_string(stdout, message->sender);
    fputs(",\"type\":", stdout);
    cli_json_string(stdout, message->type);
    fputs(",\"session_id\":", stdout);
    cli_json_string(stdout, message->session_id[0] != '\0' ? message->session_id : NULL);
    if (message->number != 0)
        printf(",\"number\":%llu", (unsigned long long)message->number);
    else
        fputs(",\"number\":null", stdout);
    fputs(",\"message_id\":", stdout);
    cli_json_string(stdout, message->message_id[0] != '\0' ? message->message_id : NULL);
    printf(",\"timestamp\":%.6f,\"transport\":\"%s\",\"redelivered\":%s,", message->timestamp,
           cli_transport_name(message->transport), message->redelivered ? "true" : "false");
    if (digest) {
        cli_digest(message->payload, message->payload_len, sha256);
        printf("\"bytes\":%zu,\"sha256\":\"%s\"}\n", message->payload_len, sha256);
        return;
    }
    fputs("\"payload\":", stdout);
    /* blanks for the line breaks between its parts: inside strings there are none */
    for (size_t i = 0; i < message->payload_len; i++) {
        unsigned char c = (unsigned char)message->payload[i];

        putchar(c < ' ' ? ' ' : c);
    }
    puts("}");
}

/* Columns that the payload may take; all it wants when no terminal is there to be spoilt. */
static size_t payload_columns(bool full, size_t used)
{
    struct winsize size = {0};

    if (full || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return SIZE_MAX;
    return size.ws_col > used + COLUMNS_MIN ? size.ws_col - used : COLUMNS_MIN;
}

static void print_text(const parley_incoming *message, const struct timespec *received,
                       bool full, bool digest)
{
    char clock[16], number[32], sha256[DIGEST_TEXT];
    struct tm local;
    size_t used, columns;
    bool cut;

    localtime_r(&received->tv_sec, &local);
    strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    used = (size_t)printf("%s.%03ld ", clock, received->tv_nsec / 1000000);
    used += cli_plain_text(stdout, message->sender, strlen(message->sender), SIZE_MAX);
    used += (size_t)printf(" ");
    used += cli_plain_text(stdout, message->type, strlen(message->type), SIZE_MAX);
    used += (size_t)printf(message->session_id[0] != '\0' ? " " : " -");
    used += cli_plain_text(stdout, message->session_id, strlen(message->session_id),
                           SESSION_COLUMNS);
    snprintf(number, sizeof(number), "#%llu", (unsigned long long)message->number);
    used += (size_t)printf("%s %s%s ", message->number != 0 ? number : "",
                           cli_transport_name(message->transport),
                           message->redelivered ? " redelivered" : "");
    if (digest) {
        cli_digest(message->payload, message->payload_len, sha256);
        printf("%zu bytes, sha256 %s\n", message->payload_len, sha256);
        return;
    }
    columns = payload_columns(full, used);
    cut = columns != SIZE_MAX &&
          cli_plain_text(NULL, message->payload, message->payload_len, columns + 2) > columns;
    cli_plain_text(stdout, message->payload, message->payload_len,
                   cut ? columns - 3 : SIZE_MAX);
    if (cut)
        fputs("...", stdout);
    putchar('\n');
}

void cli_print_incoming(const parley_incoming *message, const struct timespec *received,
                        bool json, bool full, bool digest)
{
    if (json)
        print_json(message, received, digest);
    else
        print_text(message, received, full, digest);
}
