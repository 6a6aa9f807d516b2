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
 * Status check: how many mails failed within the last hour?
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_failures extends check {
    #[\Override]
    public function get_name(): string {
        return get_string('cloudcheckfailures', 'local_manireports');
    }

    #[\Override]
    public function get_action_link(): ?\action_link {
        $url = new \moodle_url('/local/manireports/ui/cloud_jobs.php');
        return new \action_link($url, get_string('cloudjobs', 'local_manireports'));
    }

    /** @var int from so many on it is an error, if it is also many of all */
    private const MANY = 10;

    #[\Override]
    public function get_result(): result {
        global $DB;
        $since = time() - HOURSECS;
        // Over the jobs that changed, because recipients have no index by time. A suppressed address is no failure.
        $sql = "SELECT r.status, COUNT(*) AS number
                  FROM {manireports_cloud_jobs} j
                  JOIN {manireports_cloud_recipients} r ON r.job_id = j.id
                 WHERE j.timemodified >= :changed AND r.timemodified >= :since AND r.error_code <> 'suppressed'
                   AND r.status IN ('sent', 'failed', 'permanently_failed', 'unknown')
              GROUP BY r.status";
        $counts = $DB->get_records_sql_menu($sql, ['changed' => $since, 'since' => $since]);
        $sent = (int)($counts['sent'] ?? 0);
        $failed = (int)array_sum($counts) - $sent;
        $a = ['failed' => $failed, 'sent' => $sent];
        $summary = get_string('cloudcheckfailed', 'local_manireports', $a);
        if (!$failed) {
            return new result(result::OK, $summary);
        }
        $bad = $failed >= self::MANY && $failed * 5 >= $failed + $sent;
        return new result($bad ? result::ERROR : result::WARNING, $summary);
    }
}
