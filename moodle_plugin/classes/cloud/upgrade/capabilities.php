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

namespace local_manireports\cloud\upgrade;

use core\context\system;
use local_manireports\cloud\access;

/**
 * Moves our capabilities to where they belong when IOMAD joins a Moodle, or leaves it (db/access.php).
 *
 * Moodle itself changes the level of a capability, but gives it to roles only when it is new.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class capabilities {
    /** @var string setting that remembers that roles are still to be given their capabilities */
    private const OPEN = 'cloudrolesopen';

    /**
     * Changes the level where it is not that of this site, and then gives the roles of that level what is theirs.
     *
     * What an admin takes from a role later stays taken.
     */
    public static function relevel(): void {
        global $CFG, $DB;
        require_once($CFG->libdir . '/accesslib.php');
        $wanted = load_capability_def('local_manireports');
        $stored = $DB->get_records_menu('capabilities', ['component' => 'local_manireports'], '', 'name, contextlevel');
        foreach (self::ours() as $name) {
            if (isset($stored[$name]) && (int)$stored[$name] !== $wanted[$name]['contextlevel']) {
                set_config(self::OPEN, 1, 'local_manireports');
            }
        }
        if (!get_config('local_manireports', self::OPEN)) {
            return;
        }
        update_capabilities('local_manireports');
        $given = false;
        foreach (self::ours() as $name) {
            foreach ($wanted[$name]['archetypes'] as $archetype => $permission) {
                foreach (get_archetype_roles($archetype) as $role) {
                    assign_capability($name, $permission, $role->id, system::instance());
                    $given = true;
                }
            }
        }
        if ($given) {
            unset_config(self::OPEN, 'local_manireports');
        }
    }

    /**
     * Names of our capabilities.
     *
     * @return string[]
     */
    private static function ours(): array {
        return [access::VIEW, access::MANAGE, access::CONFIGURE, access::CAMPAIGN];
    }
}
