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
 * Did this person get their mail?
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

use local_manireports\cloud\access;
use local_manireports\cloud\output\person_search;
use local_manireports\cloud\output\tabs;
use local_manireports\cloud\page;

// The plugin's folder may be a symbolic link, so that __DIR__ leads elsewhere.
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 4) . '/config.php');
require_login(null, false);

$text = trim(optional_param('text', '', PARAM_NOTAGS));
$userid = max(0, optional_param('userid', 0, PARAM_INT));
$below = max(0, optional_param('below', 0, PARAM_INT));

$params = array_filter(['text' => $text, 'userid' => $userid, 'below' => $below]);
page::begin(
    new moodle_url('/local/manireports/ui/cloud_search.php', $params),
    get_string('cloudsearch', 'local_manireports'),
    access::VIEW
);
$output = $PAGE->get_renderer('core');
$data = ['tabs' => (new tabs('search'))->export_for_template($output)]
    + (new person_search($text, $userid, $below))->export_for_template($output);
if (!empty($data['hasmails'])) {
    $data['download'] = $OUTPUT->download_dataformat_selector(
        get_string('clouddownloadmails', 'local_manireports'),
        new moodle_url('/local/manireports/ui/cloud_download.php'),
        'dataformat',
        array_filter(['what' => 'person', 'text' => $text, 'userid' => $userid])
    );
}
$PAGE->requires->js_call_amd('local_manireports/cloud_jobs', 'init', ['', new stdClass()]);

echo $OUTPUT->header();
echo $OUTPUT->render_from_template('local_manireports/cloud_search', $data);
echo $OUTPUT->footer();
