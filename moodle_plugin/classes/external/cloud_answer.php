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

namespace local_manireports\external;

use core_external\external_api;
use core_external\external_single_structure;
use core_external\external_value;

/**
 * What services answer that ask something of the sidecar, or look for its answer.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
abstract class cloud_answer extends external_api {
    /**
     * The answer of a service.
     *
     * @param int $request to be asked for later; 0 if there is nothing to wait for
     * @param string $status new, done or failed
     * @param string $text what to say, as plain text
     * @param \moodle_url|null $url where it leads
     */
    protected static function answer(int $request, string $status, string $text, ?\moodle_url $url = null): array {
        return ['request' => $request, 'status' => $status, 'text' => $text, 'url' => $url ? $url->out(false) : ''];
    }

    /**
     * What comes back.
     */
    public static function execute_returns(): external_single_structure {
        return new external_single_structure([
            'request' => new external_value(PARAM_INT, 'id of the request; 0: there is nothing to wait for'),
            'status' => new external_value(PARAM_ALPHA, 'new, done or failed'),
            'text' => new external_value(PARAM_RAW, 'what to say, as plain text'),
            'url' => new external_value(PARAM_URL, 'where it leads; empty: nowhere'),
        ]);
    }
}
