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
 * Reminders that people wrote, and what became of them.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

// The plugin's folder may be a symbolic link, so that __DIR__ leads elsewhere.
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 4) . '/config.php');

use local_manireports\cloud\access;
use local_manireports\cloud\campaigns;
use local_manireports\cloud\output\campaign_list;
use local_manireports\cloud\page;
use core\output\notification;

$pagenumber = max(0, optional_param('page', 0, PARAM_INT));
$action = optional_param('action', '', PARAM_ALPHA);

$url = new moodle_url('/local/manireports/ui/cloud_campaign.php', $pagenumber ? ['page' => $pagenumber] : []);
page::begin($url, get_string('cloudcampaigns', 'local_manireports'), access::CAMPAIGN);

if ($action !== '') {
    require_sesskey();
    $id = required_param('id', PARAM_INT);
    $kind = notification::NOTIFY_SUCCESS;
    try {
        $said = match ($action) {
            'queue' => get_string('cloudcampaignqueued', 'local_manireports', campaigns::queue($id)),
            'cancel' => get_string(
                campaigns::cancel($id) ? 'cloudcampaigncancelasked' : 'cloudcampaigncancelled',
                'local_manireports'
            ),
            'delete' => campaigns::delete($id) ?? get_string('cloudcampaigndeleted', 'local_manireports'),
            default => throw new moodle_exception('invalidaction'),
        };
    } catch (moodle_exception $error) {
        $said = $error->getMessage();
        $kind = notification::NOTIFY_ERROR;
    }
    redirect($url, $said, null, $kind);
}

$PAGE->requires->js_call_amd('local_manireports/cloud_confirm', 'init');
$data = (new campaign_list($pagenumber, $url))->export_for_template($PAGE->get_renderer('core'));

echo $OUTPUT->header();
echo $OUTPUT->render_from_template('local_manireports/cloud_campaigns', $data);
echo $OUTPUT->footer();
