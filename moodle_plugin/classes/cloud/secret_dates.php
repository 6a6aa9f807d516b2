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
 * When secrets of companies were set, for they are never shown again. Our own table has no place for it.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class secret_dates {
    /**
     * Note that secrets were set or removed now.
     *
     * @param int $company
     * @param array $stored what is stored now, encrypted; null where it was removed
     */
    public static function note(int $company, array $stored): void {
        if (!$stored) {
            return;
        }
        $dates = self::read($company);
        foreach ($stored as $column => $value) {
            unset($dates[$column]);
            if ($value !== null) {
                $dates[$column] = [time(), self::mark($value)];
            }
        }
        set_config("cloudsecrets$company", $dates ? json_encode($dates) : null, 'local_manireports');
    }

    /**
     * When a secret was set, as far as we know.
     *
     * @param int $company
     * @param string $column
     * @param string $stored what is stored now, encrypted
     * @return int Unix seconds; 0: somebody else set it, such as the sidecar's own command
     */
    public static function of(int $company, string $column, string $stored): int {
        [$time, $mark] = self::read($company)[$column] ?? [0, ''];
        return $mark === self::mark($stored) ? (int)$time : 0;
    }

    /**
     * Everything noted of a company.
     *
     * @param int $company
     */
    private static function read(int $company): array {
        $noted = json_decode((string)get_config('local_manireports', "cloudsecrets$company"), true);
        return is_array($noted) ? $noted : [];
    }

    /**
     * Tells one stored value from another without saying anything of either.
     *
     * @param string $stored encrypted
     */
    private static function mark(string $stored): string {
        return substr(hash('sha256', $stored), 0, 16);
    }
}
