"""What a campaign's mails say of their recipients: names, courses, last visits."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.local_dates import local_date, zone_of
from sidecar.moodle.people import admin_ids, enrolments, read_users, support_name
from sidecar.moodle.tables import MoodleTables

SITE_COURSE = 1
"""``SITEID``, the front page's course: its name is the site's."""


@dataclass(frozen=True, slots=True)
class Person:
    """The part of ``{user}`` that a campaign needs. lastaccess: of the site, Unix seconds."""

    id: int
    email: str
    firstname: str
    lastname: str
    auth: str
    deleted: int
    suspended: int
    lang: str
    timezone: str
    lastaccess: int


class CampaignPeople:
    """The facts that a batch of mails needs, read in a fixed number of queries.

    pairs: (user id, course id or 0).
    """

    def __init__(
        self,
        conn: Connection,
        tables: MoodleTables,
        config: MoodleConfig,
        wwwroot: str,
        pairs: Collection[tuple[int, int]],
    ) -> None:
        self._config = config
        self._wwwroot = wwwroot
        u, k, la = tables.user, tables.course, tables.user_lastaccess
        users = [user for user, _ in pairs]
        courses = {course for _, course in pairs}
        columns = [u.c[name] for name in Person.__dataclass_fields__]
        found = conn.execute(select(*columns).where(u.c.id.in_(users)))
        self._people = {row.id: Person(*row) for row in found}
        names = select(k.c.id, k.c.fullname).where(k.c.id.in_([SITE_COURSE, *courses]))
        self._courses: dict[int, str] = {row.id: row.fullname for row in conn.execute(names)}
        visits = select(la.c.userid, la.c.courseid, la.c.timeaccess).where(
            la.c.userid.in_(users), la.c.courseid.in_(list(courses))
        )
        self._visits = {(r.userid, r.courseid): r.timeaccess for r in conn.execute(visits)}
        in_courses = [pair for pair in pairs if pair[1] > SITE_COURSE]
        self._enrolled = enrolments(conn, tables, in_courses) if in_courses else set()
        senders = read_users(conn, tables, {*admin_ids(config), config.number("supportuserid")})
        self.sender_name = support_name(config, senders)

    @property
    def site_name(self) -> str:
        """The site's full name."""
        return self._courses.get(SITE_COURSE, "")

    def lang(self, user_id: int) -> str:
        """The user's language, else the site's."""
        person = self._people.get(user_id)
        return (person.lang if person else "") or self._config.text("lang") or "en"

    def gone(self, user_id: int, course_id: int) -> str:
        """Why the mail is pointless now: '' while its user may still get it."""
        person = self._people.get(user_id)
        if person is None or person.deleted:
            return "the user was deleted"
        if person.suspended or person.auth == "nologin":
            return "the user is suspended"
        if course_id > SITE_COURSE and course_id not in self._courses:
            return "the course was deleted"
        if course_id > SITE_COURSE and (user_id, course_id) not in self._enrolled:
            return "the user is no longer enrolled in the course"
        return ""

    def values(self, user_id: int, course_id: int, never: str) -> dict[str, str]:
        """The values of ``campaign_text.STANDARD`` but for the link to unsubscribe.

        never: the word for a visit that never was. Without a course the site stands for it.
        """
        person = self._people[user_id]
        course = course_id if course_id > SITE_COURSE else 0
        visit = self._visits.get((user_id, course), 0) if course else person.lastaccess
        config = self._config
        forced = config.text("forcetimezone")
        zone = zone_of(forced, person.timezone, config.text("timezone"))
        lang = self.lang(user_id)
        url = f"{self._wwwroot}/course/view.php?id={course}" if course else self._wwwroot
        return {
            "firstname": person.firstname,
            "lastname": person.lastname,
            "fullname": f"{person.firstname} {person.lastname}".strip(),
            "coursename": self._courses.get(course or SITE_COURSE, ""),
            "courseurl": url,
            "lastaccess": local_date(visit, lang, zone) if visit else never,
            "sitename": self.site_name,
        }
