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
 * How a company's mail is sent.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

// The plugin's folder may be a symbolic link, so that __DIR__ leads elsewhere.
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 4) . '/config.php');

use local_manireports\cloud\access;
use local_manireports\cloud\company_settings;
use local_manireports\cloud\form\settings_form;
use local_manireports\cloud\output\settings_page;
use local_manireports\cloud\page;
use local_manireports\cloud\settings_rules;
use core\output\notification;

$company = optional_param('company', -1, PARAM_INT);
$action = optional_param('action', '', PARAM_ALPHA);

$url = new moodle_url('/local/manireports/ui/cloud_settings.php', $company >= 0 ? ['company' => $company] : []);
page::begin($url, get_string('cloudsettings', 'local_manireports'), access::CONFIGURE);
$names = access::company_names(access::CONFIGURE);
if ($company < 0) {
    $company = (int)array_key_first($names);
    $url->param('company', $company);
}
access::require(access::CONFIGURE, $company);
if (!isset($names[$company])) {
    throw new moodle_exception('cloudnosuchcompany', 'local_manireports');
}

if ($action !== '') {
    require_sesskey();
    if ($action === 'pause' || $action === 'resume') {
        company_settings::pause($company, $action === 'pause');
        redirect($url, get_string("cloudcompany{$action}d", 'local_manireports'), null, notification::NOTIFY_SUCCESS);
    }
    if ($action === 'newkey') {
        // Shown on the next page, once; until then it is as secret as in the tables.
        $SESSION->local_manireports_newkey = \core\encryption::encrypt(json_encode(
            [$company, ...company_settings::new_callback_key($company)]
        ));
    }
    redirect(new moodle_url($url, [], 'callback'));
}

$form = new settings_form($url, ['company' => $company]);
$data = $form->get_data();
if ($data) {
    $changed = company_settings::save($company, settings_rules::values((array)$data));
    $string = $changed ? 'changessaved' : 'cloudnothingchanged';
    redirect($url, get_string($string, $changed ? 'core' : 'local_manireports'), null, notification::NOTIFY_SUCCESS);
}
$form->show_own();

$newkey = [];
if (isset($SESSION->local_manireports_newkey)) {
    $shown = json_decode(\core\encryption::decrypt($SESSION->local_manireports_newkey), true);
    unset($SESSION->local_manireports_newkey);
    if (is_array($shown) && $shown[0] === $company) {
        $newkey = array_slice($shown, 1);
    }
}
$PAGE->requires->js_call_amd('local_manireports/cloud_settings', 'init', [$company]);

echo $OUTPUT->header();
echo $OUTPUT->render_from_template(
    'local_manireports/cloud_settings',
    (new settings_page($company, $names, $form->render(), $newkey))->export_for_template($PAGE->get_renderer('core'))
);
echo $OUTPUT->footer();
