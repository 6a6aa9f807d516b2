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

namespace local_manireports\external;

use core_external\external_function_parameters;
use core_external\external_single_structure;
use core_external\external_value;
use local_manireports\cloud\page;
use local_manireports\cloud\vocabulary;

/**
 * Who would get a reminder: how many, and the first of them.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_campaign_audience extends cloud_campaign_service {
    /** @var int students that are listed */
    private const LISTED = 10;

    /**
     * What it takes.
     */
    public static function execute_parameters(): external_function_parameters {
        return new external_function_parameters(self::to_whom());
    }

    /**
     * Look for them.
     *
     * @param int $id
     * @param int $company
     * @param int[] $courses
     * @param int $days
     * @return array see execute_returns()
     */
    public static function execute(int $id, int $company, array $courses, int $days): array {
        global $PAGE;
        $params = self::validate_parameters(
            self::execute_parameters(),
            ['id' => $id, 'company' => $company, 'courses' => $courses, 'days' => $days]
        );
        $audience = self::audience($params);
        $count = $audience->count();
        $students = [];
        foreach ($count ? $audience->first(self::LISTED) : [] as $student) {
            $students[] = [
                'userid' => (int)$student->userid,
                'courseid' => (int)$student->courseid,
                'name' => fullname($student),
                'email' => $student->email,
                'course' => format_string((string)$student->coursename),
                'visit' => $student->lastvisit ? page::moment($student->lastvisit) : null,
            ];
        }
        $suppressed = $count ? $audience->count_suppressed() : 0;
        $html = $PAGE->get_renderer('core')->render_from_template('local_manireports/cloud_campaign_audience', [
            'count' => vocabulary::number($count),
            'one' => $count === 1,
            'none' => !$count,
            'suppressed' => $suppressed ? vocabulary::number($suppressed) : '',
            'students' => $students,
            'more' => $count > count($students) ? vocabulary::number($count - count($students)) : '',
        ]);
        return ['count' => $count, 'said' => vocabulary::number($count), 'html' => $html];
    }

    /**
     * What comes back.
     */
    public static function execute_returns(): external_single_structure {
        return new external_single_structure([
            'count' => new external_value(PARAM_INT, 'how many mails there would be'),
            'said' => new external_value(PARAM_RAW, 'the same as people write it'),
            'html' => new external_value(PARAM_RAW, 'the list'),
        ]);
    }
}
