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
 * Recipients of one job as JSON, for the dashboards of earlier versions, which put the values into their page as they come.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

define('AJAX_SCRIPT', true);

require_once(dirname($_SERVER['SCRIPT_FILENAME'], 3) . '/config.php');

use local_manireports\cloud\access;
use local_manireports\output\cloud_offload_data_loader;

require_login(null, false);
require_sesskey();
access::require_any(access::VIEW);

$jobid = required_param('job_id', PARAM_INT);
\core\session\manager::write_close();

$found = (new cloud_offload_data_loader($USER->id))->get_job_recipients($jobid);
$recipients = [];
foreach ($found as $recipient) {
    $recipients[] = [
        'email' => s($recipient->email),
        'status' => s($recipient->status),
        'sent_at' => $recipient->sent_at ? userdate($recipient->sent_at) : '-',
        'error_message' => s((string)$recipient->error_message),
    ];
}
if (count($found) >= cloud_offload_data_loader::MOST_RECIPIENTS) {
    $total = $DB->count_records('manireports_cloud_recipients', ['job_id' => $jobid]);
    if ($total > count($found)) {
        $recipients[] = [
            'email' => get_string('cloudearliermore', 'local_manireports', $total - count($found)),
            'status' => '',
            'sent_at' => '',
            'error_message' => '',
        ];
    }
}

header('Content-Type: application/json; charset=utf-8');
echo json_encode(['recipients' => $recipients]);
