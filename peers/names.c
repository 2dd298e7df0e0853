/* SPDX-License-Identifier: Apache-2.0
 *
 * Names on the wire: entity ids, message types, UUIDs.
 */
#include <string.h>

#include "peers/envelope.h"

static bool name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '.' || c == '_' || c == ':' || c == '-';
}

static bool name_valid(const char *name, size_t len, size_t len_max)
{
    if (len == 0 || len > len_max)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!name_byte(name[i]))
            return false;
    }
    return true;
}

bool entity_id_valid(const char *id)
{
    return name_valid(id, strnlen(id, ENVELOPE_ID_MAX + 1), ENVELOPE_ID_MAX);
}

bool message_type_valid(const char *type, size_t len)
{
    static const char *const own[] = {"chunk", "challenge_response", "session_established",
                                      "session_confirm", "ready"};
    static const char steps[] = "handshake"; /* and all that begin with it */

    if (!name_valid(type, len, ENVELOPE_TYPE_MAX))
        return false;
    if (len >= sizeof(steps) - 1 && memcmp(type, steps, sizeof(steps) - 1) == 0)
        return false;
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strlen(own[i]) == len && memcmp(type, own[i], len) == 0)
            return false;
    }
    return true;
}

void uuid_write(char text[37], const uint8_t random[16])
{
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;

    for (int i = 0; i < 16; i++) {
        unsigned byte = random[i];

        if (i == 6)
            byte = (byte & 0x0f) | 0x40; /* version 4 */
        if (i == 8)
            byte = (byte & 0x3f) | 0x80; /* RFC 4122's variant */
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[at++] = '-';
        text[at++] = hex[byte >> 4];
        text[at++] = hex[byte & 15];
    }
    text[at] = '\0';
}
