"""The link by which a recipient leaves a company's campaigns (RFC 8058). Pure.

Its token is sealed with a key that only the site has: nobody can make one or read an address out of
it, and the page behind the link needs no secret; it hands the token to the leader, who opens it.
"""

import base64
import binascii
import hmac
import json
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from sidecar.errors import CampaignError

PURPOSE = "manireports unsubscribe 1"
"""What the key is derived for; a key of another purpose opens no token."""

LONGEST = 1024
"""Characters; a longer token is refused unread."""

PAGE = "/local/manireports/ui/unsubscribe.php"
"""The page behind the link, where ``unsubscribe_url`` names no other."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Who leaves the campaigns of which company, by the mail of which campaign."""

    address: str
    company_id: int
    campaign_id: int


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and opens the links of one site. page: its URL; key: 32 bytes."""

    page: str
    key: bytes = field(repr=False)

    @property
    def one_click(self) -> bool:
        """Whether mail programs may use it by themselves: RFC 8058 wants https."""
        return self.page.startswith("https://")

    def url(self, leaving: Leaving) -> str:
        """The link; the same each time for the same mail."""
        parts = [leaving.company_id, leaving.campaign_id, leaving.address.lower()]
        text = json.dumps(parts, separators=(",", ":")).encode()
        nonce = hmac.new(self.key, text, sha256).digest()[: SecretBox.NONCE_SIZE]
        sealed = SecretBox(self.key).encrypt(text, nonce)
        token = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
        mark = "&" if "?" in self.page else "?"
        return f"{self.page}{mark}token={quote(token)}"

    def open(self, token: str) -> Leaving:
        """What a token says; raises CampaignError unless this site made it."""
        refused = CampaignError("the unsubscribe link is damaged, or not of this site")
        if len(token) > LONGEST:
            raise refused
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
            text = SecretBox(self.key).decrypt(sealed)
        except (binascii.Error, CryptoError, ValueError):
            raise refused from None
        company_id, campaign_id, address = json.loads(text)
        return Leaving(address, company_id, campaign_id)
