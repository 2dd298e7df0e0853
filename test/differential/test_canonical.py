# SPDX-License-Identifier: Apache-2.0
"""Canonical bytes against Python's json.dumps(sort_keys, separators, ensure_ascii).

Half of the documents are values that Python makes and writes in a form of its own choosing:
numbers of every size, text of every plane, nesting, keys that sort differently as UTF-16 or
as they are escaped. The other half are texts of json_documents.py, read by Python first. Both
must come out as the same bytes. What Python takes and we refuse must have a reason.

Environment: SEED, CANONICAL_DOCUMENTS (how many), BUILD (where canonical_judge is).
"""
import collections
import json
import os
import random
import re
import struct
import subprocess
import sys

sys.dont_write_bytecode = True  # the sources' folder stays as it is
from json_documents import Documents, random_double, random_double_text

BUILD = os.environ.get("BUILD", "build")
SANITIZED = os.path.basename(BUILD) in ("asan", "tsan")
SEED = int(os.environ.get("SEED", "0x63616e6f"), 0)
DOCUMENTS = int(os.environ.get("CANONICAL_DOCUMENTS", "20000" if SANITIZED else "100000"))
CHUNK = 20000
DEADLINE = 200  # seconds for one chunk
FAILURES_SHOWN = 10
DEPTH_MAX = 132
NUMBER_BYTES_MAX = 4300
JUDGE = os.path.join(BUILD, "test/differential/canonical_judge")

PLANES = [(0, 0x20), (0x20, 0x7f), (0x7f, 0x100), (0x100, 0xd800), (0xe000, 0x10000),
          (0x10000, 0x110000)]


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


class Values:
    """Values of Python's, and the counts of what was in them."""

    def __init__(self, generator):
        self.random = generator
        self.counts = collections.Counter()

    def text(self):
        self.counts["strings"] += 1
        return "".join(chr(self.random.randrange(*self.random.choice(PLANES)))
                       for _ in range(int(self.random.random() ** 3 * 20)))

    def number(self):
        self.counts["numbers"] += 1
        chance = self.random.random()
        if chance < 0.25:
            return self.random.getrandbits(1 + self.random.randrange(200)) * self.random.choice((1, -1))
        if chance < 0.4:
            return round(self.random.uniform(-1e6, 1e6), self.random.randrange(12))
        if chance < 0.5:
            return self.random.choice((1, -1)) * 2.0 ** self.random.randrange(-1074, 1024)
        if chance < 0.6:
            return float(f"{self.random.randrange(1, 10 ** self.random.randrange(1, 20))}"
                         f"e{self.random.randrange(-330, 300)}")
        if chance < 0.7:
            return 1.5e9 + self.random.random() * 1e9
        return random_double(self.random)

    def scalar(self):
        chance = self.random.random()
        if chance < 0.6:
            return self.number()
        return self.text() if chance < 0.9 else self.random.choice((True, False, None))

    def value(self, depth):
        chance = self.random.random()
        if depth == 0 or chance < 0.4:
            return self.scalar()
        self.counts["containers"] += 1
        size = int(self.random.random() ** 3 * (12 if depth > 1 else 30))
        if chance < 0.6:
            return [self.value(depth - 1) for _ in range(min(size, 8))]
        # keys in an order of their own; none holds U+0000, which we refuse
        return {self.text().replace("\0", "") + self.random.choice(("", "a", "\uff41", "\U0001f600")):
                self.value(depth - 1) for _ in range(size)}

    def document(self):
        value = self.value(self.random.randrange(6))
        spaces = self.random.choice((None, (",", ":"), (" , ", " :\t")))
        text = json.dumps(value, ensure_ascii=self.random.random() < 0.5, separators=spaces,
                          indent=self.random.choice((None, None, 1)))
        return text.encode()


class Refused(Exception):
    pass


def unique(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys) or any("\0" in key for key in keys):
        raise Refused("a key twice, or U+0000 in it")
    return dict(pairs)


def constant(_):
    raise Refused("NaN and the like")


def expected_of(document):
    """What Python writes; raises ValueError or Refused where it, or we by intent, do not take it."""
    text = document.decode("utf-8")
    if re.search("[\ud800-\udfff]", text):
        raise Refused("surrogates")
    value = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    answer = canonical(value)
    # halves of surrogate pairs: \ud800 written as an escape
    if re.search(rb"\\ud[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..)\\ud[c-f]..",
                 answer.replace(b"\\\\", b"  ")):
        raise Refused("half of a surrogate pair")
    if max(map(len, re.findall(rb"[0-9.eE+-]+", document)), default=0) > NUMBER_BYTES_MAX:
        raise Refused("a number that is too long")
    return answer


def depth_of(document):
    depth = deepest = 0
    for byte in re.sub(rb'"(\\.|[^"\\])*"', b"", document):
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    return deepest


def judge(documents):
    request = b"".join(struct.pack("<I", len(d)) + d for d in documents)
    answer = subprocess.run([JUDGE], input=request, stdout=subprocess.PIPE, check=True,
                            timeout=DEADLINE).stdout
    records, at = [], 0
    while at < len(answer):
        size, = struct.unpack_from("<I", answer, at)
        records.append(answer[at + 4:at + 4 + size])
        at += 4 + size
    if len(records) != len(documents):
        sys.exit(f"{len(documents)} documents, {len(records)} answers")
    return records


class Comparison:
    def __init__(self):
        self.equal = self.refused = 0
        self.failures = []

    def add(self, document, seen):
        try:
            expected = expected_of(document)
        except (ValueError, RecursionError):
            expected = b""
        except Refused:
            expected = b""
        if expected and depth_of(document) > DEPTH_MAX:
            expected = b""
        if seen != expected:
            self.failures.append(document)
            if len(self.failures) <= FAILURES_SHOWN:
                print(f"FAILED  {document[:400].hex()}\n  Python {expected[:300]}\n  we     {seen[:300]}")
        elif seen:
            self.equal += 1
        else:
            self.refused += 1


def many_documents(values, texts):
    for i in range(DOCUMENTS):
        yield values.document()
        if i % 2 == 0:
            yield texts.any()[1]
        if i % 100 == 0:
            yield b"[%s]" % b",".join(random_double_text(random) for _ in range(100))


def main():
    random.seed(SEED)
    values, comparison, chunk = Values(random), Comparison(), []
    for document in many_documents(values, Documents(random)):
        chunk.append(document)
        if len(chunk) >= CHUNK:
            for document, seen in zip(chunk, judge(chunk)):
                comparison.add(document, seen)
            chunk = []
    for document, seen in zip(chunk, judge(chunk)):
        comparison.add(document, seen)
    print(f"{comparison.equal} documents written to the same bytes, {comparison.refused} refused by "
          f"both; {DOCUMENTS} made from {values.counts['numbers']} numbers, "
          f"{values.counts['strings']} strings, {values.counts['containers']} containers; "
          f"SEED={SEED:#x}; {len(comparison.failures)} failures")
    if comparison.equal < DOCUMENTS:
        sys.exit("too few of them were compared")
    sys.exit(1 if comparison.failures else 0)


main()
