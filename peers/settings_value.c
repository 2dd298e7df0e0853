/* SPDX-License-Identifier: Apache-2.0
 *
 * One setting's value: from text, to text, in and out of its structure, and whether it is
 * permitted. Members are copied as bytes, because the table knows them by offset only.
 */
#include "peers/settings.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "peers/identity.h"
#include "transport/url.h"

#define ID_BYTES_MAX 128

bool setting_is_text(const struct setting *setting)
{
    return setting->type == SETTING_ID || setting->type == SETTING_ADDRESS ||
           setting->type == SETTING_URL || setting->type == SETTING_SECRET ||
           setting->type == SETTING_PATH || setting->type == SETTING_KEY;
}

/* ---- In and out of the structure ---- */

struct setting_value setting_load(const struct setting *setting, const void *base)
{
    const char *at = (const char *)base + setting->offset;
    struct setting_value value = {0};
    uint32_t narrow;
    uint8_t flag;

    assert(setting_has_value(setting));
    if (setting_is_text(setting)) {
        memcpy(&value.text, at, sizeof(value.text));
    } else if (setting->type == SETTING_U64) {
        memcpy(&value.number, at, sizeof(value.number));
    } else if (setting->type == SETTING_BOOL) {
        memcpy(&flag, at, sizeof(flag)); /* as a byte: code may have put anything there */
        value.number = flag;
    } else {
        memcpy(&narrow, at, sizeof(narrow));
        value.number = narrow;
    }
    return value;
}

void setting_store(const struct setting *setting, void *base, struct setting_value value)
{
    char *at = (char *)base + setting->offset;
    uint32_t narrow = (uint32_t)value.number;
    bool flag = value.number != 0;

    assert(setting_has_value(setting));
    if (setting_is_text(setting))
        memcpy(at, &value.text, sizeof(value.text));
    else if (setting->type == SETTING_U64)
        memcpy(at, &value.number, sizeof(value.number));
    else if (setting->type == SETTING_BOOL)
        memcpy(at, &flag, sizeof(flag));
    else
        memcpy(at, &narrow, sizeof(narrow));
    if (setting->flag_offset != 0)
        *((bool *)((char *)base + setting->flag_offset)) = true;
}

bool setting_is_set(const struct setting *setting, const void *base)
{
    if (setting_is_text(setting))
        return setting_load(setting, base).text != NULL;
    if (setting->flag_offset != 0)
        return *((const bool *)((const char *)base + setting->flag_offset));
    return true;
}

/* ---- From text ---- */

/* Decimal digits only: no sign, no leading zero, no separators. */
static bool parse_number(const char *text, uint64_t *ret_number)
{
    uint64_t number = 0;

    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
            return false;
    }
    *ret_number = number;
    return true;
}

static bool parse_name(const char *const *names, const char *text, uint64_t *ret_number)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], text) == 0) {
            *ret_number = i;
            return true;
        }
    }
    return false;
}

bool setting_parse(const struct setting *setting, const char *text,
                   struct setting_value *ret_value)
{
    static const char *const bool_names[] = {"false", "true", NULL};
    struct setting_value value = {0};
    bool held = true;

    switch (setting->type) {
    case SETTING_SECTION:
    case SETTING_LIST:
        return false;
    case SETTING_BOOL:
        held = parse_name(bool_names, text, &value.number);
        break;
    case SETTING_ENUM:
        held = parse_name(setting->names, text, &value.number);
        break;
    case SETTING_U32:
    case SETTING_U64:
    case SETTING_PORT:
        held = parse_number(text, &value.number);
        break;
    case SETTING_ID:
    case SETTING_ADDRESS:
    case SETTING_URL:
    case SETTING_SECRET:
    case SETTING_PATH:
    case SETTING_KEY:
        value.text = text;
        break;
    }
    if (held)
        *ret_value = value;
    return held;
}

/* ---- What is permitted ---- */

static bool id_allowed(const char *text)
{
    size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                              "._:-");

    return len >= 1 && len <= ID_BYTES_MAX && text[len] == '\0';
}

static bool address_allowed(const char *text)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

const char *setting_hidden(const struct setting *setting, const char *text)
{
    if (setting->type == SETTING_URL && text != NULL && strchr(text, '@') != NULL)
        return "one with credentials";
    if (setting->type != SETTING_SECRET || text == NULL || text[0] == '\0')
        return NULL;
    if (strcmp(text, SETTING_SECRET_SHOWN) == 0)
        return "the asterisks that are shown in place of a secret";
    return "something else, which is not shown";
}

