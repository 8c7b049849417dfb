#!/usr/bin/env python3
"""No circle among the files of a crate, and its rooms (folders) use only rooms below. `--list` prints all imports.

Reads `use` declarations and paths in code, and follows re-exports to the file that a name comes from. What is
under `#[cfg(test)]` does not count; other conditions are taken as true. A `pub use` of what lies below a file is a
list of names, no dependency, unless the file uses the name itself. Not seen: methods, and names made by macros.
"""
import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
# Rooms from the bottom up; those in one string stand side by side, and do not use each other.
ROOMS = {
    "stm-sched/src": ["primitives", "words", "clock", "descriptor", "contention", "wait"],
    "stm-alloc/src": ["heap", "reclaim", "region"],
    "stm-core/src": ["layout", "domain", "protocol", "session", "local region"],
    "src": ["collections", "shared"],
}
# What must be found in a copy of stm-sched: a circle, one through a re-export, and an upward import.
PLANTED = [
    ("circle", "descriptor/statistics", "use crate::descriptor::table::DescriptorTable;"),
    ("circle", "descriptor/statistics", "fn planted(_: &super::Descriptor) {}"),
    ("upward", "contention/admission", "mod inline { use crate::wait::{self, spinning::Spinning}; }"),
]

NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|r?"(?:\\.|[^"\\])*"|r#".*?"#' r"|'(?:\\.|[^'\\])'", re.S)
KEYWORDS = ("crate", "self", "super")
VISIBLE = r"(\bpub(?:\([^)]*\))?\s+)?\b"
ITEM = r"(?:use\b[^;]*;|(?:mod|fn|impl|struct)\b[^;{]*[;{])"
TEST = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*" + VISIBLE + ITEM)
CHILD = re.compile(r'\bpath = "([^"]+)"|^\s*' + VISIBLE + r"mod\s+(\w+)\s*;", re.M)
USE = re.compile(VISIBLE + r"use\s+([^;]+);")
TYPE = re.compile(r"\b(?:struct|enum|union|trait)\s+(\w+)")
DEFINED = re.compile(r"\b(?:fn|type|const|static|macro_rules!)\s+(?:mut\s+|fn\s+)?(\w+)")


def cut(text, pattern):
    """The text without what `pattern` finds (up to the closing brace, if it ends in one); the matches, and insides."""
    left, taken, at = [], [], 0
    for match in re.finditer(pattern, text):
        if match.start() >= at:
            left.append(text[at : match.start()])
            at, depth = match.end(), int(match[0].endswith("{"))
            while depth and at < len(text):
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
            taken.append((match, text[match.end() : at - 1]))
    return "".join(left) + text[at:], taken


def expand(tree):
    """The names that a use tree brings in ("*": all), each with its path."""
    found, heads, path = [], [()], []
    for token in re.findall(r"\w+|[{},*]", tree + ","):
        if token == "{":
            heads.append((*heads[-1], *path))
        elif token in ",}" and path:
            used = (*heads[-1], *(path[:-2] if "as" in path else path))
            used = used[:-1] if used[-1] in ("self", "*") and len(used) > 1 else used
            found.append((used[-1] if path[-1] == "self" else path[-1], used))
        heads = heads[:-1] if token == "}" else heads
        path = [] if token in "{}," else [*path, token]
    return found


