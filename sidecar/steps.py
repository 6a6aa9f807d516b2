"""What a proof of a company's way tells step by step, in the admin's words. Pure."""

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "FAIL"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at. level: OK, WARN or FAIL."""

    level: str
    name: str
    detail: str

    @property
    def ok(self) -> bool:
        """Whether mail can be sent all the same."""
        return self.level != FAIL

    def line(self, width: int = 18) -> str:
        """For a terminal; width: of the names."""
        return f"{self.level:<5} {self.name:<{width}} {self.detail}"

    def as_dict(self) -> dict[str, object]:
        """For JSON, and for pages."""
        return {"level": self.level, "name": self.name, "detail": self.detail, "ok": self.ok}
