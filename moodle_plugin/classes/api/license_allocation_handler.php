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

namespace local_manireports\api;

/**
 * Notes that licences are being allocated, each of which queues a mail.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class license_allocation_handler {
    /** @var string type of the jobs that tell of licences */
    public const TYPE = 'license_allocation';

    /** @var int[] company by licence, to look it up once a request */
    private static array $companies = [];

    /**
     * A user got a licence.
     *
     * @param \core\event\base $event
     */
    public static function assigned(\core\event\base $event): void {
        $userid = (int)($event->relateduserid ?: $event->userid);
        email_interceptor::note(self::TYPE, self::company((int)$event->other['licenseid']), $userid);
    }

    /**
     * The company for which IOMAD queues the mail of a licence.
     *
     * @param int $licenseid
     */
    private static function company(int $licenseid): int {
        global $DB, $SESSION;
        // IOMAD's mail takes the company that is being edited, whatever the licence says.
        if (!empty($SESSION->currenteditingcompany)) {
            return (int)$SESSION->currenteditingcompany;
        }
        self::$companies[$licenseid] ??= (int)$DB->get_field('companylicense', 'companyid', ['id' => $licenseid]);
        return self::$companies[$licenseid];
    }
}
