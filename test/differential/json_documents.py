# SPDX-License-Identifier: Apache-2.0
"""Documents for the differential test of JSON: well-formed, nearly so, and hostile.

Every document is bytes and comes with the name of where it is from. They depend on the
random generator handed in and on nothing else. Most pieces are drawn from tables made once,
so that a document costs microseconds.
"""
import base64
import decimal
import json
import math
import struct
import uuid

SPACES = [b""] * 12 + [b" "] * 4 + [b"\n", b"\t", b"\r", b"\r\n  ", b" \t\n\r"]
BAD_SPACES = [b"\v", b"\f", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xe3\x80\x80", b"\xef\xbb\xbf",
              b"\0", b"\x1f", b"\x85", b"//c\n", b"/**/", b"#\n", b"\b"]

NUMBERS = [b"0", b"-0", b"1", b"-1", b"7", b"42", b"1700000000.5", b"1e5", b"1E+5", b"-0.0",
           b"0e0", b"0E+00", b"-0e-5", b"1e-5", b"1.50", b"1e22", b"1e23", b"1e308", b"1e309",
           b"-1e309", b"1e999", b"-1e999", b"1e-400", b"-1e-400", b"5e-324", b"2e-324",
           b"2.4703282292062327e-324", b"2.4703282292062328e-324", b"2.2250738585072011e-308",
           b"1.7976931348623157e308", b"1.7976931348623159e308", b"9007199254740991",
           b"9007199254740992", b"9007199254740993", b"-9007199254740993", b"4.35", b"0.1",
           b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
           b"18446744073709551616", b"123456789012345678901234567890", b"0.000001", b"1e16",
           b"100000000000000000000000", b"1e0000000000000000005", b"0e999999999999999999999",
           b"1e-999999999999999999999", b"1e99999999999999999999", b"0." + b"0" * 400 + b"1",
           b"1" + b"0" * 308, b"1" + b"0" * 309, b"9" * 400, b"0." + b"3" * 900]
BAD_NUMBERS = [b"01", b"-01", b"00", b"-", b"+1", b".5", b"-.5", b"1.", b"1.e5", b"1e", b"1e+",
               b"1e-", b"0x10", b"0X1", b"1_000", b"--1", b"1-", b"1e5.5", b"1.2.3", b"NaN",
               b"-NaN", b"Infinity", b"-Infinity", b"+Infinity", b"inf", b"nan", b"1a", b"0b1",
               b"0o7", b"1f", b"\xd9\xa1", b"\xef\xbc\x91", b"1 2", b"-Infinit", b"1n", b"1L",
               b"0-1", b"e5", b"-e5", b"1e 5", b"- 1", b"1,5"]
LONG_NUMBERS = [b"7" * 4300, b"-" + b"7" * 4300, b"7" * 4301, b"7" * 5000,
                b"0." + b"7" * 4298, b"0." + b"7" * 4299, b"1e" + b"0" * 4298,
                b"1e" + b"0" * 4400 + b"1", b"0." + b"0" * 9000 + b"1e9001", b"1" * 100000]

LITERALS = [b"true", b"false", b"null"]
BAD_LITERALS = [b"True", b"FALSE", b"nul", b"nulll", b"tru", b"undefined", b"None", b"'a'",
                b"t", b"a", b"`a`", b"\xff", b"\\u0031", b"", b"truefalse", b"null\0"]

CHARACTERS = [b"a", b"Z", b" ", b"/", b"'", b"\x7f", b"{", b"[", b"]", b"}", b":", b",",
              b"h\xc3\xa9llo", b"\xe2\x98\x83", b"\xf0\x9f\x98\x80", b"\xf4\x8f\xbf\xbf",
              b"\xef\xbf\xbf", b"\xef\xbf\xbd", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xc2\x80",
              b"\xe0\xa0\x80", b"\xf0\x90\x80\x80", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\\\"",
              b"\\\\", b"\\/", b"\\b", b"\\f", b"\\n", b"\\r", b"\\t", b"\\u0041", b"\\u00e9",
              b"\\u00E9", b"\\ud83d\\ude00", b"\\uD83D\\uDE00", b"\\udbff\\udfff", b"\\uffff",
              b"\\u2028", b"\\u001f", b"\\u007f", b"plain text of more than sixteen bytes",
              b"0123456789abcde", b"0123456789abcdef", b"__proto__", b"\\\\u0061", b"\\u005c"]
