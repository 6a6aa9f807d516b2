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
use local_manireports\cloud\requests;
use local_manireports\cloud\settings_requests;

/**
 * What the sidecar answered about a company's settings, so far.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_settings_answer extends external_api {
    /**
     * What it takes.
     */
    public static function execute_parameters(): external_function_parameters {
        return new external_function_parameters(['request' => new external_value(PARAM_INT, 'the request')]);
    }

    /**
     * Look for it.
     *
     * @param int $request
     * @return array see execute_returns()
     * @throws \moodle_exception if it is not a request of theirs
     */
    public static function execute(int $request): array {
        global $PAGE;
        $params = self::validate_parameters(self::execute_parameters(), ['request' => $request]);
        self::validate_context(\core\context\system::instance());
        $found = requests::read($params['request']);
        if (!$found || !in_array($found->action, settings_requests::ACTIONS, true)) {
            throw new \moodle_exception('cloudnorequest', 'local_manireports');
        }
        access::require(access::CONFIGURE, (int)($found->params->company ?? 0));
        $answer = settings_requests::answer($found);
        $html = $PAGE->get_renderer('core')->render_from_template('local_manireports/cloud_settings_answer', $answer);
        return ['waiting' => $answer['waiting'], 'html' => $html];
    }

    /**
     * What comes back.
     */
    public static function execute_returns(): external_single_structure {
        return new external_single_structure([
            'waiting' => new external_value(PARAM_BOOL, 'whether there is more to come'),
            'html' => new external_value(PARAM_RAW, 'what to show'),
        ]);
    }
}
