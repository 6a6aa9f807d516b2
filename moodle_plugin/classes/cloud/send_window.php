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
 * The hours in which a company's mail may leave, as the sidecar reads them (its send_window.py).
 *
 * [DAYS] HH:MM-HH:MM[, ...] ZONE, as in "mon-fri 07:00-12:00, sat 22:00-02:00 Europe/London".
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class send_window {
    /** @var string lifts the hours of the site's defaults */
    public const ALWAYS = 'always';

    /** @var string[] days as they are written */
    private const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];

    /** @var string one of the parts between commas */
    private const PART = '/^(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?(\d{1,2}:\d\d)\s*-\s*(\d{1,2}:\d\d)$/';

    /**
     * What is wrong with a window.
     *
     * @param string $text
     * @return string for the admin; empty: nothing
     */
    public static function complaint(string $text): string {
        $text = trim($text);
        if ($text === '' || $text === self::ALWAYS) {
            return '';
        }
        $blank = strrpos($text, ' ');
        $zone = $blank === false ? $text : substr($text, $blank + 1);
        if (!in_array($zone, \DateTimeZone::listIdentifiers(\DateTimeZone::ALL_WITH_BC), true)) {
            return get_string('cloudwindowzone', 'local_manireports', s($zone));
        }
        foreach (explode(',', $blank === false ? '' : substr($text, 0, $blank)) as $part) {
            $part = strtolower(trim($part));
            if (!preg_match(self::PART, $part, $found)) {
                return get_string('cloudwindowpart', 'local_manireports', s($part));
            }
            foreach (array_filter([$found[1], $found[2]]) as $day) {
                if (!in_array($day, self::DAYS, true)) {
                    return get_string('cloudwindowday', 'local_manireports', s($day));
                }
            }
            foreach ([$found[3], $found[4]] as $clock) {
                if (!self::is_time($clock)) {
                    return get_string('cloudwindowtime', 'local_manireports', s($clock));
                }
            }
        }
        return '';
    }

    /**
     * Whether it is a time of day; midnight may be 24:00.
     *
     * @param string $clock digits, a colon, two digits
     */
    private static function is_time(string $clock): bool {
        [$hour, $minute] = array_map('intval', explode(':', $clock));
        return ($hour < 24 && $minute < 60) || ($hour === 24 && $minute === 0);
    }
}
