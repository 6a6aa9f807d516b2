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
 * One job: what became of each of its mails, and what can be done about it.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

use local_manireports\api\cloud_job_manager;
use local_manireports\cloud\access;
use local_manireports\cloud\answers;
use local_manireports\cloud\job_actions;
use local_manireports\cloud\output\job_view;
use local_manireports\cloud\output\tabs;
use local_manireports\cloud\page;
use local_manireports\cloud\recipients;
use local_manireports\cloud\requests;

// The plugin's folder may be a symbolic link, so that __DIR__ leads elsewhere.
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 4) . '/config.php');
require_login(null, false);

$id = required_param('id', PARAM_INT);
$status = optional_param('status', '', PARAM_ALPHANUMEXT);
$text = trim(optional_param('text', '', PARAM_NOTAGS));
$after = optional_param('after', '', PARAM_RAW_TRIMMED);
$before = optional_param('before', '', PARAM_RAW_TRIMMED);
$action = optional_param('action', '', PARAM_ALPHA);
$resend = optional_param('resend', 0, PARAM_INT);
$requestid = optional_param('request', 0, PARAM_INT);

$url = new moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $id]);
page::begin($url, get_string('cloudjobtitle', 'local_manireports', $id), access::VIEW);
$job = cloud_job_manager::read($id);
$PAGE->set_title(get_string('cloudjobtitle', 'local_manireports', $id) . ': ' . s($job->label));
$PAGE->navbar->add(get_string('cloudjobs', 'local_manireports'), new moodle_url('/local/manireports/ui/cloud_jobs.php'));
$PAGE->navbar->add(get_string('cloudjobtitle', 'local_manireports', $id), $url);

// Buttons without JavaScript: ask first, then do it.
if ($action !== '' || $resend) {
    require_sesskey();
    if (optional_param('confirm', false, PARAM_BOOL)) {
        try {
            $done = $resend ? job_actions::resend($resend) : job_actions::perform($id, $action);
            redirect(
                new moodle_url($url, $done->request ? ['request' => $done->request] : []),
                $done->text,
                null,
                \core\output\notification::NOTIFY_INFO
            );
        } catch (moodle_exception $error) {
            redirect($url, $error->getMessage(), null, \core\output\notification::NOTIFY_ERROR);
        }
    }
    access::require(access::MANAGE, (int)$job->company_id);
    $states = recipients::states($id);
    $possible = $resend || in_array($action, job_actions::possible($job, $states), true);
    if (!$possible) {
        redirect($url, get_string('cloudnotpossible', 'local_manireports'), null, \core\output\notification::NOTIFY_ERROR);
    }
    $question = $resend ? get_string('cloudconfirmresend', 'local_manireports') : job_view::button($action, $states)['question'];
    $params = $resend ? ['resend' => $resend] : ['action' => $action];
    $params += ['confirm' => 1, 'sesskey' => sesskey()];
    $yes = new single_button(new moodle_url($url, $params), get_string('continue'), 'post');
    echo $OUTPUT->header();
    echo $OUTPUT->confirm($question, $yes, $url);
    echo $OUTPUT->footer();
    exit;
}

$output = $PAGE->get_renderer('core');
$request = $requestid ? requests::read($requestid) : null;
$data = [
    'tabs' => (new tabs('jobs'))->export_for_template($output),
    'live' => (new job_view($job, $status, $text, $after, $before))->export_for_template($output),
    'answer' => $request && $request->status !== 'new' ? answers::words($request->action, $request->answer) : '',
    'answerfailed' => $request && $request->status === 'failed',
    'waitfor' => $request && $request->status === 'new' ? (int)$request->id : 0,
    'downloads' => [],
];
$shown = ['id' => $id, 'what' => 'recipients'];
$data['downloads'][] = $OUTPUT->download_dataformat_selector(
    get_string('clouddownloadrecipients', 'local_manireports'),
    new moodle_url('/local/manireports/ui/cloud_download.php'),
    'dataformat',
    $shown
);
if ((int)$job->emails_failed) {
    $data['failedurl'] = (new moodle_url('/local/manireports/ui/cloud_download.php', [
        'id' => $id, 'what' => 'failed', 'dataformat' => 'csv', 'sesskey' => sesskey(),
    ]))->out(false);
}
$asked = ['id' => $id, 'status' => $status, 'text' => $text, 'after' => $after, 'before' => $before];
$PAGE->requires->js_call_amd('local_manireports/cloud_jobs', 'init', ['local_manireports_cloud_job_view', $asked]);

echo $OUTPUT->header();
echo $OUTPUT->render_from_template('local_manireports/cloud_job', $data);
echo $OUTPUT->footer();
