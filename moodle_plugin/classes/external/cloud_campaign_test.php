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
 * Sends a reminder to the person who writes it, filled in for one of its recipients.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_campaign_test extends cloud_campaign_service {
    /** @var int seconds between two test mails of a person */
    private const PAUSE = 5;

    /**
     * What it takes.
     */
    public static function execute_parameters(): external_function_parameters {
        return new external_function_parameters(self::to_whom() + self::what());
    }

    /**
     * Send it.
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
        global $SESSION, $USER;
        $params = self::validate_parameters(self::execute_parameters(), [
            'id' => $id, 'company' => $company, 'courses' => $courses, 'days' => $days, 'own' => $own, 'subject' => $subject,
            'body' => $body, 'format' => $format, 'userid' => $userid, 'courseid' => $courseid,
        ]);
        $student = self::student($params);
        if (!$student) {
            throw new \moodle_exception('cloudcampaignnobody', 'local_manireports');
        }
        if (($SESSION->local_manireports_testmail ?? 0) > time() - self::PAUSE) {
            return ['sent' => false, 'text' => get_string('cloudcampaigntestwait', 'local_manireports')];
        }
        $sent = campaign_letter::send_to_me(self::text($params), $student);
        $SESSION->local_manireports_testmail = time();
        $string = $sent ? 'cloudcampaigntestsent' : 'cloudcampaigntestfailed';
        return ['sent' => $sent, 'text' => get_string($string, 'local_manireports', $USER->email)];
    }

    /**
     * What comes back.
     */
    public static function execute_returns(): external_single_structure {
        return new external_single_structure([
            'sent' => new external_value(PARAM_BOOL, 'whether the mail server took it'),
            'text' => new external_value(PARAM_RAW, 'what to say, as plain text'),
        ]);
    }
}
