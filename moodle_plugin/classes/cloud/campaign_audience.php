<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

namespace local_manireports\cloud;

/**
 * Enrolled students who have not visited their course for a while: the same ones that the sidecar's command finds
 * (its moodle/inactive.py), within the courses of the company.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class campaign_audience {
    /** @var int the most days that can be asked for */
    public const DAYS = 3650;

    /** @var string the students; u is the user, la the last visit of the course */
    private const FROM = "FROM {user_enrolments} ue
                          JOIN {enrol} e ON e.id = ue.enrolid
                          JOIN {user} u ON u.id = ue.userid
                     LEFT JOIN {user_lastaccess} la ON la.userid = ue.userid AND la.courseid = e.courseid";

    /** @var string which of them: their enrolment and its method in force, a student, and away for long enough */
    private const WHERE = "ue.status = 0
                      AND e.status = 0
                      AND ue.timestart <= :now1
                      AND (ue.timeend = 0 OR ue.timeend > :now2)
                      AND e.courseid <> :site
                      AND u.deleted = 0
                      AND u.suspended = 0
                      AND u.auth <> 'nologin'
                      AND u.username <> 'guest'
                      AND COALESCE(la.timeaccess, 0) < :since1
                      AND EXISTS (SELECT 1
                                    FROM {role_assignments} ra
                                    JOIN {role} r ON r.id = ra.roleid
                                    JOIN {context} ctx ON ctx.id = ra.contextid
                                   WHERE ra.userid = ue.userid
                                     AND ctx.contextlevel = :level
                                     AND ctx.instanceid = e.courseid
                                     AND r.archetype = 'student')";

    /** @var string by any method: who came in anew lately has not been away for so long */
    private const GROUP = 'GROUP BY ue.userid, e.courseid HAVING MAX(ue.timestart) < :since2 AND MAX(ue.timecreated) < :since3';

    /** @var int[]|null the courses; null: all of them */
    private ?array $courses;

    /**
     * Who is meant.
     *
     * @param int $company its members and courses only; 0: everybody
     * @param int[] $courses empty: all courses of the company
     * @param int $days since the last visit, and since the enrolment
     */
    public function __construct(
        /** @var int 0: everybody */
        public readonly int $company,
        array $courses,
        /** @var int since the last visit */
        private readonly int $days
    ) {
        $allowed = self::course_ids($company);
        $this->courses = $allowed;
        if ($courses) {
            $this->courses = $allowed === null ? $courses : array_values(array_intersect($courses, $allowed));
        }
    }

    /**
     * The courses that a company has, by IOMAD's rules: its own, those that are open to all, and those shared with it.
     *
     * @param int $company
     * @return int[]|null null: every course
     */
    public static function course_ids(int $company): ?array {
        global $DB;
        if (!$company) {
            return null;
        }
        $sql = "SELECT courseid FROM {company_course} WHERE companyid = :company1
                 UNION
                SELECT courseid FROM {iomad_courses} WHERE shared = 1
                 UNION
                SELECT courseid FROM {company_shared_courses} WHERE companyid = :company2";
        return array_map('intval', $DB->get_fieldset_sql($sql, ['company1' => $company, 'company2' => $company]));
    }

    /**
     * Formatted names of the courses to choose from, by id.
     *
     * @param int $company
     * @return string[]
     */
    public static function course_names(int $company): array {
        global $DB;
        $ids = self::course_ids($company);
        if ($ids === []) {
            return [];
        }
        [$in, $params] = $ids === null ? ['<> :site', ['site' => SITEID]] : $DB->get_in_or_equal($ids, SQL_PARAMS_NAMED, 'course');
        $names = [];
        foreach ($DB->get_records_select_menu('course', "id $in", $params, 'fullname, id', 'id, fullname') as $id => $name) {
            $names[(int)$id] = format_string($name, true, ['context' => \core\context\system::instance()]);
        }
        return $names;
    }

    /**
     * How many mails there would be, one for each student and course.
     */
    public function count(): int {
        global $DB;
        [$sql, $params] = $this->pairs();
        return (int)$DB->count_records_sql("SELECT COUNT(1) FROM ($sql) pairs", $params);
    }

    /**
     * How many of the mails would not be sent, because somebody suppressed the address.
     */
    public function count_suppressed(): int {
        global $DB;
        if (!suppressions::concern($this->company)) {
            return 0;
        }
        [$sql, $params] = $this->pairs();
        $sql = "SELECT COUNT(1)
                  FROM ($sql) pairs
                  JOIN {user} person ON person.id = pairs.userid
                 WHERE EXISTS (SELECT 1
                                 FROM {manireports_cloud_suppressions} s
                                WHERE s.email = LOWER(person.email)
                                  AND s.company_id IN (0, :mine)
                                  AND s.scope IN ('', 'all', 'campaigns'))";
        return (int)$DB->count_records_sql($sql, $params + ['mine' => $this->company]);
    }

    /**
     * The first of them, with the longest away first.
     *
     * @param int $number
     * @param int $userid with it only this pair
     * @param int $courseid with it only this pair
     * @return \stdClass[] userid, courseid, lastvisit (0: never), and the fields of their names
     */
    public function first(int $number, int $userid = 0, int $courseid = 0): array {
        global $DB;
        [$sql, $params] = $this->pairs($userid, $courseid);
        $names = \core_user\fields::for_name()->get_sql('person', false, '', '', false)->selects;
        $sql = "SELECT pairs.userid, pairs.courseid, pairs.lastvisit, person.email, course.fullname AS coursename, $names
                  FROM ($sql) pairs
                  JOIN {user} person ON person.id = pairs.userid
                  JOIN {course} course ON course.id = pairs.courseid
              ORDER BY pairs.lastvisit, pairs.userid, pairs.courseid";
        $rows = $DB->get_recordset_sql($sql, $params, 0, $number);
        $found = iterator_to_array($rows, false);
        $rows->close();
        return $found;
    }

    /**
     * Write a row of the outbox for each of them, in one statement. The caller holds the transaction.
     *
     * @param int $campaign
     * @return int how many
     */
    public function fill(int $campaign): int {
        global $DB;
        [$sql, $params] = $this->pairs();
        $now = time();
        $DB->execute(
            "INSERT INTO {manireports_cloud_outbox} (campaign_id, userid, course_id, email, status, created_at)
             SELECT $campaign, pairs.userid, pairs.courseid, '', 'waiting', $now
               FROM ($sql) pairs",
            $params
        );
        return $DB->count_records('manireports_cloud_outbox', ['campaign_id' => $campaign]);
    }

    /**
     * The query for all pairs of user and course, each once.
     *
     * @param int $userid with it only this pair
     * @param int $courseid with it only this pair
     * @return array [$sql, $params] of userid, courseid, lastvisit
     */
    private function pairs(int $userid = 0, int $courseid = 0): array {
        global $DB;
        $now = time();
        $since = $now - $this->days * DAYSECS;
        $where = self::WHERE;
        $params = [
            'now1' => $now, 'now2' => $now, 'since1' => $since, 'since2' => $since, 'since3' => $since,
            'site' => SITEID, 'level' => CONTEXT_COURSE,
        ];
        if ($userid) {
            $where .= ' AND ue.userid = :userid AND e.courseid = :courseid';
            $params += ['userid' => $userid, 'courseid' => $courseid];
        }
        if ($this->courses !== null) {
            [$in, $more] = $DB->get_in_or_equal($this->courses, SQL_PARAMS_NAMED, 'course', true, 0);
            $where .= " AND e.courseid $in";
            $params += $more;
        }
        if ($this->company) {
            $where .= ' AND EXISTS (SELECT 1 FROM {company_users} cu
                                     WHERE cu.userid = ue.userid AND cu.companyid = :company AND cu.suspended = 0)';
            $params += ['company' => $this->company];
        }
        $columns = 'ue.userid, e.courseid, COALESCE(MAX(la.timeaccess), 0) AS lastvisit';
        return ["SELECT $columns " . self::FROM . " WHERE $where " . self::GROUP, $params];
    }
}
