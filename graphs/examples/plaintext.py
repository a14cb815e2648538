"""Markdown, reStructuredText and Python source as paragraphs of plain sentences.

What a reader would not read aloud is left out: code, tables of short cells, link addresses, markup.
Of Python source the docstrings remain, or the comments where there are none.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_FENCE = re.compile(r"^[ \t]*(```|~~~).*?(^[ \t]*\1[ \t]*$|\Z)", re.M | re.S)
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_DIRECTIVE = re.compile(r"^\.\. .*\n(?:[ \t]+.*\n|[ \t]*\n(?=[ \t]+\S))*", re.M)
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
_UNDERLINE = re.compile(r"^([=\-~^\"'`*+#])\1{2,}\s*$")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+(?:\[[ xX]\]\s+)?")
_INLINE = [
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\[[^\]]*\]"), r"\1"),
    (re.compile(r":[\w:]+:`([^`<]+?)(?:\s*<[^>]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^>]*>`__?"), r"\1"),
    (re.compile(r"``([^`]+)``|`([^`]+)`_?"), r"\1\2"),
    (re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<!\w)_(?=\S)([^_]+?)(?<=\S)_(?!\w)"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^>]*>"), ""),
    (re.compile(r"<?https?://[^\s>)]+>?"), ""),
]
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|al|approx|Mr|Mrs|Ms|Dr|Prof|St|No|Fig|[A-Z])\.$")
CLOSING = "\"'\u201d\u2019)"
"""What may stand between the end of a sentence and the next blank."""
_BREAK = re.compile(rf"(?<=[.!?])[{CLOSING}]*\s+(?=[\"'\u201c\u2018(]*[A-Z0-9])")
_CELL = 40
"""Table cells shorter than this many characters are data, not text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """Sentences that stand together, and the headings above them, outermost first."""

    headings: tuple[str, ...]
    sentences: tuple[str, ...]


def paragraphs(text: str, suffix: str = ".md") -> list[Paragraph]:
    """The readable text of a document; ``suffix`` says how it is written."""
    if suffix == ".py":
        text = _docstrings(text)
    text = _FRONT_MATTER.sub("", text.replace("\r\n", "\n"))
    text = _COMMENT.sub("", _FENCE.sub("\n", text))
    if suffix == ".rst":
        text = _DIRECTIVE.sub("\n", text + "\n")
    found: list[Paragraph] = []
    headings: list[tuple[int, str]] = []
    lines: list[str] = []

    def flush() -> None:
        sentences = tuple(split(inline(" ".join(lines))))
        lines.clear()
        if sentences:
            found.append(Paragraph(headings=tuple(text for _, text in headings), sentences=sentences))

    for line in text.split("\n"):
        heading = _HEADING.match(line)
        if heading:
            flush()
            level = len(line) - len(line.lstrip("#"))
            headings[:] = [h for h in headings if h[0] < level] + [(level, inline(heading.group(1)))]
        elif _UNDERLINE.match(line):
            if len(lines) == 1:  # the line before was a heading
                headings[:] = [h for h in headings if h[0] < 1] + [(1, inline(lines.pop()))]
            flush()
        elif line.lstrip().startswith("|"):
            flush()
            for cell in line.strip().strip("|").split("|"):
                if len(cell.strip()) >= _CELL:
                    lines.append(cell.strip())
                    flush()
        elif not line.strip() or (line.startswith(("    ", "\t")) and not lines):
            flush()
        else:
            if _LIST_ITEM.match(line):
                flush()
            lines.append(_LIST_ITEM.sub("", line).strip().lstrip("> "))
    flush()
    return found


def title(text: str, suffix: str = ".md") -> str | None:
    """The document's first heading."""
    found = next((p.headings for p in paragraphs(text, suffix) if p.headings), ())
    return found[0] if found else None


def inline(text: str) -> str:
    """One paragraph without its inline markup."""
    for pattern, plain in _INLINE:
        text = pattern.sub(plain, text)
    return re.sub(r"\s+", " ", text).strip()


def split(text: str) -> list[str]:
    """A paragraph as sentences; abbreviations and numbers end none."""
    found: list[str] = []
    start = 0
    for match in _BREAK.finditer(text):
        if not _ABBREVIATION.search(text[start : match.start()].rstrip(CLOSING)):
            found.append(text[start : match.end()].strip())
            start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def _docstrings(source: str) -> str:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return _comments(source)
    owners = [
        n
        for n in ast.walk(tree)
        if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    found = [doc for owner in owners if (doc := ast.get_docstring(owner))]
    return "\n\n".join(found) or _comments(source)


def _comments(source: str) -> str:
    lines = [line.strip() for line in source.splitlines()]
    return "\n".join(
        line.lstrip("#").strip() if line.startswith("#") and line[:2] != "#!" else "" for line in lines
    )
