"""The CloudFormation template: valid, least in rights, in step with worker and settings."""

import os
import re
import zipfile
from io import BytesIO
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from cloud_workers.aws.lambda_handler import read_settings
from sidecar.cli.aws_deploy import snake
from sidecar.connectors.aws_stack import HANDLER, TEMPLATE, packed_handler
from sidecar.store.companies import SETTABLE

TEXT = TEMPLATE.read_text("utf-8")
REGIONS = ManualArgs(regions=["eu-west-1"])


def problems(text: str) -> list[str]:
    return [f"{each.rule.id} {each.message}" for each in lint(text, config=REGIONS)]


def test_the_template_is_valid_and_the_linter_would_say_if_it_were_not() -> None:
    assert problems(TEXT) == []
    wrong = TEXT.replace("VisibilityTimeout: 720", "VisibilityTimeout: 99999").replace(
        "[ReportBatchItemFailures]", "[ReportNothing]"
    )
    assert len(problems(wrong)) == 2


def test_cloudformation_takes_it_directly() -> None:
    assert len(TEXT.encode()) <= 51_200
    assert not re.search(r"(?<![\w-])[&*][a-z]\w*$", TEXT, re.MULTILINE)  # it knows no YAML aliases


def test_outputs_are_settings_of_the_company() -> None:
    outputs = re.findall(r"^  (\w+): \{.*Value: ", TEXT.partition("\nOutputs:")[2], re.MULTILINE)
    assert len(outputs) == 8
    assert {snake(name) for name in outputs} <= SETTABLE


def test_the_function_gets_an_environment_that_it_understands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block = TEXT.partition("        Variables:\n")[2].partition("  WorkerSource:")[0]
    names = re.findall(r"^          ([A-Z_]+): ", block, re.MULTILINE)
    values: dict[str, str] = dict.fromkeys(names, "x")
    values |= {"QUEUE_URL": "https://q", "RESULTS_QUEUE_URL": "https://r", "MAX_RATE": "14"}
    values |= {"CALLBACK_URL": "https://c/d", "MAX_RECEIVES": "20", "CONCURRENCY": "30"}
    settings: Any = read_settings(values)
    assert (settings.max_rate, settings.max_receives, settings.tenant) == (14.0, 20, "x")
    said = re.search(r"maxReceiveCount: (\d+)", TEXT)
    assert said
    assert said[1] == "20"
    timeout = re.search(r"Timeout: 120\n", TEXT)
    assert timeout
    assert "VisibilityTimeout: 720" in TEXT


def test_no_right_reaches_further_than_it_must() -> None:
    for statement in re.findall(r"- Sid: (\w+)\n(.*?)(?=\n\s+- Sid:|\n  \w)", TEXT, re.DOTALL):
        name, text = statement
        if "Effect: Allow" not in text or name in {"TheAccountDecides", "KnowsTheQuota"}:
            continue
        assert not re.search(r"Action: \w+:\*", text), name
        if name != "EventsIntoTheFeedbackQueue":  # a key's own policy has no other resource
            assert not re.search(r'Resource: "\*"', text), name


def test_the_packed_worker_is_the_handler_alone_and_always_the_same() -> None:
    key, content = packed_handler()
    assert packed_handler() == (key, content)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        (entry,) = archive.infolist()
        assert entry.filename == "lambda_handler.py"
        assert archive.read(entry) == HANDLER.read_bytes()
        assert entry.external_attr >> 16 == 0o644
    assert os.path.basename(key).endswith(".zip")  # noqa: PTH119 - a key of S3 is no path
