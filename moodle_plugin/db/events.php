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
 * Observers: the running bulk operation is noted, one row a request; mail texts follow the language packs.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

defined('MOODLE_INTERNAL') || die();

$observers = [
    [
        'eventname' => '\core\event\user_created',
        'callback' => '\local_manireports\observers\user_observer::user_created',
    ],
    [
        // Only IOMAD fires it.
        'eventname' => '\block_iomad_company_admin\event\user_license_assigned',
        'callback' => '\local_manireports\observers\user_observer::user_license_assigned',
    ],
    [
        'eventname' => '\local_manireports\event\reengagement_campaign_triggered',
        'callback' => '\local_manireports\observers\reengagement_observer::campaign_triggered',
    ],
    [
        'eventname' => '\tool_langimport\event\langpack_imported',
        'callback' => '\local_manireports\cloud\templates::language_packs_changed',
    ],
    [
        'eventname' => '\tool_langimport\event\langpack_updated',
        'callback' => '\local_manireports\cloud\templates::language_packs_changed',
    ],
    [
        'eventname' => '\tool_langimport\event\langpack_removed',
        'callback' => '\local_manireports\cloud\templates::language_packs_changed',
    ],
];
