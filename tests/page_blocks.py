"""The code of a page, run from top to bottom: ``python tests/page_blocks.py docs/tutorial.md`` at the page's own sizes.

Blocks of one page share their names and a folder. A block of Python runs; of YAML or Python with ``title="NAME"`` is
written to the file NAME; lines of bash that begin with ``thermokern`` run, other lines do not. What is no block to run,
such as output, is ``text``. A comment says what a test changes, and what a page needs:

    <!-- tests: 2_000 is 50; 1_500 is 20 -->     numbers as they stand in the code, and those of the test
    <!-- tests: needs lightning -->              libraries without which the page cannot run
    <!-- tests: long -->                         the page takes minutes
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from thermokern.cli import main

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(python|yaml|bash)([^\n]*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Page:
    """A page's blocks ``(kind, title or "", code)`` and what its comments say."""

    path: Path
    blocks: tuple[tuple[str, str, str], ...]
    smaller: dict[str, str]
    needs: tuple[str, ...]
    is_long: bool

    def run(self, small: bool, folder: Path) -> dict[str, object]:
        """Run all blocks in `folder`, the working directory; what they have defined."""
        names: dict[str, object] = {"__name__": "__page__"}
        for kind, title, code in self.blocks:
            for number, fewer in self.smaller.items() if small else ():
                code = re.sub(rf"(?<![\w.]){re.escape(number)}(?![\w.])", fewer, code)
            if title:
                (folder / title).write_text(code, encoding="utf-8")
            elif kind == "python":
                exec(compile(code, self.path.name, "exec"), names)
            elif kind == "bash":
                for line in code.replace("\\\n", " ").splitlines():
                    if line.startswith("thermokern "):
                        status = main(shlex.split(line, comments=True)[1:])
                        assert not status, f"{self.path.name}: {line} ended with {status}"
        return names


def read(path: Path) -> Page:
    """The page of a file, Markdown or a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
        text = "\n".join(f"```python\n{source}\n```" if kind == "code" else source for kind, source in cells)
    remarks = [remark.strip() for remark in re.findall(r"<!-- tests: (.*?) -->", text)]
    smaller = dict(pair.split(" is ") for remark in remarks if " is " in remark for pair in remark.split("; "))
    return Page(
        path,
        tuple((kind, (TITLE.findall(info) or [""])[0], code) for kind, info, code in FENCE.findall(text)),
        smaller,
        tuple(name for remark in remarks if remark.startswith("needs ") for name in remark.split()[1:]),
        "long" in remarks,
    )


if __name__ == "__main__":
    import os

    page = read(ROOT / sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        page.run(small="--small" in sys.argv, folder=Path(name))
