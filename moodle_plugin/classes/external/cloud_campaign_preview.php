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
use local_manireports\cloud\campaign_letter;

/**
 * A reminder as one of its recipients would read it.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_campaign_preview extends cloud_campaign_service {
    /**
     * What it takes.
     */
    public static function execute_parameters(): external_function_parameters {
        return new external_function_parameters(self::to_whom() + self::what());
    }

    /**
     * Fill it in.
     *
     * @param int $id
     * @param int $company
     * @param int[] $courses
     * @param int $days
     * @param bool $own
     * @param string $subject
     * @param string $body
     * @param int $format
     * @param int $userid
     * @param int $courseid
     * @return array see execute_returns()
     */
    public static function execute(
        int $id,
        int $company,
        array $courses,
        int $days,
        bool $own,
        string $subject,
        string $body,
        int $format,
        int $userid,
        int $courseid
    ): array {
        $params = self::validate_parameters(self::execute_parameters(), [
            'id' => $id, 'company' => $company, 'courses' => $courses, 'days' => $days, 'own' => $own, 'subject' => $subject,
            'body' => $body, 'format' => $format, 'userid' => $userid, 'courseid' => $courseid,
        ]);
        $student = self::student($params);
        if (!$student) {
            throw new \moodle_exception('cloudcampaignnobody', 'local_manireports');
        }
        $mail = campaign_letter::to(self::text($params), $student);
        $to = fullname($student) . " <$student->email>";
        return ['to' => $to, 'subject' => $mail->subject, 'body' => $mail->body];
    }

    /**
     * What comes back.
     */
    public static function execute_returns(): external_single_structure {
        return new external_single_structure([
            'to' => new external_value(PARAM_RAW, 'whom it is for, as plain text'),
            'subject' => new external_value(PARAM_RAW, 'plain text'),
            'body' => new external_value(PARAM_RAW, 'HTML that people wrote: to be shown where scripts do not run'),
        ]);
    }
}
