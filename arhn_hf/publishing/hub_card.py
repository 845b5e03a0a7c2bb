"""The card that goes to the Hub: merged with the one that is there, and under a licence that somebody stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arhn_hf.publishing.card import merge_cards
from arhn_hf.publishing.card_text import read_head, split_card
from arhn_hf.publishing.hub_target import PushOptions, Target
from arhn_hf.publishing.licenses import LICENSES, known
from arhn_hf.records import ArhnError, UsageError


def card_to_push(folder: Path, target: Target, options: PushOptions, run_id: str) -> str:
    """The merged card. Raises `UsageError` for a card that cannot be read, or a licence that is unknown or incomplete."""
    try:
        card = merge_cards(
            (folder / "README.md").read_text(encoding="utf-8"), target.card, repo_id=target.repo_id, license=options.license,
            run_id=run_id, ours=target.ours or target.head is None,
        )  # fmt: skip
    except ArhnError as error:
        raise UsageError(error.message, where=f"{folder / 'README.md'}", hint=error.hint) from error
    refuse_license(read_head(split_card(card)[0]), folder / "README.md")
    return card


def refuse_license(head: dict[str, Any], card: Path) -> None:
    """Raise `UsageError` unless a card's YAML names a licence that the Hub knows; `card` is where to write what is missing."""
    license = head.get("license")
    if not known(license):
        raise UsageError(
            "the source's licence is not known, and a guess is not ours to make", where="--license",
            hint="Give the Hub's identifier of it, such as --license cc-by-sa-4.0",
        )  # fmt: skip
    many = license if isinstance(license, list) else [license]
    if strange := [one for one in many if one not in LICENSES]:
        raise UsageError(
            f"{strange[0]!r}, as the card has it, is no licence that the Hub knows", where="--license",
            hint="Give the Hub's identifier of it, or other with license_name and license_link in the card",
        )  # fmt: skip
    if "other" in many and not (head.get("license_name") and head.get("license_link")):
        raise UsageError(
            "other needs license_name and license_link in the card's YAML",
            where="--license",
            hint=f"Write them into {card}",
        )


def refuse_license_early(folder: Path, target: Target, options: PushOptions, source_card: dict[str, Any]) -> None:
    """The same before anything is judged: by `--license`, the card on the Hub, the folder's own, or the source's."""
    local = folder / "README.md"
    there = read_head(split_card(local.read_text(encoding="utf-8"))[0]) if local.is_file() else {}
    head = {**source_card, **_licensed(there), **_licensed(target.card_head)}
    if options.license is not None:
        head["license"] = options.license
    refuse_license(head, local)


def _licensed(head: dict[str, Any]) -> dict[str, Any]:
    """The keys of a card that concern its licence, where it has one."""
    return {key: head[key] for key in ("license", "license_name", "license_link") if known(head.get(key))}
