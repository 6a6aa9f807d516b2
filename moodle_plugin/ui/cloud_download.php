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
 * Downloads of jobs and of mails.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

use local_manireports\api\cloud_job_manager;
use local_manireports\cloud\access;
use local_manireports\cloud\downloads;
use local_manireports\cloud\job_filter;
use local_manireports\cloud\output\person_search;
use local_manireports\cloud\page;
use local_manireports\cloud\recipients;
use local_manireports\cloud\vocabulary;

// The plugin's folder may be a symbolic link, so that __DIR__ leads elsewhere.
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 4) . '/config.php');
require_login(null, false);

$what = required_param('what', PARAM_ALPHA);
$dataformat = required_param('dataformat', PARAM_ALPHA);
$id = optional_param('id', 0, PARAM_INT);

page::begin(
    new moodle_url('/local/manireports/ui/cloud_download.php', ['what' => $what, 'dataformat' => $dataformat]),
    get_string('cloudjobs', 'local_manireports'),
    access::VIEW
);
require_sesskey();

$context = \core\context\system::instance();
switch ($what) {
    case 'jobs':
        $companies = access::company_names(access::VIEW);
        $names = [];
        $rows = cloud_job_manager::each(job_filter::from_request());
        $columns = downloads::job_columns();
        $filename = 'cloud_jobs';
        $row = function ($job) use ($companies, &$names) {
            return downloads::job($job, $companies, $names);
        };
        break;
    case 'recipients':
    case 'failed':
        $job = cloud_job_manager::read($id);
        $context = access::context((int)$job->company_id);
        $rows = recipients::each($id, $what === 'failed' ? vocabulary::RECIPIENT_FAILED : []);
        $columns = downloads::mail_columns();
        $filename = $what === 'failed' ? "cloud_job_{$id}_failed" : "cloud_job_{$id}";
        $row = [downloads::class, 'mail'];
        break;
    case 'person':
        $text = trim(optional_param('text', '', PARAM_NOTAGS));
        $rows = (new person_search($text, max(0, optional_param('userid', 0, PARAM_INT))))->each();
        $columns = downloads::mail_columns();
        $filename = 'cloud_mails';
        $row = [downloads::class, 'mail'];
        break;
    default:
        throw new moodle_exception('invalidparameter', 'debug');
}

\local_manireports\event\cloud_jobs_exported::create([
    'context' => $context,
    'other' => ['what' => $what, 'format' => $dataformat, 'jobid' => $id],
])->trigger();
\core\dataformat::download_data($filename, $dataformat, $columns, $rows, fn($record) => $row($record));
