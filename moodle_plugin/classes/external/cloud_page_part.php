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
 * What services answer that refresh the living part of a page.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
abstract class cloud_page_part extends external_api {
    /**
     * A renderer for the part; its links are those of the page that shows it.
     *
     * @param \moodle_url $url of the page
     */
    protected static function renderer(\moodle_url $url): \renderer_base {
        global $PAGE;
        self::validate_context(\core\context\system::instance());
        $PAGE->set_url($url);
        return $PAGE->get_renderer('core');
    }

    /**
     * What comes back.
     */
    public static function execute_returns(): external_single_structure {
        return new external_single_structure([
            'html' => new external_value(PARAM_RAW, 'the living part of the page'),
            'running' => new external_value(PARAM_BOOL, 'whether something is about to change'),
        ]);
    }
}
