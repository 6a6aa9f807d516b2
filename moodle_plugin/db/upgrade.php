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
 * Upgrading, also from an earlier ManiReports that knew no sidecar.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

defined('MOODLE_INTERNAL') || die();

/**
 * Brings the tables of any earlier version to this one.
 *
 * @param int $oldversion
 * @return bool
 */
function xmldb_local_manireports_upgrade($oldversion) {
    global $OUTPUT;

    // What there is to do is seen from the tables themselves: an earlier version may lack some, and its number says little.
    foreach (\local_manireports\cloud\upgrade\earlier::take_over() as $notice) {
        echo $OUTPUT->notification($notice, \core\output\notification::NOTIFY_WARNING);
    }
    \local_manireports\cloud\identity::ensure();
    \local_manireports\cloud\upgrade\capabilities::relevel();
    \local_manireports\cloud\templates::refresh();

    if ($oldversion < 2026112600) {
        upgrade_plugin_savepoint(true, 2026112600, 'local', 'manireports');
    }

    return true;
}
