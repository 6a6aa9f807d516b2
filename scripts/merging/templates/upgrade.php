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
 * The upgrade of both halves of this plugin: each counts its own versions.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

defined('MOODLE_INTERNAL') || die();

/**
 * Runs the steps of the earlier plugin, then those of the cloud half, then makes what is still missing.
 *
 * @param int $oldversion the version of the whole plugin that the site ran
 * @return bool
 */
function xmldb_local_manireports_upgrade($oldversion) {
    require_once(__DIR__ . '/merged/schema.php');
    local_manireports_merged_start((int)$oldversion);
    if ({{earlier_steps}}) {
        require_once(__DIR__ . '/earlier/upgrade.php');
        local_manireports_earlier_upgrade((int)get_config('local_manireports', 'earlierversion'));
    }
    set_config('earlierversion', {{earlier_version}}, 'local_manireports');
    if ({{cloud_steps}}) {
        require_once(__DIR__ . '/cloud/upgrade.php');
        local_manireports_cloud_upgrade((int)get_config('local_manireports', 'cloudversion'));
    }
    local_manireports_merged_complete(__DIR__ . '/install.xml');
    set_config('cloudversion', {{cloud_version}}, 'local_manireports');
    return true;
}

/**
 * Notes, once, which versions of the two halves a site has run before they were one plugin.
 *
 * @param int $oldversion the version of the whole plugin that the site ran
 */
function local_manireports_merged_start(int $oldversion): void {
    global $DB;
    if (get_config('local_manireports', 'cloudversion') !== false) {
        return;
    }
    $dbman = $DB->get_manager();
    $ranearlier = false;
    $earliertables = [
{{earlier_tables}}    ];
    foreach ($earliertables as $name) {
        $ranearlier = $ranearlier || $dbman->table_exists($name);
    }
    $rancloud = $dbman->table_exists('manireports_cloud_sidecar');
    set_config('earlierversion', $ranearlier ? $oldversion : {{earlier_version}}, 'local_manireports');
    set_config('cloudversion', $rancloud && !$ranearlier ? $oldversion : 0, 'local_manireports');
}

/**
 * Notes that a step of the earlier half is done.
 *
 * @param bool $result whether it succeeded
 * @param int|string $version of the step
 * @param mixed ...$ignored type and name of the plugin, and whether the page may end here
 */
function local_manireports_earlier_savepoint($result, $version, ...$ignored): void {
    local_manireports_merged_savepoint('earlierversion', $result, $version);
}

/**
 * Notes that a step of the cloud half is done.
 *
 * @param bool $result whether it succeeded
 * @param int|string $version of the step
 * @param mixed ...$ignored type and name of the plugin, and whether the page may end here
 */
function local_manireports_cloud_savepoint($result, $version, ...$ignored): void {
    local_manireports_merged_savepoint('cloudversion', $result, $version);
}

/**
 * Notes that a step is done; the version of the whole plugin is written by Moodle, at the end.
 *
 * @param string $name of the setting
 * @param bool $result whether it succeeded
 * @param int|string $version of the step
 */
function local_manireports_merged_savepoint(string $name, $result, $version): void {
    if (!$result) {
        throw new upgrade_exception('local_manireports', $version);
    }
    set_config($name, $version, 'local_manireports');
    upgrade_set_timeout();
}
