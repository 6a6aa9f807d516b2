"""What tests of the Worker on Cloudflare share."""

import time

import httpx

from sidecar.demo.workerd import ACCOUNT, JOBS, TOKEN, Workerd
from sidecar.mail import MailBatch
from sidecar.message import encode_batch
from tests.workers.rig import KEY, SITE


def push(rig: Workerd, *batches: MailBatch) -> None:
    """Put batches into the jobs queue by one request, as the sidecar does."""
    now = int(time.time())
    bodies = [encode_batch(batch, SITE, KEY, now) for batch in batches]
    answer = httpx.post(
        f"{rig.api_url}/accounts/{ACCOUNT}/queues/{JOBS}/messages/batch",
        headers={"Authorization": f"Bearer {TOKEN}"},
        json={"messages": [{"body": body, "content_type": "text"} for body in bodies]},
        timeout=30,
    )
    assert answer.json()["success"]
