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
 * Addresses that get no bulk mail.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

// The plugin's folder may be a symbolic link, so that __DIR__ leads elsewhere.
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 4) . '/config.php');

use local_manireports\cloud\access;
use local_manireports\cloud\output\suppressions_list;
use local_manireports\cloud\page;
use local_manireports\cloud\suppressions;
use local_manireports\cloud\suppressions_filter;
use core\output\notification;

$filter = suppressions_filter::from_request();
$pagenumber = max(0, optional_param('page', 0, PARAM_INT));
$action = optional_param('action', '', PARAM_ALPHA);

$url = new moodle_url('/local/manireports/ui/cloud_suppressions.php', $filter->params());
page::begin($url, get_string('cloudsuppressions', 'local_manireports'), access::VIEW);

if ($action === 'add') {
    require_sesskey();
    $addresses = suppressions::split(required_param('addresses', PARAM_RAW));
    if (!$addresses || count($addresses) > suppressions::MANY) {
        $said = get_string('cloudsuppresshowmany', 'local_manireports', suppressions::MANY);
        redirect($url, $said, null, notification::NOTIFY_ERROR);
    }
    $done = suppressions::add($addresses, required_param('for', PARAM_INT), required_param('scope', PARAM_ALPHA));
    redirect(
        $url,
        suppressions_list::said($done),
        null,
        $done->wrong ? notification::NOTIFY_WARNING : notification::NOTIFY_SUCCESS
    );
} else if ($action === 'remove') {
    require_sesskey();
    $removed = suppressions::remove(optional_param_array('ids', [], PARAM_INT));
    $url->param('page', $pagenumber);
    redirect($url, get_string('cloudunsuppressed', 'local_manireports', $removed), null, notification::NOTIFY_SUCCESS);
}

$PAGE->requires->js_call_amd('local_manireports/cloud_suppressions', 'init');
$data = (new suppressions_list($filter, $pagenumber, $url))->export_for_template($PAGE->get_renderer('core'));

echo $OUTPUT->header();
echo $OUTPUT->render_from_template('local_manireports/cloud_suppressions', $data);
echo $OUTPUT->footer();
