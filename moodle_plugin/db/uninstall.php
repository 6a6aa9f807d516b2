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

/**
 * What happens before the tables go.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

defined('MOODLE_INTERNAL') || die();

/**
 * Hands back to Moodle every mail that may be handed back, and lists the rest.
 *
 * @return bool
 */
function xmldb_local_manireports_uninstall() {
    global $DB, $OUTPUT;

    if (!$DB->get_manager()->table_exists('manireports_cloud_sidecar')) {
        return true;
    }
    $returned = 0;
    $held = [];
    foreach (\local_manireports\cloud\give_back::everything() as $jobid => $job) {
        $returned += $job->returned;
        if ($job->held) {
            $held[] = get_string('clouduninstallheld', 'local_manireports', [
                'job' => $jobid,
                'label' => s($job->label),
                'count' => $job->held,
            ]);
        }
    }
    $waiting = $DB->count_records('manireports_cloud_outbox', ['status' => 'waiting']);
    if ($waiting) {
        $held[] = get_string('clouduninstalloutbox', 'local_manireports', $waiting);
    }
    if ($returned) {
        $text = get_string('clouduninstallreturned', 'local_manireports', $returned);
        echo $OUTPUT->notification($text, \core\output\notification::NOTIFY_INFO);
    }
    foreach ($held as $text) {
        echo $OUTPUT->notification($text, \core\output\notification::NOTIFY_WARNING);
    }

    return true;
}