RARE_CHARACTERS = [b"\\u0000", b"\\u0000x", b"\\ud800", b"\\udc00", b"\\ud800x", b"\\uDBFF",
                   b"\\udc00\\ud800", b"\\ud800\\ud800\\udc00", b"\\ud83d\\ude0", b"\\ud800\\n",
                   b"\\ud800\\ue000", b"\\ud800\\u0041"]
BAD_CHARACTERS = [b"\n", b"\t", b"\r", b"\0", b"\x01", b"\x1f", b"\\", b"\\x41", b"\\a",
                  b"\\'", b"\\0", b"\\U0041", b"\\u", b"\\u12", b"\\u123", b"\\u123g",
                  b"\\u 123", b"\\u+123", b"\\u-123", b"\\u0x41", b"\\u1_23", b"\\v", b"\\e",
                  b"\\\n", b"\"", b"\\\xc3\xa9", b"\\u\xef\xbc\x90041"]
BAD_UTF8 = [b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xc3(", b"\xe0\x80\x80",
            b"\xe0\x9f\xbf", b"\xe2\x98", b"\xe2(\xa1", b"\xe2\x82(", b"\xed\xa0\x80",
            b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x80\x80\x80",
            b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
            b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff",
            b"\xff\xfe", b"\xf0\x9f", b"\xe2\x98\x83\x80"]
KEYS = [b"a", b"b", b"c", b"payload", b"msg_type", b"session_id", b"sequence_num", b"", b"1",
        b"0", b"10", b"A", b"\xc3\xa9", b"__proto__", b"constructor", b"toString",
        b"\xef\xbc\xa1", b"\xf0\x9f\x98\x80", b"message_id_long_1", b"message_id_long_2",
        b"\\n", b"\\u0062", b"\\u00e9", b"\\ud83d\\ude00", b"\\/", b"/", b"\\\\", b"length"]
STRUCTURE = [b"{", b"}", b"[", b"]", b",", b":", b"\"", b"\\", b",,", b"{}", b"[]", b",]",
             b",}", b"[,", b"{,", b"\"\"", b";", b"=", b"::", b"][", b"}{"]

HOSTILE = ([b"", b" ", b"\n", b"\0", b"{}\0", b"\0{}", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0",
            b"\xfe\xff\0{\0}", b"{\0}\0", b"{}{}", b"{} {}", b"[],", b"{}x", b"1 2",
            b"\xef\xbb\xbf", b"{}\xef\xbb\xbf", b"{\"a\":1}// c", b"<html></html>", b"{}\x1a"]
           + [space + b"{}" for space in BAD_SPACES] + [b"[1" + space + b"]" for space in BAD_SPACES]
           + NUMBERS + BAD_NUMBERS + LITERALS + BAD_LITERALS + STRUCTURE
           + [b"\"" + c + b"\"" for c in CHARACTERS + RARE_CHARACTERS + BAD_CHARACTERS + BAD_UTF8]
           + [b"{\"" + c + b"\":0}" for c in KEYS + RARE_CHARACTERS + BAD_CHARACTERS + BAD_UTF8]
           + [b"\"" + c for c in CHARACTERS + RARE_CHARACTERS + BAD_CHARACTERS])

TOKENS = (STRUCTURE * 3 + BAD_SPACES + BAD_NUMBERS + NUMBERS[:20] + LITERALS + BAD_CHARACTERS
          + RARE_CHARACTERS + BAD_UTF8 + CHARACTERS[:40])

# Where UTF-8 and UTF-16 change their shape; halves of pairs among them.
EDGES = [0, 0x1f, 0x7f, 0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xcfff, 0xd000, 0xd7ff, 0xd800,
         0xd801, 0xdaff, 0xdb00, 0xdbff, 0xdc00, 0xdc01, 0xddff, 0xde00, 0xdfff, 0xe000, 0xf000,
         0xfffe, 0xffff]
EDGES_BEYOND = [0x10000, 0x3ffff, 0x40000, 0xfffff, 0x100000, 0x10ffff]

# The same key, written differently.
TWINS = [(b"a", b"a"), (b"a", b"\\u0061"), (b"\\u0061", b"a"), (b"\\u0061", b"\\u0061"),
         (b"", b""), (b"/", b"\\/"), (b"\\n", b"\\u000a"), (b"\\u000A", b"\\u000a"),
         (b"\xc3\xa9", b"\\u00e9"), (b"\xf0\x9f\x98\x80", b"\\ud83d\\ude00"), (b"\\\\", b"\\u005c"),
         (b"message_id_long", b"message_id_long"), (b"__proto__", b"__proto__"),
         (b"0123456789abcdef", b"0123456789abcde\\u0066"), (b"\\\"", b"\\u0022")]


class Documents:
    def __init__(self, random):
        self.random = random
        self.recent = [b"[]"] * 64  # what mutations start from, and splice in
        self.wire = [self.wire_message(i) for i in range(60)]

    def pick(self, table):
        return table[int(self.random.random() * len(table))]

    # ---- by the grammar, with a fault here and there ----

    def string(self, table=CHARACTERS):
        chance = self.random.random()
        if chance < 0.3:
            return b'"' + self.pick(table) + b'"'
        parts = [self.pick(table) for _ in range(int(chance * 6))]
        if chance > 0.995:
            parts.append(self.pick(RARE_CHARACTERS))
        elif chance > 0.99:
            parts.append(self.pick(BAD_CHARACTERS))
        elif chance > 0.985:
            parts.append(self.pick(BAD_UTF8))
        elif chance > 0.97:
            parts.append(self.edge())
        return b'"' + b"".join(parts) + b'"'

    def edge(self):
        """Escapes or raw bytes at the edges of what UTF-16 and UTF-8 allow."""
        chance = self.random.random()
        if chance < 0.6:
            form = self.pick([b"\\u%04x\\u%04x", b"\\u%04X\\u%04X", b"\\u%04xx\\u%04x"])
            return form % (self.pick(EDGES), self.pick(EDGES))
        if chance < 0.8:
            return chr(self.pick(EDGES[2:] + EDGES_BEYOND)).encode("utf-8", "surrogatepass")
        lead = self.pick([0xc0, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf3, 0xf4, 0xf7])
        tail = [self.pick([0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0x7f, 0xc0])
                for _ in range(1 + int(chance * 1000) % 3)]
        return bytes([lead] + tail)

    def number(self):
        chance = self.random.random()
        if chance < 0.4:
            return self.pick(NUMBERS)
        if chance < 0.6:
            return b"%d" % int(10 ** (chance * 60 - 24))
        if chance > 0.99:
            return self.pick(BAD_NUMBERS)
        return random_double_text(self.random)

    def scalar(self):
        chance = self.random.random()
        if chance < 0.45:
            return self.string()
        if chance < 0.75:
            return self.number()
        return self.pick(LITERALS) if chance < 0.995 else self.pick(BAD_LITERALS)

    def space(self):
        return self.pick(SPACES) if self.random.random() < 0.9995 else self.pick(BAD_SPACES)

    def key(self, index):
        if self.random.random() < 0.6:
            return b'"' + self.pick(KEYS) + b'%d"' % index  # most objects keep theirs apart
        return b'"' + self.pick(KEYS) + b'"' if index == 0 else b'"k%d"' % index

    def container(self, budget):
        count = int(self.random.random() ** 2 * 6)
        values = [self.value(budget - 1) for _ in range(count)]
        space = self.space()
        comma = b"," + space
        if self.random.random() < 0.45:
            text = b"[" + space + comma.join(values) + space + b"]"
        else:
            text = b"{" + space + comma.join(
                [self.key(i) + space + b":" + self.space() + value
                 for i, value in enumerate(values)]) + b"}"
        if self.random.random() < 0.002:
            text = text[:-1] + b"," + text[-1:]
        return text

    def value(self, budget):
        if budget > 0 and self.random.random() < 0.45:
            return self.container(budget)
        return self.scalar()

    def grammar(self):
        text = self.space() + self.container(6) + self.space()
        self.recent[int(self.random.random() * 64)] = text
        return text

    # ---- what peers really send ----

    def wire_message(self, index):
        random = self.random
        session = str(uuid.UUID(int=random.getrandbits(128)))
        nonce = base64.b64encode(random.getrandbits(128).to_bytes(16, "big")).decode()
        payload = [{"text": "hi"}, {"text": "h\u00e9llo \u2603 \U0001f600", "n": [1, 2.5, None]},
                   {"event": "connected", "capabilities": ["websocket", "heartbeat"]},
                   {"a": {"b": {"c": [{}, [], True, False, "\n\t\"\\"]}}}, {}][index % 5]
        stamp = 1700000000 + random.random() * 1e8
        full = {"payload": payload, "timestamp": stamp, "nonce": nonce, "signature": None,
                "encrypted_payload": None, "sender_public_key": None, "jwt_token": None,
                "sender_id": "orig-a", "recipient_id": "orig-b", "session_id": session,
                "sequence_num": random.getrandbits(1 + index), "version": "1.0",
                "msg_type": "task_delegate", "message_id": session, "type": "peer_message"}
        message = {"msg_type": "status", "payload": payload, "timestamp": stamp}
        forms = [
            full,
            {"version": "0.3", "msg_type": "status", "sender_id": "orig-a", "payload": payload,
             "timestamp": "2026-11-22T20:55:44.590514+00:00", "nonce": "00ff" * 8},
            {"from": "orig-a", "type": "chat", "payload": payload, "timestamp": stamp},
            {"message_id": session, "type": "MESSAGE", "from_entity": "a", "to_entity": "b",
             "timestamp": stamp, "payload": payload, "signature": "ab" * 64},
            {"type": "batch", "session_id": session, "base_seq": 1, "first_seq": 7,
             "messages": [message, {"void": True}, dict(message, message_id="x")]},
            {"type": "ACK", "payload": {"session_id": session, "ack_seq": 9, "rejected": [
                {"seq": 3, "error": "REJECTED", "detail": "no"}]}},
        ]
        return json.dumps(forms[index % 6], ensure_ascii=index % 2 == 0,
                          separators=(",", ":") if index % 3 else None).encode()

    # ---- mutations ----

    def mutate(self, text):
        random = self.random.random
        data = bytearray(text)
        for _ in range(1 + int(random() ** 3 * 4)):
            at = int(random() * (len(data) + 1))
            choice = random()
            if choice < 0.15 and at < len(data):
                data[at] ^= 1 << int(random() * 8)
            elif choice < 0.3:
                del data[at:at + 1 + int(random() ** 3 * 12)]
            elif choice < 0.55:
                data[at:at] = self.pick(TOKENS)
            elif choice < 0.65 and at < len(data):
                token = self.pick(TOKENS)
                data[at:at + len(token)] = token
            elif choice < 0.75:
                other = self.pick(self.recent)
                start = int(random() * len(other))
                data[at:at] = other[start:start + 1 + int(random() * 30)]
            elif choice < 0.85:
                end = at + int(random() * 24)
                data[at:at] = data[at:end]
            elif choice < 0.93:
                del data[at:]
            else:
                self.swap_value(data)
        return bytes(data)

    def swap_value(self, data):
        """Puts another value, well-formed or not, behind a colon or a comma."""
        at = data.find(b":" if self.random.random() < 0.7 else b",",
                       int(self.random.random() * (len(data) + 1))) + 1
        if at > 0:
            end = min((i for i in (data.find(c, at) for c in (b",", b"}", b"]")) if i >= 0),
                      default=len(data))
            data[at:end] = self.value(1)

    # ---- of one kind each ----

    def twins(self):
        """Objects in which a key comes twice, or nearly does."""
        first, second = self.pick(TWINS)
        if self.random.random() < 0.3:
            second += self.pick(CHARACTERS)
        filler = [b'"f%d":%d' % (i, i) for i in range(int(self.random.random() ** 4 * 150))]
        members = [b'"' + first + b'":1', *filler, b'"' + second + b'":2']
        if self.random.random() < 0.2:
            members.insert(1, b'"in":{"' + first + b'":{}}')
        return b"{" + b",".join(members) + b"}"

    def many_keys(self):
        """Objects of so many keys that they are found by hash, one perhaps a repeat."""
        count = 60 + int(self.random.random() * 700)
        form = self.pick([b'"%d":0', b'"same-front%05dsame-back":0', b'"\\u006b%d":0'])
        members = [form % i for i in range(count)]
        if self.random.random() < 0.5:
            members.insert(int(self.random.random() * count), self.pick(members))
        return b"{" + b",".join(members) + b"}"

    def deep(self):
        """Nesting about the limit of 32, or far beyond it."""
        chance = self.random.random()
        depth = 30 + int(chance * 5) if chance < 0.95 else int(10 ** (1 + chance * 2.5))
        opens, closes = [], []
        for _ in range(depth):
            array = self.random.random() < 0.5
            opens.append(b"[" if array else b'{"a":')
            closes.append(b"]" if array else b"}")
        if self.random.random() < 0.1:
            closes.pop()
        return b"".join(opens) + self.scalar() + b"".join(reversed(closes))

    def numbers(self):
        """A list of a hundred numbers of every size."""
        return b"[" + b",".join([random_double_text(self.random) for _ in range(100)]) + b"]"

    def long_number(self):
        return b"[" + self.pick(LONG_NUMBERS) + b"]"

    def any(self):
        """One document: where it is from, and its bytes."""
        chance = self.random.random()
        if chance < 0.25:
            return "by the grammar", self.grammar()
        if chance < 0.60:
            return "grammar, mutated", self.mutate(self.pick(self.recent))
        if chance < 0.90:
            return "envelope or batch, mutated", self.mutate(self.pick(self.wire))
        if chance < 0.94:
            return "keys that come twice", self.twins()
        if chance < 0.97:
            return "nested about the limit", self.deep()
        if chance < 0.9725:
            return "objects of many keys", self.many_keys()
        if chance < 0.974:
            return "very long numbers", self.long_number()
        return "hostile texts, mutated", self.mutate(self.pick(HOSTILE))


# ---- numbers ----

def half_way(value):
    """The exact decimal text half way between a double and the next one."""
    with decimal.localcontext() as context:
        context.prec = 1200
        above = math.nextafter(value, math.inf)
        return (decimal.Decimal(value) + decimal.Decimal(above)) / 2


def random_double(random):
    chance = random.random()
    if chance < 0.6:
        value = struct.unpack("<d", struct.pack("<Q", random.getrandbits(64)))[0]
        return value if math.isfinite(value) else 0.0
    if chance < 0.7:
        return struct.unpack("<d", struct.pack("<Q", random.getrandbits(52)))[0]  # subnormal
    if chance < 0.8:
        return float("1e%d" % int(random.random() * 640 - 325 if random.random() < .99 else 308))
    return random.random() * 10 ** int(random.random() * 30)


def random_double_text(random):
    value = random_double(random)
    chance = random.random()
    if chance < 0.5:
        text = repr(value)
    elif chance < 0.6:
        text = "%.17e" % value
    elif chance < 0.7:
        text = "%.*g" % (1 + int(chance * 1000) % 25, value)
    elif chance < 0.8:
        text = "%d" % random.getrandbits(1 + int(random.random() * 80))
    elif chance < 0.9:
        text = "%d.%06d" % (random.getrandbits(31), random.random() * 1e6)
    elif chance < 0.98 or value >= 1.7e308:
        text = "%de%d" % (random.getrandbits(60), random.random() * 680 - 350)
    else:
        exact = half_way(value)
        text = format(exact, "f" if random.random() < 0.3 and abs(exact) < 1e60 else "e")
        if random.random() < 0.5:  # a little beyond the half, far behind
            mantissa, mark, exponent = text.partition("e")
            text = (mantissa if "." in mantissa else mantissa + ".0") + "0" * 30 + "1" + mark + exponent
    text = text.replace("inf", "1e999")
    return text.encode()
