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

use local_manireports\cloud\access;
use local_manireports\cloud\page;
use local_manireports\cloud\suppressions;
use local_manireports\cloud\suppressions_filter;
use local_manireports\cloud\vocabulary;

/**
 * The list of suppressed addresses, and the form to add some.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class suppressions_list implements \renderable, \templatable {
    /** @var int entries on a page */
    private const SIZE = 50;

    /** @var int texts that are no addresses which are named */
    private const NAMED = 10;

    /**
     * A page of the list.
     *
     * @param suppressions_filter $filter
     * @param int $page from 0
     * @param \moodle_url $url of the list with its filter
     */
    public function __construct(
        /** @var suppressions_filter which of them */
        private readonly suppressions_filter $filter,
        /** @var int from 0 */
        private readonly int $page,
        /** @var \moodle_url of the list with its filter */
        private readonly \moodle_url $url
    ) {
    }

    /**
     * What came of adding addresses, as HTML.
     *
     * @param \stdClass $done as {@see suppressions::add} answers
     */
    public static function said(\stdClass $done): string {
        $said = [get_string('cloudsuppressed', 'local_manireports', vocabulary::number($done->added))];
        if ($done->known) {
            $said[] = get_string('cloudsuppressedknown', 'local_manireports', vocabulary::number($done->known));
        }
        if ($done->wrong) {
            $named = array_map(fn($text) => s(shorten_text($text, 80, true)), array_slice($done->wrong, 0, self::NAMED));
            $more = count($done->wrong) > self::NAMED ? ' …' : '';
            $said[] = get_string('cloudsuppressedwrong', 'local_manireports', implode(', ', $named) . $more);
        }
        return implode(' ', $said);
    }

    /**
     * For local_manireports/cloud_suppressions.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        $names = access::company_names(access::VIEW);
        $changeable = $this->places(access::company_names(access::MANAGE));
        $count = suppressions::count($this->filter);
        $entries = array_map(
            fn($row) => $this->entry($row, $names),
            array_values(suppressions::page($this->filter, $this->page, self::SIZE))
        );
        return [
            'tabs' => (new tabs('suppressions'))->export_for_template($output),
            'action' => (new \moodle_url('/local/manireports/ui/cloud_suppressions.php'))->out(false),
            'url' => $this->url->out(false),
            'page' => $this->page,
            'sesskey' => sesskey(),
            'selects' => $this->selects($names),
            'text' => $this->filter->text,
            'filtered' => (bool)$this->filter->params(),
            'entries' => $entries,
            'hasentries' => (bool)$entries,
            'anyremovable' => in_array(true, array_column($entries, 'removable'), true),
            'total' => vocabulary::number($count),
            'paging' => $output->paging_bar($count, $this->page, self::SIZE, $this->url),
            'places' => $changeable,
            'canadd' => (bool)$changeable,
            'scopes' => array_map(fn($scope) => [
                'value' => $scope,
                'label' => get_string("cloudscope_$scope", 'local_manireports'),
            ], suppressions::SCOPES),
            'many' => suppressions::MANY,
        ];
    }

    /**
     * A row.
     *
     * @param \stdClass $row
     * @param string[] $names of companies
     */
    private function entry(\stdClass $row, array $names): array {
        $company = (int)$row->company_id;
        $hashed = str_starts_with($row->email, suppressions::HASHED);
        $job = (int)$row->job_id;
        $reasonkey = "cloudsuppressed_$row->reason";
        $known = in_array($row->reason, suppressions::REASONS, true);
        return [
            'id' => (int)$row->id,
            'email' => $hashed ? get_string('cloudsuppressedhash', 'local_manireports') : $row->email,
            'hashed' => $hashed,
            'place' => $company ? ($names[$company] ?? "#$company") : get_string('cloudwholesite', 'local_manireports'),
            'scope' => get_string($row->scope === 'campaigns' ? 'cloudscope_campaigns' : 'cloudscope_all', 'local_manireports'),
            'reason' => $known ? get_string($reasonkey, 'local_manireports') : $row->reason,
            'since' => page::moment($row->created_at),
            'job' => $job && access::can(access::VIEW, $company) ? [
                'id' => $job,
                'joburl' => (new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $job]))->out(false),
            ] : false,
            'removable' => suppressions::can_change($company),
        ];
    }

    /**
     * The choices of the filter.
     *
     * @param string[] $names of companies
     */
    private function selects(array $names): array {
        $reasons = [['value' => '', 'label' => get_string('cloudanyreason', 'local_manireports'), 'selected' => false]];
        foreach (suppressions::REASONS as $reason) {
            $reasons[] = [
                'value' => $reason,
                'label' => get_string("cloudsuppressed_$reason", 'local_manireports'),
                'selected' => $reason === $this->filter->reason,
            ];
        }
        $selects = [['name' => 'reason', 'label' => get_string('cloudcolumnreason', 'local_manireports'), 'options' => $reasons]];
        if (count($names) > 1) {
            $options = array_merge(
                [['value' => '', 'label' => get_string('cloudanywhere', 'local_manireports'), 'selected' => false]],
                $this->places($names, $this->filter->company)
            );
            array_unshift($selects, [
                'name' => 'company',
                'label' => get_string('cloudfiltercompany', 'local_manireports'),
                'options' => $options,
            ]);
        }
        return $selects;
    }

    /**
     * Companies to choose from; 0 is the whole site.
     *
     * @param string[] $names formatted
     * @param int $selected
     */
    private function places(array $names, int $selected = -1): array {
        $places = [];
        foreach ($names as $id => $name) {
            $places[] = [
                'value' => $id,
                'label' => $id ? $name : get_string('cloudwholesite', 'local_manireports'),
                'selected' => $id === $selected,
            ];
        }
        return $places;
    }
}
