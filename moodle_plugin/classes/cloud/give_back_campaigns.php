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

namespace local_manireports\cloud;

/**
 * Rows of the outbox wait again, and their campaigns are held until somebody lets them go on.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class give_back_campaigns extends give_back_source {
    #[\Override]
    public function return(array $rows): array {
        global $DB;
        [$in, $params] = $DB->get_in_or_equal(array_keys($rows), SQL_PARAMS_NAMED);
        $claimed = $DB->get_records_sql(
            "SELECT id, campaign_id FROM {manireports_cloud_outbox} WHERE id $in AND status = 'claimed' FOR UPDATE",
            $params
        );
        if (!$claimed) {
            return [];
        }
        [$in, $params] = $DB->get_in_or_equal(array_keys($claimed), SQL_PARAMS_NAMED);
        $DB->set_field_select('manireports_cloud_outbox', 'status', 'waiting', "id $in", $params);
        [$in, $params] = $DB->get_in_or_equal(array_unique(array_column($claimed, 'campaign_id')), SQL_PARAMS_NAMED);
        $DB->execute(
            "UPDATE {manireports_cloud_campaigns}
                SET status = 'held', error_message = :reason
              WHERE id $in AND status IN ('queued', 'running', 'done')",
            $params + ['reason' => 'mails were taken back into the outbox']
        );
        return array_map('intval', array_keys($claimed));
    }
}
