"""`eastwall learn`: learn from recorded traffic and keep no call; and put together what was learned in several places."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eastwall.cli.client import json_option, print_json
from eastwall.cli.failure import USAGE, Failure
from eastwall.cli.importing import calls_of, declare, declares, progress_bar, supervised, take
from eastwall.cli.show import clean, printer, table, told
from eastwall.runtime.layout import DataDir, DataDirError, default_data_dir, open_data_dir
from eastwall.sources.reading import FORMATS

if TYPE_CHECKING:
    from eastwall.learning.learner import Learner
    from eastwall.runtime.control import Control
    from eastwall.runtime.learning import Summary
    from eastwall.sources.observed import Skipped


@click.command(short_help="Learn from recorded traffic, and keep no call.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), help="Format of the files [default: told by their content]."
)
@click.option("--service", default="", metavar="NAME", help="Service of all calls [default: the host they went to].")
@click.option("--merge", is_flag=True, help="Each FILE is what `learn --out` wrote: put them together.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write what was learned there, and change nothing else."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_data_dir,
    show_default="$EASTWALL_DATA or .eastwall",
    help="What was learned is added to this data directory; Eastwall must not be running there.",
)
@json_option
def learn(
    files: tuple[str, ...], format_: str | None, service: str, merge: bool, out: Path | None, data: Path, as_json: bool
) -> None:
    """Learn from recorded traffic in each FILE (or `-`): all that `import` reads. No call and no finding is kept.

    `import` also stores the calls with what is wrong with them; `learn` only teaches, and takes the recording for what is right. The next
    `eastwall up` on the same data directory judges by it. `learn --out` and `learn --merge` learn in one place and use it in another (with
    the same secrets/hash.key).
    """
    try:
        directory = open_data_dir(data)
    except DataDirError as error:
        raise Failure(str(error), USAGE) from None
    if out is None and supervised(directory):
        raise Failure(
            f"Eastwall runs on `{data}`: import there, or learn with --out and add it with --merge when it is stopped", USAGE
        )
    skipped: Skipped | None = None
    declared: list[str] = []
    if merge:
        learned = _merged(files, directory)
        calls = learned.folded
    else:
        learned, calls, skipped, declared = _learned(files, format_ or "", service, directory, as_json=as_json)
    try:
        if out is not None:
            from eastwall.runtime.learning import write_state

            write_state(out.resolve(), learned)
        else:
            _add(learned, directory, data)
    except OSError as error:
        raise Failure(f"what was learned cannot be kept: {error.strerror or error}") from None
    _tell(learned, calls, skipped, declared, str(out or data), as_json=as_json)


def _learned(
    files: tuple[str, ...], format_: str, service: str, directory: DataDir, *, as_json: bool
) -> tuple[Learner, int, Skipped, list[str]]:
    """What recordings teach, in a working directory that is gone afterwards. Raises Failure."""
    from eastwall.runtime.importing import Importer, search_cycles_seldom
    from eastwall.runtime.learning import NoLake, working_copy

    specs = [file for file in files if file != "-" and declares(file)]
    recordings = tuple(file for file in files if file not in specs)
    faults: list[str] = []
    declared: list[str] = []
    with tempfile.TemporaryDirectory(prefix="eastwall-learn-") as folder, contextlib.ExitStack() as stack:
        work = working_copy(directory, Path(folder) / "work")
        control = _control(work, NoLake())
        stack.callback(control.close)
        if service:
            declared += declare(specs, service, control, work.root)
        progress = stack.enter_context(progress_bar(as_json))
        importer = Importer(work, "learn", service=service, gather=True)
        search_cycles_seldom()
        take(importer, control, calls_of(recordings, format_, importer.skipped, faults, progress))
        control.publish()
        importer.close()
        if specs and not service:
            seen = list(importer.taken.services)
            if len(seen) != 1:
                raise Failure(f"`{specs[0]}` declares an API: name its service with --service", USAGE)
            declared += declare(specs, seen[0], control, work.root)
        if faults:
            raise Failure("; ".join(faults), USAGE)
        with control.learner_alone() as learner:
            return learner, importer.taken.calls, importer.skipped, declared


def _control(directory: DataDir, lake: object = None) -> Control:
    """Raises Failure."""
    try:
        from eastwall.runtime.control import Control
        from eastwall.stores.chdb.lake import ChdbLake, LakeError
        from eastwall.stores.spool import SpoolBusyError
    except ImportError as error:
        raise Failure(f"learning needs the package `{error.name}`: install eastwall[all]") from None
    try:
        return Control(directory, lake=lake if isinstance(lake, ChdbLake) else None)
    except SpoolBusyError:
        raise Failure(f"Eastwall runs on `{directory.root}`: stop it first, or learn with --out", USAGE) from None
    except (LakeError, ValueError, OSError) as error:
        raise Failure(str(error)) from None


def _merged(files: tuple[str, ...], directory: DataDir) -> Learner:
    from eastwall.learning.learner import Learner
    from eastwall.runtime.learning import read_state

    key = (directory.secrets / "hash.key").read_bytes()
    whole = Learner(key)
    for file in files:
        try:
            whole.merge(read_state(Path(file), key))
        except ValueError as error:
            raise Failure(str(error), USAGE) from None
        except OSError as error:
            raise Failure(f"`{file}` cannot be read: {error.strerror}", USAGE) from None
    return whole


def _add(learned: Learner, directory: DataDir, data: Path) -> None:
    control = _control(directory)
    try:
        control.take_in(learned)
    finally:
        control.close()


def _tell(learner: Learner, calls: int, skipped: Skipped | None, declared: list[str], where: str, *, as_json: bool) -> None:
    from eastwall.runtime.learning import as_json as plain
    from eastwall.runtime.learning import summaries

    found = summaries(learner)
    left_out = (
        {}
        if skipped is None
        else {reason: {"count": n, "first": skipped.first[reason]} for reason, n in skipped.counts.most_common()}
    )
    if as_json:
        print_json(
            {"calls": calls, "services": [plain(one) for one in found], "skipped": left_out, "declared": declared, "kept": where}
        )
        return
    out = printer()
    for line in declared:
        out.print("declared   ", clean(line), sep="", soft_wrap=True)
    shown = table("service", "learned", "still learning", "owned kinds", "functions", "properties", "ranges", "in order", "once")
    for one in found[:20]:
        shown.add_row(clean(one.service), str(one.learned), str(one.learning), clean(", ".join(one.exclusive) or "-"), str(one.functions),
                      str(one.properties), str(one.ranges), str(one.orders), str(one.once))  # fmt: skip
    out.print(shown)
    if len(found) > 20:
        out.print(f"and {len(found) - 20} services more")
    for one in found[:20]:
        _tell_unjudged(one)
    for reason, entry in left_out.items():
        out.print(f"[yellow]left out[/]   {entry['count']:,} {reason}, first ", clean(entry["first"]), sep="", soft_wrap=True)
    out.print(f"\nlearned from {calls:,} calls; kept in ", clean(where), sep="", soft_wrap=True)


def _tell_unjudged(one: Summary) -> None:
    if one.unjudged:
        out = printer()
        out.print("\n", clean(one.service), ": [yellow]not judged yet[/]", sep="")
        for line in one.unjudged:
            told(out, clean(line))
