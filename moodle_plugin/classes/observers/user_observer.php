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

namespace local_manireports\observers;

use local_manireports\api\email_interceptor;
use local_manireports\api\license_allocation_handler;

/**
 * Hears of users that are created and licences that are allocated.
 *
 * Nothing of it may slow down or break the action that fired the event: any failure is swallowed and logged.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class user_observer {
    /**
     * A user was created.
     *
     * @param \core\event\base $event
     */
    public static function user_created(\core\event\base $event): void {
        email_interceptor::guarded(fn() => email_interceptor::user_created($event));
    }

    /**
     * IOMAD gave a user a licence.
     *
     * @param \core\event\base $event
     */
    public static function user_license_assigned(\core\event\base $event): void {
        email_interceptor::guarded(fn() => license_allocation_handler::assigned($event));
    }
}
