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
 * Writes a reminder: to whom, what, and when.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

// The plugin's folder may be a symbolic link, so that __DIR__ leads elsewhere.
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 4) . '/config.php');

use local_manireports\cloud\access;
use local_manireports\cloud\campaign_audience;
use local_manireports\cloud\campaigns;
use local_manireports\cloud\form\campaign_form;
use local_manireports\cloud\output\campaign_page;
use local_manireports\cloud\page;
use core\output\notification;

$id = optional_param('id', 0, PARAM_INT);
$copy = optional_param('copy', 0, PARAM_INT);
$company = optional_param('company', -1, PARAM_INT);

$url = new moodle_url('/local/manireports/ui/cloud_campaign_edit.php');
$list = new moodle_url('/local/manireports/ui/cloud_campaign.php');
$title = get_string($id ? 'cloudcampaignedit' : 'cloudcampaignnew', 'local_manireports');
page::begin($url, $title, access::CAMPAIGN);
$names = access::company_names(access::CAMPAIGN);
$campaign = null;
if ($id) {
    $campaign = campaigns::read($id);
    $company = (int)$campaign->company_id;
    $url->param('id', $id);
    if (!in_array($campaign->status, campaigns::EDITABLE, true)) {
        redirect($list, get_string('cloudcampaignmoved', 'local_manireports'), null, notification::NOTIFY_ERROR);
    }
} else {
    $company = $company >= 0 ? $company : (int)array_key_first($names);
    access::require(access::CAMPAIGN, $company);
    if (!isset($names[$company])) {
        throw new moodle_exception('cloudnosuchcompany', 'local_manireports');
    }
    $url->param('company', $company);
}
$PAGE->set_url($url);
$PAGE->navbar->add(get_string('cloudcampaigns', 'local_manireports'), $list);
$PAGE->navbar->add($title, $url);

$form = new campaign_form(
    $url,
    ['company' => $company, 'campaign' => $campaign, 'wish' => random_string(20)],
    'post',
    '',
    ['data-region' => 'campaign']
);
$data = $form->get_data();
if ($data) {
    // Without JavaScript nobody was asked: it is kept, and can be sent from the list.
    $send = optional_param('go', '', PARAM_ALPHA) === 'send' && optional_param('confirmed', false, PARAM_BOOL);
    $text = campaign_form::written($data);
    try {
        if ($campaign) {
            campaigns::edit($id, $text, (int)$data->sendat);
            $count = $send ? campaigns::queue($id) : 0;
        } else {
            core_php_time_limit::raise(300);
            $audience = new campaign_audience($company, array_map('intval', $data->courses ?? []), $data->days);
            $count = campaigns::create($audience, $text, (int)$data->sendat, !$send, $data->wish)->count;
        }
        $said = get_string($send ? 'cloudcampaignqueued' : 'cloudcampaignkept', 'local_manireports', $count);
        redirect($list, $said, null, notification::NOTIFY_SUCCESS);
    } catch (moodle_exception $error) {
        \core\notification::error($error->getMessage());
    }
} else if (!$form->is_submitted()) {
    $form->set_data(campaign_page::begin_with($campaign ?? ($copy ? campaigns::read($copy) : null)));
}
$PAGE->requires->js_call_amd('local_manireports/cloud_campaign', 'init');

echo $OUTPUT->header();
echo $OUTPUT->render_from_template(
    'local_manireports/cloud_campaign',
    (new campaign_page($company, $campaign, $names, $form->render()))->export_for_template($PAGE->get_renderer('core'))
);
echo $OUTPUT->footer();
