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
use local_manireports\cloud\sidecar;

/**
 * Status check: does a sidecar lead this site, and may it send?
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_heartbeat extends check {
    #[\Override]
    public function get_name(): string {
        return get_string('cloudcheckheartbeat', 'local_manireports');
    }

    #[\Override]
    public function get_action_link(): ?\action_link {
        $url = new \moodle_url('/local/manireports/ui/cloud_jobs.php');
        return new \action_link($url, get_string('cloudjobs', 'local_manireports'));
    }

    #[\Override]
    public function get_result(): result {
        global $DB;
        $sidecar = new sidecar();
        if ($sidecar->alive()) {
            $state = $sidecar->state();
            $reasons = array_merge((array)($state->blocked ?? []), (array)($state->lock_doubts ?? []));
            $details = \html_writer::alist(array_map(fn($reason): string => s((string)$reason), $reasons));
            if ($reasons) {
                return new result(result::WARNING, get_string('cloudcheckblocked', 'local_manireports'), $details);
            }
            $a = ['version' => $sidecar->version(), 'instance' => $sidecar->instance()];
            return new result(result::OK, get_string('cloudcheckalive', 'local_manireports', $a));
        }
        $enabled = $DB->record_exists('manireports_cloud_company_settings', ['enabled' => 1]);
        if (!$sidecar->last_seen() && !$enabled) {
            return new result(result::NA, get_string('cloudchecknever', 'local_manireports'));
        }
        [$waits, $params] = $DB->get_in_or_equal(['pending', 'submitting', 'queued', 'processing'], SQL_PARAMS_NAMED);
        $waiting = $DB->count_records_select('manireports_cloud_import_batches', "status $waits", $params);
        $since = $sidecar->last_seen() ? userdate($sidecar->last_seen()) : get_string('never');
        $summary = get_string('cloudcheckdead', 'local_manireports', $since);
        if ($waiting) {
            return new result(result::ERROR, $summary, get_string('cloudcheckdeadwaiting', 'local_manireports', $waiting));
        }
        return new result(result::WARNING, $summary);
    }
}
