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

namespace local_manireports\event;

/**
 * Somebody did something to all bulk mail: what those events share. other: request (id of what was asked of the sidecar).
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
abstract class cloud_sending_action extends \core\event\base {
    /**
     * Set what is the same for all.
     */
    protected function init() {
        $this->data['crud'] = 'u';
        $this->data['edulevel'] = self::LEVEL_OTHER;
    }

    /**
     * What it is called.
     *
     * @return string
     */
    public static function get_name() {
        $name = substr(strrchr(static::class, '\\'), 1);
        return get_string('event' . str_replace('_', '', $name), 'local_manireports');
    }

    /**
     * Where it can be seen.
     *
     * @return \moodle_url
     */
    public function get_url() {
        return new \moodle_url('/local/manireports/ui/cloud_jobs.php');
    }

    /**
     * Nothing of it is in a backup.
     *
     * @return bool
     */
    public static function get_other_mapping() {
        return false;
    }
}
