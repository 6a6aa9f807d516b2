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
 * The recipients of a campaign that is there already: those that wait in its outbox.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class campaign_outbox {
    /** @var string the rows that wait */
    private const FROM = "FROM {manireports_cloud_outbox} o
                          JOIN {user} person ON person.id = o.userid
                     LEFT JOIN {course} course ON course.id = o.course_id
                     LEFT JOIN {user_lastaccess} la ON la.userid = o.userid AND la.courseid = o.course_id
                         WHERE o.campaign_id = :campaign AND o.status = 'waiting'";

    /**
     * The recipients of a campaign.
     *
     * @param \stdClass $campaign a row of {@see campaigns::read}
     */
    public function __construct(
        /** @var \stdClass row */
        private readonly \stdClass $campaign
    ) {
    }

    /**
     * How many mails wait.
     */
    public function count(): int {
        return campaigns::waiting([(int)$this->campaign->id])[$this->campaign->id] ?? 0;
    }

    /**
     * How many of them would not be sent, because somebody suppressed the address.
     */
    public function count_suppressed(): int {
        global $DB;
        if (!suppressions::concern((int)$this->campaign->company_id)) {
            return 0;
        }
        $sql = 'SELECT COUNT(1) ' . self::FROM . " AND EXISTS (
                    SELECT 1 FROM {manireports_cloud_suppressions} s
                     WHERE s.email = LOWER(person.email) AND s.company_id IN (0, :mine) AND s.scope IN ('', 'all', 'campaigns'))";
        return $DB->count_records_sql($sql, ['campaign' => $this->campaign->id, 'mine' => $this->campaign->company_id]);
    }

    /**
     * The first of them.
     *
     * @param int $number
     * @param int $userid with it only this one
     * @param int $courseid with it only this one; 0: no course
     * @return \stdClass[] as {@see campaign_audience::first}
     */
    public function first(int $number, int $userid = 0, int $courseid = 0): array {
        global $DB;
        $names = \core_user\fields::for_name()->get_sql('person', false, '', '', false)->selects;
        $sql = "SELECT o.id, o.userid, COALESCE(o.course_id, 0) AS courseid, COALESCE(la.timeaccess, 0) AS lastvisit,
                       person.email, course.fullname AS coursename, $names " . self::FROM;
        $params = ['campaign' => $this->campaign->id];
        if ($userid) {
            $sql .= ' AND o.userid = :userid AND COALESCE(o.course_id, 0) = :courseid';
            $params += ['userid' => $userid, 'courseid' => $courseid];
        }
        return array_values($DB->get_records_sql("$sql ORDER BY o.id", $params, 0, $number));
    }
}
