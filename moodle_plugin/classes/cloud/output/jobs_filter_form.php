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

namespace local_manireports\cloud\output;

use local_manireports\api\cloud_job_manager;
use local_manireports\cloud\access;
use local_manireports\cloud\job_filter;
use local_manireports\cloud\vocabulary;

/**
 * The form above the list of jobs.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class jobs_filter_form implements \renderable, \templatable {
    /**
     * The form.
     *
     * @param job_filter $filter what is chosen
     */
    public function __construct(
        /** @var job_filter what is chosen */
        private readonly job_filter $filter
    ) {
    }

    /**
     * For local_manireports/cloud_jobs_filter.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        $filter = $this->filter;
        $selects = [];
        $companies = access::company_names(access::VIEW);
        if (count($companies) > 1) {
            $selects[] = self::select('company', 'cloudallcompanies', $companies, $filter->company);
        }
        $selects[] = self::select('type', 'cloudalltypes', array_map('s', cloud_job_manager::types()), $filter->type ?: null);
        $statuses = [
            job_filter::RUNNING => get_string('cloudstatusrunning', 'local_manireports'),
            job_filter::WITH_FAILURES => get_string('cloudstatusfailures', 'local_manireports'),
        ];
        foreach (vocabulary::JOB_STATES as $state) {
            $statuses[$state] = vocabulary::state($state);
        }
        $selects[] = self::select('status', 'cloudallstatuses', $statuses, $filter->status ?: null);
        $periods = [];
        foreach (job_filter::PERIODS as $days) {
            $periods[$days] = $days === 1
                ? get_string('cloudlastday', 'local_manireports')
                : get_string('cloudlastdays', 'local_manireports', $days);
        }
        $selects[] = self::select('days', 'cloudanytime', $periods, $filter->days ?: null);
        return [
            'action' => (new \moodle_url('/local/manireports/ui/cloud_jobs.php'))->out(false),
            'selects' => $selects,
            'text' => $filter->text,
            'filtered' => (bool)$filter->params(),
        ];
    }

    /**
     * A choice.
     *
     * @param string $name
     * @param string $all name of the string that says that nothing is chosen
     * @param string[] $options labels, as HTML, by value
     * @param int|string|null $chosen null: nothing
     */
    public static function select(string $name, string $all, array $options, $chosen): array {
        $exported = [['value' => '', 'label' => get_string($all, 'local_manireports'), 'selected' => $chosen === null]];
        foreach ($options as $value => $label) {
            $selected = $chosen !== null && (string)$value === (string)$chosen;
            $exported[] = ['value' => $value, 'label' => $label, 'selected' => $selected];
        }
        return ['name' => $name, 'label' => get_string("cloudfilter$name", 'local_manireports'), 'options' => $exported];
    }
}
