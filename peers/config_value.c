/* SPDX-License-Identifier: Apache-2.0
 *
 * One value on its way into a configuration: what YAML means by it, whether the setting
 * permits it, and what to say when not. Texts are copied into the configuration.
 */
#include "peers/config.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* What YAML means by a bare word: null, a boolean, a number, or text. */
static bool bare_null(const char *text)
{
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcasecmp(text, "null") == 0;
}

static bool bare_text(const char *text)
{
    size_t sign = text[0] == '-' || text[0] == '+';
    size_t digits = strspn(text + sign, "0123456789_");

    return strcasecmp(text, "true") != 0 && strcasecmp(text, "false") != 0 &&
           (digits == 0 || text[sign + digits] != '\0');
}

/* The value as a message shows it: short, printable, quoted where it is text. */
static void describe(const char *text, enum config_style style, char *buffer, size_t len)
{
    char shown[41];
    size_t i;

    for (i = 0; i + 1 < sizeof(shown) && text[i] != '\0'; i++)
        shown[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
    shown[i] = '\0';
    if (style == CONFIG_PLAIN && bare_null(text))
        snprintf(buffer, len, "nothing");
    else if (style != CONFIG_QUOTED && !bare_text(text))
        snprintf(buffer, len, "%s", shown);
    else
        snprintf(buffer, len, "\"%s%s\"", shown, text[i] != '\0' ? "..." : "");
}

static parley_status refuse(const struct setting *setting, const char *text,
                            enum config_style style, const char *advice, char *reason,
                            size_t reason_len)
{
    char expected[256], found[64];

    setting_expected(setting, expected, sizeof(expected));
    describe(text, style, found, sizeof(found));
    if (setting_hidden(setting, text) != NULL)
        snprintf(found, sizeof(found), "%s", setting_hidden(setting, text));
    snprintf(reason, reason_len, "expected %s, found %s%s", expected, found, advice);
    return PARLEY_ECONFIG;
}

void config_text_free(const parley_config *config, const struct setting *setting, char *text)
{
    if (text != NULL && setting->type == SETTING_SECRET)
        OPENSSL_cleanse(text, strlen(text));
    alloc_free(&config->alloc, text);
}

/* Text is copied; the former copy goes once the new one is in place. What the options point
 * to may be the host's by now: only what `texts` remembers is ours to free. */
static parley_status replace_text(parley_config *config, const struct setting *setting,
                                  void *base, const char *text)
{
    char *copy = NULL, *former;

    if (text != NULL) {
        copy = alloc_string(&config->alloc, text);
        if (copy == NULL)
            return PARLEY_ENOMEM;
    }
    if (setting_of_peer(setting)) {
        former = (char *)(uintptr_t)setting_load(setting, base).text;
    } else {
        former = config->texts[settings_index(setting)];
        config->texts[settings_index(setting)] = copy;
    }
    setting_store(setting, base, (struct setting_value){.text = copy});
    config_text_free(config, setting, former);
    return PARLEY_OK;
}

static parley_status assign_text(parley_config *config, const struct setting *setting,
                                 void *base, const char *text, enum config_style style,
                                 char *reason, size_t reason_len)
{
    /* A variable is often empty because what should have filled it failed: that must not
     * open a node to everyone. */
    bool unset = style == CONFIG_VERBATIM && setting->type != SETTING_SECRET;

    if ((style == CONFIG_PLAIN && bare_null(text)) || (unset && text[0] == '\0'))
        return replace_text(config, setting, base, NULL);
    if (style == CONFIG_PLAIN && !bare_text(text))
        return refuse(setting, text, style, " (text needs quotes here)", reason, reason_len);
    if (!setting_allows(setting, (struct setting_value){.text = text}))
        return refuse(setting, text, style, "", reason, reason_len);
    return replace_text(config, setting, base, text);
}

parley_status config_assign(parley_config *config, const struct setting *setting, void *base,
                            const char *text, enum config_style style, char *reason,
                            size_t reason_len)
{
    struct setting_value value;

    if (setting_is_text(setting))
        return assign_text(config, setting, base, text, style, reason, reason_len);
    /* A quoted name is still a name; a quoted number is text. */
    if ((style == CONFIG_QUOTED && setting->type != SETTING_ENUM) ||
        !setting_parse(setting, text, &value) || !setting_allows(setting, value))
        return refuse(setting, text, style, "", reason, reason_len);
    setting_store(setting, base, value);
    return PARLEY_OK;
}

parley_peer_entry *config_peer_add(parley_config *config)
{
    parley_peer_entry *entry;

    if (config->peers_len == config->peers_room) {
        size_t room = config->peers_room == 0 ? 16 : config->peers_room * 2;
        void *grown =
            alloc_resize(&config->alloc, config->peers, room * sizeof(*config->peers));

        if (grown == NULL)
            return NULL;
        config->peers = grown;
        config->peers_room = room;
    }
    entry = &config->peers[config->peers_len++];
    memset(entry, 0, sizeof(*entry));
    parley_peer_options_init(&entry->options);
    config->options.peers = config->peers;
    config->options.peers_len = config->peers_len;
    return entry;
}
