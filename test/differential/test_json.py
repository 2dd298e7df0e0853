# SPDX-License-Identifier: Apache-2.0
"""Our JSON reader against Python's json and Node's JSON.parse.

Each document is judged by all three; of those that are taken, what was understood is
compared: keys, strings, and numbers to the bit. Where they differ there must be a reason in
CLASSES, found in the document itself and not by our reader. What Python or Node refuses, we
refuse. Any other disagreement fails, with the document in hex and the seed.

Environment: SEED, JSON_DOCUMENTS (how many), BUILD (where json_judge is).
"""
import collections
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the sources' folder stays as it is
from json_documents import Documents

BUILD = os.environ.get("BUILD", "build")
SANITIZED = os.path.basename(BUILD) in ("asan", "tsan")
SEED = int(os.environ.get("SEED", "0x70617273"), 0)
DOCUMENTS = int(os.environ.get("JSON_DOCUMENTS", "40000" if SANITIZED else "200000"))
LISTS_OF_NUMBERS = DOCUMENTS // 200  # of a hundred numbers each
TIMES = DOCUMENTS // 2
CHUNK = 20000
DEADLINE = 200  # seconds for one chunk
FAILURES_SHOWN = 10

DEPTH_MAX = 32
NUMBER_BYTES_MAX = 4300
PYTHON_DEPTH = 900  # its recursion limit is 1,000, some of it used up around the parser

HERE = os.path.dirname(os.path.abspath(__file__))
JUDGES = [[os.path.join(BUILD, "test/differential/json_judge")],
          ["node", os.path.join(HERE, "json_judge.js")]]

# Why the three may disagree. The first word: what we do.
CLASSES = {
    "constant": "refused: NaN, Infinity, -Infinity. Python takes them; RFC 8259 has no such numbers",
    "duplicate": "refused: a key twice in one object. Both take it and the last wins; others take the first",
    "surrogate": "refused: half of a surrogate pair. Both take it; it has no UTF-8",
    "nul in key": "refused: \\u0000 in a key. Both take it; C strings end there",
    "depth": "refused: more than 32 containers open. Both take it, Python up to about 1,000",
    "long number": "refused: a number of more than 4,300 bytes. Python refuses integers of more digits; "
                   "Node rounds them",
    "big integer": "taken: an integer that no double holds. Python has it exactly, Node rounds, "
                   "we keep the text (json_u64() exact below 2^63, json_double() rounds)",
    "beyond double": "taken: a number beyond a double. Python and Node read infinity (Python integers exactly), "
                     "we keep the text (json_double() refuses)",
    "minus zero": "taken: -0. Python reads the integer 0, Node and json_double() -0.0, json_u64() refuses",
}
REFUSED = {name for name, text in CLASSES.items() if text.startswith("refused")}

failures = []


pack_double = struct.Struct("<d").pack
unpack_bits = struct.Struct("<Q").unpack


class Understood:
    """Python's reading of one document, in the form of json_judge.c's records."""

    def __init__(self):
        self.integers = []
        self.classes = set()
        decode = json.JSONDecoder(parse_int=self.integer, parse_float=self.number,
                                  parse_constant=self.constant).decode
        encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True,
                                  separators=(",", ":")).encode
        self.decode, self.encode = decode, encode

    # A number becomes the integer of its double's bits: that is how it is written then.
    def integer(self, text):
        exact = int(text)  # this is what Python understands, and where it refuses
        value = float(text)
        if math.isinf(value):
            self.classes.add("beyond double")
            self.integers.append("!")
        else:
            if text == "-0":
                self.classes.add("minus zero")
            elif int(value) != exact:
                self.classes.add("big integer")
            self.integers.append(text if 0 <= exact < 1 << 63 and text != "-0" else "-")
        return unpack_bits(pack_double(value))[0]

    def number(self, text):
        value = float(text)
        if math.isinf(value):
            self.classes.add("beyond double")
            self.integers.append("!")
        else:
            self.integers.append("-")
        return unpack_bits(pack_double(value))[0]

    def constant(self, text):
        return text

    def read(self, document):
        """None when refused; else what was understood, and the integers."""
        self.integers.clear()
        self.classes.clear()
        try:
            value = self.decode(document.decode())
        except (ValueError, RecursionError):
            return None
        try:
            text = self.encode(value)
        except RecursionError:
            return "", ""
        return text, ",".join(self.integers)


STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
NUMBER = re.compile(r"[-+.0-9eE]+")
HALF = re.compile(r"\\u[dD][89a-fA-F]")
SURROGATE = re.compile("[\ud800-\udfff]")


