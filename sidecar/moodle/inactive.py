"""Enrolled students who have not visited their course for a while, as one query."""

from sqlalchemy import Connection, Select, and_, func, or_, select

from sidecar.moodle.campaign_people import SITE_COURSE
from sidecar.moodle.tables import MoodleTables

COURSE_CONTEXT = 50
"""``CONTEXT_COURSE``."""


def inactive_students(
    tables: MoodleTables,
    *,
    now: int,
    since: int,
    course_id: int | None = None,
    company_id: int = 0,
) -> Select[tuple[int, int]]:
    """(userid, course_id), each pair once: active students enrolled before ``since``, Unix seconds,
    whose last visit of the course was before it, or never.

    Active: enrolment and its method enabled and in their time (lib/enrollib.php), the user neither
    deleted nor suspended nor without login. Student: a role of that archetype in the course.
    company_id: its members only, suspended ones not; 0: everybody.
    """
    u, e, ue = tables.user, tables.enrol, tables.user_enrolments
    la, ctx, ra, role = (
        tables.user_lastaccess,
        tables.context,
        tables.role_assignments,
        tables.role,
    )
    student = (
        select(ra.c.id)
        .join(role, role.c.id == ra.c.roleid)
        .join(ctx, ctx.c.id == ra.c.contextid)
        .where(
            ra.c.userid == ue.c.userid,
            ctx.c.contextlevel == COURSE_CONTEXT,
            ctx.c.instanceid == e.c.courseid,
            role.c.archetype == "student",
        )
        .exists()
    )
    visit = and_(la.c.userid == ue.c.userid, la.c.courseid == e.c.courseid)
    query = (
        select(ue.c.userid.label("userid"), e.c.courseid.label("course_id"))
        .join(e, e.c.id == ue.c.enrolid)
        .join(u, u.c.id == ue.c.userid)
        .outerjoin(la, visit)
        .where(
            ue.c.status == 0,
            e.c.status == 0,
            ue.c.timestart <= now,
            or_(ue.c.timeend == 0, ue.c.timeend > now),
            e.c.courseid != SITE_COURSE,
            u.c.deleted == 0,
            u.c.suspended == 0,
            u.c.auth != "nologin",
            u.c.username != "guest",
            func.coalesce(la.c.timeaccess, 0) < since,
            student,
        )
        .group_by(ue.c.userid, e.c.courseid)
        # By any method: who came in anew lately has not been inactive for so long.
        .having(func.max(ue.c.timestart) < since, func.max(ue.c.timecreated) < since)
    )
    if course_id is not None:
        query = query.where(e.c.courseid == course_id)
    if company_id:
        cu = tables.company_users
        member = select(cu.c.id).where(
            cu.c.userid == ue.c.userid, cu.c.companyid == company_id, cu.c.suspended == 0
        )
        query = query.where(member.exists())
    return query


def count_students(conn: Connection, query: Select[tuple[int, int]]) -> int:
    """How many pairs ``inactive_students`` finds."""
    return int(conn.execute(select(func.count()).select_from(query.subquery())).scalar_one())


def first_students(
    conn: Connection, query: Select[tuple[int, int]], number: int
) -> list[tuple[int, int]]:
    """The first pairs of ``inactive_students``."""
    return [(row.userid, row.course_id) for row in conn.execute(query.limit(number))]
