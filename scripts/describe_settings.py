"""The table of all settings in docs/configuration.md, with the defaults of the code."""

import dataclasses
from pathlib import Path
from typing import get_type_hints

from sidecar.settings import Settings

BEGIN, END = "<!-- made by scripts/make_docs.py -->\n\n", "\n<!-- end of what is made -->\n"

UNSETTABLE = "moodle_config_unread"
"""Is found out, not set."""

MEANINGS = {
    "moodle_dir": (
        "the folder of Moodle's config.php, or its `public/`; alone it is enough to observe"
    ),
    "database_url": "`mysql+mysqldb://user:password@host/database`, or `postgresql://…`",
    "table_prefix": "the prefix of Moodle's tables",
    "wwwroot": "the site's address",
    "dataroot": "the folder `moodledata`",
    "state_dir": "remembers which site this sidecar serves",
    "poll_interval": "how often to look",
    "min_age": "how long a row must have been seen before it is claimed",
    "max_age": "mail that waits longer is not claimed without `backlog take`",
    "quiet_period": "how long no mail may come until a job is closed",
    "flush_after": "how long after the last mail a batch leaves that is not full",
    "batch_size": "mails in a batch",
    "max_job_size": "queue rows in a job",
    "max_body_size": "bytes; a bigger mail, attachment included, stays with Moodle",
    "bulk_threshold": "mails that make a bulk operation, where the company sets nothing else",
    "give_up_after": "how long a provider may be down before the company's fallback decides",
    "result_timeout": "after this a provider that says nothing of a batch is asked again",
    "secret_ttl": "how long a new user's password is kept for a mail that cannot be sent",
    "smtp_connections": "connections to one mail server, to begin with",
    "smtp_max_connections": "at most; more are opened as long as they bring more mails a second",
    "smtp_timeout": "for one answer of a mail server",
    "aws_endpoint_url": "another endpoint of SQS and DynamoDB, as for a test",
    "cloudflare_api_url": "another address of its API, as for a test",
    "unsubscribe_url": "the page behind a campaign's unsubscribe link; https",
    "lease_seconds": "after this another sidecar takes over from a dead leader",
    "metrics_host": "where [`/metrics`, `/healthz` and `/readyz`](monitoring.md) are served",
    "metrics_port": "0: nowhere",
    "metrics_tls_cert": "PEM, with the chain: the pages are served over TLS",
    "metrics_tls_key": "its key",
    "metrics_user": "the name that `/metrics` and `/readyz` ask for",
    "metrics_password_file": "a file whose text is the password",
    "only_sidecar_sends": "go on although Moodle's mail task is disabled",
    "log_format": "or `json`",
    "log_level": "or `DEBUG`, `WARNING`, `ERROR`",
    "job_types": (
        "IOMAD template = `csv_import`, `license_allocation`, `reengagement` or `notification`"
    ),
    "moodle_config": (
        'settings as in config.php (`smtphosts = "…"`, `"local_email/version" = "…"`);'
        " above config.php"
    ),
}

WITHOUT = {
    "database_url": "from config.php",
    "wwwroot": "from config.php",
    "dataroot": "from config.php",
    "aws_endpoint_url": "the region's own",
    "cloudflare_api_url": "Cloudflare's own",
    "unsubscribe_url": "`<wwwroot>/local/manireports/ui/unsubscribe.php`",
    "table_prefix": "from config.php, `mdl_`",
}
"""What holds where the code's own value is not the answer; nothing, for the others without one."""

_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))


def duration(seconds: float) -> str:
    """Seconds in the largest unit that gives a whole number, as the configuration reads it."""
    for unit, size in _UNITS:
        number = seconds / size
        if number >= 1 and number == int(number):
            return f"{int(number)}{unit}"
    return f"{seconds:g}s"


def shown(key: str, default: object) -> str:
    """A default as it would be written, without quotes; '' for none."""
    if key in WITHOUT:
        return WITHOUT[key]
    if default in (None, "", dataclasses.MISSING):
        return ""
    if get_type_hints(Settings)[key] is float and isinstance(default, float):
        return f"`{duration(default)}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if isinstance(default, int | str | Path) else ""


def table() -> str:
    """The table, and the marks around it."""
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        if field.name == UNSETTABLE:
            continue
        name = f"[{field.name}]" if field.default is dataclasses.MISSING else field.name
        default = shown(field.name, field.default)
        lines.append(f"| `{name}` | {default} | {MEANINGS[field.name]} |".replace("|  |", "| |"))
    return BEGIN + "\n".join(lines) + "\n" + END


def filled(page: str) -> str:
    """A page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + table() + after
