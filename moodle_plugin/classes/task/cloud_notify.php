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

namespace local_manireports\task;

use local_manireports\cloud\notifications;

/**
 * Tells whoever started a job that it has finished.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_notify extends \core\task\scheduled_task {
    #[\Override]
    public function get_name() {
        return get_string('cloudtasknotify', 'local_manireports');
    }

    #[\Override]
    public function execute() {
        $number = notifications::send_due();
        if ($number) {
            mtrace("... $number people told that their job has finished");
        }
    }
}
