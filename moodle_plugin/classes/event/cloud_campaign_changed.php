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
 * Somebody made, changed, queued, cancelled or deleted a campaign.
 *
 * @property-read array $other {
 *      - int companyid: 0 for none
 *      - string action: drafted, edited, queued, cancelled or deleted
 * }
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_campaign_changed extends \core\event\base {
    /**
     * The event of a campaign.
     *
     * @param int $id
     * @param int $company
     * @param string $action
     * @return self to be triggered once the change is committed
     */
    public static function of_campaign(int $id, int $company, string $action): self {
        return self::create([
            'objectid' => $id,
            'context' => \local_manireports\cloud\access::context($company),
            'other' => ['companyid' => $company, 'action' => $action],
        ]);
    }

    /**
     * What the event is about.
     */
    protected function init() {
        $this->data['crud'] = 'u';
        $this->data['edulevel'] = self::LEVEL_OTHER;
        $this->data['objecttable'] = 'manireports_cloud_campaigns';
    }

    /**
     * Its name.
     *
     * @return string
     */
    public static function get_name() {
        return get_string('eventcloudcampaignchanged', 'local_manireports');
    }

    /**
     * What happened.
     *
     * @return string
     */
    public function get_description() {
        return "The user with id '$this->userid' {$this->other['action']} the campaign with id '$this->objectid'"
            . " of the company with id '{$this->other['companyid']}'.";
    }

    /**
     * Where to look at it.
     *
     * @return \moodle_url
     */
    public function get_url() {
        return new \moodle_url('/local/manireports/ui/cloud_campaign.php');
    }

    /**
     * Refuses an event that does not say what it must.
     *
     * @throws \coding_exception
     */
    protected function validate_data() {
        parent::validate_data();
        if (!isset($this->objectid, $this->other['companyid'], $this->other['action'])) {
            throw new \coding_exception('objectid, other[companyid] and other[action] are needed');
        }
    }

    /**
     * Campaigns are in no backup.
     *
     * @return int
     */
    public static function get_objectid_mapping() {
        return self::NOT_MAPPED;
    }

    /**
     * Campaigns are in no backup.
     *
     * @return bool
     */
    public static function get_other_mapping() {
        return false;
    }
}
