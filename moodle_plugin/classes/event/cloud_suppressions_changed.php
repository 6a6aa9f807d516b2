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

namespace local_manireports\event;

/**
 * Somebody suppressed addresses, or let them have mail again.
 *
 * @property-read array $other {
 *      - int companyid: 0 for the whole site
 *      - string action: added or removed
 *      - int count: how many entries; never an address
 * }
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_suppressions_changed extends \core\event\base {
    /**
     * The event of a company.
     *
     * @param int $company
     * @param string $action added or removed
     * @param int $count
     * @return self to be triggered once the change is committed
     */
    public static function of_company(int $company, string $action, int $count): self {
        return self::create([
            'context' => \local_manireports\cloud\access::context($company),
            'other' => ['companyid' => $company, 'action' => $action, 'count' => $count],
        ]);
    }

    /**
     * What the event is about.
     */
    protected function init() {
        $this->data['crud'] = 'u';
        $this->data['edulevel'] = self::LEVEL_OTHER;
    }

    /**
     * Its name.
     *
     * @return string
     */
    public static function get_name() {
        return get_string('eventcloudsuppressionschanged', 'local_manireports');
    }

    /**
     * What happened.
     *
     * @return string
     */
    public function get_description() {
        return "The user with id '$this->userid' {$this->other['action']} {$this->other['count']} suppressions"
            . " of the company with id '{$this->other['companyid']}'.";
    }

    /**
     * Where to look at it.
     *
     * @return \moodle_url
     */
    public function get_url() {
        return new \moodle_url('/local/manireports/ui/cloud_suppressions.php', ['company' => $this->other['companyid']]);
    }

    /**
     * Refuses an event that does not say what it must.
     *
     * @throws \coding_exception
     */
    protected function validate_data() {
        parent::validate_data();
        if (!isset($this->other['companyid'], $this->other['action'], $this->other['count'])) {
            throw new \coding_exception('other[companyid], other[action] and other[count] are needed');
        }
    }

    /**
     * Companies are in no backup.
     *
     * @return bool
     */
    public static function get_other_mapping() {
        return false;
    }
}
