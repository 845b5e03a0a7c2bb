"""`arhn-hf audit`: how far a judge can be trusted, measured on labels."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import click

from arhn_hf.cli.options import GroupedCommand, given, output_options, with_config
from arhn_hf.cli.output import Output, harmless
from arhn_hf.config import gate_names, option_fields, publishing_names

JUDGING = tuple(
    name for name in option_fields() if name not in ("output", "shard", *publishing_names(), *gate_names())
)  # what a run needs; a finished folder has been judged
EXAMPLES = """
arhn-hf audit examples/hard-negatives --gold examples/hard-negatives.gold.jsonl --sample 20
arhn-hf audit refined --gold examples/hard-negatives.gold.jsonl --png audit.png --card
arhn-hf audit refined --gold examples/hard-negatives.gold.jsonl --thresholds recall=0.5 --save threshold.yaml
arhn-hf audit refined --export sheet.csv --size 100
arhn-hf audit refined --verdicts anna.csv --verdicts ben.csv
"""


@output_options
@with_config(JUDGING)
@click.command("audit", cls=GroupedCommand, examples=EXAMPLES)
@click.argument("target", metavar="DIRECTORY|SOURCE")
@click.option(
    "--grades", metavar="FIELD", help="Labels are this field of the passages (or lists neg_FIELD, pos_FIELD)."
)
@click.option("--gold", metavar="FILE", help="Labels are in this jsonl file: query_id, docid, gold or grade.")
@click.option("--labels", metavar="DATASET", help="Labels are the places of the same passages in this dataset.")
@click.option("--labels-split", default="train", show_default=True, help="Split of --labels.")
@click.option("--labels-revision", help="Branch, tag or commit of --labels.")
@click.option("--baselines/--no-baselines", default=True, help="Measure the baselines on the same negatives.")
@click.option("--cross-encoder", metavar="MODEL", help="Measure this cross-encoder too, a Hub id or a folder.")
@click.option("--cross-encoder-revision", help="Branch, tag or commit of --cross-encoder.")
@click.option(
    "--draws", type=click.IntRange(100), default=1000, show_default=True, help="Draws of the queries for each interval."
)
@click.option(
    "--thresholds",
    metavar="TARGET",
    help="Fit a decision threshold: recall=X, precision=X or max_clean=X; or the band of a cascade: band=LOSS.",
)
@click.option("--save", metavar="FILE.yaml", help="Write the fitted threshold or band as a --config file.")
@click.option("--png", metavar="FILE", help="Draw the figures.")
@click.option("--card", is_flag=True, help="Write the figures into the folder's card.")
@click.option("--export", metavar="FILE.csv", help="Write a blind sheet for people to fill in, instead of measuring.")
@click.option("--size", type=click.IntRange(3), default=100, show_default=True, help="Negatives on the sheet.")
@click.option(
    "--snippets/--no-snippets", default=True, help="Quote the judge's snippet on the sheet: it hints at the decision."
)
@click.option("--verdicts", metavar="FILE.csv", multiple=True, help="A filled-in sheet; several give agreement.")
@click.option(
    "--output",
    default="audited",
    show_default=True,
    help="Folder for the run, where SOURCE is judged first.",
    metavar="DIR",
)
@click.option("--source", help="Where the source of DIRECTORY is now, if it moved.")
@click.pass_context
def command(
    ctx: click.Context, /, target: str, grades: str | None, gold: str | None, labels: str | None, labels_split: str,
    labels_revision: str | None, baselines: bool, cross_encoder: str | None, cross_encoder_revision: str | None, draws: int, thresholds: str | None, save: str | None, png: str | None,
    card: bool, export: str | None, size: int, snippets: bool, verdicts: tuple[str, ...], output: str, source: str | None, as_json: bool,
    quiet: bool, verbose: bool, **values: Any,
) -> int:  # fmt: skip
    """Measure a judge against labels that people gave: of a finished DIRECTORY, or of SOURCE after judging it here.

    Labels: a field of the passages, a file, a second dataset over the same rows, or people's verdicts on a blind sheet.
    """
    from arhn_hf.auditing.agreement import agreement
    from arhn_hf.auditing.audit import LabelSource, audit, opened, target_of
    from arhn_hf.auditing.band import save_band
    from arhn_hf.auditing.plot import plot, refuse_missing
    from arhn_hf.auditing.section import write_section
    from arhn_hf.auditing.sheets import export_sheet, refuse_target
    from arhn_hf.auditing.thresholds import refuse_existing, save_threshold
    from arhn_hf.cli.audit_tables import agreement_tables, audit_tables
    from arhn_hf.cli.progress import Progress
    from arhn_hf.monitor import Monitor
    from arhn_hf.records import UsageError
    from arhn_hf.report_head import head

    sink = Output("json" if as_json else "quiet" if quiet else "human", verbose)
    refuse_mixed(ctx, export, verdicts)
    if save and not thresholds:
        raise UsageError("needs --thresholds", where="--save")
    if thresholds:  # what would be refused at the end is refused before anything is judged
        target_of(thresholds)
    if save:
        refuse_existing(Path(save))
    if png:
        refuse_missing()
    people = bool(export or verdicts)
    if export:
        refuse_target(Path(export))
    for name in verdicts:
        if not Path(name).is_file():
            raise UsageError("no such file", where=f"--verdicts {name}")
    for option, file in (("--png", png), ("--save", save)):
        if file and not Path(file).absolute().parent.is_dir():
            raise UsageError("its folder does not exist", where=f"{option} {file}")
    asked = None if people else LabelSource(
        grades=grades, gold=gold, labels=labels, labels_split=labels_split, labels_revision=labels_revision
    )  # fmt: skip
    engine = opened(cross_encoder, cross_encoder_revision, baselines)
    with closing(engine) if engine else nullcontext(), Progress(sink) as progress:
        monitor = Monitor(watch=progress.watch)
        folder = judged(target, output, given(ctx, values), asked, monitor)
        where: dict[str, Any] = {"source": source, "corpus": values["corpus"], "monitor": monitor}
        where["seed"] = values["seed"]
        if export:
            report: dict[str, Any] = {
                "sheet": export,
                "negatives": export_sheet(folder, export, count=size, snippets=snippets, **where),
            }
        elif verdicts:
            report = {"agreement": agreement(folder, verdicts, samples=draws, **where)}
        elif asked is not None:
            report = audit(
                folder, asked, with_baselines=baselines, cross_encoder=engine, thresholds=thresholds, samples=draws, **where
            )  # fmt: skip
    if people:
        words = (
            agreement_tables(report) if verdicts else [f"Wrote {report['negatives']} negatives to {harmless(export)}."]
        )
        sink.result({**head("audit", "done", 0), "folder": str(folder), **report}, words)
        return 0
    if save:
        (save_band if report["band"] else save_threshold)(Path(save), report)
    if png:
        plot(report, png)
    if card:
        write_section(folder, report)
    sink.result(report, audit_tables(report))
    return 0


def refuse_mixed(ctx: click.Context, export: str | None, verdicts: tuple[str, ...]) -> None:
    """Raise `UsageError` for options of another way to audit, which could only be ignored."""
    from arhn_hf.records import UsageError

    way = "--export" if export else "--verdicts" if verdicts else None
    measuring = (
        "grades",
        "gold",
        "labels",
        "labels_revision",
        "thresholds",
        "save",
        "png",
        "card",
        "cross_encoder",
        "cross_encoder_revision",
    )
    other = [*(measuring if way else ()), *(["verdicts"] if export else ()), *(() if export else ("size", "snippets"))]
    told = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.ENVIRONMENT)
    for name in other:
        if ctx.get_parameter_source(name) in told:
            raise UsageError(
                f"does not go with {way}" if way else "goes with --export", where=f"--{name.replace('_', '-')}"
            )


def judged(target: str, output: str, options: dict[str, Any], labels: Any, monitor: Any) -> Path:
    """The finished folder to measure: `target` itself, or what judging it writes to `output`; `labels` are read first, so that
    what is wrong with them costs nothing.

    Raises `UsageError` for judging options beside a finished folder, which could only be ignored.
    """
    from arhn_hf.config import RunConfig
    from arhn_hf.inputs import Inputs
    from arhn_hf.pipeline import run_refine
    from arhn_hf.publishing.hub import is_published
    from arhn_hf.records import UsageError
    from arhn_hf.rules import option_name

    folder = Path(target)
    if (folder / "arhn.json").is_file():
        extra = sorted(set(options) - {"corpus", "seed"})
        if extra:
            raise UsageError(
                "has been judged already: the option would change nothing", where=option_name(extra[0]),
                hint="Leave it out, or give the source instead of the folder",
            )  # fmt: skip
        return folder
    if (folder / ".arhn").is_dir():
        raise UsageError(
            "holds an unfinished run", where=target, hint="Run the same `arhn-hf refine` command again first"
        )
    gates = {"max_failures": 1.0, "max_ungrounded": 1.0}  # an audit measures bad judges too
    config = RunConfig.from_mapping({**options, **gates, "source": target, "output": output})

    def ready(inputs: Inputs) -> None:
        if is_published(config.source):
            raise UsageError(
                "is what arhn-hf published, not a source to judge", where=target,
                hint=f"Download it: hf download {target} --repo-type dataset --local-dir DIR, then audit DIR",
            )  # fmt: skip
        if labels is not None:
            labels.read(inputs)

    run_refine(config, monitor, ready=ready)
    return Path(output)