def find_classes(document):
    """Why a well-formed document must be refused, by what stands in it; and its depth."""
    text = document.decode()
    bare = STRING.sub('""', text)
    classes = set()
    depth = most = 0
    for bracket in re.findall(r"[][{}]", bare):
        depth += 1 if bracket in "[{" else -1
        most = max(most, depth)
    if most > DEPTH_MAX:
        classes.add("depth")
    if re.search(r"NaN|Infinity", bare):
        classes.add("constant")
    if any(len(number) > NUMBER_BYTES_MAX for number in NUMBER.findall(bare)):
        classes.add("long number")
    for escaped in STRING.findall(text):
        if HALF.search(escaped) and SURROGATE.search(json.loads(escaped)):
            classes.add("surrogate")

    def pairs(members):
        keys = [key for key, _ in members]
        if len(set(keys)) != len(keys):
            classes.add("duplicate")
        if any("\0" in key for key in keys):
            classes.add("nul in key")

    if most < PYTHON_DEPTH:
        json.loads(text, object_pairs_hook=pairs, parse_int=len)
    return classes, most


def must_classify(document):
    return (b"\\u0000" in document or len(document) > NUMBER_BYTES_MAX
            or document.count(b"[") + document.count(b"{") > DEPTH_MAX)


def records(file):
    data = file.read()
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], "little")
        yield data[at + 4:at + 4 + length]
        at += 4 + length


def start_judges(documents, files):
    """Both judges run while Python reads the same documents."""
    source, *answers = files
    source.write(b"".join([struct.pack("<I", len(d)) + d for d in documents]))
    source.flush()
    running = []
    for command, answer in zip(JUDGES, answers):
        with open(source.name, "rb") as stdin:
            running.append(subprocess.Popen(command, stdin=stdin, stdout=answer))
    return running


def ends_well(command, documents):
    source = b"".join([struct.pack("<I", len(d)) + d for d in documents])
    return subprocess.run(command, input=source, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, timeout=DEADLINE).returncode == 0


