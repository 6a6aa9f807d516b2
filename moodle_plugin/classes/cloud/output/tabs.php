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

/**
 * The tabs on top of each of our pages: those that the current user may open.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class tabs implements \renderable, \templatable {
    /** @var array[] page and capability of each tab */
    private const TABS = [
        'jobs' => ['cloud_jobs.php', access::VIEW],
        'search' => ['cloud_search.php', access::VIEW],
        'campaign' => ['cloud_campaign.php', access::CAMPAIGN],
        'suppressions' => ['cloud_suppressions.php', access::VIEW],
        'settings' => ['cloud_settings.php', access::CONFIGURE],
    ];

    /**
     * The tabs.
     *
     * @param string $active the one that is open
     */
    public function __construct(
        /** @var string the one that is open */
        private readonly string $active
    ) {
    }

    /**
     * For local_manireports/cloud_tabs.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        $tabs = [];
        foreach (self::TABS as $name => [$page, $capability]) {
            if (access::companies($capability) === []) {
                continue;
            }
            $tabs[] = [
                'url' => (new \moodle_url("/local/manireports/ui/$page"))->out(false),
                'label' => get_string("cloudtab$name", 'local_manireports'),
                'active' => $name === $this->active,
            ];
        }
        return ['tabs' => $tabs];
    }
}
