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
 * Site administration: our pages, and what holds for the whole site.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

defined('MOODLE_INTERNAL') || die();

$ADMIN->add('localplugins', new admin_category('local_manireports_cloud', new lang_string('cloudmail', 'local_manireports')));

$manireportspages = [
    'jobs' => \local_manireports\cloud\access::VIEW,
    'settings' => \local_manireports\cloud\access::CONFIGURE,
    'campaign' => \local_manireports\cloud\access::CAMPAIGN,
    'suppressions' => \local_manireports\cloud\access::VIEW,
];
foreach ($manireportspages as $manireportspage => $manireportscapability) {
    $ADMIN->add('local_manireports_cloud', new admin_externalpage(
        "local_manireports_cloud_$manireportspage",
        new lang_string("cloud$manireportspage", 'local_manireports'),
        new moodle_url("/local/manireports/ui/cloud_$manireportspage.php"),
        $manireportscapability
    ));
}

if ($hassiteconfig) {
    $manireportssite = new admin_settingpage(
        'local_manireports_cloud_site',
        new lang_string('cloudsitesettings', 'local_manireports')
    );
    $manireportssite->add(new admin_setting_configtext(
        'local_manireports/retentiondays',
        new lang_string('cloudretentiondays', 'local_manireports'),
        new lang_string('cloudretentiondays_desc', 'local_manireports'),
        180,
        '/^(0|[3-9][0-9]|[1-9][0-9]{2,3})$/',
        6
    ));
    $ADMIN->add('local_manireports_cloud', $manireportssite);
}
