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

namespace local_manireports\check;

use core\check\check;
use core\check\result;

/**
 * Status check: companies that an earlier ManiReports served wait to be enabled.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_takenover extends check {
    #[\Override]
    public function get_name(): string {
        return get_string('cloudchecktakenover', 'local_manireports');
    }

    #[\Override]
    public function get_action_link(): ?\action_link {
        $url = new \moodle_url('/local/manireports/ui/cloud_settings.php');
        return new \action_link($url, get_string('cloudsettings', 'local_manireports'));
    }

    #[\Override]
    public function get_result(): result {
        global $DB;
        $taken = array_filter(explode(',', (string)get_config('local_manireports', 'cloudtakenover')), 'strlen');
        if (!$taken) {
            return new result(result::NA, get_string('cloudchecknottakenover', 'local_manireports'));
        }
        [$in, $params] = $DB->get_in_or_equal($taken, SQL_PARAMS_NAMED);
        $where = "enabled = 0 AND company_id $in";
        $off = $DB->count_records_select('manireports_cloud_company_settings', $where, $params);
        if (!$off) {
            return new result(result::OK, get_string('cloudcheckalltakenover', 'local_manireports'));
        }
        return new result(result::WARNING, get_string('cloudtakenovernotice', 'local_manireports', $off));
    }
}
