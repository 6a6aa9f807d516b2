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
use local_manireports\cloud\job_filter;
use local_manireports\cloud\output\jobs_list;

/**
 * The list of jobs as it is now.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_jobs_list extends cloud_page_part {
    /**
     * What it takes.
     */
    public static function execute_parameters(): external_function_parameters {
        return new external_function_parameters([
            'company' => new external_value(PARAM_INT, 'only this company; -1: all', VALUE_DEFAULT, -1),
            'type' => new external_value(PARAM_ALPHANUMEXT, 'only this type', VALUE_DEFAULT, ''),
            'status' => new external_value(PARAM_ALPHANUMEXT, 'only this status', VALUE_DEFAULT, ''),
            'days' => new external_value(PARAM_INT, 'only jobs of the last so many days', VALUE_DEFAULT, 0),
            'text' => new external_value(PARAM_NOTAGS, 'part of the label, or a number', VALUE_DEFAULT, ''),
            'page' => new external_value(PARAM_INT, 'from 0', VALUE_DEFAULT, 0),
        ]);
    }

    /**
     * Show it.
     *
     * @param int $company
     * @param string $type
     * @param string $status
     * @param int $days
     * @param string $text
     * @param int $page
     * @return array see execute_returns()
     */
    public static function execute(
        int $company = -1,
        string $type = '',
        string $status = '',
        int $days = 0,
        string $text = '',
        int $page = 0
    ): array {
        $params = self::validate_parameters(self::execute_parameters(), compact(
            'company',
            'type',
            'status',
            'days',
            'text',
            'page'
        ));
        $filter = new job_filter(
            $params['company'] < 0 ? null : $params['company'],
            $params['type'],
            $params['status'],
            max(0, $params['days']),
            trim($params['text'])
        );
        $output = self::renderer(new \moodle_url('/local/manireports/ui/cloud_jobs.php', $filter->params()));
        access::require_any(access::VIEW);
        $list = new jobs_list($filter, max(0, $params['page']));
        $data = $list->export_for_template($output);
        return [
            'html' => $output->render_from_template('local_manireports/cloud_jobs_list', $data),
            'running' => $data['running'],
        ];
    }
}