/* What may stand in a header. */
static bool secret_allowed(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~')
            return false;
    }
    return text[0] != '\0' && strcmp(text, SETTING_SECRET_SHOWN) != 0;
}

static bool url_allowed(const char *text)
{
    struct url url;

    return url_parse(text, &url, NULL, 0) == PARLEY_OK;
}

static bool key_allowed(const char *text)
{
    uint8_t key[IDENTITY_KEY_BYTES];

    return identity_from_hex(text, strlen(text), key) && identity_key_acceptable(key);
}

static bool text_allowed(enum setting_type type, const char *text)
{
    if (text == NULL)
        return true;
    if (strnlen(text, SETTING_TEXT_MAX + 1) > SETTING_TEXT_MAX)
        return false;
    switch (type) {
    case SETTING_ID:
        return id_allowed(text);
    case SETTING_SECRET:
        return secret_allowed(text);
    case SETTING_ADDRESS:
        return address_allowed(text);
    case SETTING_KEY:
        return key_allowed(text);
    case SETTING_PATH:
        return text[0] != '\0';
    default:
        return url_allowed(text);
    }
}

bool setting_allows(const struct setting *setting, struct setting_value value)
{
    if (setting_is_text(setting))
        return text_allowed(setting->type, value.text);
    return (setting->zero && value.number == 0) ||
           (value.number >= setting->minimum && value.number <= setting->maximum);
}

/* ---- To text ---- */

/* "a, b or c" */
static void write_names(const char *const *names, char *buffer, size_t len)
{
    size_t used = 0;

    for (size_t i = 0; names[i] != NULL && used < len; i++) {
        const char *join = i == 0 ? "" : names[i + 1] == NULL ? " or " : ", ";

        used += (size_t)snprintf(buffer + used, len - used, "%s%s", join, names[i]);
    }
}

void setting_expected(const struct setting *setting, char *buffer, size_t len)
{
    switch (setting->type) {
    case SETTING_SECTION:
        snprintf(buffer, len, "a section of keys");
        break;
    case SETTING_LIST:
        snprintf(buffer, len, "a list of peers");
        break;
    case SETTING_BOOL:
        snprintf(buffer, len, "true or false");
        break;
    case SETTING_U32:
    case SETTING_U64:
        snprintf(buffer, len, "%sa number from %" PRIu64 " to %" PRIu64,
                 setting->zero ? "0 or " : "", setting->minimum, setting->maximum);
        break;
    case SETTING_PORT:
        snprintf(buffer, len, "a port number from %" PRIu64 " to %" PRIu64, setting->minimum,
                 setting->maximum);
        break;
    case SETTING_ENUM:
        write_names(setting->names, buffer, len);
        break;
    case SETTING_ID:
        snprintf(buffer, len, "1 to %d characters of A-Z a-z 0-9 . _ : -", ID_BYTES_MAX);
        break;
    case SETTING_ADDRESS:
        snprintf(buffer, len, "a numeric IPv4 or IPv6 address");
        break;
    case SETTING_URL:
        snprintf(buffer, len, "a URL such as http://host:port");
        break;
    case SETTING_SECRET:
        snprintf(buffer, len, "1 to %d printable characters without spaces", SETTING_TEXT_MAX);
        break;
    case SETTING_PATH:
        snprintf(buffer, len, "a path of 1 to %d characters", SETTING_TEXT_MAX);
        break;
    case SETTING_KEY:
        snprintf(buffer, len, "an Ed25519 public key as %d hex digits", IDENTITY_KEY_HEX);
        break;
    }
}

void setting_format(const struct setting *setting, struct setting_value value, char *buffer,
                    size_t len)
{
    if (setting_is_text(setting))
        snprintf(buffer, len, "%s", value.text != NULL ? value.text : "");
    else if (setting->type == SETTING_BOOL && value.number <= 1)
        snprintf(buffer, len, "%s", value.number != 0 ? "true" : "false");
    else if (setting->type == SETTING_ENUM && value.number <= setting->maximum)
        snprintf(buffer, len, "%s", setting->names[value.number]);
    else
        snprintf(buffer, len, "%" PRIu64, value.number);
}
