"""`--shard I/N`: one part of a run that several processes share, without anything between them but their folders.

A part is named by a number and a count, so that a Slurm array, a loop in a shell or jobs on different clouds can each work out alone
which rows are theirs. `arhn-hf merge` joins the parts.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from arhn_hf.records import UsageError

_SPELLED = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`; `index` counts from 1 to `count`."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def lineage(self) -> dict[str, int]:
        """`index` and `count`, as `arhn.json` holds them."""
        return asdict(self)

    @property
    def words(self) -> str:
        """`part 2 of 8`."""
        return f"part {self.index} of {self.count}"


def parse_shard(text: str) -> Shard:
    """`2/8` as a shard. Raises `UsageError` for anything else, and for a number out of range."""
    match = _SPELLED.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not I/N", where="--shard", hint="Such as 2/8, the second of eight parts")
    shard = Shard(int(match[1]), int(match[2]))
    if not 1 <= shard.index <= shard.count:
        hint = "A Slurm array that fits is `--array=1-N`" if shard.index == 0 else None
        raise UsageError(
            f"{text} is out of range: parts are counted from 1/{shard.count} to {shard.count}/{shard.count}"
            if shard.count
            else f"{text} is out of range: there must be at least one part",
            where="--shard", hint=hint,
        )  # fmt: skip
    return shard
