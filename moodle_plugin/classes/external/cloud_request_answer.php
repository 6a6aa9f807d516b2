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

use core_external\external_function_parameters;
use core_external\external_value;
use local_manireports\cloud\access;
use local_manireports\cloud\answers;
use local_manireports\cloud\requests;

/**
 * What the sidecar answered to a request of the current user, so far.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_request_answer extends cloud_answer {
    /**
     * What it takes.
     */
    public static function execute_parameters(): external_function_parameters {
        return new external_function_parameters(['id' => new external_value(PARAM_INT, 'the request')]);
    }

    /**
     * Look for it.
     *
     * @param int $id
     * @return array see execute_returns()
     * @throws \moodle_exception if it is not a request of theirs
     */
    public static function execute(int $id): array {
        $params = self::validate_parameters(self::execute_parameters(), ['id' => $id]);
        self::validate_context(\core\context\system::instance());
        access::require_any(access::VIEW);
        $request = requests::read($params['id']);
        if (!$request) {
            throw new \moodle_exception('cloudnorequest', 'local_manireports');
        }
        if ($request->status === 'new') {
            return self::answer($request->id, 'new', get_string('cloudasked', 'local_manireports'));
        }
        $status = $request->status === 'done' ? 'done' : 'failed';
        return self::answer(0, $status, answers::words($request->action, $request->answer), answers::url($request->answer));
    }
}
