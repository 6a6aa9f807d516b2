"""The commands of the sidecar, as click knows them."""

from collections.abc import Iterator

import click

from sidecar.cli import cli


def groups_and_leaves(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every command with its name, as "aws deploy"; groups too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command, name
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from groups_and_leaves(command, (*path, name))


def leaves() -> dict[str, click.Command]:
    """Every command that does something, by its name."""
    found = dict(groups_and_leaves())
    return {name: made for name, made in found.items() if not isinstance(made, click.Group)}
