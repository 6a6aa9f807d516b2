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
use core_external\external_function_parameters;
use core_external\external_single_structure;
use core_external\external_value;
use local_manireports\cloud\access;
use local_manireports\cloud\settings_requests;

/**
 * Asks the sidecar something about a company's settings.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_settings_ask extends external_api {
    /**
     * What it takes.
     */
    public static function execute_parameters(): external_function_parameters {
        return new external_function_parameters([
            'company' => new external_value(PARAM_INT, 'the company; 0 for mail without one'),
            'what' => new external_value(PARAM_ALPHAEXT, 'test_connection, test_mail or observe'),
        ]);
    }

    /**
     * Ask it.
     *
     * @param int $company
     * @param string $what
     * @return array see execute_returns()
     */
    public static function execute(int $company, string $what): array {
        $params = self::validate_parameters(self::execute_parameters(), ['company' => $company, 'what' => $what]);
        self::validate_context(\core\context\system::instance());
        access::require(access::CONFIGURE, $params['company']);
        return ['request' => settings_requests::ask($params['company'], $params['what'])];
    }

    /**
     * What comes back.
     */
    public static function execute_returns(): external_single_structure {
        return new external_single_structure([
            'request' => new external_value(PARAM_INT, 'id of the request, for cloud_settings_answer; 0: no sidecar is there'),
        ]);
    }
}
