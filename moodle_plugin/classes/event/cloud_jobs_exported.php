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
 * Somebody downloaded jobs, or recipients of a job. other: what (jobs, recipients, failed, person), format; jobid of a job.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_jobs_exported extends \core\event\base {
    /**
     * Set what is the same for all.
     */
    protected function init() {
        $this->data['crud'] = 'r';
        $this->data['edulevel'] = self::LEVEL_OTHER;
    }

    /**
     * What it is called.
     *
     * @return string
     */
    public static function get_name() {
        return get_string('eventcloudjobsexported', 'local_manireports');
    }

    /**
     * What happened.
     *
     * @return string
     */
    public function get_description() {
        $of = empty($this->other['jobid']) ? '' : " of the job with id '{$this->other['jobid']}'";
        return "The user with id '$this->userid' downloaded {$this->other['what']}$of as {$this->other['format']}.";
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