def find_fatal(command, documents):
    """The first document at which a judge ends, by halves."""
    while len(documents) > 1:
        half = documents[:len(documents) // 2]
        documents = documents[len(half):] if ends_well(command, half) else half
    return documents[0]


def finish_judges(running, files, documents):
    count = len(documents)
    for process, command in zip(running, JUDGES):
        code = process.wait(timeout=DEADLINE)
        if code != 0:
            sys.exit(f"FAILED  {command[0]} ended with {code}\n        document "
                     f"{find_fatal(command, documents).hex()}\n        SEED={SEED:#x}")
    answers = []
    for answer in files[1:]:
        answer.seek(0)
        answers.append(list(records(answer)))
    if [len(a) for a in answers] != [count, count]:
        sys.exit(f"{count} documents, answers: {[len(a) for a in answers]}")
    return answers


def fail(document, reason):
    failures.append(reason)
    if len(failures) <= FAILURES_SHOWN:
        print(f"FAILED  {reason}\n        document {document.hex()}\n        SEED={SEED:#x}")


def surrogates_escaped(text):
    """As Node writes halves of pairs."""
    return SURROGATE.sub(lambda match: "\\u%04x" % ord(match[0]), text)


def compare_taken(document, python, ours, node):
    """All three took it: they must have understood the same."""
    text, integers = python
    values, _, our_integers = ours[1:].partition(b"\0")
    if values != surrogates_escaped(text).encode() or values != node[1:]:
        fail(document, f"understood differently: Python {text!r}, ours {values!r}, Node {node[1:]!r}")
    elif our_integers.decode().rstrip(",") != integers:
        fail(document, f"integers differ: Python {integers}, ours {our_integers.decode()}")


def compare_refused(document, classes, depth, python, node):
    """We refuse it and another does not: the reasons must explain who takes it."""
    python_may_refuse = depth >= PYTHON_DEPTH or "long number" in classes
    if not classes & REFUSED:
        fail(document, f"refused by us without a listed reason; Python {'takes' if python else 'refuses'}"
                       f" it, Node {'refuses' if node == b'R' else 'takes'} it")
    elif (node == b"R") != ("constant" in classes) and not (node == b"R" and not python):
        fail(document, f"Node {'refuses' if node == b'R' else 'takes'} it, reasons {sorted(classes)}")
    elif not python and not python_may_refuse:
        fail(document, f"Python refuses it, Node takes it, reasons {sorted(classes)}")
    elif (python and python[0] and node[:1] == b"A"
          and surrogates_escaped(python[0]).encode() != node[1:]):
        fail(document, f"Python and Node understood differently: {python[0]!r}, {node[1:]!r}")


def compare(document, python, python_classes, ours, node):
    """@return the row of the table, and the classes the document belongs to"""
    if python is None and node == b"R":
        if ours != b"R":
            fail(document, "taken by us, refused by Python and Node")
        return "refused", ()
    if ours != b"R":
        if python is None or node == b"R":
            fail(document, f"taken by us, refused by {'Python' if python is None else 'Node'}")
        else:
            compare_taken(document, python, ours, node)
            if must_classify(document) and (broken := find_classes(document)[0]):
                fail(document, f"taken by all, but we refuse {sorted(broken)}")
        return "taken", python_classes
    classes, depth = find_classes(document)
    compare_refused(document, classes, depth, python, node)
    return "listed", classes


class Totals:
    def __init__(self):
        self.rows = collections.defaultdict(collections.Counter)
        self.classes = collections.Counter()

    def add(self, source, verdict, classes):
        self.rows[source][verdict] += 1
        self.classes.update(classes)

    def show(self):
        verdicts = ["taken", "refused", "listed"]
        print(f"{'documents':<28} {'all':>8} {'taken':>8} {'refused':>8} {'refused by'}")
        print(f"{'':<28} {'':>8} {'by all':>8} {'by all':>8} {'us: listed'}")
        total = collections.Counter()
        for source, row in sorted(self.rows.items()):
            total.update(row)
            print(f"{source:<28} {sum(row.values()):>8}",
                  *(f"{row[verdict]:>8}" for verdict in verdicts))
        print(f"{'in all':<28} {sum(total.values()):>8}",
              *(f"{total[verdict]:>8}" for verdict in verdicts))
        print("\nlisted reasons (a document may have several)")
        for name, text in CLASSES.items():
            print(f"{self.classes[name]:>8}  {name}: {text}")


def run_chunk(documents, totals, understood):
    bodies = [body for _, body in documents]
    with tempfile.NamedTemporaryFile() as source, tempfile.TemporaryFile() as ours, \
            tempfile.TemporaryFile() as node:
        files = [source, ours, node]
        running = start_judges(bodies, files)
        python = [(understood.read(body), frozenset(understood.classes)) for body in bodies]
        answers = finish_judges(running, files, bodies)
    for (source, body), (read, classes), mine, nodes in zip(documents, python, *answers):
        totals.add(source, *compare(body, read, classes, mine, nodes))


def all_documents(generator):
    for _ in range(LISTS_OF_NUMBERS):
        yield "lists of 100 numbers", generator.numbers()
    for _ in range(DOCUMENTS):
        yield generator.any()


# ---- times ----

EXACT_S = 1 << 33  # a double tells microseconds apart before this second, in 2242


def random_times():
    for _ in range(TIMES):
        chance = random.random()
        if chance < 0.6:
            yield random.getrandbits(1 + int(chance / 0.6 * 64))
        elif chance < 0.8:
            yield 10 ** int(random.random() * 19) + int(random.random() * 3) - 1
        else:
            yield int((1.5e9 + random.random() * 1e9) * 1e6)


def check_times():
    """json_put_seconds() against repr(): the same text, and beyond 2242 the same double."""
    times = list(random_times())
    answer = subprocess.run(JUDGES[0] + ["seconds"], stdout=subprocess.PIPE, check=True,
                            input=struct.pack(f"<{len(times)}Q", *times), timeout=DEADLINE)
    lines = answer.stdout.decode().split("\n")[:-1]
    if len(lines) != len(times):
        sys.exit(f"{len(times)} times, {len(lines)} answers")
    for us, line in zip(times, lines):
        value = us / 1000000  # rounded once
        if float(line) != value or (us < EXACT_S * 1000000 and line != repr(value)):
            fail(line.encode(), f"{us} microseconds: Python writes {value!r}, we {line}")
    return len(times)


def main():
    random.seed(SEED)
    totals, understood, chunk = Totals(), Understood(), []
    for document in all_documents(Documents(random)):
        chunk.append(document)
        if len(chunk) == CHUNK:
            run_chunk(chunk, totals, understood)
            chunk.clear()
    if chunk:
        run_chunk(chunk, totals, understood)
    times = check_times()
    totals.show()
    for name in CLASSES:
        if totals.classes[name] == 0 and DOCUMENTS >= 10000:
            failures.append(name)
            print(f"FAILED  no document showed: {name}")
    print(f"\n{LISTS_OF_NUMBERS * 100} numbers of every size to the bit, {times} times as repr "
          f"writes them; SEED={SEED:#x}; {len(failures)} failures")
    sys.exit(1 if failures else 0)


main()
