#!/usr/bin/env bash
# What comments, documents and scripts point to is there: links between documents with their anchors,
# a page with a heading in quotes, lemmas, files of this repository, and the names in docs/orderings.md.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard '*.md' '*.rs' '*.sh' '.ci/*' '*.toml' | python3 -c '
import os, re, sys

HISTORY = ("CHANGELOG.md",)  # names what was there at the time
files = [name for name in sys.stdin.read().split() if os.path.exists(name)]
texts = {name: open(name, encoding="utf-8").read() for name in files}
texts |= {n: re.sub(r"^```.*?^```", "", t, flags=re.M | re.S) for n, t in texts.items() if n.endswith(".md")}
wrong, pointers = [], 0

def headings(page):
    return re.findall(r"^#+ +(.*?) *$", texts[page], re.M)

def anchors(page):
    slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings(page)]
    return {s + ("-%d" % slugs[:i].count(s) if s in slugs[:i] else "") for i, s in enumerate(slugs)}

def there(name, path):
    """The file that `name` means by `path`: from its folder, a folder above it, or the root."""
    at = os.path.dirname(name)
    while True:
        full = os.path.normpath(os.path.join(at, path))
        if os.path.exists(full) or not at:
            return full if os.path.exists(full) else None
        at = os.path.dirname(at)

def check(name, right, what):
    global pointers
    pointers += 1
    if not right:
        wrong.append(f"{name}: {what}")

names = {word for n in files if n.endswith((".rs", ".sh")) for word in re.findall(r"\w+", texts[n])}
lemmas = {h[:7] for n in files if n.startswith("docs/") for h in headings(n) if h.startswith("Lemma ")}
for name, text in texts.items():
    text = re.sub(r"\n *(?://[/!]?|#) ?", " ", text) if not name.endswith(".md") else text
    for path, anchor in re.findall(r"\]\(([\w./-]*\.\w+)?(?:#([\w-]+))?\)", text):
        page = there(name, path) if path else name
        check(name, page and (not anchor or page in texts and anchor in anchors(page)), f"link {path}#{anchor}")
    for path, anchor in re.findall(r"^\[[^\]\n]+\]: ([\w./-]+\.md)(?:#([\w-]+))?$", text, re.M) if name.endswith(".md") else ():
        page = there(name, path)
        check(name, page and (not anchor or page in texts and anchor in anchors(page)), f"link {path}#{anchor}")
    for path, heading in re.findall(r"([\w/-]+\.md)`?,\s+\"([^\"]+)\"", text):
        page = there(name, path)
        check(name, page in texts and re.sub(r"\s+", " ", heading) in headings(page), f"{path}, \"{heading}\"")
    for lemma in re.findall(r"\b(?:Lemma [A-Z]|[Ii]nvariant \d+)\b", text):
        check(name, lemma in lemmas, lemma)
    for path in re.findall(r"(?<![\w/.-])((?:[\w-]+/)+[\w-]+\.(?:md|rs|sh))\b", text) if name not in HISTORY else ():
        check(name, there(name, path), path)
    for word in re.findall(r"`([\w:]+)`", text) if name == "docs/orderings.md" else ():
        check(name, set(word.split("::")) - {""} <= names, f"`{word}` is in no source file")
print(*wrong, f"headings: {pointers} pointers, {len(wrong)} of them wrong", sep="\n")
sys.exit(bool(wrong))
'
