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
 * Somebody let a campaign go: its recipients wait in the outbox.
 *
 * @property-read array $other {
 *      - int companyid: the company, 0 for none
 *      - string type: the type of its job, such as reengagement
 *      - int count: how many recipients were queued
 * }
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class reengagement_campaign_triggered extends \core\event\base {
    /**
     * The event of a campaign.
     *
     * @param int $campaignid
     * @param int $companyid 0 for none
     * @param int $count how many recipients were queued
     * @param string $type the type of its job
     * @return self to be triggered once the recipients are committed
     */
    public static function of_campaign(int $campaignid, int $companyid, int $count, string $type = 'reengagement'): self {
        return self::create([
            'objectid' => $campaignid,
            'context' => \local_manireports\cloud\access::context($companyid),
            'other' => ['companyid' => $companyid, 'type' => $type, 'count' => $count],
        ]);
    }

    /**
     * What the event is about.
     */
    protected function init() {
        $this->data['crud'] = 'c';
        $this->data['edulevel'] = self::LEVEL_OTHER;
        $this->data['objecttable'] = 'manireports_cloud_campaigns';
    }

    /**
     * Its name.
     *
     * @return string
     */
    public static function get_name() {
        return get_string('eventreengagementcampaigntriggered', 'local_manireports');
    }

    /**
     * What happened.
     *
     * @return string
     */
    public function get_description() {
        return "The user with id '$this->userid' sent the campaign with id '$this->objectid' to {$this->other['count']} users"
            . " of the company with id '{$this->other['companyid']}'.";
    }

    /**
     * Where to look at it.
     *
     * @return \moodle_url
     */
    public function get_url() {
        return new \moodle_url('/local/manireports/ui/cloud_jobs.php');
    }

    /**
     * Refuses an event that does not say what it must.
     *
     * @throws \coding_exception
     */
    protected function validate_data() {
        parent::validate_data();
        foreach (['companyid', 'type', 'count'] as $name) {
            if (!isset($this->other[$name])) {
                throw new \coding_exception("The '$name' value must be set in other.");
            }
        }
    }

    /**
     * How the object is found again after a restore.
     *
     * @return int
     */
    public static function get_objectid_mapping() {
        return self::NOT_MAPPED;
    }

    /**
     * Nothing of the rest is found again after a restore.
     *
     * @return bool
     */
    public static function get_other_mapping() {
        return false;
    }
}
