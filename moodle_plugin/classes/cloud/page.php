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

namespace local_manireports\cloud;

/**
 * What our pages share: who may come, where they stand, how they look.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class page {
    /**
     * Begin a page: everybody who holds the capability for any company may come.
     *
     * @param \moodle_url $url
     * @param string $title
     * @param string $capability one of {@see access}
     * @throws \required_capability_exception
     */
    public static function begin(\moodle_url $url, string $title, string $capability): void {
        global $PAGE;
        require_login(null, false);
        $PAGE->set_context(\core\context\system::instance());
        $PAGE->set_url($url);
        $PAGE->set_pagelayout('report');
        access::require_any($capability);
        $PAGE->set_title($title);
        $PAGE->set_heading(get_string('cloudmail', 'local_manireports'));
        $PAGE->add_body_class('local-manireports-cloud');
    }

    /**
     * A moment as people read it: with the year only where it is another one.
     *
     * @param int|string|null $time Unix seconds; nothing: never
     */
    public static function time($time): string {
        if (!$time) {
            return '';
        }
        $thisyear = userdate((int)$time, '%Y') === userdate(time(), '%Y');
        return userdate((int)$time, get_string($thisyear ? 'cloudtime' : 'cloudtimeyear', 'local_manireports'));
    }

    /**
     * A moment for a time element.
     *
     * @param int|string|null $time Unix seconds; nothing: never
     * @return array|null iso and text; null for never
     */
    public static function moment($time): ?array {
        return $time ? ['iso' => gmdate('Y-m-d\TH:i:s\Z', (int)$time), 'text' => self::time($time)] : null;
    }
}
