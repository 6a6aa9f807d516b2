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

namespace local_manireports\check;

use core\check\check;
use core\check\result;

/**
 * Status check: for how long has the oldest claimed mail been waiting to leave?
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_waiting extends check {
    #[\Override]
    public function get_name(): string {
        return get_string('cloudcheckwaiting', 'local_manireports');
    }

    #[\Override]
    public function get_action_link(): ?\action_link {
        $url = new \moodle_url('/local/manireports/ui/cloud_jobs.php');
        return new \action_link($url, get_string('cloudjobs', 'local_manireports'));
    }

    /** @var int seconds after which waiting is a warning */
    private const LONG = 1800;

    /** @var int seconds after which it is an error */
    private const TOO_LONG = 7200;

    #[\Override]
    public function get_result(): result {
        global $DB;
        // A paused job and a batch that may not leave yet wait because somebody wants it.
        $oldest = (int)$DB->get_field_sql(
            "SELECT MIN(b.created_at)
               FROM {manireports_cloud_import_batches} b
               JOIN {manireports_cloud_jobs} j ON j.id = b.job_id
          LEFT JOIN {manireports_cloud_company_settings} c ON c.company_id = j.company_id
              WHERE b.status = 'pending' AND b.next_attempt_at <= :now AND j.paused = 0 AND COALESCE(c.paused, 0) = 0",
            ['now' => time()]
        );
        if (!$oldest) {
            return new result(result::OK, get_string('cloudchecknowaiting', 'local_manireports'));
        }
        $age = max(0, time() - $oldest);
        $state = $age > self::TOO_LONG ? result::ERROR : ($age > self::LONG ? result::WARNING : result::OK);
        return new result($state, get_string('cloudcheckoldest', 'local_manireports', format_time($age)));
    }
}
