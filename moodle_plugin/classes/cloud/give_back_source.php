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
 * How rows of one source become Moodle's again.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
abstract class give_back_source {
    /**
     * The way back of a source; null if there is none.
     *
     * @param string $name
     */
    public static function of(string $name): ?self {
        switch ($name) {
            case 'iomad_mail':
                return new give_back_iomad_mail();
            case 'new_users':
                return new give_back_new_users();
            case 'campaigns':
                return new give_back_campaigns();
            default:
                return null;
        }
    }

    /**
     * Gives rows back that still carry our mark. Called inside a transaction.
     *
     * @param \stdClass[] $rows by source_id: source_id, source_stamp, created_at (our mark), userid, recipient_data
     * @return int[] the ids under which those that went back wait there now
     */
    abstract public function return(array $rows): array;
}
