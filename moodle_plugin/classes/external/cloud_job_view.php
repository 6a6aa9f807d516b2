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
use local_manireports\api\cloud_job_manager;
use local_manireports\cloud\output\job_view;

/**
 * A job as it is now.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_job_view extends cloud_page_part {
    /**
     * What it takes.
     */
    public static function execute_parameters(): external_function_parameters {
        return new external_function_parameters([
            'id' => new external_value(PARAM_INT, 'the job'),
            'status' => new external_value(PARAM_ALPHANUMEXT, 'only recipients in this state', VALUE_DEFAULT, ''),
            'text' => new external_value(PARAM_NOTAGS, 'only recipients with this in name or address', VALUE_DEFAULT, ''),
            'after' => new external_value(PARAM_RAW_TRIMMED, 'cursor of the row before the page', VALUE_DEFAULT, ''),
            'before' => new external_value(PARAM_RAW_TRIMMED, 'cursor of the row behind the page', VALUE_DEFAULT, ''),
        ]);
    }

    /**
     * Show it.
     *
     * @param int $id
     * @param string $status
     * @param string $text
     * @param string $after
     * @param string $before
     * @return array see execute_returns()
     */
    public static function execute(
        int $id,
        string $status = '',
        string $text = '',
        string $after = '',
        string $before = ''
    ): array {
        $params = self::validate_parameters(self::execute_parameters(), compact('id', 'status', 'text', 'after', 'before'));
        $output = self::renderer(new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $params['id']]));
        $job = cloud_job_manager::read($params['id']);
        $view = new job_view($job, $params['status'], trim($params['text']), $params['after'], $params['before']);
        $data = $view->export_for_template($output);
        return [
            'html' => $output->render_from_template('local_manireports/cloud_job_live', $data),
            'running' => $data['running'],
        ];
    }
}
