"""`policy suggest`."""

from __future__ import annotations

from pathlib import Path

import click

from eastwall.analytics.least_privilege import KINDS
from eastwall.cli.client import Client, data_option, json_option, print_json
from eastwall.cli.duration import Duration
from eastwall.cli.failure import USAGE, Failure
from eastwall.policy import parse_files


@click.command(name="suggest", short_help="Least privilege from observed traffic.")
@click.option("--service", default="", help="For one service [default: all].")
@click.option(
    "--since", type=Duration(), default="7d", show_default=True, help="From the traffic since so long ago: 90m, 24h, 7d."
)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only this; may be given several times.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file; it is left as it is when its policies are these.",
)
@data_option
@json_option
def suggest(service: str, since: float, kinds: tuple[str, ...], out: Path | None, data: Path, as_json: bool) -> None:
    """Print policies that allow what was seen and no more, as YAML with the evidence beside each line, all in `mode: monitor`.

    They hurt no call that they were made from: see what they would stop of other traffic with `eastwall policy replay`.
    """
    found = Client(data, at_rest=True).get("/policy/suggestion", service=service, since=since, kinds=",".join(kinds))
    if as_json:
        print_json(found)
        return
    if out is None:
        click.echo(found["yaml"], nl=False)
        return
    try:
        if out.exists() and _same(out.read_text("utf-8"), found["yaml"]):
            click.echo(f"`{out}` holds these policies already; it stays as it is")
            return
        out.write_text(found["yaml"], "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"`{out}` cannot be written: {getattr(error, 'strerror', None) or error}", USAGE) from None
    click.echo(
        f"wrote {len(found['policies'])} policies to `{out}`, from {found['calls']:,} calls; {found['left_out']:,} calls were left out"
    )


def _same(one: str, other: str) -> bool:
    """Whether two files hold the same policies, whatever their comments say."""
    sets = [parse_files({"suggested.yaml": text}) for text in (one, other)]
    plain = [sorted((p.kind, p.name, repr(p.spec)) for p in policies.policies if p.location != "builtin") for policies, _ in sets]
    return plain[0] == plain[1] and not any(faults for _, faults in sets)