class Crate:
    def __init__(self, source):
        self.modules = {}
        self.read(source / "lib.rs", ())

    def read(self, file, path):
        """Reads a file, and those of the modules that it declares, but for tests."""
        text, places = file.read_text(), []
        code, _ = cut(NOISE.sub(lambda noise: '""' if '"' in noise[0] else " ", text), TEST)
        code, children = cut(code, r"\bmod\s+(\w+);")
        self.parse(code, path, path)
        folder = file.parent if file.stem in ("lib", "mod") else file.with_suffix("")
        for place, _, child in CHILD.findall(text):
            places += [file.parent / place] if place else [folder / f"{child}.rs", folder / child / "mod.rs"]
            if child in {match[1] for match, _ in children}:
                for found in filter(Path.exists, places):
                    self.read(found, (*path, child))
            places = places if place else []

    def parse(self, code, path, home):
        """Notes what a module defines and uses: `home` is the file that it is in."""
        module = self.modules.setdefault(path, SimpleNamespace(home=home, defined=set(), uses=[], code=""))
        code, inlines = cut(code, r"\bmod\s+(\w+)\s*\{")
        for match, inside in inlines:
            self.parse(inside, (*path, match[1]), home)
        for public, tree in USE.findall(code):
            module.uses += [(bool(public), name, used) for name, used in expand(tree)]
        module.defined |= set(DEFINED.findall(cut(code, r"\{")[0])) | set(TYPE.findall(code))
        module.code += USE.sub("", code)
        for name in re.findall(r"#\[macro_export\]\s*macro_rules!\s+(\w+)", code):
            self.modules[()].uses.append((True, name, ("crate", *path, name)))

    def resolve(self, at, path, seen=frozenset()):
        """The modules that define what `path` names in module `at`; none if it is of another crate."""
        if not path:
            return {at}
        if (at, path) in seen or at not in self.modules:
            return set()
        first, rest, module, seen = path[0], path[1:], self.modules[at], seen | {(at, path)}
        if first in KEYWORDS:
            return self.resolve({"crate": (), "self": at, "super": at[:-1]}[first], rest, seen)
        if (*at, first) in self.modules:
            return self.resolve((*at, first), rest, seen)
        if first in module.defined:
            return {at}
        found = set()
        for used in (used for _, name, used in module.uses if name == first):
            found |= self.resolve(at, used + rest, seen) or {at}
        for _, name, used in [] if found else module.uses:
            for other in self.resolve(at, used, seen) - {at} if name == "*" else ():
                found |= self.resolve(other, path, seen)
        return found

    def targets(self, at, path):
        """The same; what a macro has made up belongs to the module that is named before it."""
        return self.resolve(at, path) or (self.targets(at, path[:-1]) if path[0] in KEYWORDS else set())

    def imports(self):
        """For each file those that it uses, with a path that says so."""
        ties = {module.home: {} for module in self.modules.values()}
        for at, module in self.modules.items():
            words, paths = set(re.findall(r"(?<!::)(?<![^.]\.)\b\w+", module.code)), []
            for public, name, used in module.uses:
                others = self.resolve(at, used) - {at}
                is_list = public and all(other[: len(at)] == at for other in others)
                if name == "*":
                    named = [(*used, word) for word in words if any(self.resolve(it, (word,)) for it in others)]
                    paths += named or ([] if is_list else [used])
                elif name in words or not is_list:
                    paths.append(used)
            paths += [tuple(path.split("::")) for path in re.findall(r"(?<![\w:])\w+(?:::\w+)+", module.code)]
            for path in paths:
                for target in {self.modules[other].home for other in self.targets(at, path)} - {module.home}:
                    ties[module.home].setdefault(target, "::".join(path))
        return ties


def show(ties, file, to):
    return f"{'/'.join(file) or 'lib'} -> {'/'.join(to) or 'lib'}  ({ties[file][to]})"


def findings(ties, rooms):
    """What is wrong."""
    reached = {}
    for file in ties:
        reached[file], todo = set(), [file]
        while todo:
            new = set(ties[todo.pop()]) - reached[file]
            reached[file] |= new
            todo += new
    circles = {frozenset(other for other in reached[file] if file in reached[other]) for file in ties} - {frozenset()}
    for circle in sorted(circles, key=sorted):
        lines = [show(ties, file, to) for file in sorted(circle) for to in ties[file] if to in circle]
        yield "\n    ".join([f"a circle of {len(circle)} files:", *lines])
    level = {room: level for level, names in enumerate(rooms) for room in names.split()} | {"lib": len(rooms)}
    for file, to in ((file, to) for file in ties for to in ties[file]):
        here, there = (file or ["lib"])[0], (to or ["lib"])[0]
        if here != there and not level.get(there, 99) < level.get(here, -1):
            yield "upward, or in no room: " + show(ties, file, to)


def main():
    wrong = 0
    for crate, rooms in ROOMS.items():
        ties = Crate(ROOT / crate).imports()
        if "--list" in sys.argv:
            print(*(show(ties, file, to) for file in ties for to in ties[file]), sep="\n")
        for text in findings(ties, rooms):
            wrong += 1
            print(f"{crate}: {text}")
    for kind, file, line in PLANTED:
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(ROOT / "stm-sched/src", copy, dirs_exist_ok=True)
            with Path(copy, f"{file}.rs").open("a") as source:
                source.write(line)
            found = findings(Crate(Path(copy)).imports(), ROOMS["stm-sched/src"])
            if not any(kind in text and file in text for text in found):
                wrong += 1
                print(f"NOT FOUND although planted into {file}.rs, {kind}: {line}")
    print(f"structure: {wrong} findings" if wrong else "structure: no circles, nothing upward")
    sys.exit(bool(wrong))


main()
