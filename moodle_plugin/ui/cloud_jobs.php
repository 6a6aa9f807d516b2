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
 * The list of cloud jobs.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

use local_manireports\cloud\access;
use local_manireports\cloud\job_actions;
use local_manireports\cloud\job_filter;
use local_manireports\cloud\output\charts;
use local_manireports\cloud\output\jobs_filter_form;
use local_manireports\cloud\output\jobs_list;
use local_manireports\cloud\output\tabs;
use local_manireports\cloud\page;

// The plugin's folder may be a symbolic link, so that __DIR__ leads elsewhere.
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 4) . '/config.php');
require_login(null, false);

$filter = job_filter::from_request();
$pagenumber = max(0, optional_param('page', 0, PARAM_INT));
$sending = optional_param('sending', '', PARAM_ALPHA);
$url = new moodle_url('/local/manireports/ui/cloud_jobs.php', $filter->params() + ($pagenumber ? ['page' => $pagenumber] : []));
page::begin($url, get_string('cloudjobs', 'local_manireports'), access::VIEW);

if ($sending !== '' && confirm_sesskey()) {
    try {
        $done = job_actions::pause_everything($sending === 'pause');
        redirect($url, $done->text, null, \core\output\notification::NOTIFY_INFO);
    } catch (moodle_exception $error) {
        redirect($url, $error->getMessage(), null, \core\output\notification::NOTIFY_ERROR);
    }
}

$output = $PAGE->get_renderer('core');
$list = (new jobs_list($filter, $pagenumber))->export_for_template($output);
$data = [
    'tabs' => (new tabs('jobs'))->export_for_template($output),
    'filter' => $list['nojobs'] ? false : (new jobs_filter_form($filter))->export_for_template($output),
    'list' => $list,
    'charts' => $list['nojobs'] ? false : (new charts($filter->company))->export_for_template($output),
    'download' => !$list['hasjobs'] ? '' : $OUTPUT->download_dataformat_selector(
        get_string('clouddownloadjobs', 'local_manireports'),
        new moodle_url('/local/manireports/ui/cloud_download.php'),
        'dataformat',
        ['what' => 'jobs'] + $filter->params()
    ),
];
$asked = $filter->params() + ['page' => $pagenumber];
$PAGE->requires->js_call_amd('local_manireports/cloud_jobs', 'init', ['local_manireports_cloud_jobs_list', $asked]);

echo $OUTPUT->header();
echo $OUTPUT->render_from_template('local_manireports/cloud_jobs', $data);
echo $OUTPUT->footer();
