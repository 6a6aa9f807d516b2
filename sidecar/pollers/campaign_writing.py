"""What a campaign's mails say: its text, or the site's own, filled in for one recipient."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from sidecar.campaign_text import ENGLISH, CampaignText, read_data
from sidecar.mail import Content
from sidecar.moodle.campaign_people import CampaignPeople
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.html_to_text import html_to_text
from sidecar.moodle.tables import MoodleTables
from sidecar.settings import Settings
from sidecar.store import campaigns
from sidecar.store.campaigns import Campaign, OutboxRow
from sidecar.store.database import Database
from sidecar.unsubscribe import PAGE, Leaving, Links

TEMPLATE = "reengagement"
"""The name in ``manireports_cloud_templates`` of what a campaign without a text says."""

NEVER = "never"
"""The name of the word (a template's subject) for a visit that never was."""


def unsubscribe_page(settings: Settings) -> str:
    """The page behind the links."""
    return settings.unsubscribe_url or settings.wwwroot + PAGE


def with_default(campaign: Campaign, text: CampaignText) -> CampaignText:
    """The campaign's text; what of it is empty comes from ``text``, or is ours."""
    return CampaignText(
        campaign.subject or text.subject or ENGLISH.subject,
        campaign.body or text.body or ENGLISH.body,
    )


def in_language(texts: Mapping[str, CampaignText], *langs: str) -> CampaignText | None:
    """The text in the first of these languages, or its parent, that there is; else in English."""
    for lang in (*langs, "en"):
        for wanted in (lang, lang.rpartition("_")[0]):
            if wanted in texts:
                return texts[wanted]
    return None


class CampaignWriting:
    """The facts that a batch of mails needs, read in a fixed number of queries.

    pairs: (user id, course id or 0) of every mail.
    """

    def __init__(
        self,
        conn: Connection,
        database: Database,
        tables: MoodleTables,
        config: MoodleConfig,
        wwwroot: str,
        links: Links,
        pairs: Collection[tuple[int, int]],
    ) -> None:
        self.people = CampaignPeople(conn, tables, config, wwwroot, pairs)
        self._texts = campaigns.campaign_texts(conn, database, TEMPLATE)
        self._words = campaigns.campaign_texts(conn, database, NEVER)
        self._site_lang = config.text("lang")
        self._links = links

    def write(self, campaign: Campaign, row: OutboxRow, address: str) -> tuple[Content, str]:
        """A mail's content, and its link to unsubscribe; its user must not be ``gone``.

        Raises CampaignError when a placeholder has no value.
        """
        lang = self.people.lang(row.userid)
        site = in_language(self._texts, lang, self._site_lang)
        text = with_default(campaign, site or ENGLISH)
        word = in_language(self._words, lang)
        url = self._links.url(Leaving(address, campaign.company_id, campaign.id))
        values = read_data(row.data) if text.own_names() else {}
        values |= self.people.values(
            row.userid, row.course_id or 0, word.subject if word else NEVER
        )
        values["unsubscribeurl"] = url
        subject, body = text.render(values)
        return Content(subject=subject, html=body, text=html_to_text(body)), url
