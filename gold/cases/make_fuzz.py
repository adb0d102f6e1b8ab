"""Writes readers/files/fuzz/: seeded random JSON and CSV files, most lines good, some slightly broken.

Run once; the files are checked in. `python gold/cases/make_fuzz.py`
"""

import json
import random
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "spark-4.3.0/readers/files/fuzz"
N_JSON_FILES, N_CSV_FILES, N_LINES = 40, 24, 25

NUMBERS = ["0", "-0", "1", "-1", "127", "128", "32768", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "1.0", "1.5", "-2.25", "1e3", "1E-2",
           "1.50", "123456789012345678901234567890", "0.1", "1e308", "1e309", "3.4e38", "12345.675", "0.005", "100", "1577934245"]
STRINGS = ["", "a", "text", " padded ", "1", "1.5", "true", "null", "NaN", "Infinity", "2020-01-02", "2020-01-02T03:04:05Z", "2020-01-02 03:04:05.123", "ü", "😀", "q\"uote", "back\\slash",
           "new\nline", "tab\t", "a/b", "{\"x\":1}", "[1,2]", "\u0001", "\u2028", "x" * 60]
FIELDS = ["b", "i8", "i", "l", "f", "d", "m", "s", "dt", "ts", "arr", "mp", "st", "sarr", "other", "S", "deep"]


def scalar(rng):
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(NUMBERS)
    if kind < 0.75:
        return text(rng, rng.choice(STRINGS))
    return rng.choice(["true", "false", "null"])


def text(rng, value):
    plain = json.dumps(value, ensure_ascii=rng.random() < 0.3)
    if rng.random() < 0.1:
        plain = plain.replace("/", "\\/")
    if rng.random() < 0.05 and value[:1].isalpha() and value[0].isascii():
        plain = f'"\\u{ord(value[0]):04X}{plain[2:]}'
    return plain


def space(rng):
    return rng.choice(["", "", "", "", " ", "  ", "\t"])


def value(rng, depth):
    kind = rng.random()
    if depth == 0 or kind < 0.6:
        return scalar(rng)
    if kind < 0.8:
        return "[" + ",".join(space(rng) + value(rng, depth - 1) for _ in range(rng.randrange(4))) + space(rng) + "]"
    return obj(rng, ["k", "v", "x", "k"], depth - 1)


def fitting(rng, field):
    """A value of the type that the schema of the cases wants."""
    return {
        "b": lambda: rng.choice(["true", "false"]), "i8": lambda: str(rng.randrange(-128, 128)), "i": lambda: str(rng.randrange(-2**31, 2**31)), "l": lambda: str(rng.randrange(-2**63, 2**63)),
        "f": lambda: rng.choice(NUMBERS), "d": lambda: rng.choice(NUMBERS), "m": lambda: f"{rng.uniform(-1000, 1000):.3f}", "s": lambda: text(rng, rng.choice(STRINGS)),
        "dt": lambda: rng.choice(['"2020-01-02"', '"1999-12-31"', '"2020-02-30"']), "ts": lambda: rng.choice(['"2020-01-02T03:04:05Z"', '"2020-01-02T03:04:05.678+05:30"', '"2020-01-02 03:04:05"']),
        "arr": lambda: "[" + ",".join(str(rng.randrange(100)) for _ in range(rng.randrange(4))) + "]", "mp": lambda: "{" + ",".join(f'"k{i}":{text(rng, rng.choice(STRINGS))}' for i in range(rng.randrange(3))) + "}",
        "st": lambda: f'{{"x":{rng.randrange(9)},{space(rng)}"y":{text(rng, rng.choice(STRINGS))}}}', "sarr": lambda: "[" + ",".join(f'{{"x":{i}}}' for i in range(rng.randrange(3))) + "]",
        "deep": lambda: '{"a":{"b":[{"c":1},{"c":2}]}}',
    }.get(field, lambda: value(rng, 2))()


def obj(rng, names, depth):
    picked = rng.sample(names, rng.randrange(len(names) + 1))
    if rng.random() < 0.05 and picked:
        picked.append(rng.choice(picked))
    fields = []
    for name in picked:
        fields.append(f'{space(rng)}"{name}"{space(rng)}:{space(rng)}' + (fitting(rng, name) if rng.random() < 0.75 else value(rng, depth)) + space(rng))
    return "{" + ",".join(fields) + "}"


def broken(rng, line):
    how = rng.randrange(8)
    at = rng.randrange(len(line) + 1)
    return [line[:at], line[:at] + line[at + 1 :], line[:at] + rng.choice('{}[],:"\\x0 ') + line[at:], line + rng.choice(["}", "]", ",", " x", "{}", "\"", "1"]), f"[{line}]", f"[{line},{line}]",
            rng.choice(["", " ", "null", "1", "true", '"s"', "[]", "[1]", "{", "x"]), line.replace('"', "'")][how]


def csv_cell(rng):
    plain = rng.choice(STRINGS + NUMBERS + ["", "", "a,b", "a;b", '"', '""', "it's", "#c", "\\", "\\\"", " \"x\" "]).replace("\n", "" if rng.random() < 0.7 else "\n")
    kind = rng.random()
    if kind < 0.45:
        return plain.replace("\n", " ").replace(",", " ").replace('"', "")
    if kind < 0.75:
        return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if kind < 0.9:
        return '"' + plain.replace('"', '""') + '"'
    return plain


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for number in range(N_JSON_FILES):
        rng = random.Random(1000 + number)
        lines = []
        for _ in range(N_LINES):
            line = obj(rng, FIELDS, 2)
            lines.append(broken(rng, line) if rng.random() < 0.2 else line)
        ending = rng.choice(["\n", "\n", "\n", "\r\n"])
        (OUT / f"f{number:02}.json").write_bytes((ending.join(lines) + rng.choice(["", ending])).encode("utf-8", "surrogatepass"))
    for number in range(N_CSV_FILES):
        rng = random.Random(2000 + number)
        lines = []
        for _ in range(N_LINES):
            n_cells = 4 if rng.random() < 0.9 else rng.randrange(7)
            lines.append(",".join(csv_cell(rng) for _ in range(n_cells)))
        (OUT / f"f{number:02}.csv").write_bytes(("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()
